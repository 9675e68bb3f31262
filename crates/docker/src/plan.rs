//! What the mirror should do: a pure function of intent and of an engine's list. Run again after each change, it
//! ends in every named network being in the engine exactly once, or in a fault that says why not.

use crate::engine::{DRIVER, EngineNetwork};
use hopsack_api::{Fault, NameRequest, Networks};
use hopsack_types::{Labels, Network, NetworkId, NetworkName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Remove the engine's network of this id: its intent is gone, it is there twice, or another one has its name.
    Remove {
        /// The engine's id.
        docker: String,
        /// Its name, for people.
        name: String,
    },
    /// Remove a network that was made on this engine: another network of the cluster has its name, or it is the same as
    /// one that was made elsewhere at the same moment under another name.
    Refuse {
        /// The engine's id.
        docker: String,
        /// Its name.
        name: NetworkName,
        /// Its labels.
        labels: Labels,
        /// The network that stays.
        winner: NetworkId,
    },
    /// Remove the engine's network of this id, which stands for a network whose labels have changed; a copy with the
    /// new ones follows.
    Renew {
        /// The engine's id.
        docker: String,
        /// The network.
        network: NetworkId,
    },
    /// Give a network that was made on this engine the name and the labels that the engine has.
    Name(NameRequest),
    /// Make a copy of a network.
    Copy(NetworkId),
}

/// How much of an id Docker shows.
const SHORT_ID: usize = 12;

/// Why a network is not the same in Docker and in intent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum MirrorFault {
    /// Another network of the engine has the name.
    NameTaken {
        /// The name.
        name: NetworkName,
        /// The driver of the other one.
        driver: String,
        /// The engine's id of the other one.
        docker: String,
    },
    /// A name that no network of ours may have.
    BadName {
        /// The name.
        name: String,
        /// Why not.
        rule: &'static str,
    },
}

impl MirrorFault {
    /// As it is told, with what to type next.
    pub fn told(&self) -> Fault {
        let next = match self {
            Self::NameTaken { docker, .. } => {
                format!("docker network rm {}", docker.get(..SHORT_ID).unwrap_or(docker))
            }
            Self::BadName { name, .. } => format!("docker network inspect {name:?}"),
        };
        Fault::new(self.to_string(), next)
    }
}

impl fmt::Display for MirrorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken { name, driver, .. } => write!(
                f,
                "Docker on this host has a {driver} network {name} of its own, so the cluster's network of that name \
                 cannot be used here: remove that one and make it under another name"
            ),
            Self::BadName { name, rule } => write!(
                f,
                "Docker's network {name:?} stays on this host, because of its name ({rule}): create it under \
                 another one"
            ),
        }
    }
}

/// What to do, in order, and what cannot be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorPlan {
    /// Things to do.
    pub actions: Vec<Action>,
    /// What stands in the way.
    pub faults: BTreeSet<MirrorFault>,
}

