//! The container's end of a pair inside a namespace that we configure.

use super::observe::is_assigned;
use crate::KernelError;
use hopsack_netlink::link::{Kind, Link, LinkChange};
use hopsack_netlink::netns::{Namespace, in_ns};
use hopsack_netlink::route::{Kind as RouteKind, Route, RouteFilter};
use hopsack_netlink::{NetlinkError, Socket, sysctl};
use hopsack_plan::state::{Container, MAIN_TABLE};
use hopsack_types::numbers::ROUTE_PROTOCOL;
use hopsack_types::{Cidr, Family, IfName, Mac};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

/// The loopback interface of every namespace.
const LOOPBACK: &str = "lo";

/// What is inside.
pub struct Inside {
    /// The MAC address of the container's end.
    pub mac: Option<Mac>,
    /// Its configuration.
    pub container: Container,
}

/// What the container's end should be.
pub struct Wanted<'a> {
    pub path: &'a Path,
    pub interface: &'a IfName,
    pub addresses: &'a BTreeSet<IpAddr>,
    pub routes: &'a BTreeMap<Cidr, IpAddr>,
    pub mtu: u32,
    pub mac: Mac,
}

/// Looks at the other end of `outside`, which has left the host's namespace. An end that somebody else placed counts
/// as it should be; none if it should be in a namespace and is not.
pub fn observe(outside: &Link, desired: &Container) -> Option<Inside> {
    let Container::Namespace { path, .. } = desired else {
        return Some(Inside { mac: None, container: Container::External });
    };
    match in_ns(path, || look(outside, path)) {
        Ok(Ok(inside)) => inside,
        Ok(Err(error)) | Err(error) => {
            tracing::debug!(%error, "a container's namespace cannot be looked into");
            None
        }
    }
}

/// Whether the other end is in the namespace.
pub fn is_inside(outside: &Link, path: &Path) -> Result<bool, NetlinkError> {
    in_ns(path, || Ok(find(&mut Socket::open()?, outside)?.is_some()))?
}

/// Moves the end `peer` of the pair out of the host's namespace.
pub fn take_in(socket: &mut Socket, peer: u32, wanted: &Wanted<'_>) -> Result<(), KernelError> {
    let namespace = Namespace::open(wanted.path).map_err(gone)?;
    let change =
        LinkChange { namespace: Some(namespace.fd()), name: Some(wanted.interface), ..LinkChange::default() };
    match socket.change_link(peer, &change) {
        Err(error) if error.is_exists() => Err(KernelError::InterfaceTaken(wanted.interface.clone())),
        result => Ok(result?),
    }
}

/// Configures the other end of `outside` inside the namespace.
pub fn configure(outside: &Link, wanted: &Wanted<'_>) -> Result<(), KernelError> {
    in_ns(wanted.path, || configure_here(outside, wanted)).map_err(gone)?
}

const fn gone(source: NetlinkError) -> KernelError {
    KernelError::ContainerGone { source }
}

/// The other end, if it is in this namespace: the numbers must match from both sides, since numbers are unique only
/// within a namespace.
fn find(socket: &mut Socket, outside: &Link) -> Result<Option<Link>, NetlinkError> {
    Ok(socket.links()?.into_iter().find(|link| {
        link.kind == Kind::Veth && link.peer == Some(outside.index) && Some(link.index) == outside.peer
    }))
}

fn look(outside: &Link, path: &Path) -> Result<Option<Inside>, NetlinkError> {
    let mut socket = Socket::open()?;
    let Some(link) = find(&mut socket, outside)? else { return Ok(None) };
    let addresses = assigned(&mut socket, link.index)?.into_iter().map(|net| net.addr()).collect();
    let routes = ways(&mut socket, link.index)?;
    let container = Container::Namespace {
        path: path.to_owned(),
        interface: link.name,
        addresses,
        routes,
        mtu: link.mtu,
    };
    Ok(Some(Inside { mac: link.mac, container }))
}

fn assigned(socket: &mut Socket, device: u32) -> Result<Vec<IpNet>, NetlinkError> {
    Ok(socket
        .addresses()?
        .into_iter()
        .filter(|address| address.device == device && is_assigned(address.net, address.no_detection))
        .map(|address| address.net)
        .collect())
}

/// Destinations and gateways of our routes over the device; IPv4 ones only if they are reachable on the link as well.
fn ways(socket: &mut Socket, device: u32) -> Result<BTreeMap<Cidr, IpAddr>, NetlinkError> {
    let routes = routes(socket, device)?;
    let on_link = |gateway: &IpAddr| {
        gateway.is_ipv6() || routes.iter().any(|route| route.destination == Cidr::host(*gateway))
    };
    let ways = routes.iter().filter_map(|route| Some((route.destination, route.gateway?)));
    Ok(ways.filter(|(_, gateway)| on_link(gateway)).collect())
}

