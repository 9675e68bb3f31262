//! One host: what outlives its agent (disk, kernel, stores, place in the network), and the agent while it runs.

use crate::kernel::TracedKernel;
use crate::network::Network;
use crate::ports::SimPorts;
use crate::prober::{Kernels, MTU, SimProber};
use crate::stores::SimStores;
use crate::trace::Trace;
use crate::wire::SimWire;
use async_trait::async_trait;
use hopsack_agent::agent::{Agent, Service};
use hopsack_agent::entropy::{Clock, Entropy};
use hopsack_agent::error::AgentError;
use hopsack_agent::kernel::access::{Blocking, KernelAccess};
use hopsack_agent::kernel::underlay::{Scout, UnderlayError};
use hopsack_agent::member::Member;
use hopsack_agent::parts::Parts;
use hopsack_agent::statedir::StateDir;
use hopsack_kernel::{DefaultRoute, DeviceAddress, FakeKernel, Surroundings};
use hopsack_plan::Features;
use hopsack_types::numbers::CONTROL_PORT;
use hopsack_types::{Cidr, Family, HostId, IfName};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What all hosts of a world share.
#[derive(Clone)]
pub struct Surrounding {
    /// The network.
    pub network: Arc<Network>,
    /// All kernels.
    pub kernels: Kernels,
    /// The wall clock.
    pub clock: Arc<SimClock>,
    /// The trace.
    pub trace: Trace,
    /// The seed of everything.
    pub seed: u64,
}

/// A wall clock that goes with virtual time, and may be set forward.
pub struct SimClock {
    began: Instant,
    ahead: AtomicU64,
}

impl SimClock {
    /// Begins on a day in 2027.
    pub fn new() -> Self {
        Self { began: Instant::now(), ahead: AtomicU64::new(0) }
    }

    /// Sets the clock forward, without the time having passed.
    pub fn set_forward(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn unix_seconds(&self) -> u64 {
        1_800_000_000 + self.began.elapsed().as_secs() + self.ahead.load(Ordering::Relaxed)
    }
}

struct SimScout(Surroundings);

#[async_trait]
impl Scout for SimScout {
    async fn look(&self) -> Result<Surroundings, UnderlayError> {
        Ok(self.0.clone())
    }
}

/// A host.
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its address.
    pub underlay: IpAddr,
    /// Its kernel.
    pub kernel: FakeKernel,
    /// Its ports.
    pub ports: SimPorts,
    /// Says that somebody else has changed the kernel.
    pub dirty: Arc<Notify>,
    /// What its kernel can do.
    pub features: Features,
    /// Prefixes that it has routes to besides its own segment.
    pub routes: Vec<Cidr>,
    on_link: Cidr,
    disk: TempDir,
    stores: Arc<SimStores>,
    starts: u64,
    around: Surrounding,
    running: Option<Running>,
}

struct Running {
    agent: Arc<Agent>,
    watching: Arc<Mutex<JoinSet<()>>>,
}

impl Machine {
    /// A host with an address in a segment, whose agent does not run yet.
    pub fn new(name: &str, underlay: IpAddr, length: u8, around: Surrounding) -> Self {
        let on_link = Cidr::around(underlay, length);
        let kernel = FakeKernel::new([device()]);
        around.network.plug_in(underlay, on_link);
        around.kernels.add(underlay, kernel.clone());
        Self {
            name: name.to_owned(),
            underlay,
            kernel,
            ports: SimPorts::default(),
            dirty: Arc::new(Notify::new()),
            features: Features { vxlan: true, ipv6: true, fast_path: true },
            routes: vec![on_link],
            on_link,
            disk: disk(),
            stores: Arc::default(),
            starts: 0,
            around,
            running: None,
        }
    }

    /// Where its agent listens.
    pub fn control(&self) -> SocketAddr {
        SocketAddr::new(self.underlay, CONTROL_PORT)
    }

