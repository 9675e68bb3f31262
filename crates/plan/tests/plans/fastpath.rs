//! What goes past the host's IP stack, and that it is nothing but what the routes would decide.

use crate::cluster::{ALL, DB, H2, H3, WEB, cidr, device, ip, view};
use crate::ports::{published, with_ports};
use crate::routed::{look_up, main_route, views};
use hopsack_plan::state::{FastEntry, FastHook, LinkKind, Route, RouteTarget};
use hopsack_plan::{Features, HostState, plan};
use hopsack_types::fastpath::{FastNext, FastPort};
use hopsack_types::numbers::vtep_mac;
use hopsack_types::{ChosenBy, Protocol};
use proptest::prelude::*;
use std::net::IpAddr;

#[test]
fn containers_here_behind_the_tunnel_and_on_neighbours_are_led_to_past_the_routes() {
    let view = view();
    let fast = plan(&view, &ALL).fast_path;
    let web = FastEntry {
        device: device("hopc0101010101"),
        mtu: 1500,
        network: WEB,
        next: FastNext::Mac(view.endpoints.values().next().unwrap().mac),
        has_ports: false,
    };
    assert_eq!(fast.endpoints[&ip("10.32.4.1")], web);
    assert_eq!(fast.endpoints[&ip("fd32:0:0:1::1")], web);
    assert_eq!(fast.endpoints[&ip("10.32.5.77")].network, DB);
    let remote =
        |link: &str, mtu, next| FastEntry { device: device(link), mtu, network: WEB, next, has_ports: false };
    let tunnel = remote("hopvxlan", 1450, FastNext::Mac(vtep_mac(H3)));
    assert_eq!(fast.remotes[&cidr("10.32.4.16/29")], tunnel);
    // A neighbour is reached without the tunnel, but for packets that the underlay has no next hop for.
    let neighbour = remote("eth0", 1500, FastNext::Hop(ip("192.0.2.2")));
    assert_eq!(fast.remotes[&cidr("10.32.4.8/29")], neighbour);
    assert_eq!(fast.remotes[&cidr("fd32:0:0:2:1::/80")].next, FastNext::Mac(vtep_mac(H2)));
    let hooks: Vec<(&str, FastHook)> = fast.hooks.iter().map(|(link, hook)| (link.as_str(), *hook)).collect();
    let (endpoint, tunnel) = (FastHook::Endpoint, FastHook::Tunnel);
    assert_eq!(hooks, [("hopc0101010101", endpoint), ("hopc0202020202", endpoint), ("hopvxlan", tunnel)]);
}

#[test]
fn what_is_said_through_a_published_port_takes_the_routes() {
    let web = ["0.0.0.0", "::"].map(|address| published(Protocol::Tcp, address, 8080, 80));
    let fast = plan(&with_ports(&web, &[]), &ALL).fast_path;
    let ports = ["10.32.4.1", "fd32:0:0:1::1"].map(|address| FastPort {
        address: ip(address),
        protocol: Protocol::Tcp,
        number: 80,
    });
    assert_eq!(fast.published, ports.into());
    let has_ports = |address: &str| fast.endpoints[&ip(address)].has_ports;
    assert!(has_ports("10.32.4.1") && has_ports("fd32:0:0:1::1") && !has_ports("10.32.5.77"));
}

#[test]
fn a_gateway_that_lies_in_a_prefix_of_another_host_is_answered_here() {
    let mut view = view();
    let gateway = ip("10.32.4.17");
    view.networks.get_mut(&WEB).unwrap().network.gateways.insert(gateway, ChosenBy::Default);
    let fast = plan(&view, &ALL).fast_path;
    let network = fast.remotes.iter().find(|(prefix, _)| prefix.contains(gateway)).unwrap().1.network;
    let entry = &fast.endpoints[&gateway];
    assert_eq!((entry.network, entry.mtu), (network, 0), "nothing may fit");
}

#[test]
fn a_network_that_is_gone_and_a_peer_without_a_path_are_not_led_to() {
    let mut view = view();
    view.networks.remove(&DB);
    view.paths.remove(&H3);
    let fast = plan(&view, &ALL).fast_path;
    assert!(!fast.endpoints.contains_key(&ip("10.32.5.77")));
    let left: Vec<String> = fast.remotes.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["10.32.4.8/29"]);
}

#[test]
fn where_links_run_no_programs_all_packets_take_the_routes() {
    let without = plan(&view(), &Features { fast_path: false, ..ALL });
    assert!(without.fast_path.is_empty());
    let with = plan(&view(), &ALL);
    assert_eq!(HostState { fast_path: Default::default(), ..with }, without, "and nothing else differs");
}

proptest! {
    #[test]
    fn the_fast_path_leads_where_the_routes_do(view in views()) {
        let state = plan(&view, &ALL);
        let fast = &state.fast_path;
        let here: Vec<IpAddr> = state.addresses.iter().map(|(_, net)| net.addr()).collect();
        for address in &here {
            let network = fast.remotes.iter().find(|(prefix, _)| prefix.contains(*address));
            let kept = fast.endpoints.get(address).is_some_and(|entry| entry.mtu == 0);
            prop_assert!(network.is_none() || kept, "{} is this host's own, and led to another", address);
        }
        for (address, entry) in &fast.endpoints {
            if here.contains(address) {
                prop_assert_eq!(entry.mtu, 0);
                continue;
            }
            prop_assert_eq!(look_up(&state, *address), Some(&RouteTarget::Device(entry.device.clone())));
            let link = &state.links[&entry.device];
            let LinkKind::Veth { peer_mac, .. } = &link.kind else { panic!("{} is no pair", entry.device) };
            prop_assert_eq!((link.mtu, FastNext::Mac(*peer_mac)), (entry.mtu, entry.next));
            let network = &view.networks[&entry.network].network;
            prop_assert!(network.subnets.iter().any(|subnet| subnet.contains(*address)));
        }
        for (prefix, entry) in &fast.remotes {
            let Route { target: RouteTarget::Via { next_hop, device }, mtu, .. } =
                main_route(&state, &prefix.to_string())
            else {
                panic!("{prefix} is not sent on");
            };
            prop_assert_eq!((&device, mtu), (&entry.device, Some(entry.mtu)));
            match entry.next {
                FastNext::Mac(mac) => prop_assert_eq!(state.neighbours[&(device, next_hop)], mac),
                FastNext::Hop(hop) => {
                    prop_assert_eq!((hop, &device), (next_hop, &view.underlay.device));
                }
            }
            let network = &view.networks[&entry.network].network;
            prop_assert!(network.subnets.iter().any(|subnet| subnet.covers(prefix)));
        }
        let looked_at = |kind: &LinkKind| !matches!(kind, LinkKind::Holder);
        let links = state.links.iter().filter(|(_, link)| looked_at(&link.kind)).map(|(name, _)| name);
        prop_assert!(fast.hooks.keys().eq(links));
    }
}
