//! The way out of a cluster, for a host that is gone: somebody else says so.
//!
//! A host that is cut off goes on by itself, so nobody may have its addresses until it has come to its end: they are
//! set aside until the operator says that it is destroyed (contract C2). What must not live here: what a host does
//! that finds itself removed.

use crate::error::AgentError;
use crate::intent::changes::{Writes, change};
use crate::member::Member;
use hopsack_api::{ApiError, ErrorCode, HostRemoved, RemoveHostRequest};
use hopsack_ipam::grant::{free_quarantined, quarantine};
use hopsack_types::intent::{Intent, Key};
use hopsack_types::{HostId, NetworkName};

/// Removes a host, named or by the beginning of its id; one that is removed already, to free what was set aside.
pub async fn remove(member: &Member, request: RemoveHostRequest) -> Result<HostRemoved, AgentError> {
    let removed = change(member.store.as_ref(), |intent| {
        decide(member, intent, find(intent, &request.host)?, request.destroyed)
    })
    .await?;
    tracing::info!(host = %removed.id, destroyed = request.destroyed, "host removed");
    Ok(removed)
}

/// What the removal of a host writes.
pub fn decide(
    member: &Member,
    intent: &Intent,
    id: HostId,
    destroyed: bool,
) -> Result<(Writes, HostRemoved), AgentError> {
    check(member, intent, id)?;
    let mut writes = Writes::new().delete(Key::Host(id));
    let mut set_aside: Vec<NetworkName> = Vec::new();
    for (network, ledger) in &intent.ledgers {
        let mut next = quarantine(ledger, id).unwrap_or_else(|| ledger.clone());
        if destroyed {
            next = free_quarantined(&next, id).unwrap_or(next);
        }
        if next.grants.values().any(|grant| grant.host == id) {
            set_aside.extend(intent.networks.get(network).map(|network| network.name.clone()));
        }
        if next != *ledger {
            writes = writes.put(Key::Ledger(*network), &next)?;
        }
    }
    let name = intent.hosts.get(&id).map(|host| host.name.clone());
    Ok((writes, HostRemoved { id, name, set_aside }))
}

/// The host of that name, else the only one whose id begins so: a member, or one that is gone and has left addresses.
fn find(intent: &Intent, text: &str) -> Result<HostId, ApiError> {
    if let Some(host) = intent.hosts.values().find(|host| host.name.as_str() == text) {
        return Ok(host.id);
    }
    let mut fitting: Vec<HostId> = intent
        .hosts
        .keys()
        .copied()
        .chain(intent.ledgers.values().flat_map(|ledger| ledger.grants.values()).map(|grant| grant.host))
        .filter(|id| !text.is_empty() && id.to_string().starts_with(text))
        .collect();
    fitting.sort();
    fitting.dedup();
    match fitting[..] {
        [id] => Ok(id),
        [] => Err(not_found(text)),
        _ => {
            let message =
                format!("more than one host begins with {text:?}: give more of its id (`hopsack host ls`)");
            Err(ApiError::new(ErrorCode::Invalid, message))
        }
    }
}

/// No such host.
pub fn not_found(text: impl AsRef<str>) -> ApiError {
    let text = text.as_ref();
    ApiError::new(ErrorCode::NotFound, format!("there is no host {text:?}: `hopsack host ls` lists them"))
}

/// Whether the cluster can do without a host.
fn check(member: &Member, intent: &Intent, id: HostId) -> Result<(), ApiError> {
    let Some(host) = intent.hosts.get(&id) else { return Ok(()) };
    let name = &host.name;
    let message = if host.voter {
        format!("host {name} is the voter, whose disk is the cluster's memory: it cannot be removed")
    } else if id == member.identity.host {
        format!("this is host {name}: stop its agent, then remove it from another host")
    } else if member.members.active().borrow().contains(&id) {
        format!("the agent of host {name} answers: end its containers and stop its agent first")
    } else {
        return Ok(());
    };
    Err(ApiError::new(ErrorCode::Conflict, message))
}
