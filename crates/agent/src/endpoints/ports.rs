//! Published ports: which of this host's ports an endpoint gets. Each is held like a listening program holds it, so
//! that it is found busy where it is, and nobody else takes it while this agent runs. Packets do not pass the holds:
//! the kernel translates, also while no agent runs.
//!
//! What must not live here: rules of the kernel (the planner's), sockets (`crate::linux`).

use crate::endpoints::{Endpoints, attachment};
use crate::error::AgentError;
use crate::member::Member;
use hopsack_api::{ApiError, ErrorCode, Fault, PortRequest, PublishRequest};
use hopsack_plan::view::Endpoint;
use hopsack_types::numbers::FREE_PORTS;
use hopsack_types::{EndpointId, Family, HostPort, PublishedPort};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::{Arc, PoisonError};

/// Holds a port until it is dropped.
pub type Hold = Box<dyn Send>;

/// Why a port of this host cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Somebody has it.
    #[error("another program of this host uses it")]
    Busy,
    /// The address is not one of this host.
    #[error("its address is none of this host's")]
    NoAddress,
    /// The system refused.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// The ports of this host, which all of its programs share.
pub trait HostPorts: Send + Sync {
    /// Takes a port, as a program that listens there would.
    fn hold(&self, port: HostPort) -> Result<Hold, HoldError>;
}

/// The ports that this agent holds.
pub struct Holds {
    ports: Arc<dyn HostPorts>,
    held: BTreeMap<HostPort, Hold>,
}

impl Holds {
    /// Takes the ports of endpoints that were there before this agent started. Who took one of them meanwhile keeps it
    /// for now, and the status says so.
    pub fn take(ports: Arc<dyn HostPorts>, endpoints: &Endpoints) -> Self {
        let mut holds = Self { ports, held: BTreeMap::new() };
        holds.take_missing(endpoints.all().values());
        holds
    }

    /// Tries again to take what could not be taken.
    pub fn take_missing<'a>(&mut self, endpoints: impl Iterator<Item = &'a Endpoint>) {
        for port in endpoints.flat_map(|endpoint| &endpoint.ports).map(|published| published.host) {
            if !self.held.contains_key(&port) {
                match self.ports.hold(port) {
                    Ok(hold) => drop(self.held.insert(port, hold)),
                    // The status tells it for as long as it is so.
                    Err(error) => tracing::debug!(%port, %error, "a published port cannot be held"),
                }
            }
        }
    }

    /// Published ports of an endpoint that somebody else has, too.
    pub fn missing(&self, endpoint: &Endpoint) -> Vec<HostPort> {
        let all = endpoint.ports.iter().map(|published| published.host);
        all.filter(|port| !self.held.contains_key(port)).collect()
    }

    /// Lets go of ports.
    pub fn release(&mut self, ports: &[PublishedPort]) {
        ports.iter().for_each(|published| drop(self.held.remove(&published.host)));
    }

    /// Takes ports, all or none.
    fn hold_all(&self, ports: &[HostPort]) -> Result<Vec<(HostPort, Hold)>, (HostPort, HoldError)> {
        ports
            .iter()
            .map(|port| Ok((*port, self.ports.hold(*port).map_err(|error| (*port, error))?)))
            .collect()
    }
}

fn error(code: ErrorCode, message: String) -> AgentError {
    ApiError::new(code, message).into()
}

/// Publishes ports of an endpoint; ends when they work.
pub async fn publish(member: &Member, request: &PublishRequest) -> Result<Vec<PublishedPort>, AgentError> {
    let id = request.endpoint;
    let (before, chosen) = {
        let mut holds = member.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().clone();
        let Some(endpoint) = endpoints.get(&id) else {
            let message = format!("there is no endpoint {id} on this host: start its container again");
            return Err(error(ErrorCode::NotFound, message));
        };
        if !request.ports.is_empty() {
            refuse_internal(member, endpoint)?;
        }
        let others: Vec<&Endpoint> = endpoints.values().filter(|other| other.id != id).collect();
        let mut choice =
            Choice { endpoint, others: &others, holds: &holds, chosen: Vec::new(), fresh: Vec::new() };
        for port in &request.ports {
            choice.add(port)?;
        }
        let (chosen, fresh) = (choice.chosen, choice.fresh);
        holds.held.extend(fresh);
        (endpoint.ports.clone(), chosen)
    };
    let set = set_ports(member, id, &chosen).await;
    // Of the ports before and after, those that did not come to be, or are no more.
    let (kept, given_up) = if set.is_ok() { (&chosen, &before) } else { (&before, &chosen) };
    if set.is_err()
        && let Err(error) = set_ports(member, id, &before).await
    {
        tracing::warn!(endpoint = %id, error = %error.chain(), "ports that failed were not taken back");
    }
    let gone: Vec<_> = given_up.iter().filter(|port| !kept.contains(port)).copied().collect();
    member.holds.lock().unwrap_or_else(PoisonError::into_inner).release(&gone);
    set.map(|()| chosen)
}

