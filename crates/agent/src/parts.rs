//! What an agent is built from: everything that differs between a real one and one in a simulation.

use crate::endpoints::ports::HostPorts;
use crate::entropy::{Clock, Entropy};
use crate::error::AgentError;
use crate::kernel::access::{Blocking, KernelAccess};
use crate::kernel::paths::Prober;
use crate::kernel::underlay::Scout;
use crate::statedir::StateDir;
use crate::talk::transport::Wire;
use async_trait::async_trait;
use hopsack_plan::Features;
use hopsack_store::{Event, Replica, Store, Upstream};
use hopsack_types::HostName;
use std::sync::Arc;
use tokio::sync::Notify;

/// The parts.
#[derive(Clone)]
pub struct Parts {
    /// What this agent keeps on disk.
    pub dir: StateDir,
    /// Control port for a cluster that is made or entered from now on.
    pub control_port: u16,
    /// The machine's name: a host's name by default.
    pub machine_name: Option<HostName>,
    /// Tells this boot of the machine from others.
    pub boot: String,
    /// The kernel.
    pub kernel: KernelAccess,
    /// What the kernel can do.
    pub features: Features,
    /// Notified when something in the kernel has changed.
    pub dirty: Arc<Notify>,
    /// Notified when this host's underlay address is another than at the start: the agent has to start again.
    pub moved: Arc<Notify>,
    /// Where blocking work runs.
    pub blocking: Blocking,
    /// Talk with other hosts.
    pub wire: Arc<dyn Wire>,
    /// Echo requests.
    pub prober: Arc<dyn Prober>,
    /// This host's ports.
    pub ports: Arc<dyn HostPorts>,
    /// This host's own network.
    pub scout: Arc<dyn Scout>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<Entropy>,
    /// Stores of intent.
    pub stores: Arc<dyn Stores>,
}

/// Makes and opens stores of intent.
#[async_trait]
pub trait Stores: Send + Sync {
    /// The store of a new cluster's first voter. What an `init` that did not end left behind is replaced.
    async fn create_voter(&self, dir: &StateDir, entropy: &Entropy) -> Result<Arc<dyn Store>, AgentError>;
    /// A voter's store at its start.
    async fn open_voter(&self, dir: &StateDir) -> Result<Arc<dyn Store>, AgentError>;
    /// Begins the copy of a host that has joined.
    async fn begin_copy(&self, dir: &StateDir, intent: Event) -> Result<(), AgentError>;
    /// Opens the copy.
    async fn open_copy(&self, dir: &StateDir, upstream: Arc<dyn Upstream>) -> Result<Replica, AgentError>;
}
