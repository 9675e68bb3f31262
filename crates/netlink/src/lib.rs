//! Blocking rtnetlink, network namespaces and kernel settings: system calls, no decisions.
//!
//! A [`Socket`] belongs to the network namespace that its thread was in when it was opened, and stays there. Each
//! module adds the verbs of one kernel table to it. What must not live here: what should be in those tables, async
//! code, nftables (only the fact that something there has changed).

pub mod address;
pub mod conntrack;
pub mod elements;
mod error;
pub mod fdb;
pub mod filter;
pub mod generation;
pub mod link;
pub mod monitor;
pub mod neighbour;
mod netfilter;
pub mod netns;
pub mod route;
pub mod rule;
mod settings;
mod socket;
pub mod sysctl;

pub use error::NetlinkError;
pub use nix::errno::Errno;
pub use socket::Socket;

#[cfg(test)]
mod kernel_tests;
