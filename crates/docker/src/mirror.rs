//! Keeps the engine's list of networks the same as intent: the one writer of the engine's list, level-triggered by
//! intent, by the engine's events and by time. Docker's calls into the plugin never wait for it, so it may itself
//! wait for Docker, which calls the plugin meanwhile.

use crate::engine::{Engine, EngineNetwork, NetworkCopy, SubnetCopy};
use crate::error::DockerError;
use crate::links::Links;
use crate::plan::{Action, mirror_plan};
use crate::stale::StaleEndpoints;
use crate::status::{DockerStatus, EngineState};
use futures::StreamExt;
use hopsack_api::{Api, Networks};
use hopsack_types::{ChosenBy, Cidr, Network, NetworkOptions};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// How often an engine that does not answer is asked again: a started Docker is used within this.
const RETRY: Duration = Duration::from_millis(500);
/// How often all is compared though nothing has told of a change, and what failed is tried again.
pub(crate) const RESYNC: Duration = Duration::from_secs(10);
/// Changes come in bursts; the first waits this long for the others.
const BURST: Duration = Duration::from_millis(20);

/// The mirror of one engine.
pub(crate) struct Mirror {
    pub(crate) api: Arc<dyn Api>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) links: Arc<Links>,
    pub(crate) status: watch::Sender<DockerStatus>,
}

impl Mirror {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        loop {
            let Err(error) = self.follow().await else { continue };
            self.links.asked();
            self.report(state_of(&error), Vec::new());
            sleep_until(Instant::now() + RETRY).await;
        }
    }

    /// Mirrors until the engine does not answer. `Ok` when its stream of events has ended: it may be back already.
    async fn follow(&self) -> Result<(), DockerError> {
        let mut changes = self.engine.changes();
        let mut networks = self.api.networks();
        let mut stale = StaleEndpoints::default();
        loop {
            let faults = self.compare(&mut networks, &mut stale).await?;
            self.report(EngineState::Connected, faults);
            let resync = Instant::now() + RESYNC;
            tokio::select! {
                change = changes.next() => match change {
                    Some(change) => change?,
                    None => return Ok(()),
                },
                // An error means that the agent is going; then so is this task.
                Ok(()) = networks.changed() => {}
                () = sleep_until(resync) => {}
            }
            let burst = sleep_until(Instant::now() + BURST);
            tokio::pin!(burst);
            loop {
                tokio::select! {
                    () = &mut burst => break,
                    Some(change) = changes.next() => change?,
                }
            }
        }
    }

    /// Makes the engine's list what it should be, as far as it can; answers what it could not do.
    async fn compare(
        &self,
        networks: &mut watch::Receiver<Arc<Networks>>,
        stale: &mut StaleEndpoints,
    ) -> Result<Vec<String>, DockerError> {
        // An agent that is in no cluster yet has none to tell, and that is no fault of Docker's.
        let endpoints = self.api.endpoints().await.unwrap_or_default();
        let listed = self.engine.networks().await?;
        // After the list: what is in the list was in intent before.
        let intent = networks.borrow_and_update().clone();
        let copies = |network: &EngineNetwork| Some((network.id.clone(), network.copy_of?));
        self.links.extend(listed.iter().filter_map(copies));
        self.links.asked();
        let plan = mirror_plan(&intent, &listed);
        let mut faults: Vec<String> = plan.faults.iter().map(ToString::to_string).collect();
        for action in plan.actions {
            match self.act(action, &intent).await {
                Ok(()) => {}
                Err(error @ DockerError::Unreachable { .. }) => return Err(error),
                Err(error) => faults.push(error.to_string()),
            }
        }
        match stale.look(&*self.api, &*self.engine, &endpoints, &listed, &intent).await {
            Ok(()) => {}
            Err(error @ DockerError::Unreachable { .. }) => return Err(error),
            Err(error) => faults.push(error.to_string()),
        }
        Ok(faults)
    }

    async fn act(&self, action: Action, intent: &Networks) -> Result<(), DockerError> {
        match action {
            Action::Remove { docker, name } => {
                info!(
                    network = name,
                    docker, "removing a network of Docker's that stands for none, or not alone"
                );
                let copied = self.links.forget(&docker);
                let removed = self.engine.remove(&docker).await;
                // Docker keeps one that is in use, which then is still what it was.
                if let Err(DockerError::Engine { .. }) = &removed {
                    self.links.extend(copied.map(|network| (docker, network)));
                }
                removed
            }
            Action::Name(request) => {
                info!(network = %request.name, "a network was made on this host's Docker");
                Ok(self.api.name_network(request).await.map(|_| ())?)
            }
            Action::Copy(id) => match intent.networks.get(&id) {
                Some(network) => {
                    info!(network = %network.name, "making a network known to this host's Docker");
                    self.engine.create(&copy_of(network)).await
                }
                None => Ok(()),
            },
        }
    }

    fn report(&self, engine: EngineState, faults: Vec<String>) {
        let status = DockerStatus { engine, faults };
        self.status.send_if_modified(|old| {
            if *old == status {
                return false;
            }
            if old.engine != status.engine {
                info!(engine = %status.engine, "Docker");
            }
            for fault in status.faults.iter().filter(|fault| !old.faults.contains(fault)) {
                warn!("{fault}");
            }
            *old = status;
            true
        });
    }
}

fn state_of(error: &DockerError) -> EngineState {
    match error {
        DockerError::Unreachable { source, .. } if is_absent(source) => EngineState::Absent,
        error => EngineState::Unreachable(error.to_string()),
    }
}

fn is_absent(error: &bollard::errors::Error) -> bool {
    use bollard::errors::Error;
    match error {
        Error::SocketNotFoundError(_) => true,
        Error::IOError { err } => err.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn copy_of(network: &Network) -> NetworkCopy {
    let subnet = |prefix: &Cidr| {
        let inside = |address: &IpAddr| prefix.contains(*address);
        let chosen = network.gateways.iter().find(|(gateway, by)| inside(gateway) && **by == ChosenBy::User);
        let auxiliary = network.reserved.iter().filter(|(address, _)| inside(address));
        SubnetCopy {
            prefix: *prefix,
            range: network.ranges.iter().copied().find(|range| prefix.covers(range)),
            gateway: chosen.map(|(gateway, _)| *gateway),
            auxiliary: auxiliary.map(|(address, name)| (name.clone(), *address)).collect(),
        }
    };
    let options = NetworkOptions::of(network).said().into_iter();
    NetworkCopy {
        network: network.id,
        name: network.name.clone(),
        subnets: network.subnets.iter().map(subnet).collect(),
        internal: network.internal,
        options: options.map(|(key, value)| (key.to_owned(), value)).collect(),
        labels: network.labels.clone(),
    }
}
