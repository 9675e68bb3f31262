//! Endpoints made and removed, for Docker and for bare namespaces.
//!
//! Making one ends when its interface and its policy are in the kernel. What must not live here: kernel calls.

use crate::endpoints::{Endpoints, ports};
use crate::error::AgentError;
use crate::intent::networks::not_found;
use crate::member::{Member, endpoint_fact, holder_of};
use hopsack_api::{
    ApiError, AttachRequest, ContainerRequest, DetachRequest, EndpointRequest, EndpointStatus, ErrorCode,
    PortRequest, PublishRequest,
};
use hopsack_kernel::FIREWALL;
use hopsack_plan::view::{Attachment, Endpoint};
use hopsack_types::fact::FactKey;
use hopsack_types::intent::Intent;
use hopsack_types::{
    Cidr, EndpointId, Family, Generation, HostName, IfName, Mac, Network, NetworkId, NetworkName, numbers,
};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::timeout;

/// How long the kernel may take: many containers that start at once keep it busy for seconds. An attempt and its end
/// take it twice, and have to fit into what a caller waits ([`hopsack_api::client::TIMEOUT`]).
const KERNEL_DEADLINE: Duration = Duration::from_secs(12);

fn error(code: ErrorCode, message: String) -> AgentError {
    ApiError::new(code, message).into()
}

/// The name of a network; of one that is gone, what is left to call it by.
pub fn name_of(intent: &Intent, network: NetworkId) -> Result<NetworkName, AgentError> {
    match intent.networks.get(&network) {
        Some(known) => Ok(known.name.clone()),
        None => NetworkName::new(network.short()).map_err(|bad| error(ErrorCode::Host, bad.to_string())),
    }
}

/// An endpoint as callers see it.
pub fn status(member: &Member, endpoint: &Endpoint) -> Result<EndpointStatus, AgentError> {
    let intent = member.intent.borrow().intent.clone();
    let network_name = name_of(&intent, endpoint.network)?;
    let next_hop = |address: &IpAddr| match Family::of(*address) {
        Family::V4 => IpAddr::from(numbers::next_hop_v4(endpoint.network)),
        Family::V6 => numbers::next_hop_v6(endpoint.network).into(),
    };
    let (link, peer) = links(endpoint.id)?;
    let most = member.planner.underlay().mtu;
    let asked = intent.networks.get(&endpoint.network).and_then(|network| network.mtu);
    Ok(EndpointStatus {
        id: endpoint.id,
        network: endpoint.network,
        network_name,
        addresses: endpoint.addresses.clone(),
        mac: endpoint.mac,
        next_hops: endpoint.addresses.iter().map(next_hop).collect(),
        link,
        peer,
        mtu: asked.map_or(most, |mtu| mtu.min(most)),
        name: endpoint.shown_name().to_owned(),
        docker: endpoint.attachment == Attachment::Docker,
        container: endpoint.container.clone(),
        ports: endpoint.ports.clone(),
    })
}

/// Names of the host's and of the container's end of an endpoint's pair.
pub fn links(id: EndpointId) -> Result<(IfName, IfName), AgentError> {
    let name = |prefix: &str| {
        IfName::new(format!("{prefix}{}", id.short())).map_err(|bad| error(ErrorCode::Host, bad.to_string()))
    };
    Ok((name(numbers::ENDPOINT_PREFIX)?, name(numbers::PEER_PREFIX)?))
}

/// All endpoints of this host.
pub fn all(member: &Member) -> Vec<EndpointStatus> {
    let endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().clone();
    endpoints.values().filter_map(|endpoint| status(member, endpoint).ok()).collect()
}

/// Makes an endpoint for Docker out of addresses that are allocated.
pub async fn create(member: &Member, request: EndpointRequest) -> Result<EndpointStatus, AgentError> {
    let held = member.addresses.in_use(request.network);
    for address in &request.addresses {
        if !held.contains_key(address) {
            let message = format!("{address} was not allocated on this host: allocate it first");
            return Err(error(ErrorCode::Invalid, message));
        }
    }
    let mac = request.mac.unwrap_or_else(|| mac_of(request.id));
    let endpoint = Endpoint {
        id: request.id,
        network: request.network,
        addresses: request.addresses,
        mac,
        attachment: Attachment::Docker,
        name: request.name,
        labels: request.labels,
        ports: Vec::new(),
        container: None,
    };
    put(member, endpoint).await
}

/// The last six bytes of a random id, as a local unicast address.
const fn mac_of(id: EndpointId) -> Mac {
    let [.., a, b, c, d, e, f] = *id.as_bytes();
    Mac::local([a, b, c, d, e, f])
}

