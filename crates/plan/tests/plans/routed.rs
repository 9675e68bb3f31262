//! What a plan routes where, and what it promises whatever the view.

use crate::cluster::{ALL, DB, H1, H2, H3, WEB, cidr, device, endpoint, ip, seen_by, view};
use hopsack_plan::paths::{may_be_direct, may_be_tunnelled, probe_addresses};
use hopsack_plan::probes::probe_route;
use hopsack_plan::state::{LinkKind, MAIN_TABLE, Route, RouteKey, RouteTarget};
use hopsack_plan::view::{NetworkView, View};
use hopsack_plan::{Features, HostState, plan};
use hopsack_types::numbers::vtep_mac;
use hopsack_types::path::{PathChoice, PathKind};
use hopsack_types::{Cidr, Family, HostId, Network};
use proptest::prelude::*;

use std::net::IpAddr;

fn route<'a>(state: &'a HostState, table: u32, destination: &str) -> Option<&'a Route> {
    state.routes.get(&RouteKey::new(table, cidr(destination)))
}

pub fn main_route(state: &HostState, destination: &str) -> Route {
    route(state, MAIN_TABLE, destination).unwrap_or_else(|| panic!("no route to {destination}")).clone()
}

fn via(next_hop: &str, name: &str) -> RouteTarget {
    RouteTarget::Via { next_hop: ip(next_hop), device: device(name) }
}

/// What the kernel would do with a packet: the longest prefix of the main table.
pub fn look_up(state: &HostState, address: IpAddr) -> Option<&RouteTarget> {
    let main = state.routes.iter().filter(|(key, _)| key.table == MAIN_TABLE && key.tos == 0);
    let matching = main.filter(|(key, _)| key.destination.contains(address));
    matching.max_by_key(|(key, _)| key.destination.length()).map(|(_, route)| &route.target)
}

#[test]
fn a_neighbour_is_reached_over_the_underlay_and_a_far_host_through_the_tunnel() {
    let state = plan(&view(), &ALL);
    for direct in ["10.32.4.8/29", "10.32.0.2/32"] {
        let route = main_route(&state, direct);
        assert_eq!(route.target, via("192.0.2.2", "eth0"));
        assert_eq!((route.mtu, route.source), (Some(1500), Some(ip("10.32.0.1"))));
    }
    for tunnelled in ["10.32.4.16/29", "10.32.0.3/32"] {
        let route = main_route(&state, tunnelled);
        assert_eq!(route.target, via("10.32.0.3", "hopvxlan"));
        assert_eq!((route.mtu, route.source), (Some(1450), Some(ip("10.32.0.1"))));
    }
    let mac = vtep_mac(H3);
    assert_eq!(state.neighbours[&(device("hopvxlan"), ip("10.32.0.3"))], mac);
    assert_eq!(state.fdb[&(device("hopvxlan"), mac)], ip("198.51.100.3"));
}

#[test]
fn v6_goes_through_the_tunnel_over_a_v4_underlay_and_fits_it() {
    let state = plan(&view(), &ALL);
    let Route { target: RouteTarget::Via { next_hop, device: out }, mtu, source } =
        main_route(&state, "fd32:0:0:2:1::/80")
    else {
        panic!("not sent on");
    };
    assert_eq!((out, mtu, source), (device("hopvxlan"), Some(1450), Some(ip("fd32::1"))));
    assert!(matches!(next_hop, IpAddr::V6(hop) if hop.is_unicast_link_local()));
    assert_eq!(state.neighbours[&(device("hopvxlan"), next_hop)], vtep_mac(H2));
}

#[test]
fn v6_goes_direct_over_a_v6_underlay() {
    let mut view = view();
    for (number, host) in (1..).zip(view.hosts.values_mut()) {
        host.underlay = ip(&format!("2001:db8::{number}"));
    }
    view.underlay.address = ip("2001:db8::1");
    view.underlay.on_link = cidr("2001:db8::/64");
    let state = plan(&view, &ALL);
    assert_eq!(main_route(&state, "fd32:0:0:2:1::/80").target, via("2001:db8::2", "eth0"));
    assert_eq!(main_route(&state, "10.32.4.8/29").target, via("10.32.0.2", "hopvxlan"));
    assert_eq!(main_route(&state, "10.32.4.8/29").mtu, Some(1430));
}

