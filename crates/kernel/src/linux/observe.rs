//! Reads what is ours out of netlink's tables.

use super::container;
use super::fastpath::LinuxFastPath;
use crate::KernelError;
use hopsack_netlink::link::{Kind, Link as Found};
use hopsack_netlink::route::{Kind as RouteKind, Route as FoundRoute, RouteFilter};
use hopsack_netlink::{Socket, link};
use hopsack_plan::state::{Container, HostState, Link, LinkKind, MarkRule, Route, RouteKey, RouteTarget};
use hopsack_types::numbers::{ALIAS_PREFIX, ENDPOINT_PREFIX, HOST_DEVICE, ROUTE_PROTOCOL, VXLAN_DEVICE};
use hopsack_types::{Family, IfName};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Everything of ours but settings, the firewall and the forward chains of others.
pub fn observe(
    socket: &mut Socket,
    fast: &LinuxFastPath,
    desired: &HostState,
) -> Result<HostState, KernelError> {
    let mut state = HostState::default();
    let found: BTreeMap<u32, Found> = socket.links()?.into_iter().map(|link| (link.index, link)).collect();
    let ours: BTreeMap<u32, &IfName> =
        found.values().filter(|link| is_ours(link)).map(|link| (link.index, &link.name)).collect();
    for (index, name) in &ours {
        if let Some(link) = found.get(index) {
            state.links.insert((*name).clone(), observe_link(link, &found, desired.links.get(name)));
        }
    }
    for address in socket.addresses()? {
        if let Some(name) = ours.get(&address.device)
            && is_assigned(address.net, address.no_detection)
        {
            state.addresses.insert(((*name).clone(), address.net));
        }
    }
    for neighbour in socket.neighbours()? {
        if let (Some(name), Some(mac), true) =
            (ours.get(&neighbour.device), neighbour.mac, neighbour.permanent)
        {
            state.neighbours.insert(((*name).clone(), neighbour.address), mac);
        }
    }
    for (index, name) in &ours {
        if found.get(index).is_some_and(|link| matches!(link.kind, Kind::Vxlan(_))) {
            for entry in socket.forwarding_entries(*index)? {
                state.fdb.insert(((*name).clone(), entry.mac), entry.remote);
            }
        }
    }
    for family in Family::BOTH {
        let filter = RouteFilter { protocol: Some(ROUTE_PROTOCOL), table: None };
        for route in socket.routes(family, filter)? {
            state.routes.extend(observe_route(&route, &found));
        }
        state.rules.extend(
            socket
                .rules(family)?
                .into_iter()
                .filter(|rule| rule.protocol == ROUTE_PROTOCOL && rule.mark == rule.mask)
                .map(|rule| MarkRule {
                    family,
                    preference: rule.preference,
                    mark: rule.mark,
                    table: rule.table,
                }),
        );
    }
    state.fast_path = fast.observe(socket, &ours, &found, &desired.fast_path)?;
    Ok(state)
}

/// Whether a link is ours: by its alias, or by its name while it has no alias, because the kernel takes no alias with
/// the request that makes a link.
pub fn is_ours(link: &Found) -> bool {
    let name = link.name.as_str();
    let is_endpoint = name
        .strip_prefix(ENDPOINT_PREFIX)
        .is_some_and(|id| id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    link.alias.starts_with(ALIAS_PREFIX)
        || (link.alias.is_empty() && (name == HOST_DEVICE || name == VXLAN_DEVICE || is_endpoint))
}

/// Whether somebody assigned the address: the kernel makes link-local ones itself, and unlike ours with duplicate
/// address detection.
pub fn is_assigned(net: IpNet, no_detection: bool) -> bool {
    match net {
        IpNet::V4(_) => true,
        IpNet::V6(net) => !net.addr().is_unicast_link_local() || no_detection,
    }
}

fn observe_link(link: &Found, all: &BTreeMap<u32, Found>, desired: Option<&Link>) -> Link {
    Link {
        kind: match &link.kind {
            Kind::Bridge => LinkKind::Holder,
            Kind::Vxlan(vxlan) => observe_vxlan(vxlan),
            Kind::Veth => observe_veth(link, all, desired),
            Kind::Other => LinkKind::Vxlan { vni: 0, port: 0, local: NEVER_MADE },
        },
        alias: link.alias.clone(),
        mtu: link.mtu,
        // Where no plan cares, none is observed.
        mac: link.mac.filter(|_| desired.is_some_and(|desired| desired.mac.is_some())),
        up: link.up,
    }
}

/// No plan asks for a VXLAN device like this, so a link of ours that somebody has put another kind in place of is
/// made anew.
const NEVER_MADE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn observe_vxlan(vxlan: &link::Vxlan) -> LinkKind {
    LinkKind::Vxlan { vni: vxlan.vni, port: vxlan.port, local: vxlan.local.unwrap_or(NEVER_MADE) }
}

fn observe_veth(link: &Found, all: &BTreeMap<u32, Found>, desired: Option<&Link>) -> LinkKind {
    let peer = link.peer.filter(|_| !link.peer_elsewhere).and_then(|index| all.get(&index));
    let wanted = desired.and_then(|desired| match &desired.kind {
        LinkKind::Veth { peer, peer_mac, container } => Some((peer, *peer_mac, container)),
        LinkKind::Holder | LinkKind::Vxlan { .. } => None,
    });
    match (peer, wanted) {
        // A link without MAC address cannot be the end of a pair.
        (Some(peer), _) => LinkKind::Veth {
            peer: peer.name.clone(),
            peer_mac: peer.mac.unwrap_or(hopsack_types::Mac::from_bytes([0; 6])),
            container: Container::External,
        },
        (None, Some((peer, peer_mac, container))) => {
            // What it is called inside is told as the container's interface.
            let inside = container::observe(link, container);
            LinkKind::Veth {
                peer: peer.clone(),
                peer_mac: inside.as_ref().and_then(|inside| inside.mac).unwrap_or(peer_mac),
                container: inside.map_or(Container::External, |inside| inside.container),
            }
        }
        (None, None) => LinkKind::Veth {
            peer: link.name.clone(),
            peer_mac: hopsack_types::Mac::from_bytes([0; 6]),
            container: Container::External,
        },
    }
}

/// None for routes that we never make (several next hops).
fn observe_route(route: &FoundRoute, links: &BTreeMap<u32, Found>) -> Option<(RouteKey, Route)> {
    let device = || route.device.and_then(|index| links.get(&index)).map(|link| link.name.clone());
    let target = match (route.kind, route.gateway) {
        (RouteKind::Unicast, Some(next_hop)) => RouteTarget::Via { next_hop, device: device()? },
        (RouteKind::Unicast, None) => RouteTarget::Device(device()?),
        (RouteKind::Local, _) => RouteTarget::Local(device()?),
        (RouteKind::Unreachable, _) => RouteTarget::Unreachable,
        (RouteKind::Blackhole, _) => RouteTarget::Blackhole,
        (RouteKind::Other, _) => return None,
    };
    // Of other kinds there is one, and IPv6 shows the metric that it chose itself.
    let metric = route.metric.filter(|_| route.kind == RouteKind::Local);
    let key = RouteKey { table: route.table, destination: route.destination, metric, tos: route.tos };
    Some((key, Route { target, source: route.source, mtu: route.mtu }))
}
