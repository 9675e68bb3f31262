//! Pools as intent: made, changed, removed. Each decision sees all of intent and every host's routes.
//!
//! What must not live here: the pools that a new cluster begins with (`trust::entry`).

use crate::addresses::refused;
use crate::error::AgentError;
use crate::intent::changes::Draft;
use crate::intent::networks::Routes;
use crate::intent::removal::some;
use hopsack_api::{ApiError, ErrorCode, Outcome, WriteMode};
use hopsack_ipam::subnet::{Obstacle, check_pool, check_subnet, next_host_address};
use hopsack_types::intent::{Intent, Key};
use hopsack_types::manifest::pool::CIDR_FIELD;
use hopsack_types::manifest::{Document, FieldError, PoolSpec};
use hopsack_types::name::Labels;
use hopsack_types::{Host, NetworkName, Pool, PoolName};

/// Makes or changes the pool that a document names. The caller has seen that the mode fits.
pub fn write(
    draft: &mut Draft,
    routes: &Routes,
    document: &Document<PoolName, PoolSpec>,
    mode: WriteMode,
) -> Result<Outcome, AgentError> {
    let Document { name, labels, spec } = document;
    let made = || spec.make(name.clone(), labels.as_ref()).map_err(ApiError::from);
    let Some(known) = draft.intent().pools.get(name).cloned() else {
        let pool = made()?;
        check(draft.intent(), routes, &pool)?;
        put(draft, &pool)?;
        return Ok(Outcome::Created);
    };
    let pool = match mode {
        WriteMode::Replace => Pool { labels: labels.clone().unwrap_or_default(), ..made()? },
        _ => spec.change(&known, labels.as_ref()),
    };
    if pool == known {
        return Ok(Outcome::Unchanged);
    }
    if pool.cidr != known.cidr {
        if let Some(users) = users(draft.intent(), &known) {
            let problem = format!(
                "found {}, but pool {name} has {}, which cannot be changed while {users}: make another pool",
                pool.cidr, known.cidr
            );
            return Err(ApiError::from(FieldError::new(CIDR_FIELD, problem)).into());
        }
        check(draft.intent(), routes, &pool)?;
    }
    put(draft, &pool)?;
    Ok(Outcome::Configured)
}

/// Removes a pool that nothing lives in.
pub fn remove(draft: &mut Draft, name: &PoolName) -> Result<(), AgentError> {
    let Some(pool) = draft.intent().pools.get(name) else { return Err(not_found(name).into()) };
    if let Some(users) = users(draft.intent(), pool) {
        let message = format!(
            "pool {name} stays, because {users}: remove those first, or write disabled: true, and it gives no more"
        );
        return Err(ApiError::new(ErrorCode::Conflict, message).into());
    }
    draft.delete(Key::Pool(name.clone()))
}

/// No such pool.
pub fn not_found(name: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no pool {name}: `hopsack pool ls` lists them"))
}

/// Networks that have a subnet in a pool.
pub fn networks_in(intent: &Intent, pool: &Pool) -> Vec<NetworkName> {
    let inside =
        intent.networks.values().filter(|network| network.subnets.iter().any(|s| pool.cidr.covers(s)));
    let mut names: Vec<NetworkName> = inside.map(|network| network.name.clone()).collect();
    names.sort();
    names
}

/// What a new range of a pool must not meet: other pools, every host's underlay and routes; and, with the part that
/// hosts' own addresses come from, subnets.
fn check(intent: &Intent, routes: &Routes, pool: &Pool) -> Result<(), AgentError> {
    let others = intent.pools.values().filter(|other| other.name != pool.name).map(Obstacle::of_pool);
    let underlays = intent.hosts.values().map(|host| Obstacle::of_underlay(&host.name, host.underlay));
    let routes = routes.iter().filter_map(|(host, routes)| {
        let name = &intent.hosts.get(host)?.name;
        Some(routes.iter().filter_map(move |route| Obstacle::of_route(name, *route)))
    });
    let obstacles: Vec<Obstacle> = others.chain(underlays).chain(routes.flatten()).collect();
    let subnets: Vec<Obstacle> = intent.networks.values().flat_map(Obstacle::of_network).collect();
    check_pool(pool.cidr, &obstacles)
        .and_then(|()| check_subnet(pool.host_range(), &subnets))
        .map_err(|error| refused(&error).at_field(CIDR_FIELD).into())
}

/// Writes a pool. Hosts that have no address of its family, since there was no such pool when they joined, get one.
fn put(draft: &mut Draft, pool: &Pool) -> Result<(), AgentError> {
    draft.put(Key::Pool(pool.name.clone()), pool)?;
    if pool.disabled {
        return Ok(());
    }
    let lacking = |host: &&Host| host.address(pool.cidr.family()).is_none();
    let lacking: Vec<Host> = draft.intent().hosts.values().filter(lacking).cloned().collect();
    for mut host in lacking {
        let taken = draft.intent().hosts.values().flat_map(|host| &host.addresses);
        host.addresses.push(next_host_address(pool, taken).map_err(|error| refused(&error))?);
        draft.put(Key::Host(host.id), &host)?;
    }
    Ok(())
}

/// Who lives in a pool, in words.
fn users(intent: &Intent, pool: &Pool) -> Option<String> {
    let networks: Vec<String> = networks_in(intent, pool).iter().map(ToString::to_string).collect();
    let inside = |host: &&Host| host.addresses.iter().any(|address| pool.cidr.contains(*address));
    let mut hosts: Vec<String> =
        intent.hosts.values().filter(inside).map(|host| host.name.to_string()).collect();
    hosts.sort();
    let said = |what: &str, names: &[String]| {
        let (noun, verb) = if names.len() == 1 { ("", "has") } else { ("s", "have") };
        (!names.is_empty()).then(|| format!("{what}{noun} {} {verb} addresses of it", some(names)))
    };
    let said: Vec<String> = said("network", &networks).into_iter().chain(said("host", &hosts)).collect();
    (!said.is_empty()).then(|| said.join(" and "))
}

/// Changes the labels of a pool.
pub fn label(
    draft: &mut Draft,
    name: &PoolName,
    change: impl Fn(&Labels) -> Labels,
) -> Result<Outcome, AgentError> {
    let Some(known) = draft.intent().pools.get(name) else { return Err(not_found(name).into()) };
    let pool = Pool { labels: change(&known.labels), ..known.clone() };
    if pool == *known {
        return Ok(Outcome::Unchanged);
    }
    draft.put(Key::Pool(name.clone()), &pool)?;
    Ok(Outcome::Configured)
}