#[test]
fn what_could_lead_to_a_peer_follows_segments_and_families() {
    let mut view = view();
    let (own, near, far) = (view.hosts[&H1].clone(), view.hosts[&H2].clone(), view.hosts[&H3].clone());
    assert!(may_be_direct(&view.underlay, &own, &near) && !may_be_direct(&view.underlay, &own, &far));
    assert!(may_be_tunnelled(&view.underlay, &ALL, &far));
    assert!(!may_be_tunnelled(&view.underlay, &Features { vxlan: false, ..ALL }, &far));
    assert_eq!(probe_addresses(&view.underlay, &own, &far), Some((ip("10.32.0.1"), ip("10.32.0.3"))));
    view.underlay.address = ip("2001:db8::1");
    assert_eq!(probe_addresses(&view.underlay, &own, &far), Some((ip("fd32::1"), ip("fd32::3"))));
    assert!(!may_be_tunnelled(&view.underlay, &ALL, &far));
    let only_v6 = hopsack_types::Host { addresses: vec![ip("fd32::2")], ..near };
    view.underlay.address = ip("192.0.2.1");
    assert!(!may_be_direct(&view.underlay, &own, &only_v6), "it could not be proven");
}

#[test]
fn own_prefixes_without_a_container_and_free_ones_lead_nowhere() {
    let state = plan(&view(), &ALL);
    assert_eq!(main_route(&state, "10.32.4.0/29").target, RouteTarget::Blackhole);
    assert_eq!(main_route(&state, "10.32.4.0/24").target, RouteTarget::Unreachable);
    assert_eq!(main_route(&state, "10.32.0.0/12").target, RouteTarget::Unreachable);
    assert_eq!(look_up(&state, ip("10.32.4.3")), Some(&RouteTarget::Blackhole));
    assert_eq!(look_up(&state, ip("10.32.4.99")), Some(&RouteTarget::Unreachable));
    assert_eq!(look_up(&state, ip("203.0.113.1")), None);
}

#[test]
fn a_container_is_reached_by_its_device_also_where_its_address_is_granted_alone() {
    let state = plan(&view(), &ALL);
    let web = device("hopc0101010101");
    assert_eq!(main_route(&state, "10.32.4.1/32").target, RouteTarget::Device(web.clone()));
    assert_eq!(main_route(&state, "10.32.4.1/32").source, Some(ip("10.32.0.1")));
    assert_eq!(main_route(&state, "fd32:0:0:1::1/128").target, RouteTarget::Device(web.clone()));
    assert_eq!(main_route(&state, "10.32.5.77/32").target, RouteTarget::Device(device("hopc0202020202")));
    let LinkKind::Veth { peer, .. } = &state.links[&web].kind else { panic!("not a pair") };
    assert_eq!(*peer, device("hope0101010101"));
    // The v6 next hop answers on the pair itself, the v4 ones on the device of host addresses.
    assert_eq!(state.addresses.iter().filter(|(on, _)| *on == web).count(), 1);
    assert_eq!(state.addresses.iter().filter(|(on, _)| *on == device("hop0")).count(), 4);
}

#[test]
fn a_peer_without_a_path_is_unreachable_and_nothing_of_it_leaks() {
    let mut view = view();
    view.paths.remove(&H3);
    view.pools.clear();
    let state = plan(&view, &ALL);
    assert_eq!(main_route(&state, "10.32.0.3/32").target, RouteTarget::Unreachable);
    assert_eq!(look_up(&state, ip("10.32.4.17")), Some(&RouteTarget::Unreachable));
}

