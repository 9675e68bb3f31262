//! The fast path's programs: loads them into the kernel, and reads and writes the tables that they decide by.
//!
//! `bpf/fastpath.c` has the programs and says what they forward. A loaded [`FastPath`] does nothing until somebody has its
//! programs run at links (`hopsack_netlink::filter`), and they go on running there after it is dropped. What must not live
//! here: what should be in the tables, links' names, async code.

mod entry;
mod error;
mod fastpath;
#[cfg(test)]
mod verdict_tests;

pub use entry::Entry;
pub use error::EbpfError;
pub use fastpath::{FastPath, Program};