async fn put(member: &Member, endpoint: Endpoint) -> Result<EndpointStatus, AgentError> {
    member.meters.endpoint_create.timed_outcome(put_unmeasured(member, endpoint)).await
}

async fn put_unmeasured(member: &Member, endpoint: Endpoint) -> Result<EndpointStatus, AgentError> {
    let answer = status(member, &endpoint)?;
    if !member.intent.borrow().intent.networks.contains_key(&endpoint.network) {
        return Err(not_found(&endpoint.network.to_string()));
    }
    if endpoint.addresses.is_empty() {
        return Err(error(ErrorCode::Invalid, "an endpoint needs an address".to_owned()));
    }
    let (id, fact) = (endpoint.id, endpoint_fact(&endpoint));
    let generation = {
        let mut endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let shares = |other: &&Endpoint| {
            other.id != id
                && other.network == endpoint.network
                && other.addresses.iter().any(|address| endpoint.addresses.contains(address))
        };
        if let Some(other) = endpoints.all().values().find(shares) {
            let message =
                format!("the address is in use by {} on this host: choose another", other.shown_name());
            return Err(error(ErrorCode::Conflict, message));
        }
        if let Some(taken) = taken(&endpoints, &endpoint) {
            return Err(taken);
        }
        endpoints.put(endpoint)?;
        member.planner.set_endpoints(endpoints.all().clone())
    };
    member.facts.set(FactKey::Endpoint(id), Some(fact));
    await_kernel(member, generation, &answer.link, &answer.addresses).await?;
    Ok(answer)
}

/// Waits until the kernel holds a generation, and with it all that is an endpoint's.
pub async fn await_kernel(
    member: &Member,
    generation: Generation,
    link: &IfName,
    addresses: &[IpAddr],
) -> Result<(), AgentError> {
    let refused = applied(member, generation).await?;
    // Before the link, which is kept down because of it.
    if let Some(failure) = refused.iter().find(|failure| object_of(failure) == FIREWALL) {
        let message =
            format!("the endpoint's policy cannot be put in place: {failure}: see `hopsack status`");
        return Err(error(ErrorCode::Host, message));
    }
    concerned(&refused, link, addresses)
}

/// Waits until the kernel holds a generation. Gives what it refused of it.
async fn applied(member: &Member, generation: Generation) -> Result<Vec<String>, AgentError> {
    let mut kernel = member.kernel.clone();
    let reached = kernel.wait_for(|status| status.applied >= generation);
    match timeout(KERNEL_DEADLINE, reached).await {
        Ok(Ok(status)) => Ok(status.failures.clone()),
        Ok(Err(_)) => Err(error(ErrorCode::Host, "the agent is stopping: try again".to_owned())),
        Err(_) => {
            let message = "the kernel did not take the change in time: see `hopsack status`".to_owned();
            Err(error(ErrorCode::Host, message))
        }
    }
}

/// Fails with what the kernel refused of an endpoint's link, routes and neighbours.
fn concerned(refused: &[String], link: &IfName, addresses: &[IpAddr]) -> Result<(), AgentError> {
    match refused.iter().find(|failure| concerns(failure, link, addresses)) {
        Some(failure) => Err(error(ErrorCode::Host, failure.clone())),
        None => Ok(()),
    }
}

/// What could not be changed, of a failure, `object: reason`.
fn object_of(failure: &str) -> &str {
    failure.split_once(": ").map_or(failure, |(object, _)| object)
}

/// Whether a failure is of an endpoint's link, or of a route or a neighbour of its addresses.
fn concerns(failure: &str, link: &IfName, addresses: &[IpAddr]) -> bool {
    let object = object_of(failure);
    let is_named = |address: &IpAddr| {
        let names = [address.to_string(), Cidr::host(*address).to_string()];
        object.split_whitespace().any(|word| names.iter().any(|name| name == word))
    };
    object.contains(link.as_str()) || addresses.iter().any(is_named)
}

/// Notes whose an endpoint is. Its network does not change by that, so the kernel is not waited for.
pub fn name(member: &Member, request: ContainerRequest) -> Result<(), AgentError> {
    let fact = {
        let mut endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = endpoints.all().get(&request.endpoint) else { return Ok(()) };
        let named = Endpoint { container: Some(request.container), labels: request.labels, ..known.clone() };
        if named == *known {
            return Ok(());
        }
        let fact = endpoint_fact(&named);
        endpoints.put(named)?;
        member.planner.set_endpoints(endpoints.all().clone());
        fact
    };
    member.facts.set(FactKey::Endpoint(request.endpoint), Some(fact));
    Ok(())
}