#[test]
fn probes_have_routes_where_only_their_own_path_leads_on() {
    let state = plan(&view(), &ALL);
    let target =
        |kind, to: &str| state.routes.get(&probe_route(kind, ip(to))).map(|route| route.target.clone());
    assert_eq!(target(PathKind::Direct, "10.32.0.2"), Some(via("192.0.2.2", "eth0")));
    assert_eq!(target(PathKind::Direct, "10.32.0.3"), Some(RouteTarget::Unreachable));
    assert_eq!(target(PathKind::Direct, "fd32::2"), Some(RouteTarget::Unreachable));
    assert_eq!(target(PathKind::Vxlan, "10.32.0.2"), Some(via("10.32.0.2", "hopvxlan")));
    assert_eq!(target(PathKind::Vxlan, "10.32.0.3"), Some(via("10.32.0.3", "hopvxlan")));
    assert_eq!(target(PathKind::Vxlan, "fd32::3"), Some(main_route(&state, "fd32::3/128").target));
}

#[test]
fn no_packet_of_ipv4_pays_for_a_routing_rule() {
    let state = plan(&view(), &ALL);
    let families: Vec<Family> = state.rules.iter().map(|rule| rule.family).collect();
    assert_eq!(families, [Family::V6, Family::V6]);
}

#[test]
fn a_kernel_without_v6_or_vxlan_is_asked_for_neither() {
    let state = plan(&view(), &Features { vxlan: false, ipv6: false, fast_path: true });
    assert!(!state.links.contains_key(&device("hopvxlan")));
    assert!(state.routes.keys().all(|key| key.destination.net().addr().is_ipv4()));
    assert!(state.addresses.iter().all(|(_, net)| net.addr().is_ipv4()));
    assert!(state.sysctls.keys().all(|path| !path.starts_with("net/ipv6")));
    assert!(state.fdb.is_empty());
    assert_eq!(main_route(&state, "10.32.0.3/32").target, RouteTarget::Unreachable);
    assert_eq!(main_route(&state, "10.32.4.8/29").target, via("192.0.2.2", "eth0"));
}

#[test]
fn a_host_that_follows_router_advertisements_goes_on_to_while_it_forwards() {
    let setting = "net/ipv6/conf/eth0/accept_ra";
    let mut view = view();
    assert_eq!(plan(&view, &ALL).sysctls.get(setting), None, "one that does not is left as it is");
    view.underlay.advertised.insert(device("eth0"));
    assert_eq!(plan(&view, &ALL).sysctls.get(setting).map(String::as_str), Some("2"));
    let v4_only = Features { vxlan: true, ipv6: false, fast_path: true };
    assert_eq!(plan(&view, &v4_only).sysctls.get(setting), None, "without v6 nothing begins to forward it");
}

#[test]
fn without_vxlan_a_neighbour_can_be_probed_before_it_has_a_path() {
    let mut view = view();
    view.paths.clear();
    let state = plan(&view, &Features { vxlan: false, ipv6: true, fast_path: true });
    assert_eq!(main_route(&state, "10.32.0.2/32").target, via("192.0.2.2", "eth0"));
    assert_eq!(look_up(&state, ip("10.32.4.9")), Some(&RouteTarget::Unreachable));
}

#[test]
fn a_host_outside_the_cluster_holds_nothing() {
    let mut view = view();
    view.hosts.remove(&H1);
    assert_eq!(plan(&view, &ALL), HostState::default());
}

#[test]
fn a_pool_over_the_underlay_cuts_nobody_off() {
    let mut view = view();
    view.pools.values_mut().next().unwrap().cidr = cidr("192.0.0.0/8");
    let state = plan(&view, &ALL);
    assert_eq!(route(&state, MAIN_TABLE, "192.0.0.0/8"), None);
    assert!(
        state.firewall.sets["cluster4"]
            .elements
            .iter()
            .all(|element| !format!("{element:?}").contains("192.0"))
    );
}