/// Nothing gets into an internal network, so a port of it would lead nowhere.
fn refuse_internal(member: &Member, endpoint: &Endpoint) -> Result<(), AgentError> {
    let intent = member.intent.borrow().intent.clone();
    match intent.networks.get(&endpoint.network) {
        Some(network) if network.internal => {
            let message = format!(
                "network {} is internal, and nothing outside reaches its containers: publish no ports",
                network.name
            );
            Err(error(ErrorCode::Invalid, message))
        }
        _ => Ok(()),
    }
}

/// Takes all ports of an endpoint back, if it is there.
pub async fn unpublish(member: &Member, id: EndpointId) -> Result<(), AgentError> {
    let known = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().contains_key(&id);
    if known {
        publish(member, &PublishRequest { endpoint: id, ports: Vec::new() }).await?;
    }
    Ok(())
}

/// Keeps an endpoint's ports on disk and waits until the kernel has them.
async fn set_ports(member: &Member, id: EndpointId, ports: &[PublishedPort]) -> Result<(), AgentError> {
    let (endpoint, generation) = {
        let mut endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut endpoint) = endpoints.all().get(&id).cloned() else {
            let message = format!("endpoint {id} was removed meanwhile: start its container again");
            return Err(error(ErrorCode::NotFound, message));
        };
        if endpoint.ports == ports {
            return Ok(());
        }
        endpoint.ports = ports.to_vec();
        endpoints.put(endpoint.clone())?;
        (endpoint, member.planner.set_endpoints(endpoints.all().clone()))
    };
    let (link, _) = attachment::links(id)?;
    attachment::await_kernel(member, generation, &link, &endpoint.addresses).await
}

/// Published ports that somebody else has too, in words.
pub fn faults(member: &Member) -> Vec<Fault> {
    let endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().clone();
    let holds = member.holds.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = endpoints.values().flat_map(|endpoint| {
        holds.missing(endpoint).into_iter().map(|port| (port, endpoint.shown_name().to_owned()))
    });
    missing
        .map(|(port, name)| {
            let text = format!(
                "port {port} is published for {name}, and another program of this host has it too: stop one of them"
            );
            Fault::new(text, format!("ss -lnp 'sport = :{}'", port.port))
        })
        .collect()
}

/// Ports that an endpoint is about to get.
struct Choice<'a> {
    endpoint: &'a Endpoint,
    others: &'a [&'a Endpoint],
    holds: &'a Holds,
    chosen: Vec<PublishedPort>,
    fresh: Vec<(HostPort, Hold)>,
}

