//! What changes, told as events. What is so is looked at again and again and compared with the last look, so that no
//! part has to know of events; what changes and changes back in between is not told.
//!
//! What must not live here: what only a front door sees (it tells its own), and how events are kept (the `api` crate).

use crate::member::Member;
use crate::report;
use hopsack_api::{EventKind, Events, Fault, HostStatus};
use hopsack_docker::{DockerStatus, EngineState};
use hopsack_plan::view::Endpoint;
use hopsack_types::{EndpointId, HostId, Network, NetworkId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Some things change without a word: faults, whether paths are answered.
const LOOK: Duration = Duration::from_secs(1);
/// Changes come in bursts; one look sees them all.
const GATHER: Duration = Duration::from_millis(50);
/// What is wrong for less than this is none: while a host enters the cluster nothing is as it should be.
const LASTING: Duration = Duration::from_secs(1);

/// What is so, as far as its changes are events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    networks: BTreeMap<NetworkId, Network>,
    hosts: BTreeMap<HostId, HostStatus>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    repaired: BTreeMap<String, u64>,
    faults: BTreeSet<Fault>,
}

/// Since when things have been wrong, at every look.
#[derive(Debug, Default)]
pub struct Lasting(BTreeMap<Fault, Instant>);

impl Lasting {
    /// Of the faults that are there now, those that have been there for long enough to be told.
    pub fn of(&mut self, now: Instant, faults: impl IntoIterator<Item = Fault>) -> BTreeSet<Fault> {
        let faults: BTreeSet<Fault> = faults.into_iter().collect();
        self.0.retain(|fault, _| faults.contains(fault));
        for fault in faults {
            self.0.entry(fault).or_insert(now);
        }
        let old = self.0.iter().filter(|(_, since)| now.duration_since(**since) >= LASTING);
        old.map(|(fault, _)| fault.clone()).collect()
    }
}

/// One event to be: its kind, its object, and how.
type Told = (EventKind, String, String);

/// Tells every change that a member sees, for as long as it lives.
pub async fn follow(member: Weak<Member>, events: Arc<Events>) {
    let Some(strong) = member.upgrade() else { return };
    let (mut intent, mut active) = (strong.intent.clone(), strong.members.active());
    let (mut wanted, mut kernel) = (strong.planner.wanted(), strong.kernel.clone());
    let mut endpoints = strong.endpoints.lock().unwrap_or_else(PoisonError::into_inner).changes();
    let mut lasting = Lasting::default();
    let mut seen = look(&strong, &mut lasting);
    drop(strong);
    loop {
        let changed = tokio::select! {
            biased;
            changed = intent.changed() => changed.is_ok(),
            changed = active.changed() => changed.is_ok(),
            changed = endpoints.changed() => changed.is_ok(),
            changed = wanted.changed() => changed.is_ok(),
            changed = kernel.changed() => changed.is_ok(),
            () = sleep_until(Instant::now() + LOOK) => true,
        };
        if !changed {
            return;
        }
        sleep_until(Instant::now() + GATHER).await;
        let Some(member) = member.upgrade() else { return };
        let now = look(&member, &mut lasting);
        for (kind, object, text) in differences(&seen, &now) {
            events.tell(kind, object, text);
        }
        seen = now;
    }
}

fn look(member: &Member, lasting: &mut Lasting) -> Seen {
    let intent = member.intent.borrow().intent.clone();
    let (status, faults) = report::status(member);
    let endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().clone();
    // Until Docker has told its name, a network is only being made.
    let named = |network: &Network| network.docker.as_ref().is_none_or(|origin| origin.named);
    let others = status.hosts.into_iter().filter(|host| host.id != member.identity.host);
    Seen {
        networks: intent.networks.values().filter(|n| named(n)).map(|n| (n.id, n.clone())).collect(),
        hosts: others.map(|host| (host.id, host)).collect(),
        endpoints,
        repaired: status.kernel.repaired,
        faults: lasting.of(Instant::now(), faults),
    }
}

fn differences(before: &Seen, after: &Seen) -> Vec<Told> {
    let mut told = Vec::new();
    hosts(before, after, &mut told);
    networks(before, after, &mut told);
    endpoints(before, after, &mut told);
    for (table, count) in &after.repaired {
        let new = count - before.repaired.get(table).unwrap_or(&0);
        if new > 0 {
            let text = format!("put right what somebody else had changed ({new})");
            told.push((EventKind::DriftRepaired, table.clone(), text));
        }
    }
    told.extend(faults(&before.faults, &after.faults));
    told
}

