//! Networks as intent: made and named. Each decision sees all of intent and every host's routes.
//!
//! What must not live here: how a network ends (`removal`), and becomes links and routes (the `plan` crate).

use crate::addresses::refused;
use crate::error::AgentError;
use crate::intent::changes::{Draft, Writes, change};
pub use crate::intent::removal::remove;
use crate::intent::resources::changed;
use crate::member::Member;
use hopsack_api::{
    ApiError, ChangeRequest, ErrorCode, NameRequest, NetworkRequest, Outcome, SubnetRequest, WriteMode,
};
use hopsack_ipam::IpamError;
use hopsack_ipam::definition::{check_definition, gateways};
use hopsack_ipam::subnet::{Obstacle, check_subnet, next_subnet};
use hopsack_types::intent::{Intent, Key};
use hopsack_types::manifest::{Document, NetworkSpec};
use hopsack_types::name::Labels;
use hopsack_types::resource::DockerOrigin;
use hopsack_types::{Cidr, Family, HostId, Isolation, Network, NetworkId, NetworkName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Every host's routes.
pub type Routes = BTreeMap<HostId, Vec<Cidr>>;

/// Every host's routes: of the others as they told last, of this one as they are now.
pub async fn routes(member: &Member) -> Result<Routes, AgentError> {
    let mut routes = member.facts.routes();
    routes.insert(member.identity.host, member.parts.scout.look().await?.routes);
    Ok(routes)
}

/// What a new subnet must not meet.
fn obstacles(intent: &Intent, routes: &Routes) -> Vec<Obstacle> {
    let networks = intent.networks.values().flat_map(Obstacle::of_network);
    let pools = intent.pools.values().map(Obstacle::of_host_range);
    let underlays = intent.hosts.values().map(|host| Obstacle::of_underlay(&host.name, host.underlay));
    let routes = routes.iter().filter_map(|(host, routes)| {
        let name = &intent.hosts.get(host)?.name;
        Some(routes.iter().filter_map(move |route| Obstacle::of_route(name, *route)))
    });
    networks.chain(pools).chain(underlays).chain(routes.flatten()).collect()
}

/// A subnet that meets nothing: the one that is wanted, or the next free one.
pub async fn propose_subnet(member: &Member, request: &SubnetRequest) -> Result<Cidr, AgentError> {
    let routes = routes(member).await?;
    let intent = member.intent.borrow().intent.clone();
    let mut obstacles = obstacles(&intent, &routes);
    match request.wanted {
        Some(wanted) => {
            check_subnet(wanted, &obstacles).map_err(|error| refused(&error))?;
            Ok(wanted)
        }
        None => {
            let promised = |prefix: &Cidr| Obstacle {
                prefix: *prefix,
                occupant: hopsack_ipam::subnet::Occupant::Route(member.identity.name.clone()),
            };
            obstacles.extend(request.avoid.iter().map(promised));
            let next = |obstacles: &[Obstacle]| {
                next_subnet(intent.pools.values(), request.family, obstacles).map_err(|error| refused(&error))
            };
            // Nobody else hears of a proposal before it is a network, so hosts that are asked at once take turns.
            let first = next(&obstacles)?;
            let mut proposal = first;
            for _ in 0..intent.hosts.len() {
                if is_turn_of(member.identity.host, proposal, &intent) {
                    return Ok(proposal);
                }
                obstacles.push(promised(&proposal));
                match next(&obstacles) {
                    Ok(another) => proposal = another,
                    Err(_) => break,
                }
            }
            Ok(first)
        }
    }
}

/// Whether a host comes first for a subnet: each does for one of as many neighbouring ones as there are hosts.
fn is_turn_of(host: HostId, subnet: Cidr, intent: &Intent) -> bool {
    let beyond = u32::from(Family::of(subnet.first()).bits() - subnet.length());
    let number = match subnet.first() {
        IpAddr::V4(first) => u128::from(u32::from(first)),
        IpAddr::V6(first) => u128::from(first),
    };
    let turn = number.checked_shr(beyond).unwrap_or_default() % (intent.hosts.len().max(1) as u128);
    intent.hosts.keys().position(|known| *known == host).is_none_or(|place| place as u128 == turn)
}

/// Makes a network.
pub async fn create(member: &Member, request: NetworkRequest) -> Result<Network, AgentError> {
    let id = NetworkId::from_bytes(member.parts.entropy.bytes());
    let routes = routes(member).await?;
    let me = member.identity.host;
    let network = change(member.store.as_ref(), |intent| {
        let network = decide(intent, &routes, &request, id, me)?;
        Ok((Writes::new().put(Key::Network(network.id), &network)?, network))
    })
    .await?;
    tracing::info!(network = %network.name, id = %network.id, subnets = ?network.subnets, "network made");
    Ok(network)
}

fn decide(
    intent: &Intent,
    routes: &Routes,
    request: &NetworkRequest,
    id: NetworkId,
    me: HostId,
) -> Result<Network, AgentError> {
    let docker = request.docker.as_ref();
    if let Some(docker) = docker
        && let Some(made) = made_by(intent, me, &docker.id)
    {
        return Ok(made.clone());
    }
    let name = match (&request.name, docker) {
        (Some(name), _) => name.clone(),
        // Until the engine's event tells the real one.
        (None, Some(docker)) => provisional_name(&docker.id)?,
        (None, None) => return Err(ApiError::new(ErrorCode::Invalid, "a network needs a name").into()),
    };
    check_name(intent, &name, id)?;
    let obstacles = obstacles(intent, routes);
    let mut subnets = request.subnets.clone();
    let from_pools: &[Family] = match request.both_families {
        true => &Family::BOTH,
        false if subnets.is_empty() => &[Family::V4],
        false => &[],
    };
    for family in from_pools {
        if !subnets.iter().any(|subnet| subnet.family() == *family) {
            subnets.push(
                next_subnet(intent.pools.values(), *family, &obstacles).map_err(|error| refused(&error))?,
            );
        }
    }
    let network = Network {
        id,
        name,
        gateways: gateways(&subnets, request.gateways.iter().copied()),
        subnets,
        ranges: request.ranges.clone(),
        reserved: request.reserved.clone(),
        isolation: request.isolation,
        internal: request.internal,
        exit: request.exit,
        mtu: request.mtu,
        said: request.said.clone(),
        labels: request.labels.clone(),
        docker: docker.map(|docker| DockerOrigin {
            host: me,
            network: docker.id.clone(),
            named: request.name.is_some(),
        }),
    };
    let refuse = |error: IpamError| refused(&error).at_field(field_of(&error));
    check_definition(&network).map_err(refuse)?;
    for subnet in &network.subnets {
        check_subnet(*subnet, &obstacles).map_err(refuse)?;
    }
    Ok(network)
}

/// The field of a document that an error in a network's definition is about.
const fn field_of(error: &IpamError) -> &'static str {
    match error {
        IpamError::RangeOutside { .. } | IpamError::TwoRanges { .. } => "spec.ranges",
        IpamError::TwoGateways { .. } => "spec.gateways",
        IpamError::GatewayReserved { .. } => "spec.reserved",
        IpamError::KeptOutside { what, .. } | IpamError::KeptEdge { what, .. } => match what.as_bytes() {
            b"gateway" => "spec.gateways",
            _ => "spec.reserved",
        },
        IpamError::MtuTooSmall { .. } => "spec.mtu",
        _ => "spec.subnets",
    }
}