impl Choice<'_> {
    /// Chooses what one request asks for: the same number in all of its families.
    fn add(&mut self, request: &PortRequest) -> Result<(), AgentError> {
        let addresses = self.addresses(request)?;
        let (first, last) = match request.host_ports {
            Some((first, last)) => (first.get(), last.get()),
            None => (*FREE_PORTS.start(), *FREE_PORTS.end()),
        };
        let mut refused = None;
        for port in self.candidates(request, &addresses, first, last) {
            let ports: Vec<HostPort> = addresses
                .iter()
                .map(|address| HostPort { protocol: request.protocol, address: *address, port })
                .collect();
            match self.take(&ports) {
                Ok(fresh) => {
                    self.fresh.extend(fresh);
                    let container_port = request.container_port;
                    self.chosen.extend(ports.into_iter().map(|host| PublishedPort { host, container_port }));
                    return Ok(());
                }
                // Only a busy port is a reason to look at the next.
                Err(Refusal { code: ErrorCode::Conflict, message }) => refused = Some(message),
                Err(Refusal { code, message }) => return Err(error(code, message)),
            }
        }
        Err(match refused.filter(|_| first == last) {
            Some(message) => error(ErrorCode::Conflict, message),
            None => error(
                ErrorCode::Exhausted,
                format!("no port of {first}-{last}/{} is free on this host: give others", request.protocol),
            ),
        })
    }

    /// The addresses of this host that a request is about.
    fn addresses(&self, request: &PortRequest) -> Result<Vec<IpAddr>, AgentError> {
        let own: Vec<Family> = self.endpoint.addresses.iter().map(|address| Family::of(*address)).collect();
        match request.host_address {
            None => Ok(own
                .into_iter()
                .map(|family| match family {
                    Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                    Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
                })
                .collect()),
            Some(address) if own.contains(&Family::of(address)) => Ok(vec![address]),
            Some(address) => {
                let family = Family::of(address);
                let message = format!(
                    "{} has no {family} address, so no port of {address} can lead to it: publish without an address, \
                     or use a network with {family}",
                    self.endpoint.shown_name()
                );
                Err(error(ErrorCode::Invalid, message))
            }
        }
    }

    /// The numbers to try: the one that a repeated request got before, else all from a place on that is the
    /// endpoint's own where any will do.
    fn candidates(
        &self,
        request: &PortRequest,
        addresses: &[IpAddr],
        first: u16,
        last: u16,
    ) -> impl Iterator<Item = NonZeroU16> + use<> {
        let has = |published: &&PublishedPort| {
            published.container_port == request.container_port
                && published.host.protocol == request.protocol
                && addresses.contains(&published.host.address)
                && (first..=last).contains(&published.host.port.get())
                && !self.chosen.contains(published)
        };
        let before = self.endpoint.ports.iter().find(has).map(|published| published.host.port);
        let [a, b, ..] = *self.endpoint.id.as_bytes();
        let number = usize::from(u16::from_be_bytes([a, b])) + usize::from(request.container_port.get());
        let count = usize::from(last.saturating_sub(first)) + 1;
        let begin = if request.host_ports.is_some() { 0 } else { number % count };
        let all = (first..=last).cycle().skip(begin).take(count).filter_map(NonZeroU16::new);
        before.into_iter().chain(all)
    }

    /// Takes ports that are not held for this endpoint already.
    fn take(&self, ports: &[HostPort]) -> Result<Vec<(HostPort, Hold)>, Refusal> {
        for port in ports {
            let conflict = |message| Err(Refusal { code: ErrorCode::Conflict, message });
            let overlaps = |published: &PublishedPort| published.host.overlaps(port);
            if let Some(other) = self.others.iter().find(|other| other.ports.iter().any(overlaps)) {
                let message = format!(
                    "port {port} of this host is published for {} already (`hopsack port` lists all): choose another",
                    other.shown_name()
                );
                return conflict(message);
            }
            if self.chosen.iter().any(overlaps) {
                return conflict(format!("port {port} of this host is asked for twice: choose another"));
            }
        }
        let own = |port: &HostPort| self.endpoint.ports.iter().any(|published| published.host == *port);
        let held = |port: &HostPort| self.holds.held.contains_key(port) && own(port);
        let fresh: Vec<HostPort> = ports.iter().filter(|port| !held(port)).copied().collect();
        self.holds.hold_all(&fresh).map_err(|(port, error)| match error {
            HoldError::Busy => Refusal {
                code: ErrorCode::Conflict,
                message: format!(
                    "port {port} is in use by another program of this host (`ss -lntup` lists them): stop that, or \
                     choose another"
                ),
            },
            HoldError::NoAddress => Refusal {
                code: ErrorCode::Invalid,
                message: format!("{} is no address of this host (`ip addr` lists them)", port.address),
            },
            HoldError::System(error) => {
                Refusal { code: ErrorCode::Host, message: format!("port {port} cannot be taken: {error}") }
            }
        })
    }
}

/// Why ports cannot be taken.
struct Refusal {
    code: ErrorCode,
    message: String,
}