fn routes(socket: &mut Socket, device: u32) -> Result<Vec<Route>, NetlinkError> {
    let filter = RouteFilter { protocol: Some(ROUTE_PROTOCOL), table: Some(MAIN_TABLE) };
    let mut routes = Vec::new();
    for family in Family::BOTH {
        routes
            .extend(socket.routes(family, filter)?.into_iter().filter(|route| route.device == Some(device)));
    }
    Ok(routes)
}

fn configure_here(outside: &Link, wanted: &Wanted<'_>) -> Result<(), KernelError> {
    let mut socket = Socket::open()?;
    if let Ok(loopback) = IfName::new(LOOPBACK)
        && let Some(link) = socket.link(&loopback)?
        && !link.up
    {
        socket.change_link(link.index, &LinkChange { up: Some(true), ..LinkChange::default() })?;
    }
    let link = find(&mut socket, outside)?
        .ok_or_else(|| KernelError::ContainerEndElsewhere(wanted.path.to_owned()))?;
    if link.name != *wanted.interface {
        // Kernels below 6 rename only what is down.
        let change = LinkChange { up: Some(false), ..LinkChange::default() };
        socket.change_link(link.index, &change)?;
        socket
            .change_link(link.index, &LinkChange { name: Some(wanted.interface), ..LinkChange::default() })?;
    }
    let change = LinkChange {
        mac: Some(wanted.mac).filter(|mac| link.mac != Some(*mac)),
        mtu: Some(wanted.mtu).filter(|mtu| link.mtu != *mtu),
        ..LinkChange::default()
    };
    socket.change_link(link.index, &change)?;
    if wanted.addresses.iter().any(IpAddr::is_ipv6) {
        // A runtime may have turned IPv6 off; and nobody else can have our addresses, so there is nothing to detect.
        sysctl::write(&format!("net/ipv6/conf/{}/disable_ipv6", wanted.interface), "0")?;
        sysctl::write(&format!("net/ipv6/conf/{}/accept_dad", wanted.interface), "0")?;
    }
    let there = assigned(&mut socket, link.index)?;
    let desired: BTreeSet<IpNet> = wanted.addresses.iter().copied().map(IpNet::from).collect();
    for net in there.iter().filter(|net| !desired.contains(*net)) {
        ignore_gone(socket.remove_address(link.index, *net))?;
    }
    for net in desired.iter().filter(|net| !there.contains(*net)) {
        socket.add_address(link.index, *net)?;
    }
    socket.change_link(link.index, &LinkChange { up: Some(true), ..LinkChange::default() })?;
    set_routes(&mut socket, link.index, wanted.routes)
}

fn set_routes(socket: &mut Socket, device: u32, wanted: &BTreeMap<Cidr, IpAddr>) -> Result<(), KernelError> {
    let there = routes(socket, device)?;
    for route in &there {
        let stays = match route.gateway {
            Some(gateway) => wanted.get(&route.destination) == Some(&gateway),
            None => wanted.values().any(|next_hop| *next_hop == route.destination.first()),
        };
        if !stays {
            ignore_gone(socket.remove_route(
                MAIN_TABLE,
                route.destination,
                route.metric,
                route.tos,
                ROUTE_PROTOCOL,
            ))?;
        }
    }
    let has = |destination: Cidr, gateway: Option<IpAddr>| {
        there.iter().any(|route| route.destination == destination && route.gateway == gateway)
    };
    // IPv6 next hops are link-local, and so on the link already.
    for next_hop in wanted.values().filter(|next_hop| next_hop.is_ipv4()) {
        let on_link = Cidr::host(*next_hop);
        if !has(on_link, None) {
            socket.replace_route(&route_of(on_link, None, device))?;
        }
    }
    for (destination, next_hop) in wanted {
        if !has(*destination, Some(*next_hop)) {
            add_way(socket, &route_of(*destination, Some(*next_hop), device))?;
        }
    }
    Ok(())
}

/// The first network of a container has its default route; those of later ones stand behind it.
fn add_way(socket: &mut Socket, route: &Route) -> Result<(), KernelError> {
    match socket.add_route(route) {
        Err(error) if error.is_exists() => {
            // Larger than either family's default, and different for each device.
            let metric = route.device.map(|device| BEHIND.saturating_add(device));
            Ok(socket.replace_route(&Route { metric, ..route.clone() })?)
        }
        result => Ok(result?),
    }
}

/// The metric above which default routes of a container's further networks stand; IPv6's default is 1024.
const BEHIND: u32 = 2048;

fn route_of(destination: Cidr, gateway: Option<IpAddr>, device: u32) -> Route {
    Route {
        table: MAIN_TABLE,
        destination,
        kind: RouteKind::Unicast,
        gateway,
        on_link: gateway.is_some(),
        device: Some(device),
        source: None,
        mtu: None,
        protocol: ROUTE_PROTOCOL,
        metric: None,
        tos: 0,
    }
}

fn ignore_gone(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_gone() => Ok(()),
        result => result,
    }
}
