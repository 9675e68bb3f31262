//! Who may come in: checks a join question against intent, writes the new host's record, certifies its key.
//! Runs on voters, which hold the authority.

use crate::addresses::refused;
use crate::entropy::{Clock, Entropy};
use crate::error::AgentError;
use crate::intent::changes::{Writes, change};
use crate::talk::transport::Credentials;
use crate::talk::wire::{JoinAnswer, JoinQuestion};
use crate::trust::authority::Authority;
use crate::trust::token::{self, TokenRefusal};
use hopsack_api::{ApiError, ErrorCode};
use hopsack_ipam::subnet::{Obstacle, check_join, next_host_address};
use hopsack_store::{Event, Store};
use hopsack_types::intent::{Intent, Key, decode};
use hopsack_types::{Host, HostId};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Wrong tokens that one address may try in [`WINDOW`].
const TRIES: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose tries are remembered; more push out the oldest.
const REMEMBERED: usize = 1024;

/// The door.
pub struct Admission {
    authority: Authority,
    credentials: Arc<Credentials>,
    store: Arc<dyn Store>,
    entropy: Arc<Entropy>,
    clock: Arc<dyn Clock>,
    wrong: Mutex<BTreeMap<IpAddr, Vec<Instant>>>,
}

impl Admission {
    /// A door with the cluster's authority behind it.
    pub fn new(
        authority: Authority,
        credentials: Arc<Credentials>,
        store: Arc<dyn Store>,
        entropy: Arc<Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { authority, credentials, store, entropy, clock, wrong: Mutex::default() }
    }

    /// Lets a host in, or says why not.
    pub async fn join(&self, question: JoinQuestion, remote: IpAddr) -> Result<JoinAnswer, AgentError> {
        if self.tries_left(remote) == 0 {
            let message = format!("too many wrong tokens from {remote}: wait a minute");
            return Err(ApiError::new(ErrorCode::Denied, message).into());
        }
        // Before any other work: a stranger without the secret gets none done.
        let secret = self.store.get(&Key::Token(question.token).to_string());
        let stored = secret.map(|entry| decode(&Key::Token(question.token), &entry.value)).transpose()?;
        if let Err(refusal) = token::check_secret(stored.as_ref(), &question.secret) {
            self.note_wrong(remote);
            return Err(denied(refusal));
        }
        let (certificate, public_key) = self.authority.certify(
            &question.signing_request,
            question.host,
            &self.entropy,
            self.clock.as_ref(),
        )?;
        let admitted = change(self.store.as_ref(), |intent| self.admit(intent, &question, &public_key)).await;
        let host = admitted?;
        tracing::info!(name = %host.name, id = %host.id, underlay = %host.underlay, "a host has joined");
        Ok(JoinAnswer {
            cluster: self.credentials.cluster,
            certificate: certificate.to_vec(),
            authority: self.authority.certificate().to_vec(),
            cluster_key: self.credentials.cluster_key,
            intent: Event::Snapshot(self.store.list("")),
        })
    }

    fn admit(
        &self,
        intent: &Intent,
        question: &JoinQuestion,
        public_key: &str,
    ) -> Result<(Writes, Host), AgentError> {
        let stored =
            token::check_secret(intent.tokens.get(&question.token), &question.secret).map_err(denied)?;
        let conflict = |message: String| -> AgentError { ApiError::new(ErrorCode::Conflict, message).into() };
        if let Some(known) = intent.hosts.get(&question.host) {
            // The same host again: its first answer was lost on the way, and its use of the token is counted.
            if known.public_key == public_key {
                return Ok((Writes::new(), known.clone()));
            }
            return Err(conflict(format!(
                "this identity is that of host {}, whose key is another: remove joining.json and host.key from this \
                 host's state directory and join again",
                known.name
            )));
        }
        token::check_open(stored, self.clock.as_ref()).map_err(denied)?;
        for host in intent.hosts.values() {
            if host.name == question.name {
                return Err(conflict(format!(
                    "host name {} is taken by the host at {}: choose another with --name",
                    host.name, host.underlay
                )));
            }
            if host.underlay == question.underlay {
                return Err(conflict(format!(
                    "underlay address {} is that of host {}: give another with --advertise",
                    host.underlay, host.name
                )));
            }
        }
        let theirs: Vec<Obstacle> = question
            .routes
            .iter()
            .filter_map(|route| Obstacle::of_route(&question.name, *route))
            .chain([Obstacle::of_underlay(&question.name, question.underlay)])
            .collect();
        check_join(&theirs, intent.pools.values(), intent.networks.values())
            .map_err(|error| refused(&error))?;
        let host = Host {
            id: question.host,
            name: question.name.clone(),
            underlay: question.underlay,
            control_port: question.control_port,
            addresses: host_addresses(intent)?,
            public_key: public_key.to_owned(),
            voter: false,
            labels: BTreeMap::new(),
        };
        let mut writes = Writes::new().put(Key::Host(host.id), &host)?;
        if let Some(left) = stored.uses_left {
            let mut token = stored.clone();
            token.uses_left = Some(left.saturating_sub(1));
            writes = writes.put(Key::Token(token.id), &token)?;
        }
        Ok((writes, host))
    }

    /// Certifies a member's key again: the one that intent knows, no other.
    pub fn renew(&self, request: &[u8], host: HostId) -> Result<Vec<u8>, AgentError> {
        let (certificate, public_key) =
            self.authority.certify(request, host, &self.entropy, self.clock.as_ref())?;
        let key = Key::Host(host);
        let known: Option<Host> =
            self.store.get(&key.to_string()).map(|entry| decode(&key, &entry.value)).transpose()?;
        if known.is_none_or(|known| known.public_key != public_key) {
            let message = format!("host {host} is not in the cluster with this key: join again");
            return Err(ApiError::new(ErrorCode::Denied, message).into());
        }
        Ok(certificate.to_vec())
    }

    fn tries_left(&self, remote: IpAddr) -> usize {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = wrong.get_mut(&remote) else { return TRIES };
        times.retain(|time| time.elapsed() < WINDOW);
        TRIES.saturating_sub(times.len())
    }

    fn note_wrong(&self, remote: IpAddr) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= REMEMBERED {
            let oldest =
                wrong.iter().min_by_key(|(_, times)| times.last().copied()).map(|(address, _)| *address);
            oldest.map(|address| wrong.remove(&address));
        }
        wrong.entry(remote).or_default().push(Instant::now());
    }
}

fn denied(refusal: TokenRefusal) -> AgentError {
    ApiError::new(ErrorCode::Denied, refusal.to_string()).into()
}

/// A free host address of each pool's family, the first pool of each.
pub fn host_addresses(intent: &Intent) -> Result<Vec<IpAddr>, AgentError> {
    let taken: Vec<IpAddr> = intent.hosts.values().flat_map(|host| host.addresses.iter().copied()).collect();
    let mut families = Vec::new();
    let mut addresses = Vec::new();
    for pool in intent.pools.values().filter(|pool| !pool.disabled) {
        if !families.contains(&pool.cidr.family()) {
            families.push(pool.cidr.family());
            addresses.push(next_host_address(pool, &taken).map_err(|error| refused(&error))?);
        }
    }
    Ok(addresses)
}
