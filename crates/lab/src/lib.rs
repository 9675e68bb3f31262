//! Hosts as namespaces on one machine: topology, faults, traffic, real Docker engines.
//!
//! Tests, `make demo`, benches and `hopsack lab` use this. A [`Lab`] is made from a [`Topology`]; its [`Host`]s run
//! programs, services and containers. Everything is held by processes of the lab: when those end, the namespaces
//! and all that is in them are gone. What must not live here: anything that the product itself needs.

mod capture;
pub mod cli;
mod command;
pub mod container;
mod control;
mod dump;
pub mod engine;
pub mod error;
mod faults;
mod flow;
pub mod guest;
pub mod host;
mod lab;
mod leftovers;
mod monitor;
mod namespace;
pub mod place;
mod process;
pub mod requirement;
mod state;
mod supervisor;
pub mod topology;
pub mod traffic;
pub mod wait;
mod wiring;

pub use capture::Capture;
pub use command::{Output, Program};
pub use container::Container;
pub use control::{HOST_FOLDER, ServiceSpec, ServiceStatus};
pub use engine::{EngineSettings, IMAGE};
pub use error::{LabError, Result};
pub use flow::{Amount, TcpFlow, UdpFlow};
pub use guest::{Guest, Kit, Machine};
pub use host::{Afterwards, Host};
pub use lab::{AGENT, AgentOptions, ENGINE, Lab, Options};
pub use leftovers::leftovers;
pub use monitor::Monitor;
pub use nix::sys::signal::Signal;
pub use place::{Inside, Place, Running};
pub use process::ProcessId;
pub use requirement::{Feature, Skip};
pub use topology::{HostKind, HostSpec, RouterSpec, SegmentSpec, Topology, TopologyBuilder};
