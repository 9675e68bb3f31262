//! The two ways into a cluster: making one, and joining one. The identity is written last, so that a host is in the
//! cluster wholly or not at all; a join that was cut off can be repeated.

use crate::addresses::refused;
use crate::error::AgentError;
use crate::intent::changes::{Writes, change};
use crate::kernel::underlay;
use crate::parts::Parts;
use crate::talk::transport::TransportError;
use crate::talk::wire::{Answer, JoinQuestion, Question};
use crate::trust::admission::host_addresses;
use crate::trust::authority::{Authority, certificate_hash};
use crate::trust::identity::{FORMAT, Identity};
use crate::trust::keyring;
use crate::trust::token::JoinToken;
use hopsack_api::{ApiError, ErrorCode, InitRequest, JoinRequest};
use hopsack_ipam::subnet::{Obstacle, check_pool, default_pool_v4, default_pool_v6};

use hopsack_store::{Event, Store};
use hopsack_types::intent::{Key, decode};
use hopsack_types::resource::Cluster;
use hopsack_types::{Cidr, ClusterId, Family, Host, HostId, HostName, Incarnation, Pool, PoolName};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How long a first token is good, seconds.
pub const TOKEN_LIFETIME: u64 = 24 * 3600;
const JOINING: &str = "joining.json";

/// What `init` made.
pub struct Made {
    /// This host in it.
    pub identity: Identity,
    /// Its store of intent, open.
    pub store: Arc<dyn Store>,
    /// Where others reach it.
    pub underlay: IpAddr,
    /// Pools.
    pub pools: Vec<Cidr>,
    /// A first token.
    pub token: JoinToken,
}

fn host_name(parts: &Parts, given: Option<HostName>) -> Result<HostName, AgentError> {
    given.or_else(|| parts.machine_name.clone()).ok_or_else(|| {
        let message = "this machine's name cannot be a host name here: give one with --name";
        ApiError::new(ErrorCode::Invalid, message).into()
    })
}

/// A new member's kernel has to have VXLAN, unless the caller knows that its paths will be direct. A member whose
/// kernel has lost it runs on, and says so.
fn check_vxlan(parts: &Parts, without: bool) -> Result<(), AgentError> {
    if parts.features.vxlan || without {
        return Ok(());
    }
    let message = "this kernel has no vxlan, which reaches hosts outside of this host's segment: load it with \
                   `modprobe vxlan`, or install the distribution's full kernel (linux-image-amd64 on Debian), then \
                   restart the agent; where all hosts share one segment, give --without-vxlan";
    Err(ApiError::new(ErrorCode::Host, message).into())
}

/// Makes a cluster with this host as its first.
pub async fn init(parts: &Parts, request: InitRequest) -> Result<Made, AgentError> {
    check_vxlan(parts, request.without_vxlan)?;
    let name = host_name(parts, request.name)?;
    let surroundings = parts.scout.look().await?;
    let underlay = underlay::find(&surroundings, request.advertise)?;
    parts.wire.check(SocketAddr::new(underlay.address, parts.control_port)).await?;
    let obstacles: Vec<Obstacle> = surroundings
        .routes
        .iter()
        .filter_map(|route| Obstacle::of_route(&name, *route))
        .chain([Obstacle::of_underlay(&name, underlay.address)])
        .collect();
    let pools = pools(parts, request.pools, !request.no_nat, &obstacles)?;

    let cluster = ClusterId::from_bytes(parts.entropy.bytes());
    let host = HostId::from_bytes(parts.entropy.bytes());
    let (entropy, clock) = (parts.entropy.as_ref(), parts.clock.as_ref());
    let authority = Authority::create(cluster, entropy, clock)?;
    let key = keyring::host_key(&parts.dir, entropy)?;
    let (certificate, public_key) = authority.certify(&key.signing_request()?, host, entropy, clock)?;
    let ca_hash = certificate_hash(authority.certificate());
    keyring::keep(&parts.dir, &certificate, authority.certificate(), &entropy.bytes())?;
    keyring::keep_authority(&parts.dir, &authority)?;

    let token = JoinToken::draw(ca_hash.clone(), entropy);
    let stored = token.stored(clock.unix_seconds() + TOKEN_LIFETIME, None);
    let store = parts.stores.create_voter(&parts.dir, entropy).await?;
    change(store.as_ref(), |intent| {
        let mut intent = intent.clone();
        let mut writes = Writes::new()
            .put(Key::Cluster, &Cluster { id: cluster, ca_hash: ca_hash.clone() })?
            .put(Key::Token(stored.id), &stored)?;
        for pool in &pools {
            writes = writes.put(Key::Pool(pool.name.clone()), pool)?;
            intent.pools.insert(pool.name.clone(), pool.clone());
        }
        let record = Host {
            id: host,
            name: name.clone(),
            underlay: underlay.address,
            control_port: parts.control_port,
            addresses: host_addresses(&intent)?,
            public_key: public_key.clone(),
            voter: true,
            labels: BTreeMap::new(),
        };
        Ok((writes.put(Key::Host(host), &record)?, ()))
    })
    .await?;
    let identity = Identity {
        format: FORMAT,
        cluster,
        host,
        name,
        incarnation: Incarnation(1),
        voter: true,
        advertise: request.advertise,
        control_port: parts.control_port,
        seeds: Vec::new(),
    };
    identity.save(&parts.dir)?;
    tracing::info!(%cluster, %host, "cluster made");
    let pools = pools.into_iter().map(|pool| pool.cidr).collect();
    Ok(Made { identity, store, underlay: underlay.address, pools, token })
}

