//! Docker's front door: network and IPAM driver on one plugin socket, and the mirror of networks in the engine's
//! own list. Both only translate: what a network or an address means is the agent's, behind [`hopsack_api::Api`].
//!
//! A call of Docker never waits for an answer of Docker: dockerd may hold locks while it calls.

mod abandoned;
mod burst;
mod containers;
mod engine;
mod error;
mod farewell;
mod ipam;
mod links;
mod mirror;
mod network;
mod options;
mod plan;
mod plugin;
mod pools;
mod ports;
mod sandboxes;
mod stale;
mod status;
mod wire;

pub use engine::{DRIVER, DockerEngine, Engine, EngineContainer, EngineNetwork, NetworkCopy, SubnetCopy};
pub use error::DockerError;
pub use farewell::take_out;
pub use plan::{Action, MirrorFault, MirrorPlan, mirror_plan};
pub use status::{DockerStatus, EngineState};

use containers::ContainerNames;
use hopsack_api::{Api, server};
use ipam::IpamDriver;
use links::Links;
use mirror::Mirror;
use network::NetworkDriver;
use plugin::Plugin;
use pools::PromisedPools;
use sandboxes::WideSandboxes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Where Docker looks for our driver: the file's name is the driver's.
pub const PLUGIN_SOCKET: &str = "/run/docker/plugins/hopsack.sock";
/// Where Docker's API is.
pub const ENGINE_SOCKET: &str = "/run/docker.sock";

/// The front door while it is open. Dropping it closes it.
#[derive(Debug)]
#[must_use = "dropping it closes the front door"]
pub struct FrontDoor {
    socket: PathBuf,
    tasks: [AbortHandle; 3],
    status: watch::Receiver<DockerStatus>,
}

/// Opens the plugin socket at `socket`, where it replaces one that a killed agent left, and begins to mirror
/// networks. The engine may come, go and come back at any time. Must be called inside a tokio runtime.
pub fn serve(socket: &Path, engine: Arc<dyn Engine>, api: Arc<dyn Api>) -> Result<FrontDoor, DockerError> {
    let (links, pools) = (Arc::new(Links::default()), Arc::new(PromisedPools::default()));
    let plugin = Arc::new(Plugin {
        network: NetworkDriver {
            api: api.clone(),
            pools: pools.clone(),
            links: links.clone(),
            wide: WideSandboxes::default(),
        },
        ipam: IpamDriver { api: api.clone(), pools },
    });
    let listener = server::bind(socket)?;
    let (sender, status) = watch::channel(DockerStatus::default());
    let calls = tokio::spawn({
        let links = links.clone();
        async move {
            links.ready().await;
            axum::serve(listener, plugin::router(plugin)).await
        }
    });
    let names = tokio::spawn(ContainerNames { api: api.clone(), engine: engine.clone() }.run());
    let mirror = tokio::spawn(Mirror { api, engine, links, status: sender }.run());
    let tasks = [calls.abort_handle(), names.abort_handle(), mirror.abort_handle()];
    Ok(FrontDoor { socket: socket.to_owned(), tasks, status })
}

impl FrontDoor {
    /// The engine's state and its changes.
    pub fn status(&self) -> watch::Receiver<DockerStatus> {
        self.status.clone()
    }
}

impl Drop for FrontDoor {
    /// A socket file that nobody listens at makes each of Docker's calls wait for 15 s.
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::warn!(socket = %self.socket.display(), %error, "cannot remove the plugin socket");
        }
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
