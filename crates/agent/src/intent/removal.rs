//! The end of networks, one or several together, in two steps: their ledgers are closed, so that every host hands back
//! what it holds; and their records go when nobody holds anything.
//!
//! A host that is cut off goes on giving addresses out of its grants, and a new network may get the same subnet; so as
//! long as a host holds a grant, the network stays. What must not live here: what a host hands back (the `ipam` crate).

use crate::addresses::names;
use crate::error::AgentError;
use crate::intent::changes::{Draft, Writes, change};
use crate::member::Member;
use hopsack_api::{ApiError, ErrorCode};
use hopsack_types::intent::{Intent, Key};
use hopsack_types::resource::Ledger;
use hopsack_types::{HostId, HostName, Network, NetworkId, NetworkName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long the hosts may take to hand back what they hold.
const PATIENCE: Duration = Duration::from_secs(5);

/// A network that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// Which.
    pub network: NetworkId,
    /// The document that says so, where errors name one.
    pub document: Option<usize>,
}

impl Leaving {
    fn refuse(&self, error: ApiError) -> AgentError {
        match self.document {
            Some(document) => error.in_document(document),
            None => error,
        }
        .into()
    }
}

/// Removes a network that no host has an endpoint in. One that some host keeps a part of stays as it was.
pub async fn remove(member: &Member, network: NetworkId) -> Result<(), AgentError> {
    remove_all(member, &[Leaving { network, document: None }], |_| Ok(())).await
}

/// Removes networks that no host has an endpoint in, and in the same write whatever `rest` does once they are gone: all
/// of it, or all stays as it was.
pub async fn remove_all(
    member: &Member,
    leaving: &[Leaving],
    rest: impl Fn(&mut Draft) -> Result<(), AgentError>,
) -> Result<(), AgentError> {
    let closed = change(member.store.as_ref(), |intent| {
        let closed = check(member, intent, leaving, &rest)?;
        Ok((ledgers(intent, &closed, true)?, closed))
    })
    .await?;
    let ended = match timeout(PATIENCE, handed_back(member, &closed)).await {
        Ok(Ok(())) => delete(member, &closed, &rest).await,
        Ok(Err(in_use)) => Err(in_use),
        Err(_) => Err(first_held(&member.intent.borrow().intent, &closed)),
    };
    match &ended {
        Ok(()) => {
            tracing::info!(networks = ?closed.iter().map(|l| l.network).collect::<Vec<_>>(), "networks removed")
        }
        Err(_) => {
            let opened = change(member.store.as_ref(), |intent| Ok((ledgers(intent, &closed, false)?, ())));
            if let Err(error) = opened.await {
                tracing::warn!(error = %error.chain(), "networks stay closed");
            }
        }
    }
    ended
}

/// Whether networks can go, and what goes with them, as far as this host knows. Gives those that are there.
pub fn check(
    member: &Member,
    intent: &Intent,
    leaving: &[Leaving],
    rest: impl Fn(&mut Draft) -> Result<(), AgentError>,
) -> Result<Vec<Leaving>, AgentError> {
    let known: Vec<Leaving> =
        leaving.iter().filter(|leaving| intent.networks.contains_key(&leaving.network)).copied().collect();
    for leaving in &known {
        let Some(network) = intent.networks.get(&leaving.network) else { continue };
        let users = member.facts.users_of(network.id);
        if let Some(refusal) = in_use(intent, network, &users).or_else(|| set_aside(intent, network)) {
            return Err(leaving.refuse(refusal));
        }
    }
    gone(intent, &known, rest)?;
    Ok(known)
}

/// What is written where networks go, and the rest with them.
fn gone(
    intent: &Intent,
    leaving: &[Leaving],
    rest: impl Fn(&mut Draft) -> Result<(), AgentError>,
) -> Result<Writes, AgentError> {
    let mut draft = Draft::of(intent);
    for leaving in leaving {
        draft.delete(Key::Network(leaving.network))?;
        draft.delete(Key::Ledger(leaving.network))?;
    }
    rest(&mut draft)?;
    Ok(draft.into_writes())
}

/// Closes the ledgers of networks that are there, or opens them again.
fn ledgers(intent: &Intent, leaving: &[Leaving], closing: bool) -> Result<Writes, AgentError> {
    let mut writes = Writes::new();
    for Leaving { network, .. } in leaving.iter().filter(|l| intent.networks.contains_key(&l.network)) {
        let ledger = intent.ledgers.get(network).cloned().unwrap_or_default();
        writes = writes.put(Key::Ledger(*network), &Ledger { closing, ..ledger })?;
    }
    Ok(writes)
}

/// Removals that nobody ends: who began one was interrupted, and its network gives no more addresses. When each was
/// first seen tells them from those that are under way.
#[derive(Debug, Default)]
pub struct Unfinished(Mutex<BTreeMap<NetworkId, Instant>>);

impl Unfinished {
    /// The networks that have been closing for longer than a removal takes, since the first look at each.
    pub fn look(&self, intent: &Intent) -> Vec<NetworkName> {
        let is_closing = |id: &NetworkId| intent.ledgers.get(id).is_some_and(|ledger| ledger.closing);
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|id, _| is_closing(id));
        let closing = intent.networks.values().filter(|network| is_closing(&network.id));
        closing
            .filter(|network| since.entry(network.id).or_insert_with(Instant::now).elapsed() > 2 * PATIENCE)
            .map(|network| network.name.clone())
            .collect()
    }
}

