//! Keeps the engine's list of networks the same as intent: the one writer of the engine's list, level-triggered by
//! intent, by the engine's events and by time. Docker's calls into the plugin never wait for it, so it may itself
//! wait for Docker, which calls the plugin meanwhile.

use crate::abandoned::AbandonedNetworks;
use crate::burst::next_burst;
use crate::engine::{DRIVER, Engine, EngineNetwork, NetworkCopy, SubnetCopy};
use crate::error::DockerError;
use crate::links::Links;
use crate::plan::{Action, MirrorFault, mirror_plan, network_of};
use crate::stale::StaleEndpoints;
use crate::status::{DockerStatus, EngineState};
use hopsack_api::{Api, DockerNetwork, EventKind, Fault, NetworkRequest, Networks};
use hopsack_types::{ChosenBy, Cidr, Family, Network, NetworkId, NetworkOptions};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// How often an engine that does not answer is asked again: a started Docker is used within this.
const RETRY: Duration = Duration::from_millis(500);
/// How often all is compared though nothing has told of a change, and what failed is tried again.
pub(crate) const RESYNC: Duration = Duration::from_secs(10);
/// The same while something stands in the way: nothing tells that the last container has left a network.
const RECHECK: Duration = Duration::from_secs(1);
/// Changes come in bursts; the first waits this long for the others.
const BURST: Duration = Duration::from_millis(20);

/// How long the status tells of a network that was refused.
const REPORTED: Duration = Duration::from_secs(600);
/// How much of an id Docker shows.
const SHORT_ID: usize = 12;

/// What the mirror remembers of one look for the next, since the engine was reached.
#[derive(Debug, Default)]
struct Memory {
    stale: StaleEndpoints,
    abandoned: AbandonedNetworks,
    /// Networks that the engine had.
    listed: BTreeSet<NetworkId>,
    /// Networks that were refused, when, and how it is told.
    refusals: Vec<(Instant, String)>,
}

