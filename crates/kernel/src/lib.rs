//! The one place that reads and writes the kernel: observe, then apply a difference in a fixed order.
//!
//! What must not live here: decisions about what should be (that is `plan`), async code.

use hopsack_plan::HostState;

/// A kernel, real or fake. Blocking; called from one thread.
pub trait Kernel: Send {
    /// Reads all that is ours. `desired` tells which settings, and which namespaces of containers, to look at.
    fn observe(&mut self, desired: &HostState) -> Result<HostState, KernelError>;

    /// Makes `observed` into `desired`, in a fixed order, going on past failures. Returns one failure per object
    /// that could not be changed.
    fn apply(&mut self, observed: &HostState, desired: &HostState) -> Applied;
}

/// What an apply did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Changes made, by table.
    pub changes: std::collections::BTreeMap<Table, u64>,
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
    /// The accept rule in a forward chain of others.
    Forward,
    /// Routing rules.
    Rules,
    /// Routes.
    Routes,
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

/// Why the kernel could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {}