fn hosts(before: &Seen, after: &Seen, told: &mut Vec<Told>) {
    for (id, host) in &after.hosts {
        let name = host.name.to_string();
        let known = before.hosts.get(id);
        if known.is_none() {
            told.push((EventKind::HostJoined, name.clone(), format!("at {}", host.underlay)));
        }
        match (known.is_some_and(|known| known.alive), host.alive) {
            (false, true) => told.push((EventKind::HostUp, name.clone(), "its agent answers".to_owned())),
            (true, false) => {
                told.push((EventKind::HostDown, name.clone(), "its agent does not answer".to_owned()));
            }
            _ => {}
        }
        let old = known.and_then(|known| known.path.as_ref()).map(|path| path.kind);
        if let Some(path) = &host.path
            && old != Some(path.kind)
        {
            let from = old.map_or_else(String::new, |old| format!(" instead of {old}"));
            told.push((EventKind::PathChanged, name, format!("{}{from}: {}", path.kind, path.reason)));
        }
    }
    for host in before.hosts.values().filter(|host| !after.hosts.contains_key(&host.id)) {
        told.push((EventKind::HostRemoved, host.name.to_string(), "it left the cluster".to_owned()));
    }
}

fn networks(before: &Seen, after: &Seen, told: &mut Vec<Told>) {
    for network in before.networks.values().filter(|network| !after.networks.contains_key(&network.id)) {
        told.push((EventKind::NetworkRemoved, network.name.to_string(), subnets(network)));
    }
    for (id, network) in &after.networks {
        let name = network.name.to_string();
        match before.networks.get(id) {
            None => {
                let by = if network.docker.is_some() { "by Docker" } else { "by hopsack" };
                told.push((EventKind::NetworkMade, name, format!("{} {by}", subnets(network))));
            }
            Some(known) if known != network => {
                let labels = (known.labels != network.labels).then_some("labels");
                let isolation = (known.isolation != network.isolation).then_some("isolation");
                let what: Vec<&str> = labels.into_iter().chain(isolation).collect();
                told.push((EventKind::NetworkChanged, name, what.join(", ")));
            }
            Some(_) => {}
        }
    }
}

fn subnets(network: &Network) -> String {
    network.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn endpoints(before: &Seen, after: &Seen, told: &mut Vec<Told>) {
    let of_network = |endpoint: &Endpoint| {
        let known = after.networks.get(&endpoint.network).or_else(|| before.networks.get(&endpoint.network));
        let network = known.map_or_else(|| endpoint.network.short(), |network| network.name.to_string());
        let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
        format!("{} in {network}", addresses.join(", "))
    };
    for endpoint in before.endpoints.values().filter(|endpoint| !after.endpoints.contains_key(&endpoint.id)) {
        told.push((EventKind::EndpointRemoved, endpoint.shown_name().to_owned(), of_network(endpoint)));
    }
    for (id, endpoint) in &after.endpoints {
        let name = endpoint.shown_name().to_owned();
        match before.endpoints.get(id) {
            None => told.push((EventKind::EndpointMade, name, of_network(endpoint))),
            Some(known) if known.shown_name() != name => {
                told.push((EventKind::EndpointNamed, name, format!("was {}", known.shown_name())));
            }
            Some(_) => {}
        }
    }
}

fn faults(before: &BTreeSet<Fault>, after: &BTreeSet<Fault>) -> Vec<Told> {
    let went = before.difference(after).map(|fault| (EventKind::FaultWent, fault));
    let came = after.difference(before).map(|fault| (EventKind::FaultCame, fault));
    went.chain(came).map(|(kind, fault)| (kind, "this host".to_owned(), fault.to_string())).collect()
}

/// Tells what has changed of this host's Docker engine, for as long as its front door is open. `told` gets each state too.
pub async fn follow_docker(
    mut status: tokio::sync::watch::Receiver<DockerStatus>,
    events: Arc<Events>,
    told: impl Fn(&DockerStatus),
) {
    let mut lasting = Lasting::default();
    let mut before = DockerStatus::default();
    loop {
        let now = status.borrow_and_update().clone();
        told(&now);
        let faults = lasting.of(Instant::now(), now.faults.iter().cloned());
        let after = DockerStatus { engine: now.engine, faults: faults.into_iter().collect() };
        tell_docker(&events, &before, &after);
        before = after;
        let changed = tokio::select! {
            biased;
            changed = status.changed() => changed.is_ok(),
            // For what has lasted by then.
            () = sleep_until(Instant::now() + LOOK) => true,
        };
        if !changed {
            return;
        }
    }
}

fn tell_docker(events: &Events, before: &DockerStatus, after: &DockerStatus) {
    let connected = |status: &DockerStatus| status.engine == EngineState::Connected;
    match (connected(before), connected(after)) {
        (false, true) => events.tell(EventKind::DockerConnected, "docker", "it answers"),
        (true, false) => events.tell(EventKind::DockerLost, "docker", &after.engine),
        _ => {}
    }
    let set = |status: &DockerStatus| status.faults.iter().cloned().collect();
    for (kind, object, text) in faults(&set(before), &set(after)) {
        events.tell(kind, object, text);
    }
}

#[cfg(test)]
mod tests;