/// Any cluster: up to six hosts on two segments, up to four networks, prefixes granted at random.
pub fn views() -> impl Strategy<Value = View> {
    let paths = proptest::collection::vec(proptest::option::of((any::<bool>(), 1280..1501u32)), 5);
    let grants = proptest::collection::vec(proptest::option::of(0..6usize), 4 * 16);
    let endpoints = proptest::collection::btree_set((0..4u8, 2..128u8), 0..20);
    (1..6usize, paths, grants, endpoints, any::<[bool; 4]>(), any::<bool>()).prop_map(
        |(peers, paths, grants, endpoints, exists, dual)| {
            let mut base = seen_by(H1);
            let id = |number: usize| HostId::from_bytes([u8::try_from(number + 1).unwrap(); 16]);
            base.me = id(0);
            base.hosts = (0..=peers)
                .map(|i| {
                    let number = u8::try_from(i + 1).unwrap();
                    let segment = if i % 2 == 0 { "192.0.2" } else { "198.51.100" };
                    let mut host = crate::cluster::host(id(i), number, &format!("{segment}.{number}"));
                    host.addresses.truncate(if dual { 2 } else { 1 });
                    (id(i), host)
                })
                .collect();
            let kind = |direct| if direct { PathKind::Direct } else { PathKind::Vxlan };
            base.paths = (1..=peers)
                .zip(paths)
                .filter_map(|(i, path)| {
                    path.map(|(direct, mtu)| (id(i), PathChoice { kind: kind(direct), mtu }))
                })
                .collect();
            base.networks = (0..4u8)
                .filter(|i| exists[usize::from(*i)])
                .map(|i| {
                    let name = format!("n{i}");
                    let subnets = [format!("10.32.{}.0/24", 8 + i), format!("fd32:0:0:{}::/64", 8 + i)];
                    let (id_, mut view) = crate::cluster::network(
                        [WEB, DB][usize::from(i) % 2],
                        &name,
                        [&*subnets[0], &*subnets[1]],
                        &[],
                    );
                    let mut network_id = *id_.as_bytes();
                    network_id[0] = i;
                    view.network.id = hopsack_types::NetworkId::from_bytes(network_id);
                    for (block, holder) in grants.iter().skip(usize::from(i) * 16).take(16).enumerate() {
                        if let Some(holder) = holder.filter(|holder| *holder <= peers) {
                            let gateway = ip(&format!("10.32.{}.1", 8 + i));
                            view.network.gateways.insert(gateway, hopsack_types::ChosenBy::Default);
                            let first = format!("10.32.{}.{}", 8 + i, block * 16);
                            view.grants.insert(Cidr::around(ip(&first), 28), id(holder));
                        }
                    }
                    (view.network.id, view)
                })
                .collect();
            base.endpoints = endpoints
                .into_iter()
                .filter_map(|(network, address)| {
                    let network = base.networks.values().nth(usize::from(network))?;
                    let text = format!("10.32.{}.{address}", third_byte(network));
                    let granted = network.grants.iter().find(|(prefix, _)| prefix.contains(ip(&text)))?;
                    (*granted.1 == base.me).then(|| endpoint(address, network.network.id, &[&text]))
                })
                .collect();
            base
        },
    )
}

fn third_byte(NetworkView { network: Network { subnets, .. }, .. }: &NetworkView) -> u8 {
    let IpAddr::V4(first) = subnets[0].first() else { panic!("v4 comes first") };
    first.octets()[2]
}