fn pools(
    parts: &Parts,
    given: Vec<Cidr>,
    nat_outgoing: bool,
    obstacles: &[Obstacle],
) -> Result<Vec<Pool>, AgentError> {
    let mut cidrs = given;
    for cidr in &cidrs {
        check_pool(*cidr, obstacles).map_err(|error| refused(&error))?;
    }
    if let [first, second, ..] = cidrs[..]
        && (cidrs.len() > 2 || first.family() == second.family())
    {
        return Err(ApiError::new(ErrorCode::Invalid, "give at most one pool per family").into());
    }
    if cidrs.is_empty() {
        cidrs.push(default_pool_v4(obstacles).map_err(|error| refused(&error))?);
        if parts.features.ipv6 {
            cidrs.push(default_pool_v6(parts.entropy.bytes()));
        }
    }
    cidrs
        .into_iter()
        .map(|cidr| {
            let name = match cidr.family() {
                Family::V4 => "default-v4",
                Family::V6 => "default-v6",
            };
            let name = PoolName::new(name)
                .map_err(|error| AgentError::from(ApiError::new(ErrorCode::Invalid, error.to_string())))?;
            Ok(Pool { nat_outgoing, ..Pool::new(name, cidr) })
        })
        .collect()
}

/// Enters a cluster. Answers this host's identity in it, and the other side's address.
pub async fn join(parts: &Parts, request: JoinRequest) -> Result<(Identity, IpAddr), AgentError> {
    let invalid = |error: String| -> AgentError { ApiError::new(ErrorCode::Invalid, error).into() };
    let token: JoinToken =
        request.token.parse().map_err(|error: crate::trust::token::TokenError| invalid(error.to_string()))?;
    check_vxlan(parts, request.without_vxlan)?;
    let name = host_name(parts, request.name)?;
    let surroundings = parts.scout.look().await?;
    let underlay = underlay::find(&surroundings, request.advertise)?;
    parts.wire.check(SocketAddr::new(underlay.address, parts.control_port)).await?;
    let host = match parts.dir.read_json::<HostId>(JOINING)? {
        Some(host) => host,
        None => {
            let host = HostId::from_bytes(parts.entropy.bytes());
            parts.dir.write_json(JOINING, &host)?;
            host
        }
    };
    let key = keyring::host_key(&parts.dir, &parts.entropy)?;
    let question = Question::Join(JoinQuestion {
        token: token.id,
        secret: token.secret,
        signing_request: key.signing_request()?,
        host,
        name: name.clone(),
        underlay: underlay.address,
        control_port: parts.control_port,
        routes: surroundings.routes,
    });
    let mut connection = parts.wire.connect_by_hash(request.address, &token.ca_hash).await?;
    let answer = match connection.ask(&question).await? {
        Answer::Joined(answer) => answer,
        Answer::Refused(error) => return Err(error.into()),
        _ => return Err(TransportError::Protocol { address: request.address }.into()),
    };
    keyring::keep(&parts.dir, &answer.certificate, &answer.authority, &answer.cluster_key)?;
    let name = admitted_name(&answer.intent, host).unwrap_or(name);
    parts.stores.begin_copy(&parts.dir, answer.intent).await?;
    let identity = Identity {
        format: FORMAT,
        cluster: answer.cluster,
        host,
        name,
        incarnation: Incarnation(1),
        voter: false,
        advertise: request.advertise,
        control_port: parts.control_port,
        seeds: vec![request.address],
    };
    identity.save(&parts.dir)?;
    parts.dir.remove(JOINING)?;
    tracing::info!(cluster = %identity.cluster, %host, "cluster joined");
    Ok((identity, underlay.address))
}

/// The name that the cluster knows this host by: when a join is repeated, that of the first time.
fn admitted_name(intent: &Event, host: HostId) -> Option<HostName> {
    let Event::Snapshot(snapshot) = intent else { return None };
    let key = Key::Host(host);
    let record: Host = decode(&key, &snapshot.entries.get(&key.to_string())?.value).ok()?;
    Some(record.name)
}
