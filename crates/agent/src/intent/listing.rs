//! Resources as documents: intent and facts as this host knows them, at one moment or as they change.
//!
//! What must not live here: what a document looks like (`hopsack_types::manifest`).

use crate::error::AgentError;
use crate::intent::pools;
use crate::member::Member;
use crate::report;
use futures::stream::{self, BoxStream, StreamExt};
use hopsack_api::{ApiError, Change, ErrorCode, ListRequest, ResourceChange};
use hopsack_types::intent::Intent;
use hopsack_types::manifest::{
    EndpointSpec, EndpointStatus, HostSpec, HostStatus, Kind, NetworkSpec, NetworkStatus, PoolSpec,
    PoolStatus, show,
};
use hopsack_types::name::Labels;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Some things change without a word: whether agents answer.
const LOOK: Duration = Duration::from_secs(1);
/// Changes come in bursts; one look sees them all.
const GATHER: Duration = Duration::from_millis(20);

/// Documents by kind and name. Endpoints have ids for names; what people call them comes first.
type Documents = BTreeMap<(usize, String, String), Value>;

/// Resources of some kinds, in the order of kinds and names.
pub fn list(member: &Member, request: &ListRequest) -> Result<Vec<Value>, AgentError> {
    let found = documents(member, request)?;
    for name in &request.names {
        if !found.keys().any(|key| is_named(key, name)) {
            let kinds: Vec<&str> = request.kinds.iter().map(|kind| kind.noun()).collect();
            let message = format!(
                "there is no {} {name}: `hopsack get {}` lists them",
                kinds.join(" or "),
                if kinds.len() == 1 { kinds[0] } else { "all" }
            );
            return Err(ApiError::new(ErrorCode::NotFound, message).into());
        }
    }
    Ok(found.into_values().collect())
}

fn is_named((_, shown, name): &(usize, String, String), wanted: &str) -> bool {
    shown == wanted || name == wanted || (wanted.len() >= 10 && name.len() == 32 && name.starts_with(wanted))
}

fn documents(member: &Member, request: &ListRequest) -> Result<Documents, AgentError> {
    let intent = member.intent.borrow().intent.clone();
    let mut all = Documents::new();
    for (place, kind) in request.kinds.iter().enumerate() {
        let mut of_kind = match kind {
            Kind::Pool => pools(&intent),
            Kind::Network => networks(&intent),
            Kind::Host => hosts(member, &intent),
            Kind::Endpoint => endpoints(member, &intent),
        }
        .map_err(|error| ApiError::new(ErrorCode::Host, format!("a {kind} cannot be shown: {error}")))?;
        for (shown, name, document) in of_kind.drain(..) {
            let key = (place, shown, name);
            if request.names.is_empty() || request.names.iter().any(|wanted| is_named(&key, wanted)) {
                all.insert(key, document);
            }
        }
    }
    Ok(all)
}

/// What people call it, its name, and the document.
type Shown = Result<Vec<(String, String, Value)>, serde_json::Error>;

fn pools(intent: &Intent) -> Shown {
    let show = intent.pools.values().map(|pool| {
        let networks = pools::networks_in(intent, pool);
        let status = PoolStatus { host_range: pool.host_range(), networks };
        let document = show(Kind::Pool, &pool.name, &pool.labels, &PoolSpec::of(pool), &status)?;
        Ok((pool.name.to_string(), pool.name.to_string(), document))
    });
    show.collect()
}

fn networks(intent: &Intent) -> Shown {
    let show = intent.networks.values().map(|network| {
        let (spec, status) = (NetworkSpec::of(network), NetworkStatus::of(network));
        let document = show(Kind::Network, &network.name, &network.labels, &spec, &status)?;
        Ok((network.name.to_string(), network.name.to_string(), document))
    });
    show.collect()
}

fn hosts(member: &Member, intent: &Intent) -> Shown {
    let show = report::hosts(member).into_iter().map(|host| {
        let status = HostStatus {
            id: host.id,
            underlay: host.underlay,
            addresses: host.addresses,
            state: if host.voter { "voter" } else { "copy" }.to_owned(),
            agent: if host.alive { "up" } else { "silent" }.to_owned(),
            path: host.path.map(|path| path.kind.to_string()),
        };
        let labels = intent.hosts.get(&host.id).map(|host| host.labels.clone()).unwrap_or_default();
        let document = show(Kind::Host, &host.name, &labels, &HostSpec {}, &status)?;
        Ok((host.name.to_string(), host.name.to_string(), document))
    });
    show.collect()
}

fn endpoints(member: &Member, intent: &Intent) -> Shown {
    let known = member.facts.endpoints(intent).into_iter().filter_map(|(id, (host, fact))| {
        // A fact may be ahead of this copy of intent, or behind.
        let host = intent.hosts.get(&host)?.name.clone();
        let network = intent.networks.get(&fact.network)?.name.clone();
        let status =
            EndpointStatus { name: fact.name, host, network, addresses: fact.addresses, mac: fact.mac };
        Some((id, status))
    });
    let show = known.map(|(id, status)| {
        let document = show(Kind::Endpoint, id, &Labels::new(), &EndpointSpec {}, &status)?;
        Ok((status.name, id.to_string(), document))
    });
    show.collect()
}

/// Resources, each as added, and then their changes for as long as the agent lives. What changes and changes back at
/// once is not told.
pub fn follow(
    member: &Arc<Member>,
    request: ListRequest,
) -> Result<BoxStream<'static, ResourceChange>, ApiError> {
    list(member, &request).map_err(ApiError::from)?;
    let state =
        Following { member: Arc::downgrade(member), request, told: Documents::new(), ready: VecDeque::new() };
    Ok(stream::unfold(state, Following::next).boxed())
}

struct Following {
    member: Weak<Member>,
    request: ListRequest,
    told: Documents,
    ready: VecDeque<ResourceChange>,
}

impl Following {
    async fn next(mut self) -> Option<(ResourceChange, Self)> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some((change, self));
            }
            let member = self.member.upgrade()?;
            let (mut intent, mut facts) = (member.intent.clone(), member.facts.changed());
            let mut active = member.members.active();
            intent.borrow_and_update();
            facts.borrow_and_update();
            active.borrow_and_update();
            match documents(&member, &self.request) {
                Ok(now) => self.compare(now),
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "resources cannot be followed");
                    return None;
                }
            }
            drop(member);
            if !self.ready.is_empty() {
                continue;
            }
            let lives = tokio::select! {
                biased;
                changed = intent.changed() => changed.is_ok(),
                changed = facts.changed() => changed.is_ok(),
                changed = active.changed() => changed.is_ok(),
                () = sleep_until(Instant::now() + LOOK) => true,
            };
            if !lives {
                return None;
            }
            sleep_until(Instant::now() + GATHER).await;
        }
    }

    fn compare(&mut self, now: Documents) {
        let change = |change, document: &Value| ResourceChange { change, document: document.clone() };
        for (key, document) in &self.told {
            if !now.contains_key(key) {
                self.ready.push_back(change(Change::Removed, document));
            }
        }
        for (key, document) in &now {
            match self.told.get(key) {
                None => self.ready.push_back(change(Change::Added, document)),
                Some(known) if known != document => self.ready.push_back(change(Change::Changed, document)),
                Some(_) => {}
            }
        }
        self.told = now;
    }
}
