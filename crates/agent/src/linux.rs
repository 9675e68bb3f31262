//! The real agent: real kernel, TLS, raw sockets, disk; Docker's front door and the local socket opened; ended by a
//! signal. The kernel stays as it is when it ends.

mod holds;
mod metrics_port;
mod prober;
mod stores;
pub mod uninstall;

use crate::agent::{Agent, DockerReport, Service};
use crate::entropy::{Entropy, SystemClock};
use crate::error::AgentError;
use crate::events;
use crate::kernel::access::{Blocking, KernelAccess};
use crate::kernel::underlay::{Scout, UnderlayError};
use crate::parts::Parts;
use crate::statedir::StateDir;
use crate::talk::tls::TlsWire;
use async_trait::async_trait;
use holds::KernelPorts;
use hopsack_api::{Api, server};
use hopsack_docker::{DockerEngine, DockerStatus, EngineState, FrontDoor};
use hopsack_kernel::{LinuxKernel, LinuxSettings, Surroundings, surroundings};
use hopsack_plan::Features;
use hopsack_types::HostName;
use nix::fcntl::{Flock, FlockArg};
use prober::RawProber;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stores::DiskStores;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// What a real agent is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its state directory.
    pub state_dir: PathBuf,
    /// Its local socket.
    pub socket: PathBuf,
    /// Control port for a cluster that is made or entered from now on.
    pub control_port: u16,
    /// Docker's front door; none keeps it shut.
    pub docker: Option<DockerConfig>,
    /// Where metrics are served; none serves none.
    pub metrics: Option<SocketAddr>,
    /// Whether packets within a network may go past the host's IP stack, where this kernel can do that.
    pub fast_path: bool,
}

/// Docker's front door.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// Where the engine listens.
    pub engine_socket: PathBuf,
    /// Where the engine looks for us.
    pub plugin_socket: PathBuf,
}

/// Where a run has got to, for a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Callers are answered from now on.
    Ready,
    /// It was told to end, and does.
    Stopping,
}

/// Runs an agent until SIGTERM or SIGINT, or until its host has moved, which its supervisor answers by starting it
/// again. `tell` is called with each phase once.
pub async fn run(config: Config, tell: impl Fn(Phase)) -> Result<(), AgentError> {
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    let dir = StateDir::open(&config.state_dir)?;
    let _only_one = lock(&dir, &config.state_dir)?;
    let found = hopsack_kernel::probe()?;
    for remark in &found.remarks {
        tracing::warn!("{remark}");
    }
    let (kernel, settings) = (LinuxKernel::new()?, LinuxSettings::new()?);
    let dirty = Arc::new(Notify::new());
    let moved = Arc::new(Notify::new());
    let changed = dirty.clone();
    let _watch = hopsack_kernel::watch(kernel.own_changes(), move || changed.notify_one())?;
    let parts = Parts {
        dir,
        control_port: config.control_port,
        machine_name: machine_name(),
        boot: boot()?,
        kernel: KernelAccess::new(Box::new(kernel), Box::new(settings), Blocking::Thread),
        features: Features { fast_path: found.features.fast_path && config.fast_path, ..found.features },
        dirty,
        moved: moved.clone(),
        blocking: Blocking::Thread,
        wire: Arc::new(TlsWire),
        prober: Arc::new(RawProber::default()),
        ports: Arc::new(KernelPorts),
        scout: Arc::new(KernelScout),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(Entropy::from_system()),
        stores: Arc::new(DiskStores),
    };
    let listener = server::bind(&config.socket)
        .map_err(|source| AgentError::ListenLocal { path: config.socket.clone(), source: source.into() })?;
    let agent = Agent::build(parts).await?;
    let service: Arc<dyn Api> = Arc::new(Service(agent.clone()));
    let local = tokio::spawn(server::serve(listener, service.clone()));
    let metrics = config.metrics.map(|address| tokio::spawn(metrics_port::serve(agent.clone(), address)));
    let docker = match &config.docker {
        Some(docker) => Some(open_docker(docker, service)?),
        None => None,
    };
    let told = docker.as_ref().map(|door| tokio::spawn(tell_docker(agent.clone(), door.status())));
    tell(Phase::Ready);
    tracing::info!(socket = %config.socket.display(), "the agent is ready");
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = moved.notified() => Err(AgentError::Moved),
    };
    tell(Phase::Stopping);
    tracing::info!("the agent stops; the network stays as it is");
    drop(docker);
    for task in [told, metrics].into_iter().flatten() {
        task.abort();
    }
    local.abort();
    agent.stop().await;
    // Nobody listens there any more; a client should hear that at once.
    if let Err(error) = std::fs::remove_file(&config.socket) {
        tracing::debug!(%error, "the local socket was not removed");
    }
    outcome
}

/// This host's own network, from the kernel.
struct KernelScout;

#[async_trait]
impl Scout for KernelScout {
    async fn look(&self) -> Result<Surroundings, UnderlayError> {
        // A host has links by the thousand, and who waits for an answer must not wait for them.
        let seen = tokio::task::spawn_blocking(surroundings).await.map_err(UnderlayError::Panicked)?;
        seen.map_err(|source| UnderlayError::Look { source })
    }
}

fn signals(kind: SignalKind) -> Result<tokio::signal::unix::Signal, AgentError> {
    signal(kind).map_err(|source| AgentError::Signals { source })
}

/// Held by the agent that uses a state directory.
const LOCK: &str = "lock";

/// One agent per state directory. The lock goes with the process, however it ends.
fn lock(dir: &StateDir, shown: &Path) -> Result<Flock<File>, AgentError> {
    let path = dir.path(LOCK);
    let file = File::create(&path).map_err(|source| AgentError::WriteState { path, source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| AgentError::StateInUse { path: shown.to_owned() })
}

/// This boot's id (`Documentation/admin-guide/sysctl/kernel.rst`, random).
fn boot() -> Result<String, AgentError> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    let id = std::fs::read_to_string(&path).map_err(|source| AgentError::ReadState { path, source })?;
    Ok(id.trim().to_owned())
}

/// The machine's name as a host name, as far as it can be one.
fn machine_name() -> Option<HostName> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    HostName::new(name.to_ascii_lowercase()).ok()
}

fn open_docker(config: &DockerConfig, service: Arc<dyn Api>) -> Result<FrontDoor, AgentError> {
    let engine = Arc::new(DockerEngine::new(config.engine_socket.clone()));
    Ok(hopsack_docker::serve(&config.plugin_socket, engine, service)?)
}

async fn tell_docker(agent: Arc<Agent>, status: tokio::sync::watch::Receiver<DockerStatus>) {
    let events = agent.events();
    let told = |status: &DockerStatus| {
        agent.set_docker(DockerReport {
            engine: status.engine.to_string(),
            connected: status.engine == EngineState::Connected,
            faults: status.faults.clone(),
        });
    };
    events::follow_docker(status, events, told).await;
}
