//! Slow housekeeping of a member: its record in intent, its seeds on disk, its certificate, books of networks that
//! are gone.
//!
//! What must not live here: anything that a container waits for.

use crate::error::AgentError;
use crate::intent::changes::{Writes, change};
use crate::kernel::underlay;
use crate::member::Member;
use crate::talk::peers::Peers;
use crate::talk::wire::{Answer, Question};
use crate::trust::identity::Identity;
use crate::trust::keyring;
use hopsack_types::NetworkId;
use hopsack_types::fact::{Fact, FactKey};
use hopsack_types::intent::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(10);

/// Between two looks at the underlay.
const UNDERLAY: Duration = Duration::from_secs(2);

/// An address that no endpoint has for so long was taken for a container that never came to be. Docker asks for the
/// endpoint right after the address, and tries no longer than 30 s to reach an agent that is away.
const STRAY: Duration = Duration::from_secs(35);

type Strays = BTreeMap<(NetworkId, IpAddr), Instant>;

/// Keeps house for as long as the member lives.
pub async fn run(member: Weak<Member>) {
    let mut strays = Strays::new();
    loop {
        sleep_until(Instant::now() + ROUND).await;
        let Some(member) = member.upgrade() else { return };
        if let Err(error) = round(&member, &mut strays).await {
            tracing::debug!(error = %error.chain(), "upkeep was not done; it is tried again");
        }
    }
}

/// Follows changes of the underlay's device for as long as the member lives.
pub async fn follow_underlay(member: Weak<Member>) {
    loop {
        sleep_until(Instant::now() + UNDERLAY).await;
        let Some(member) = member.upgrade() else { return };
        let look = member.parts.scout.look().await;
        match look.and_then(|seen| underlay::find(&seen, member.identity.advertise)) {
            Ok(found) => {
                let known = member.planner.underlay();
                if found.address != known.address {
                    tracing::warn!(was = %known.address, is = %found.address, "the underlay address has changed");
                    member.parts.moved.notify_one();
                } else if found != known {
                    tracing::info!(device = %found.device, mtu = found.mtu, "the underlay has changed");
                    member.planner.set_underlay(found);
                }
            }
            // A cable may be out; what was known stays until there is something else to know.
            Err(error) => tracing::debug!(%error, "the underlay was not found"),
        }
    }
}

async fn round(member: &Member, strays: &mut Strays) -> Result<(), AgentError> {
    take_ports(member);
    release_strays(member, strays).await?;
    let surroundings = member.parts.scout.look().await?;
    member.facts.set(FactKey::Routes, Some(Fact::Routes(surroundings.routes)));
    keep_seeds(member)?;
    forget_networks(member)?;
    keep_record(member).await?;
    renew_certificate(member).await
}

/// Takes published ports that another program had when this agent started and has no more.
fn take_ports(member: &Member) {
    let mut holds = member.holds.lock().unwrap_or_else(PoisonError::into_inner);
    let endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().clone();
    holds.take_missing(endpoints.values());
}

/// Gives back what was taken for a container that never came to be: its front door died in between. Not while the
/// kernel refuses something: an endpoint may be gone from the list and yet be there.
async fn release_strays(member: &Member, strays: &mut Strays) -> Result<(), AgentError> {
    let kernel_is_as_wanted = {
        let kernel = member.kernel.borrow();
        kernel.failures.is_empty() && kernel.applied == member.planner.generation()
    };
    if !kernel_is_as_wanted {
        return Ok(());
    }
    let endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().clone();
    let has_endpoint = |network: NetworkId, address: IpAddr| {
        endpoints
            .values()
            .any(|endpoint| endpoint.network == network && endpoint.addresses.contains(&address))
    };
    let alone: BTreeSet<(NetworkId, IpAddr)> = member
        .addresses
        .known()
        .into_iter()
        .flat_map(|network| {
            member.addresses.in_use(network).into_keys().map(move |address| (network, address))
        })
        .filter(|(network, address)| !has_endpoint(*network, *address))
        .collect();
    strays.retain(|stray, _| alone.contains(stray));
    for (network, address) in alone {
        let since = *strays.entry((network, address)).or_insert_with(Instant::now);
        if since.elapsed() >= STRAY {
            member.addresses.release(network, address).await?;
            tracing::info!(%network, %address, "gave back an address that no container came for");
        }
    }
    Ok(())
}

/// Whom to ask at the next start, should the copy of intent be lost.
fn keep_seeds(member: &Member) -> Result<(), AgentError> {
    let seeds: Vec<SocketAddr> = member.peers.all().iter().map(Peers::control_address).collect();
    let Some(identity) = Identity::load(&member.parts.dir)? else { return Ok(()) };
    if seeds.is_empty() || identity.seeds == seeds {
        return Ok(());
    }
    Identity { seeds, ..identity }.save(&member.parts.dir)
}

/// A network that was removed leaves no book. Its record has gone from a copy of intent that names this host, so this
/// is a removal and not an absence.
fn forget_networks(member: &Member) -> Result<(), AgentError> {
    let intent = member.intent.borrow().intent.clone();
    if !intent.hosts.contains_key(&member.identity.host) {
        return Ok(());
    }
    for network in member.addresses.known() {
        if !intent.networks.contains_key(&network) && member.addresses.in_use(network).is_empty() {
            member.addresses.forget(network)?;
        }
    }
    Ok(())
}

/// The record says where this host is; its underlay address may have changed while the agent was down.
async fn keep_record(member: &Member) -> Result<(), AgentError> {
    let me = member.identity.host;
    let underlay = member.planner.underlay().address;
    let stale = member.intent.borrow().intent.hosts.get(&me).is_some_and(|host| host.underlay != underlay);
    if !stale {
        return Ok(());
    }
    change(member.store.as_ref(), |intent| {
        let Some(host) = intent.hosts.get(&me) else { return Ok((Writes::new(), ())) };
        let host = hopsack_types::Host { underlay, ..host.clone() };
        Ok((Writes::new().put(Key::Host(me), &host)?, ()))
    })
    .await?;
    tracing::info!(%underlay, "this host's underlay address has changed");
    Ok(())
}

async fn renew_certificate(member: &Member) -> Result<(), AgentError> {
    let due = crate::trust::authority::renew_at(&member.credentials.certificate());
    if due.is_some_and(|due| member.parts.clock.unix_seconds() < due) {
        return Ok(());
    }
    let request = member.credentials.key.signing_request()?;
    let certificate = if member.identity.voter {
        let authority = keyring::authority(&member.parts.dir, &member.identity)?;
        let (entropy, clock) = (&member.parts.entropy, member.parts.clock.as_ref());
        authority.certify(&request, member.identity.host, entropy, clock)?.0.to_vec()
    } else {
        match member.peers.ask_voter(&Question::Renew(request)).await? {
            Answer::Renewed(certificate) => certificate,
            Answer::Refused(error) => return Err(error.into()),
            _ => return Ok(()),
        }
    };
    keyring::keep_certificate(&member.parts.dir, &certificate)?;
    member.credentials.renew(certificate.into());
    tracing::info!("this host's certificate was renewed");
    Ok(())
}