/// The network that this host's engine made under an id: a repeated request answers the same.
fn made_by<'a>(intent: &'a Intent, me: HostId, docker_id: &str) -> Option<&'a Network> {
    intent.networks.values().find(|network| {
        network.docker.as_ref().is_some_and(|origin| origin.host == me && origin.network == docker_id)
    })
}

fn provisional_name(docker_id: &str) -> Result<NetworkName, AgentError> {
    let short: String = docker_id.chars().take(12).collect();
    NetworkName::new(format!("docker-{short}"))
        .map_err(|error| ApiError::new(ErrorCode::Invalid, error.to_string()).into())
}

fn check_name(intent: &Intent, name: &NetworkName, id: NetworkId) -> Result<(), AgentError> {
    match intent.networks.values().find(|network| network.name == *name && network.id != id) {
        Some(_) => {
            let message =
                format!("there is a network {name} already: choose another name, or remove that one");
            Err(ApiError::new(ErrorCode::Conflict, message).into())
        }
        None => Ok(()),
    }
}

/// Gives a network of Docker's its name and labels.
pub async fn name(member: &Member, request: NameRequest) -> Result<Network, AgentError> {
    let network = change(member.store.as_ref(), |intent| {
        let known = find(intent, request.network)?;
        let mut network = known.clone();
        let Some(origin) = &mut network.docker else {
            let message = format!("network {} was not made by Docker and keeps its name", known.name);
            return Err(ApiError::new(ErrorCode::Invalid, message).into());
        };
        origin.named = true;
        network.name = request.name.clone();
        network.labels = request.labels.clone();
        if network == *known {
            return Ok((Writes::new(), network));
        }
        check_name(intent, &network.name, network.id)?;
        Ok((Writes::new().put(Key::Network(network.id), &network)?, network))
    })
    .await?;
    tracing::info!(network = %network.name, id = %network.id, "network named");
    Ok(network)
}

