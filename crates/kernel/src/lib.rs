//! The one place that reads and writes the kernel: observe, then apply a difference in a fixed order (`apply.rs`).
//!
//! [`LinuxKernel`] is the real one, [`FakeKernel`] one in memory that can be told to fail; both go through the same
//! order. What must not live here: decisions about what should be (that is `plan`), async code.

mod apply;
mod drift;
mod error;
mod fake;
mod features;
mod linux;
mod surroundings;
mod watch;

pub use apply::FIREWALL;
pub use drift::drift;
pub use error::KernelError;
pub use fake::{FakeKernel, Fault};
pub use features::{FeatureReport, probe};
pub use linux::{LinuxKernel, LinuxSettings, OwnChanges};
pub use surroundings::{DefaultRoute, DeviceAddress, Surroundings, surroundings};
pub use watch::{Watch, watch};

use hopsack_plan::HostState;
use hopsack_types::Family;
use std::collections::{BTreeMap, BTreeSet};

/// A kernel, real or fake. Blocking; called by one thread at a time, always in the same network namespace.
pub trait Kernel: Send {
    /// Reads all that is ours. `desired` tells which settings, and which namespaces of containers, to look at, and
    /// what cannot be seen is taken to be as desired.
    fn observe(&mut self, desired: &HostState) -> Result<HostState, KernelError>;

    /// Makes `observed` into `desired`, in a fixed order, going on past failures. Returns one failure per object
    /// that could not be changed; objects on a link that could not be made are not told again.
    fn apply(&mut self, observed: HostState, desired: &HostState) -> Applied;

    /// In which families what others may have put in the way of ours lets it pass, as in [`HostState`]. Not every change
    /// of that is told. Cheap enough to be called often.
    fn observe_forward_accept(&mut self, left: &BTreeSet<Family>) -> Result<BTreeSet<Family>, KernelError>;
}

/// Settings that are not as they were expected, by path below `/proc/sys`; none: there is no such setting.
pub type Differing = BTreeMap<String, Option<String>>;

/// A kernel's settings below `/proc/sys`, of which no change is told. Apart from [`Kernel`], for with many links a look
/// takes long, and nothing shall wait for it. Blocking; always in the same network namespace.
pub trait Settings: Send {
    /// Of these settings those that do not have these values, with what they have.
    fn differing(&mut self, expected: &BTreeMap<String, String>) -> Result<Differing, KernelError>;
}

/// What an apply did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Changes made, by table.
    pub changes: BTreeMap<Table, u64>,
    /// Objects that could not be changed.
    pub failures: Vec<Failure>,
}

/// The kernel tables, in the order in which additions are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Network interfaces.
    Links,
    /// Addresses on our links.
    Addresses,
    /// Settings below `/proc/sys`.
    Sysctls,
    /// Permanent neighbours.
    Neighbours,
    /// VXLAN forwarding entries.
    Fdb,
    /// Our nftables table.
    Firewall,
    /// Tracked flows to published ports.
    Flows,
    /// The accept rule in a forward chain of others.
    Forward,
    /// Routing rules.
    Rules,
    /// Routes.
    Routes,
    /// What goes past the routes.
    FastPath,
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Links => "links",
            Self::Addresses => "addresses",
            Self::Sysctls => "sysctls",
            Self::Neighbours => "neighbours",
            Self::Fdb => "fdb",
            Self::Firewall => "firewall",
            Self::Flows => "flows",
            Self::Forward => "forward",
            Self::Rules => "rules",
            Self::Routes => "routes",
            Self::FastPath => "fastpath",
        })
    }
}

/// One object that could not be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its table.
    pub table: Table,
    /// Which one, as people name it: `hopc0123456789`, `10.32.4.0/29`.
    pub object: String,
    /// What went wrong and what to do.
    pub reason: String,
}