/// Compares intent, read after the engine's list was, with that list. A host that is in no cluster changes nothing.
pub fn mirror_plan(intent: &Networks, engine: &[EngineNetwork]) -> MirrorPlan {
    let mut plan = MirrorPlan::default();
    if intent.me.is_none() {
        return plan;
    }
    let mut present: BTreeMap<NetworkId, Vec<&EngineNetwork>> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    let mut refused: BTreeMap<&str, (&EngineNetwork, NetworkName, NetworkId)> = BTreeMap::new();
    for network in engine.iter().filter(|network| network.driver == DRIVER) {
        match (network_of(intent, network), twin(intent, network)) {
            (Some(id), _) => {
                present.entry(id).or_default().push(network);
                if let Some((name, winner)) = loser(intent, id, network) {
                    refused.insert(&network.id, (network, name, winner));
                }
            }
            // What its name is, and whether it is the same network, is told soon.
            (None, Some(twin)) if is_unnamed(intent, twin.id) => {}
            (None, Some(twin)) if twin.name.as_str() != network.name || twin.labels != network.labels => {
                // Of a name that only Docker allows the network's own is told.
                let name = NetworkName::new(network.name.clone()).unwrap_or_else(|_| twin.name.clone());
                refused.insert(&network.id, (network, name, twin.id));
            }
            (None, _) => drop(gone.insert(network.id.as_str())),
        }
    }
    for copies in present.values_mut() {
        // What the user made on this engine stays rather than a copy; of copies, any one.
        copies.sort_by_key(|network| (network.copy_of.is_some(), network.id.as_str()));
        gone.extend(copies.drain(1..).map(|network| network.id.as_str()));
    }
    // An engine may end with two networks of a name: one that was just made on it, and a copy. Which of them a container
    // would get is chance, and the copy is the one that can come back.
    let unnamed: BTreeSet<&str> = present
        .iter()
        .filter(|(id, copies)| is_unnamed(intent, **id) && copies.iter().all(|first| first.copy_of.is_none()))
        .flat_map(|(_, copies)| copies.iter().map(|original| original.name.as_str()))
        .collect();
    for copies in present.values_mut() {
        let ambiguous = |copy: &EngineNetwork| copy.copy_of.is_some() && unnamed.contains(copy.name.as_str());
        gone.extend(copies.extract_if(.., |copy| ambiguous(copy)).map(|copy| copy.id.as_str()));
    }
    let removed = engine.iter().filter(|network| gone.contains(network.id.as_str()));
    plan.actions.extend(
        removed.map(|network| Action::Remove { docker: network.id.clone(), name: network.name.clone() }),
    );
    let leaving: BTreeSet<String> =
        gone.iter().chain(refused.keys()).map(|docker| (*docker).to_owned()).collect();
    plan.actions.extend(refused.into_iter().map(|(docker, (network, name, winner))| Action::Refuse {
        docker: docker.to_owned(),
        name,
        labels: network.labels.clone(),
        winner,
    }));
    for network in intent.networks.values() {
        let unnamed = is_unnamed(intent, network.id);
        match present.get(&network.id).and_then(|copies| copies.first()) {
            Some(original) if leaving.contains(&original.id) => {}
            Some(original) if unnamed && original.copy_of.is_none() => {
                let (name, labels) = (original.name.clone(), original.labels.clone());
                match NetworkName::new(name) {
                    Ok(name) => {
                        plan.actions.push(Action::Name(NameRequest { network: network.id, name, labels }));
                    }
                    Err(error) => {
                        plan.faults.insert(MirrorFault::BadName { name: error.text, rule: error.rule });
                    }
                }
            }
            Some(copy) if !unnamed && copy.labels != network.labels => {
                plan.actions.push(Action::Renew { docker: copy.id.clone(), network: network.id });
            }
            Some(_) => {}
            None if unnamed => {}
            None => match engine.iter().find(|other| other.name == network.name.as_str()) {
                None => plan.actions.push(Action::Copy(network.id)),
                // Its removal is under way; the next round finds the name free.
                Some(other) if leaving.contains(&other.id) => {}
                Some(other) => {
                    plan.faults.insert(taken_by(network.name.clone(), other));
                }
            },
        }
    }
    plan
}

/// Whether a network was made on some engine and has not got that engine's name yet.
pub(crate) fn is_unnamed(intent: &Networks, id: NetworkId) -> bool {
    let origin = intent.networks.get(&id).and_then(|network| network.docker.as_ref());
    origin.is_some_and(|origin| !origin.named)
}

/// For a network that was made here under a name which another network of the cluster has: the name, and that one.
fn loser(intent: &Networks, id: NetworkId, here: &EngineNetwork) -> Option<(NetworkName, NetworkId)> {
    if !is_unnamed(intent, id) || here.copy_of.is_some() {
        return None;
    }
    let winner = intent.networks.values().find(|other| other.id != id && other.name.as_str() == here.name)?;
    Some((winner.name.clone(), winner.id))
}

/// The network that one of the engine's is the twin of.
fn twin<'a>(intent: &'a Networks, network: &EngineNetwork) -> Option<&'a Network> {
    intent.networks.get(&network.twin_of?)
}

fn taken_by(name: NetworkName, other: &EngineNetwork) -> MirrorFault {
    MirrorFault::NameTaken { name, driver: other.driver.clone(), docker: other.id.clone() }
}

/// The network of intent that an engine's network of our driver stands for.
pub(crate) fn network_of(intent: &Networks, network: &EngineNetwork) -> Option<NetworkId> {
    match network.copy_of {
        Some(id) => intent.networks.contains_key(&id).then_some(id),
        None => intent.made_here(&network.id).map(|made| made.id),
    }
}