    /// Starts the agent.
    pub async fn start(&mut self) -> Result<(), AgentError> {
        assert!(self.running.is_none(), "{} runs already", self.name);
        self.starts += 1;
        self.around.trace.note(&self.name, "starts");
        let agent = Agent::build(self.parts()).await?;
        let running = Running { agent, watching: Arc::default() };
        self.running = Some(running);
        self.watch_members();
        Ok(())
    }

    /// Ends the agent without a word, like `kill -9`.
    pub async fn crash(&mut self) {
        let running = self.running.take().unwrap();
        self.around.trace.note(&self.name, "crashes");
        running.watching.lock().unwrap().abort_all();
        running.agent.abort();
        let gone = Arc::downgrade(&running.agent);
        drop(running);
        // Aborted tasks are dropped when the runtime comes by.
        while gone.upgrade().is_some() || self.around.network.port(self.control()).is_some() {
            tokio::task::yield_now().await;
        }
    }

    /// Names of the files in its state directory.
    pub fn files(&self) -> BTreeSet<OsString> {
        std::fs::read_dir(self.disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    /// The agent's front door.
    pub fn api(&self) -> Service {
        Service(self.agent())
    }

    /// The agent.
    pub fn agent(&self) -> Arc<Agent> {
        self.running.as_ref().unwrap().agent.clone()
    }

    /// Whether the agent runs.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// The agent inside its cluster.
    pub fn member(&self) -> Arc<Member> {
        self.agent().member().unwrap()
    }

    /// Notes which hosts answer, from now on.
    pub fn watch_members(&self) {
        let (Some(running), Some(member)) = (&self.running, self.agent().member()) else { return };
        let (trace, name, mut active) =
            (self.around.trace.clone(), self.name.clone(), member.members.active());
        running.watching.lock().unwrap().spawn(async move {
            let mut known: BTreeSet<HostId> = BTreeSet::new();
            loop {
                let now = active.borrow_and_update().clone();
                for host in now.difference(&known) {
                    trace.note(&name, format!("{} is up", host.short()));
                }
                for host in known.difference(&now) {
                    trace.note(&name, format!("{} is down", host.short()));
                }
                known = now;
                if active.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn parts(&self) -> Parts {
        let around = &self.around;
        let kernel = TracedKernel::new(self.kernel.clone(), around.trace.clone(), &self.name);
        // Each start has randomness of its own, as on a real host.
        let mut seed = around.seed;
        for byte in self.name.bytes().chain([u8::try_from(self.starts).unwrap()]) {
            seed = seed.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte);
        }
        let network = around.network.clone();
        Parts {
            dir: StateDir::open(self.disk.path()).unwrap(),
            control_port: CONTROL_PORT,
            machine_name: Some(self.name.parse().unwrap()),
            boot: "first".to_owned(),
            kernel: KernelAccess::new(Box::new(kernel), Box::new(self.kernel.clone()), Blocking::Inline),
            features: self.features,
            dirty: self.dirty.clone(),
            moved: Arc::default(),
            blocking: Blocking::Inline,
            wire: Arc::new(SimWire::new(network.clone(), self.underlay)),
            prober: Arc::new(SimProber::new(network, around.kernels.clone(), self.underlay)),
            ports: Arc::new(self.ports.clone()),
            scout: Arc::new(SimScout(self.surroundings())),
            clock: around.clock.clone(),
            entropy: Arc::new(Entropy::from_seed(seed)),
            stores: self.stores.clone(),
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            addresses: vec![DeviceAddress {
                device: device(),
                address: self.underlay,
                on_link: self.on_link,
                mtu: MTU,
            }],
            default_routes: vec![DefaultRoute { family: Family::V4, device: device(), source: None }],
            routes: self.routes.clone(),
            advertised: BTreeSet::new(),
        }
    }
}

/// A state directory, in memory where that is possible: agents sync their files, which is slow on a busy disk.
fn disk() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn device() -> IfName {
    "eth0".parse().unwrap()
}
