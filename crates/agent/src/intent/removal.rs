//! The end of a network, in two steps: its ledger is closed, so that every host hands back what it holds; and its record
//! goes when nobody holds anything.
//!
//! A host that is cut off goes on giving addresses out of its grants, and a new network may get the same subnet; so as
//! long as a host holds a grant, the network stays. What must not live here: what a host hands back (the `ipam` crate).

use crate::addresses::names;
use crate::error::AgentError;
use crate::intent::changes::{Writes, change};
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

/// Removes a network that no host has an endpoint in. One that some host keeps a part of stays as it was.
pub async fn remove(member: &Member, id: NetworkId) -> Result<(), AgentError> {
    let Some(network) = set_closing(member, id, true).await? else { return Ok(()) };
    let ended = match timeout(PATIENCE, handed_back(member, id)).await {
        Ok(Ok(())) => delete(member, id).await,
        Ok(Err(in_use)) => Err(in_use.into()),
        Err(_) => Err(held(&member.intent.borrow().intent, &network).into()),
    };
    match ended {
        Ok(()) => tracing::info!(network = %network.name, %id, "network removed"),
        Err(_) => {
            if let Err(error) = set_closing(member, id, false).await {
                tracing::warn!(network = %network.name, error = %error.chain(), "a network stays closed");
            }
        }
    }
    ended
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

/// Closes a network that is not in use, or opens it again. Gives the network, if it is there.
async fn set_closing(member: &Member, id: NetworkId, closing: bool) -> Result<Option<Network>, AgentError> {
    change(member.store.as_ref(), |intent| {
        let Some(network) = intent.networks.get(&id) else { return Ok((Writes::new(), None)) };
        if closing {
            let users = member.facts.users_of(id);
            if let Some(refusal) = in_use(intent, network, &users).or_else(|| set_aside(intent, network)) {
                return Err(refusal.into());
            }
        }
        let ledger = intent.ledgers.get(&id).cloned().unwrap_or_default();
        let ledger = Ledger { closing, ..ledger };
        Ok((Writes::new().put(Key::Ledger(id), &ledger)?, Some(network.clone())))
    })
    .await
}

/// Waits until no host holds anything of a network; an error as soon as one is heard to have an endpoint in it.
async fn handed_back(member: &Member, id: NetworkId) -> Result<(), ApiError> {
    let (mut intent, mut facts) = (member.intent.clone(), member.facts.changed());
    loop {
        let seen = intent.borrow_and_update().intent.clone();
        facts.borrow_and_update();
        let Some(network) = seen.networks.get(&id) else { return Ok(()) };
        if let Some(refusal) = in_use(&seen, network, &member.facts.users_of(id)) {
            return Err(refusal);
        }
        if seen.ledgers.get(&id).is_some_and(|ledger| ledger.closing && ledger.grants.is_empty()) {
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

/// Removes the record and the ledger of a network that nobody holds anything of.
async fn delete(member: &Member, id: NetworkId) -> Result<(), AgentError> {
    change(member.store.as_ref(), |intent| {
        let Some(network) = intent.networks.get(&id) else { return Ok((Writes::new(), ())) };
        // Somebody else may have opened it again.
        if intent.ledgers.get(&id).is_some_and(|ledger| !ledger.grants.is_empty()) {
            return Err(held(intent, network).into());
        }
        Ok((Writes::new().delete(Key::Network(id)).delete(Key::Ledger(id)), ()))
    })
    .await
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
fn some(all: &[String]) -> String {
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