impl Memory {
    /// Takes in a list; gives the networks that have gone from it since the last one, though not by the mirror.
    fn see(&mut self, intent: &Networks, listed: &[EngineNetwork]) -> BTreeSet<NetworkId> {
        let ours = listed.iter().filter(|network| network.driver == DRIVER);
        let now: BTreeSet<NetworkId> = ours.filter_map(|network| network_of(intent, network)).collect();
        let missed = self.listed.difference(&now).copied().collect();
        self.listed = now;
        missed
    }
}

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
            let engine = state_of(&error);
            let fault = engine.fault();
            self.report(engine, fault.into_iter().collect());
            sleep(RETRY).await;
        }
    }

    /// Mirrors until the engine does not answer. `Ok` when its stream of events has ended: it may be back already.
    async fn follow(&self) -> Result<(), DockerError> {
        let mut changes = self.engine.changes();
        let mut networks = self.api.networks();
        let mut memory = Memory::default();
        loop {
            let faults = self.compare(&mut networks, &mut memory).await?;
            let resync = if faults.is_empty() { RESYNC } else { RECHECK };
            self.report(EngineState::Connected, faults);
            let otherwise = async {
                tokio::select! {
                    // An error means that the agent is going; then so is this task.
                    Ok(()) = networks.changed() => {}
                    () = sleep(resync) => {}
                }
            };
            if !next_burst(&mut changes, BURST, otherwise).await? {
                return Ok(());
            }
        }
    }

    /// Makes the engine's list what it should be, as far as it can; answers what it could not do.
    async fn compare(
        &self,
        networks: &mut watch::Receiver<Arc<Networks>>,
        memory: &mut Memory,
    ) -> Result<Vec<Fault>, DockerError> {
        // An agent that is in no cluster yet has none to tell, and that is no fault of Docker's.
        let endpoints = self.api.endpoints().await.unwrap_or_default();
        let mut listed = self.engine.networks().await?;
        // After the list: what is in the list was in intent before.
        let intent = networks.borrow_and_update().clone();
        let copies = |network: &EngineNetwork| Some((network.id.clone(), network.copy_of?));
        self.links.extend(listed.iter().filter_map(copies));
        self.links.asked();
        for network in listed.iter_mut().filter(|network| network.copy_of.is_none()) {
            network.twin_of = self.links.get(&network.id);
        }
        let plan = mirror_plan(&intent, &listed);
        let mut faults: Vec<Fault> = plan.faults.iter().map(MirrorFault::told).collect();
        memory.refusals.retain(|(since, _)| since.elapsed() < REPORTED);
        let missed = memory.see(&intent, &listed);
        for action in plan.actions {
            match self.act(action, &intent, memory, &missed).await {
                Ok(()) => {}
                Err(error @ DockerError::Unreachable { .. }) => return Err(error),
                Err(error) => faults.push(Fault::new(error.to_string(), "systemctl status docker")),
            }
        }
        let refused = memory.refusals.iter();
        faults.extend(refused.map(|(_, text)| Fault::new(text, "docker network ls")));
        match memory.stale.look(&*self.api, &*self.engine, &endpoints, &listed, &intent).await {
            Ok(()) => {}
            Err(error @ DockerError::Unreachable { .. }) => return Err(error),
            Err(error) => faults.push(Fault::new(error.to_string(), "systemctl status docker")),
        }
        if let Err(error) = memory.abandoned.look(&*self.api, &listed, &intent).await {
            faults.push(Fault::new(error.to_string(), "hopsack network ls"));
        }
        Ok(faults)
    }

    async fn act(
        &self,
        action: Action,
        intent: &Networks,
        memory: &mut Memory,
        missed: &BTreeSet<NetworkId>,
    ) -> Result<(), DockerError> {
        match action {
            Action::Remove { docker, name } => {
                let copied = self.links.forget(&docker);
                memory.listed.retain(|id| Some(*id) != copied);
                let removed = self.engine.remove(&docker).await;
                // Docker keeps one that is in use, which then is still what it was.
                if let Err(DockerError::Engine { .. }) = &removed {
                    self.links.extend(copied.map(|network| (docker.clone(), network)));
                }
                removed?;
                info!(
                    network = name,
                    docker, "removed a network of Docker's that stood for none, or not alone"
                );
                Ok(())
            }
            Action::Name(request) => {
                info!(network = %request.name, "a network was made on this host's Docker");
                Ok(self.api.name_network(request).await.map(|_| ())?)
            }
            Action::Refuse { docker, name, labels, winner } => {
                let Some(winner) = intent.networks.get(&winner) else { return Ok(()) };
                let loser = intent.made_here(&docker).unwrap_or(winner);
                let loser = Network { name, labels, ..loser.clone() };
                self.refuse(&docker, &loser, winner, &intent.pools, memory).await
            }
            Action::Renew { docker, network } => {
                let Some(network) = intent.networks.get(&network) else { return Ok(()) };
                if !self.engine.endpoints(&docker).await?.is_empty() {
                    return Err(DockerError::OldCopyInUse { name: network.name.clone() });
                }
                info!(network = %network.name, "making Docker's copy of a network anew, which has changed");
                self.links.replace(&docker);
                let removed = self.engine.remove(&docker).await;
                self.links.is_replaced(&docker);
                removed?;
                self.engine.create(&copy_of(network)).await
            }
            Action::Copy(id) => match intent.networks.get(&id) {
                Some(network) => {
                    info!(network = %network.name, "making a network known to this host's Docker");
                    self.engine.create(&copy_of(network)).await?;
                    memory.listed.insert(id);
                    if missed.contains(&id) {
                        let why = self.links.why_kept(id).unwrap_or_else(|| "it is still there".to_owned());
                        let text = format!("Docker's user removed it on this host: {why}");
                        self.api.events().tell(EventKind::NetworkBroughtBack, &network.name, text);
                    }
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    /// Takes back a network that was made here while another one got its name or its subnets. Its intent, if it has
    /// any, goes with it: Docker asks the driver to remove it.
    async fn refuse(
        &self,
        docker: &str,
        loser: &Network,
        winner: &Network,
        pools: &[Cidr],
        memory: &mut Memory,
    ) -> Result<(), DockerError> {
        let name = &loser.name;
        if !self.engine.endpoints(docker).await?.is_empty() {
            let docker = docker.chars().take(SHORT_ID).collect();
            return Err(DockerError::LoserInUse { name: name.clone(), docker });
        }
        self.links.forget(docker);
        self.engine.remove(docker).await?;
        // Two hosts found the same free subnet for two networks. Nobody had asked for it, so another does as well.
        if loser.id == winner.id && name != &winner.name && is_found(loser, pools) {
            self.api.create_network(made_again(docker, loser)).await?;
            info!(network = %name, "made again, since another host was quicker to take its subnet");
            return Ok(());
        }
        if is_same(loser, winner, pools) {
            info!(network = %name, "the same network was made elsewhere at the same time: they are one");
            return Ok(());
        }
        let text = format!(
            "network {name} ({}) was made on this host at the same time as network {} ({}) elsewhere, and was \
             removed: use that one, or make yours under another name, with another subnet",
            subnets(loser),
            winner.name,
            subnets(winner)
        );
        self.api.events().tell(EventKind::NetworkRefused, name, &text);
        warn!("{text}");
        memory.refusals.push((Instant::now(), text));
        Ok(())
    }

    fn report(&self, engine: EngineState, faults: Vec<Fault>) {
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

fn subnets(network: &Network) -> String {
    network.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a network's subnets may have been found in pools, and nothing else speaks for their having been given.
fn is_found(network: &Network, pools: &[Cidr]) -> bool {
    let in_pools = |subnet: &Cidr| pools.iter().any(|pool| pool.covers(subnet));
    network.subnets.iter().all(in_pools)
        && network.ranges.is_empty()
        && network.reserved.is_empty()
        && said_gateways(network).is_empty()
}

/// The gateways that somebody must have said.
fn said_gateways(network: &Network) -> BTreeSet<IpAddr> {
    Network::unusual_gateways(&network.subnets, network.gateways.keys())
}

/// The same network, which the engine knew under `docker`, in the next free subnets.
fn made_again(docker: &str, network: &Network) -> NetworkRequest {
    NetworkRequest {
        name: Some(network.name.clone()),
        both_families: network.subnets.iter().any(|subnet| subnet.family() == Family::V6),
        isolation: network.isolation,
        internal: network.internal,
        exit: network.exit,
        mtu: network.mtu,
        said: network.said.clone(),
        labels: network.labels.clone(),
        docker: Some(DockerNetwork { id: docker.to_owned() }),
        ..NetworkRequest::default()
    }
}

/// Whether two networks are what the same command makes. Subnets out of a pool may have been found or given; either way
/// the one network serves as well as the other.
fn is_same(one: &Network, other: &Network, pools: &[Cidr]) -> bool {
    let families =
        |network: &Network| -> BTreeSet<Family> { network.subnets.iter().map(Cidr::family).collect() };
    let subnets = |network: &Network| network.subnets.iter().copied().collect::<BTreeSet<Cidr>>();
    let options = |network: &Network| (network.isolation, network.internal, network.exit, network.mtu);
    one.name == other.name
        && one.ranges == other.ranges
        && said_gateways(one) == said_gateways(other)
        && one.reserved == other.reserved
        && one.labels == other.labels
        && options(one) == options(other)
        && (subnets(one) == subnets(other)
            || is_found(one, pools) && is_found(other, pools) && families(one) == families(other))
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
    let options = NetworkOptions::of(network).shown().into_iter();
    NetworkCopy {
        network: network.id,
        name: network.name.clone(),
        subnets: network.subnets.iter().map(subnet).collect(),
        internal: network.internal,
        options: options.map(|(key, value)| (key.to_owned(), value)).collect(),
        labels: network.labels.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsack_types::NetworkId;

    #[test]
    fn networks_are_the_same_whose_subnets_were_found_but_not_with_other_ranges_or_auxiliary_addresses() {
        let pools = ["10.32.0.0/14".parse().unwrap()];
        let network = |n: u8| {
            let subnet = format!("10.32.{n}.0/24").parse().unwrap();
            Network::new(NetworkId::from_bytes([n; 16]), "web".parse().unwrap(), vec![subnet])
        };
        assert!(is_same(&network(4), &network(5), &pools));
        let ranged = Network { ranges: BTreeSet::from(["10.32.5.128/25".parse().unwrap()]), ..network(5) };
        assert!(!is_same(&network(4), &ranged, &pools));
        let router = [("10.32.5.9".parse().unwrap(), "router".to_owned())];
        assert!(!is_same(&network(4), &Network { reserved: router.into(), ..network(5) }, &pools));
    }
}
