//! Routed networks: the device of host addresses, endpoints' links, and who is reached how.

use crate::paths::Way;
use crate::state::{
    Container, HostState, LOCAL_TABLE, Link, LinkKind, MAIN_TABLE, Route, RouteKey, RouteTarget,
};
use crate::survey::{Peer, Survey, container_end};
use crate::view::{Attachment, Endpoint};
use hopsack_types::numbers::{ALIAS_PREFIX, loopback_metric, next_hop_v4, next_hop_v6};
use hopsack_types::{Cidr, Family, IfName, Network};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

/// Length of the prefix of an IPv6 next hop on the host's end of a pair: with it comes the on-link route by which
/// the host answers the container's own link-local address.
const LINK_LOCAL_LENGTH: u8 = 64;

/// Adds the device of host addresses, endpoints and routes.
pub fn fill(survey: &Survey<'_>, state: &mut HostState) {
    add_host_device(survey, state);
    // Later routes replace earlier ones of the same prefix: what is reached somehow wins over what is not.
    add_refusals(survey, state);
    for peer in &survey.peers {
        add_peer_routes(survey, peer, state);
    }
    for (device, endpoint) in &survey.endpoints {
        add_endpoint(survey, device, endpoint, state);
    }
}

fn add_host_device(survey: &Survey<'_>, state: &mut HostState) {
    let device = &survey.host_device;
    let link = Link {
        kind: LinkKind::Holder,
        alias: format!("{ALIAS_PREFIX}host"),
        mtu: survey.underlay().mtu,
        mac: None,
        up: true,
    };
    state.links.insert(device.clone(), link);
    let answered = survey.next_hops_v4().into_iter().chain(survey.gateways());
    for address in survey.own_addresses().chain(answered) {
        state.addresses.insert((device.clone(), IpNet::from(address)));
    }
}

/// What nobody holds must not leak by the default route, and what this host holds without a container must not loop.
fn add_refusals(survey: &Survey<'_>, state: &mut HostState) {
    let peers = survey.peers.iter().flat_map(|peer| peer.host.addresses.iter().copied().map(Cidr::host));
    let unreachable = survey.pools().map(|pool| pool.cidr).chain(survey.subnets()).chain(peers);
    for destination in unreachable {
        add_route(survey, state, destination, RouteTarget::Unreachable, None);
    }
    for destination in &survey.own_grants {
        add_route(survey, state, *destination, RouteTarget::Blackhole, None);
    }
}

fn add_peer_routes(survey: &Survey<'_>, peer: &Peer<'_>, state: &mut HostState) {
    for family in &survey.families {
        if let Some(Way { target, mtu }) = survey.way(peer, *family) {
            for destination in peer.sources(*family) {
                add_route(survey, state, destination, target.clone(), Some(mtu));
            }
        } else if survey.vxlan_device.is_none() {
            // Without a tunnel there is no path before `direct` is proven, and no probe would leave without a route.
            let target = survey.direct(peer, *family);
            for (destination, target) in peer.host.address(*family).map(Cidr::host).into_iter().zip(target) {
                add_route(survey, state, destination, target, None);
            }
        }
    }
}

fn add_route(
    survey: &Survey<'_>,
    state: &mut HostState,
    destination: Cidr,
    target: RouteTarget,
    mtu: Option<u32>,
) {
    let family = destination.family();
    if survey.uses(family) {
        let leads_on = matches!(target, RouteTarget::Via { .. } | RouteTarget::Device(_));
        let source = survey.own.address(family).filter(|_| leads_on);
        let key = RouteKey::new(MAIN_TABLE, destination);
        state.routes.insert(key, Route { target, source, mtu });
    }
}

/// What is reached by the next hop of an address: everything, or of an internal network its own subnets.
fn behind(network: &Network, address: IpAddr) -> Vec<Cidr> {
    if network.internal {
        network.subnets_of(Family::of(address)).collect()
    } else {
        vec![Cidr::around(address, 0)]
    }
}

fn add_endpoint(survey: &Survey<'_>, device: &IfName, endpoint: &Endpoint, state: &mut HostState) {
    let Some(peer) = container_end(endpoint.id) else { return };
    let most = survey.underlay().mtu;
    let mtu = survey.network(endpoint).and_then(|network| network.mtu).map_or(most, |mtu| mtu.min(most));
    let usable = |address: &IpAddr| survey.uses(Family::of(*address));
    let addresses = endpoint.addresses.iter().copied().filter(usable);
    let next_hop = |address: IpAddr| -> IpAddr {
        match Family::of(address) {
            Family::V4 => next_hop_v4(endpoint.network).into(),
            Family::V6 => next_hop_v6(endpoint.network).into(),
        }
    };
    let container = match &endpoint.attachment {
        Attachment::Docker => Container::External,
        Attachment::Namespace { path, interface } => Container::Namespace {
            path: path.clone(),
            interface: interface.clone(),
            addresses: addresses.clone().collect(),
            routes: survey
                .network(endpoint)
                .into_iter()
                .flat_map(|network| addresses.clone().flat_map(move |address| behind(network, address)))
                .map(|destination| (destination, next_hop(destination.first())))
                .collect(),
            mtu,
        },
    };
    let link = Link {
        kind: LinkKind::Veth { peer, peer_mac: endpoint.mac, container },
        alias: format!("{ALIAS_PREFIX}{}", endpoint.id),
        mtu,
        mac: None,
        up: true,
    };
    state.links.insert(device.clone(), link);
    for address in addresses {
        add_route(survey, state, Cidr::host(address), RouteTarget::Device(device.clone()), None);
        state.neighbours.insert((device.clone(), address), endpoint.mac);
        add_way_to_the_loopback(device, endpoint, address, state);
        let next_hop = next_hop(address);
        if let (IpAddr::V6(_), Ok(net)) = (next_hop, IpNet::new(next_hop, LINK_LOCAL_LENGTH)) {
            state.addresses.insert((device.clone(), net));
        }
    }
}

/// Answers of a port that is published at `::1` come in by the container's link, and the kernel takes what is for a
/// loopback address only where a route says so of the very device. What comes from a container *for* `::1` it has
/// dropped by then (RFC 4291, section 2.5.3); the route of `lo` comes first for all others.
fn add_way_to_the_loopback(device: &IfName, endpoint: &Endpoint, address: IpAddr, state: &mut HostState) {
    let is_at_loopback = |at: IpAddr| at.is_ipv6() && (at.is_unspecified() || at.is_loopback());
    if address.is_ipv6() && endpoint.ports.iter().any(|published| is_at_loopback(published.host.address)) {
        let destination = Cidr::host(Ipv6Addr::LOCALHOST.into());
        let metric = Some(loopback_metric(endpoint.id));
        let key = RouteKey { metric, ..RouteKey::new(LOCAL_TABLE, destination) };
        state
            .routes
            .insert(key, Route { target: RouteTarget::Local(device.clone()), source: None, mtu: None });
    }
}
