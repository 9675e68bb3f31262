//! Published ports: how they are asked for on the command line, and `hopsack port`, which shows them.

use crate::cli::Port;
use crate::error::CommandError;
use crate::output::{Format, Output};
use crate::table::Table;
use hopsack_api::client::Client;
use hopsack_api::{EndpointStatus, PortRequest};
use hopsack_types::{ContainerRef, EndpointId, NetworkName, Protocol, PublishedPort};
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::thread;
use std::time::{Duration, Instant};

/// The fewest digits of an id that stand for it.
const SHORTEST_ID: usize = 4;

/// How long Docker may take to tell whose its endpoints are.
const NAMED: Duration = Duration::from_secs(2);
/// Between two looks for that.
const LOOK: Duration = Duration::from_millis(50);

/// A text that asks for no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80")]
pub struct PortError;

/// Reads what `docker run --publish` takes for one port of a container.
pub fn parse(text: &str) -> Result<PortRequest, PortError> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.parse().map_err(|_| PortError)?),
        None => (text, Protocol::Tcp),
    };
    let (host, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host) = match host.rsplit_once(':') {
        Some((address, host)) => (Some(address), host),
        None => (None, host),
    };
    let number = |text: &str| text.parse::<NonZeroU16>().map_err(|_| PortError);
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => Ok((number(first)?, number(last)?)),
        None => number(text).map(|port| (port, port)),
    };
    let host_ports = if host.is_empty() { None } else { Some(range(host)?) };
    if host_ports.is_some_and(|(first, last)| first > last) {
        return Err(PortError);
    }
    Ok(PortRequest {
        protocol,
        host_address: address.map(parse_address).transpose()?,
        host_ports,
        container_port: number(container)?,
    })
}

/// An address; of IPv6 in brackets.
fn parse_address(text: &str) -> Result<IpAddr, PortError> {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr = inside.unwrap_or(text).parse().map_err(|_| PortError)?;
    if address.is_ipv6() == inside.is_some() { Ok(address) } else { Err(PortError) }
}

/// A published port with whose it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    endpoint: EndpointId,
    name: String,
    network: NetworkName,
    #[serde(flatten)]
    published: PublishedPort,
}

/// `hopsack port`
pub fn list(client: &Client, arguments: Port, out: &mut Output<'_>) -> Result<(), CommandError> {
    let endpoints = match &arguments.container {
        Some(container) => await_called(client, container)?,
        None => client.endpoints()?,
    };
    let shown: Vec<Shown> = endpoints
        .into_iter()
        .flat_map(|EndpointStatus { id, name, network_name, ports, .. }| {
            ports.into_iter().map(move |published| Shown {
                endpoint: id,
                name: name.clone(),
                network: network_name.clone(),
                published,
            })
        })
        .collect();
    match arguments.listing.output {
        Format::Json => out.json(&shown),
        Format::Text if arguments.container.is_some() => {
            shown.iter().try_for_each(|shown| out.line(shown.published))
        }
        Format::Text => {
            let mut table = Table::new(["NAME", "NETWORK", "PORT", "HOST PORT"]);
            for Shown { name, network, published, .. } in shown {
                let PublishedPort { host, container_port } = published;
                table.row([
                    name,
                    network.to_string(),
                    format!("{container_port}/{}", host.protocol),
                    host.socket_address().to_string(),
                ]);
            }
            out.table(&table)
        }
    }
}

/// The endpoints that are called so. Docker tells whose its endpoints are a moment after a container's start.
fn await_called(client: &Client, name: &str) -> Result<Vec<EndpointStatus>, CommandError> {
    let begin = Instant::now();
    loop {
        let mut endpoints = client.endpoints()?;
        let found = called(name, &endpoints);
        if !found.is_empty() {
            endpoints.retain(|endpoint| found.contains(&endpoint.id));
            return Ok(endpoints);
        }
        let complete = endpoints.iter().all(|endpoint| !endpoint.docker || endpoint.container.is_some());
        if complete || begin.elapsed() > NAMED {
            return Err(CommandError::NoContainer(name.to_owned()));
        }
        thread::sleep(LOOK);
    }
}

/// The endpoints of the container that a name or the beginning of an id stands for, else those that it stands for.
fn called(name: &str, endpoints: &[EndpointStatus]) -> BTreeSet<EndpointId> {
    let containers = endpoints.iter().filter_map(|endpoint| endpoint.container.as_ref());
    let container = ContainerRef::find(containers, name);
    let is_called = |endpoint: &&EndpointStatus| match container {
        Some(container) => endpoint.container.as_ref() == Some(container),
        None => {
            let by_id = name.len() >= SHORTEST_ID && endpoint.id.to_string().starts_with(name);
            endpoint.name == name || by_id
        }
    };
    endpoints.iter().filter(is_called).map(|endpoint| endpoint.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_asked_for_as_docker_has_it() {
        let port = |number| NonZeroU16::new(number).unwrap();
        let asked = |host_address: Option<&str>, host_ports: Option<(u16, u16)>, protocol| PortRequest {
            protocol,
            host_address: host_address.map(|address| address.parse().unwrap()),
            host_ports: host_ports.map(|(first, last)| (port(first), port(last))),
            container_port: port(80),
        };
        for (text, expected) in [
            ("80", asked(None, None, Protocol::Tcp)),
            ("8080:80", asked(None, Some((8080, 8080)), Protocol::Tcp)),
            ("8080-8090:80/udp", asked(None, Some((8080, 8090)), Protocol::Udp)),
            ("127.0.0.1:8080:80/sctp", asked(Some("127.0.0.1"), Some((8080, 8080)), Protocol::Sctp)),
            ("127.0.0.1::80", asked(Some("127.0.0.1"), None, Protocol::Tcp)),
            ("[::1]:8080:80", asked(Some("::1"), Some((8080, 8080)), Protocol::Tcp)),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for bad in
            ["", "0", "80/icmp", "x:80", "8090-8080:80", "::1:8080:80", "[127.0.0.1]:1:80", "70000", ":"]
        {
            assert_eq!(parse(bad), Err(PortError), "{bad:?}");
        }
    }
}