/// Changes labels and isolation. Who made a network does not matter for that: Docker cannot change one.
pub async fn set(member: &Member, request: ChangeRequest) -> Result<Network, AgentError> {
    let spec = NetworkSpec { isolation: request.isolation, ..NetworkSpec::default() };
    let network = change(member.store.as_ref(), |intent| {
        let known = find(intent, request.network)?;
        let labels = changed(&known.labels, &request.labels);
        let network = spec.change(known, Some(&labels)).map_err(ApiError::from)?;
        let mut draft = Draft::of(intent);
        put_changed(&mut draft, known, &network)?;
        Ok((draft.into_writes(), network))
    })
    .await?;
    tracing::info!(network = %network.name, id = %network.id, "network changed");
    Ok(network)
}

/// Makes or changes the network that a document names. The caller has seen that the mode fits.
pub fn write(
    draft: &mut Draft,
    routes: &Routes,
    document: &Document<NetworkName, NetworkSpec>,
    mode: WriteMode,
    id: NetworkId,
    me: HostId,
) -> Result<Outcome, AgentError> {
    let Document { name, labels, spec } = document;
    let Some(known) = named(draft.intent(), name).cloned() else {
        let network = decide(draft.intent(), routes, &request(document), id, me)?;
        draft.put(Key::Network(network.id), &network)?;
        return Ok(Outcome::Created);
    };
    let network = match mode {
        WriteMode::Replace => {
            let whole =
                NetworkSpec { isolation: spec.isolation.or(Some(Isolation::default())), ..spec.clone() };
            whole.change(&known, Some(labels.as_ref().unwrap_or(&Labels::new())))
        }
        _ => spec.change(&known, labels.as_ref()),
    };
    put_changed(draft, &known, &network.map_err(ApiError::from)?)
}

/// Changes the labels of a network.
pub fn label(
    draft: &mut Draft,
    name: &NetworkName,
    change: impl Fn(&Labels) -> Labels,
) -> Result<Outcome, AgentError> {
    let known = named(draft.intent(), name).cloned().ok_or_else(|| not_found(name.as_str()))?;
    let network = Network { labels: change(&known.labels), ..known.clone() };
    put_changed(draft, &known, &network)
}

fn put_changed(draft: &mut Draft, known: &Network, network: &Network) -> Result<Outcome, AgentError> {
    if network == known {
        return Ok(Outcome::Unchanged);
    }
    draft.put(Key::Network(network.id), network)?;
    Ok(Outcome::Configured)
}

/// A new network as a document asks for it.
fn request(document: &Document<NetworkName, NetworkSpec>) -> NetworkRequest {
    let Document { name, labels, spec } = document.clone();
    NetworkRequest {
        name: Some(name),
        subnets: spec.subnets.unwrap_or_default(),
        both_families: spec.ipv6.unwrap_or_default(),
        ranges: spec.ranges.unwrap_or_default(),
        gateways: spec.gateways.unwrap_or_default(),
        reserved: spec.reserved.unwrap_or_default(),
        isolation: spec.isolation.unwrap_or_default(),
        internal: spec.internal.unwrap_or_default(),
        exit: spec.exit.unwrap_or_default(),
        mtu: spec.mtu,
        // Documents tell defaults too, which nobody has asked to see on engines.
        said: BTreeSet::new(),
        labels: labels.unwrap_or_default(),
        docker: None,
    }
}

/// The network of a name.
pub fn named<'a>(intent: &'a Intent, name: &NetworkName) -> Option<&'a Network> {
    intent.networks.values().find(|network| network.name == *name)
}

fn find(intent: &Intent, id: NetworkId) -> Result<&Network, AgentError> {
    intent.networks.get(&id).ok_or_else(|| not_found(&id.to_string()))
}

/// No such network.
pub fn not_found(what: &str) -> AgentError {
    let message = format!("there is no network {what}: `hopsack network ls` lists them");
    ApiError::new(ErrorCode::NotFound, message).into()
}