/// Waits until no host holds anything of networks; an error as soon as one is heard to have an endpoint in one.
async fn handed_back(member: &Member, leaving: &[Leaving]) -> Result<(), AgentError> {
    let (mut intent, mut facts) = (member.intent.clone(), member.facts.changed());
    loop {
        let seen = intent.borrow_and_update().intent.clone();
        facts.borrow_and_update();
        let mut waits = false;
        for leaving in leaving {
            let Some(network) = seen.networks.get(&leaving.network) else { continue };
            if let Some(refusal) = in_use(&seen, network, &member.facts.users_of(network.id)) {
                return Err(leaving.refuse(refusal));
            }
            waits |= !seen.ledgers.get(&network.id).is_some_and(|l| l.closing && l.grants.is_empty());
        }
        if !waits {
            return Ok(());
        }
        let stopping = || ApiError::new(ErrorCode::Unavailable, "the agent is stopping: try again");
        tokio::select! {
            biased;
            changed = intent.changed() => changed.map_err(|_| stopping())?,
            changed = facts.changed() => changed.map_err(|_| stopping())?,
        }
    }
}

/// Removes the records and the ledgers of networks that nobody holds anything of, and the rest with them.
async fn delete(
    member: &Member,
    leaving: &[Leaving],
    rest: impl Fn(&mut Draft) -> Result<(), AgentError>,
) -> Result<(), AgentError> {
    change(member.store.as_ref(), |intent| {
        // Somebody else may have opened one again.
        let is_held =
            |l: &&Leaving| intent.ledgers.get(&l.network).is_some_and(|ledger| !ledger.grants.is_empty());
        match leaving.iter().find(is_held) {
            Some(_) => Err(first_held(intent, leaving)),
            None => Ok((gone(intent, leaving, &rest)?, ())),
        }
    })
    .await
}

/// What a caller is told of the first network that some host holds a part of.
fn first_held(intent: &Intent, leaving: &[Leaving]) -> AgentError {
    let mut there =
        leaving.iter().filter_map(|leaving| Some((leaving, intent.networks.get(&leaving.network)?)));
    let is_held = |id: &NetworkId| intent.ledgers.get(id).is_some_and(|ledger| !ledger.grants.is_empty());
    match there.clone().find(|(_, network)| is_held(&network.id)).or_else(|| there.next()) {
        Some((leaving, network)) => leaving.refuse(held(intent, network)),
        None => {
            ApiError::new(ErrorCode::Unavailable, "the networks change at the same time: try again").into()
        }
    }
}

/// What a caller is told who wants an address of a network that is being removed.
pub fn closing(network: &Network) -> ApiError {
    let message = format!(
        "network {0} is being removed: choose another, or end the removal with `hopsack network rm {0}`",
        network.name
    );
    ApiError::new(ErrorCode::Conflict, message)
}

fn held(intent: &Intent, network: &Network) -> ApiError {
    let names = names(intent);
    let grants = intent.ledgers.get(&network.id).into_iter().flat_map(|ledger| ledger.grants.values());
    let holders: BTreeSet<String> = grants
        .map(|grant| names.get(&grant.host).map_or_else(|| grant.host.short(), ToString::to_string))
        .collect();
    let message = format!(
        "network {} stays, because {} did not hand back the addresses held there: wait for containers that start or \
         end there, see `hopsack host ls` whether the agents answer, then try again",
        network.name,
        some(&holders.into_iter().collect::<Vec<_>>())
    );
    ApiError::new(ErrorCode::Unavailable, message)
}

/// A removed host that may still use addresses of a network keeps that network.
fn set_aside(intent: &Intent, network: &Network) -> Option<ApiError> {
    let mut grants = intent.ledgers.get(&network.id)?.grants.values();
    let host = grants.find(|grant| grant.quarantined)?.host.short();
    let message = format!(
        "network {} stays, because the removed host {host} may still use addresses of it: once it can never run again, \
         say so with `hopsack host rm {host} --destroyed`",
        network.name
    );
    Some(ApiError::new(ErrorCode::Conflict, message))
}

fn in_use(intent: &Intent, network: &Network, users: &[(HostId, String)]) -> Option<ApiError> {
    let name = |host: &HostId| intent.hosts.get(host).map(|host| host.name.clone());
    let users: Vec<(HostName, &String)> =
        users.iter().filter_map(|(host, endpoint)| Some((name(host)?, endpoint))).collect();
    if users.is_empty() {
        return None;
    }
    let users: Vec<String> = users.iter().map(|(host, endpoint)| format!("{endpoint} on {host}")).collect();
    let message = format!("network {} is in use by {}: disconnect them first", network.name, some(&users));
    Some(ApiError::new(ErrorCode::Conflict, message))
}

/// As many as fit one line, and how many more.
pub fn some(all: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_removal_that_nobody_ends_is_told_from_one_that_is_under_way() {
        let id = NetworkId::from_bytes([3; 16]);
        let mut intent = Intent::default();
        intent.networks.insert(id, Network::new(id, "web".parse().unwrap(), Vec::new()));
        intent.ledgers.insert(id, Ledger { closing: true, ..Ledger::default() });
        let unfinished = Unfinished::default();
        assert_eq!(unfinished.look(&intent), []);
        tokio::time::advance(3 * PATIENCE).await;
        assert_eq!(unfinished.look(&intent), ["web".parse().unwrap()]);
        intent.ledgers.insert(id, Ledger::default());
        assert_eq!(unfinished.look(&intent), []);
        intent.ledgers.insert(id, Ledger { closing: true, ..Ledger::default() });
        assert_eq!(unfinished.look(&intent), [], "another removal has its own time");
    }
}