proptest! {
    #[test]
    fn the_same_view_makes_the_same_plan(view in views()) {
        prop_assert_eq!(plan(&view, &ALL), plan(&view.clone(), &ALL));
    }

    #[test]
    fn every_address_of_the_cluster_is_sent_where_its_holder_is_and_nowhere_else(view in views()) {
        let state = plan(&view, &ALL);
        for network in view.networks.values() {
            for last in 0..=255u8 {
                let address = ip(&format!("10.32.{}.{last}", third_byte(network)));
                let holder = network.grants.iter().find(|(prefix, _)| prefix.contains(address)).map(|(_, host)| *host);
                let container = view.endpoints.values().any(|endpoint| endpoint.addresses.contains(&address));
                let target = look_up(&state, address).expect("a route for every address of ours");
                let right = match (target, holder) {
                    (RouteTarget::Device(_), Some(host)) => container && host == view.me,
                    (RouteTarget::Blackhole, Some(host)) => !container && host == view.me,
                    (RouteTarget::Unreachable, None) => true,
                    (RouteTarget::Unreachable, Some(host)) => !view.paths.contains_key(&host),
                    (RouteTarget::Via { next_hop, device }, Some(host)) => {
                        let peer = &view.hosts[&host];
                        host != view.me
                            && if device.as_str() == "eth0" {
                                *next_hop == peer.underlay && view.underlay.on_link.contains(peer.underlay)
                            } else {
                                state.fdb[&(device.clone(), state.neighbours[&(device.clone(), *next_hop)])]
                                    == peer.underlay
                            }
                    }
                    _ => false,
                };
                prop_assert!(right, "{} of {:?} goes to {:?}", address, holder, target);
            }
        }
    }

    #[test]
    fn every_subnet_and_pool_has_an_end_and_every_peer_prefix_one_route(view in views()) {
        let state = plan(&view, &ALL);
        let main = |destination: Cidr| state.routes.get(&RouteKey::new(MAIN_TABLE, destination));
        let subnets = view.networks.values().flat_map(|network| network.network.subnets.iter().copied());
        for prefix in subnets.chain(view.pools.values().map(|pool| pool.cidr)) {
            prop_assert_eq!(main(prefix).map(|route| &route.target), Some(&RouteTarget::Unreachable));
        }
        for (prefix, holder) in view.networks.values().flat_map(|network| &network.grants) {
            let target = main(*prefix).map(|route| &route.target);
            let expected = *holder == view.me || view.paths.contains_key(holder);
            prop_assert_eq!(target.is_some(), expected, "{}: {:?}", prefix, target);
            if *holder == view.me {
                prop_assert_eq!(target, Some(&RouteTarget::Blackhole));
            }
        }
    }

    #[test]
    fn what_a_plan_names_is_in_the_plan(view in views()) {
        let state = plan(&view, &ALL);
        let known = |name: &hopsack_types::IfName| *name == view.underlay.device || state.links.contains_key(name);
        for route in state.routes.values() {
            match &route.target {
                RouteTarget::Via { device, next_hop } => {
                    prop_assert!(known(device));
                    let resolved = state.neighbours.contains_key(&(device.clone(), *next_hop));
                    prop_assert_eq!(resolved, *device != view.underlay.device);
                }
                RouteTarget::Device(device) | RouteTarget::Local(device) => prop_assert!(known(device)),
                RouteTarget::Unreachable | RouteTarget::Blackhole => prop_assert_eq!(route.mtu, None),
            }
            let source = route.source.map(ipnet::IpNet::from);
            prop_assert!(source.is_none_or(|net| state.addresses.contains(&(device("hop0"), net))));
        }
        prop_assert!(state.addresses.iter().all(|(name, _)| known(name)));
        prop_assert!(state.links.values().all(|link| link.alias.starts_with("hopsack:") && link.up));
    }

    #[test]
    fn any_plans_firewall_names_only_sets_and_chains_that_it_has(view in views()) {
        let firewall = plan(&view, &ALL).firewall;
        for rule in firewall.chains.values().flat_map(|chain| &chain.rules) {
            let mut words = rule.body.split_whitespace().peekable();
            while let Some(word) = words.next() {
                if let Some(set) = word.strip_prefix('@').filter(|name| !name.starts_with("th,")) {
                    prop_assert!(firewall.sets.contains_key(set), "no set {}", set);
                }
                if let ("goto", Some(chain)) = (word, words.peek()) {
                    prop_assert!(firewall.chains.contains_key(*chain), "no chain {}", chain);
                }
            }
        }
    }
}