/// Removes an endpoint; its addresses stay with their holder.
pub async fn remove(member: &Member, id: EndpointId) -> Result<Option<Endpoint>, AgentError> {
    let (removed, generation) = {
        let mut endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(removed) = endpoints.remove(id)? else { return Ok(None) };
        (removed, member.planner.set_endpoints(endpoints.all().clone()))
    };
    member.facts.set(FactKey::Endpoint(id), None);
    let (link, _) = links(id)?;
    let refused = applied(member, generation).await;
    member.holds.lock().unwrap_or_else(PoisonError::into_inner).release(&removed.ports);
    // Not a refused change of the firewall: a policy outlives its endpoint.
    concerned(&refused?, &link, &removed.addresses)?;
    Ok(Some(removed))
}

/// Attaches a bare namespace.
pub async fn attach(member: &Member, request: AttachRequest) -> Result<EndpointStatus, AgentError> {
    let network = by_name(member, &request.network)?;
    if !request.namespace.exists() {
        let message = format!(
            "there is no network namespace at {}: make one with `ip netns add`, or give its path",
            request.namespace.display()
        );
        return Err(error(ErrorCode::NotFound, message));
    }
    if !is_namespace(&request.namespace) {
        let message = format!(
            "{} is a file but no network namespace: make one with `ip netns add`, or give its path",
            request.namespace.display()
        );
        return Err(error(ErrorCode::Invalid, message));
    }
    if is_own(&request.namespace) {
        let message = format!(
            "{} is this host's own network, which reaches every container already: give a container's",
            request.namespace.display()
        );
        return Err(error(ErrorCode::Invalid, message));
    }
    let id = EndpointId::from_bytes(member.parts.entropy.bytes());
    let mut endpoint = Endpoint {
        id,
        network: network.id,
        addresses: Vec::new(),
        mac: mac_of(id),
        attachment: Attachment::Namespace { path: request.namespace, interface: request.interface },
        name: request.name,
        labels: request.labels,
        ports: Vec::new(),
        container: None,
    };
    // Looked at again when the endpoint is put: several may be on their way to one interface.
    let taken = taken(&member.endpoints.lock().unwrap_or_else(PoisonError::into_inner), &endpoint);
    if let Some(taken) = taken {
        return Err(taken);
    }
    let made = match take_addresses(member, &network, &mut endpoint, &request.addresses).await {
        Ok(()) => put_with_ports(member, endpoint.clone(), request.ports).await,
        Err(error) => Err(error),
    };
    if made.is_err() {
        undo(member, &endpoint).await;
    }
    made
}

async fn put_with_ports(
    member: &Member,
    endpoint: Endpoint,
    wanted: Vec<PortRequest>,
) -> Result<EndpointStatus, AgentError> {
    let made = put(member, endpoint).await?;
    let request = PublishRequest { endpoint: made.id, ports: wanted };
    Ok(EndpointStatus { ports: ports::publish(member, &request).await?, ..made })
}

/// Whether a path leads to a file of nsfs, as all namespaces are (namespaces(7)).
fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Whether a path is that of the namespace that this agent is in: the same file of nsfs (namespaces(7)).
fn is_own(path: &Path) -> bool {
    match (fs::metadata(path), fs::metadata("/proc/self/ns/net")) {
        (Ok(given), Ok(own)) => (given.dev(), given.ino()) == (own.dev(), own.ino()),
        _ => false,
    }
}

/// Takes an address as [`crate::addresses::Addresses::allocate`] does; one that is in use is told with who uses it.
pub async fn allocate(
    member: &Member,
    network: NetworkId,
    family: Family,
    wanted: Option<IpAddr>,
    holder: &str,
) -> Result<IpAddr, AgentError> {
    let taking = member.addresses.allocate(network, family, wanted, holder);
    let taken = member.meters.allocation.timed_outcome(taking).await;
    match (taken, wanted) {
        (Err(AgentError::Refused(ApiError { code: ErrorCode::Conflict, message, .. })), Some(address)) => {
            let message = user_of(member, network, address).map_or(message, |(user, host)| {
                format!(
                    "{address} is in use by {user} on host {host}: detach it there, or choose another address"
                )
            });
            Err(error(ErrorCode::Conflict, message))
        }
        (taken, _) => taken,
    }
}

/// The endpoint that has an address, and its host.
fn user_of(member: &Member, network: NetworkId, address: IpAddr) -> Option<(String, HostName)> {
    let intent = member.intent.borrow().intent.clone();
    let endpoints = member.facts.endpoints(&intent);
    let (host, fact) = endpoints
        .into_values()
        .find(|(_, fact)| fact.network == network && fact.addresses.contains(&address))?;
    Some((fact.name, intent.hosts.get(&host)?.name.clone()))
}

async fn take_addresses(
    member: &Member,
    network: &Network,
    endpoint: &mut Endpoint,
    given: &[IpAddr],
) -> Result<(), AgentError> {
    if let Some(outside) = given.iter().find(|address| network.subnet_of(**address).is_none()) {
        let subnets: Vec<String> = network.subnets.iter().map(ToString::to_string).collect();
        let message =
            format!("{outside} is not in network {}: its subnet is {}", network.name, subnets.join(", "));
        return Err(error(ErrorCode::Invalid, message));
    }
    for family in Family::BOTH {
        let of_family: Vec<String> =
            given.iter().filter(|address| Family::of(**address) == family).map(ToString::to_string).collect();
        if of_family.len() > 1 {
            let message =
                format!("{} are several {family} addresses: give one per family", of_family.join(", "));
            return Err(error(ErrorCode::Invalid, message));
        }
    }
    for subnet in &network.subnets {
        let family = subnet.family();
        let wanted = given.iter().copied().find(|address| Family::of(*address) == family);
        let holder = holder_of(endpoint);
        let address = allocate(member, network.id, family, wanted, &holder).await?;
        endpoint.addresses.push(address);
    }
    Ok(())
}

/// Takes back what a failed attachment has left. Its addresses only when it is gone from the kernel: else a container
/// might still have them.
async fn undo(member: &Member, endpoint: &Endpoint) {
    match remove(member, endpoint.id).await {
        Ok(_) => give_back(member, endpoint).await,
        Err(error) => tracing::warn!(
            endpoint = %endpoint.id, error = %error.chain(),
            "a failed endpoint was not removed wholly and keeps its addresses for now"
        ),
    }
}

async fn give_back(member: &Member, endpoint: &Endpoint) {
    for address in &endpoint.addresses {
        if let Err(error) = member.addresses.release(endpoint.network, *address).await {
            tracing::warn!(%address, error = %error.chain(), "an address was not given back");
        }
    }
}

/// Detaches a bare namespace.
pub async fn detach(member: &Member, request: DetachRequest) -> Result<(), AgentError> {
    let intent = member.intent.borrow().intent.clone();
    let attached = member
        .endpoints
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .all()
        .values()
        .find(|endpoint| {
            name_of(&intent, endpoint.network).is_ok_and(|name| name == request.network)
                && matches!(&endpoint.attachment, Attachment::Namespace { path, .. } if *path == request.namespace)
        })
        .cloned();
    let Some(endpoint) = attached else {
        by_name(member, &request.network)?;
        let message = format!(
            "{} is not attached to network {}: `hopsack endpoint ls` lists what is",
            request.namespace.display(),
            request.network
        );
        return Err(error(ErrorCode::NotFound, message));
    };
    remove(member, endpoint.id).await?;
    give_back(member, &endpoint).await;
    Ok(())
}

/// Why an endpoint cannot be where it should: another one is that interface of that namespace.
fn taken(endpoints: &Endpoints, endpoint: &Endpoint) -> Option<AgentError> {
    let Attachment::Namespace { path, interface } = &endpoint.attachment else { return None };
    let is_there = |other: &Endpoint| other.id != endpoint.id && other.attachment == endpoint.attachment;
    endpoints.all().values().any(is_there).then(|| {
        let message = format!(
            "{interface} in {} is attached already: detach it first, or choose another interface name",
            path.display()
        );
        error(ErrorCode::Conflict, message)
    })
}

fn by_name(member: &Member, name: &NetworkName) -> Result<Network, AgentError> {
    let intent = member.intent.borrow().intent.clone();
    let found = intent.networks.values().find(|network| network.name == *name).cloned();
    found.ok_or_else(|| not_found(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_concerns_the_endpoint_whose_link_route_or_neighbour_it_names() {
        let link: IfName = "hopc0123456789".parse().unwrap();
        let addresses = ["10.32.4.9".parse().unwrap(), "fd00::9".parse().unwrap()];
        for (failure, expected) in [
            ("hopc0123456789: no", true),
            ("net/ipv4/conf/hopc0123456789/proxy_arp: no", true),
            ("10.32.4.9/32: no", true),
            ("10.32.4.9/32 table 4677: no", true),
            ("10.32.4.9: no", true),
            ("fd00::9/128: no", true),
            ("10.32.4.99/32: no", false),
            ("10.32.4.8/29: no", false),
            ("fd00::99/128: no", false),
            ("hopcffffffffff: no", false),
            ("10.32.4.8/29: 10.32.4.9/32 is there", false),
        ] {
            assert_eq!(concerns(failure, &link, &addresses), expected, "{failure}");
        }
    }
}
