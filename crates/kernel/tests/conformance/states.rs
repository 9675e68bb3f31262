//! States for the tests: one with an example of everything, and the same with one thing less.

use hopsack_plan::HostState;
use hopsack_plan::state::{
    Container, FastEntry, FastHook, Link, LinkKind, MAIN_TABLE, MarkRule, Route, RouteKey, RouteTarget,
};
use hopsack_types::fastpath::{FastNext, FastPort};
use hopsack_types::firewall::{Chain, ChainKind, Field, FieldKind, Hook, HookPoint, Rule, Set};
use hopsack_types::{Cidr, Family, IfName, Mac, NetworkId, Protocol};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

pub fn name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub const fn mac(last: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, last])
}

pub fn key(table: u32, destination: &str) -> RouteKey {
    RouteKey::new(table, destination.parse().unwrap())
}

pub fn veth(number: u8, container: Container) -> (IfName, Link) {
    let kind = LinkKind::Veth { peer: name(&format!("hope{number:010}")), peer_mac: mac(number), container };
    let alias = format!("hopsack:{number:032}");
    (name(&format!("hopc{number:010}")), Link { kind, alias, mtu: 1500, mac: None, up: true })
}

/// Everything by the next hops of both families.
pub fn ways(v4: &str, v6: &str) -> BTreeMap<Cidr, IpAddr> {
    [v4, v6].map(ip).map(|next_hop| (Cidr::around(next_hop, 0), next_hop)).into()
}

/// A host with one endpoint of Docker's, one in a namespace, and peers by every kind of route.
pub fn full(container: &Path) -> HostState {
    let mut state = HostState::default();
    let holder =
        Link { kind: LinkKind::Holder, alias: "hopsack:host".into(), mtu: 1500, mac: None, up: true };
    state.links.insert(name("hop0"), holder);
    let kind = LinkKind::Vxlan { vni: 4_677_000, port: 4678, local: ip("192.0.2.1") };
    let vxlan = Link { kind, alias: "hopsack:vxlan".into(), mtu: 1450, mac: Some(mac(0xee)), up: true };
    state.links.insert(name("hopvxlan"), vxlan);
    state.links.extend([veth(1, Container::External)]);
    state.links.extend([veth(
        2,
        Container::Namespace {
            path: container.to_owned(),
            interface: name("eth0"),
            addresses: ["10.32.4.2", "fd00:4::2"].map(ip).into(),
            routes: ways("169.254.3.3", "fe80::4677:3"),
            mtu: 1500,
        },
    )]);
    for (device, net) in [
        ("hop0", "10.32.0.1/32"),
        ("hop0", "169.254.3.3/32"),
        ("hop0", "fd00::1/128"),
        ("hopc0000000001", "fe80::4677:3/64"),
        ("hopc0000000002", "fe80::4677:3/64"),
    ] {
        state.addresses.insert((name(device), net.parse().unwrap()));
    }
    for (device, address, last) in [
        ("hopvxlan", "10.32.0.2", 0xe2),
        ("hopvxlan", "fd00::2", 0xe2),
        ("hopc0000000001", "10.32.4.1", 1),
        ("hopc0000000001", "fd00:4::1", 1),
        ("hopc0000000002", "10.32.4.2", 2),
    ] {
        state.neighbours.insert((name(device), ip(address)), mac(last));
    }
    state.fdb.insert((name("hopvxlan"), mac(0xe2)), ip("198.51.100.2"));
    fill_routes(&mut state);
    for family in Family::BOTH {
        state.rules.insert(MarkRule { family, preference: 4677, mark: 0x1000_0000, table: 46_771 });
    }
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/hopc0000000001/proxy_arp", "1"),
        ("net/ipv4/neigh/hopc0000000001/proxy_delay", "0"),
        ("net/ipv4/conf/hopvxlan/rp_filter", "2"),
        ("net/ipv4/conf/hopvxlan/accept_redirects", "0"),
        ("net/ipv6/conf/hop0/accept_ra", "0"),
        ("net/ipv4/conf/eth0/rp_filter", "2"),
    ] {
        state.sysctls.insert(setting.into(), value.into());
    }
    fill_firewall(&mut state);
    state.forward_accept = Family::BOTH.into();
    fill_fast_path(&mut state);
    state
}

fn fill_fast_path(state: &mut HostState) {
    let fast = &mut state.fast_path;
    for (link, hook) in [
        ("hopvxlan", FastHook::Tunnel),
        ("hopc0000000001", FastHook::Endpoint),
        ("hopc0000000002", FastHook::Endpoint),
    ] {
        fast.hooks.insert(name(link), hook);
    }
    for (address, number) in [("10.32.4.1", 1), ("fd00:4::1", 1), ("10.32.4.2", 2)] {
        let (device, _) = veth(number, Container::External);
        fast.endpoints.insert(ip(address), fast_entry(device, mac(number)));
    }
    let with_ports = fast.endpoints.get_mut(&ip("fd00:4::1")).unwrap();
    with_ports.has_ports = true;
    fast.published = [Protocol::Tcp, Protocol::Sctp]
        .map(|protocol| FastPort { address: ip("fd00:4::1"), protocol, number: 80 })
        .into();
    for prefix in ["10.32.8.0/29", "fd00:8::/125"] {
        fast.remotes.insert(prefix.parse().unwrap(), fast_entry(name("hopvxlan"), mac(0xe2)));
    }
    let next = FastNext::Hop(ip("192.0.2.3"));
    let direct = FastEntry { next, ..fast_entry(name("eth0"), mac(0)) };
    fast.remotes.insert("10.32.12.0/29".parse().unwrap(), direct);
}

pub const fn fast_entry(device: IfName, mac: Mac) -> FastEntry {
    FastEntry {
        device,
        mtu: 1450,
        network: NetworkId::from_bytes([7; 16]),
        next: FastNext::Mac(mac),
        has_ports: false,
    }
}

fn fill_routes(state: &mut HostState) {
    let via =
        |next_hop: &str, device: &str| RouteTarget::Via { next_hop: ip(next_hop), device: name(device) };
    let device = |device: &str| RouteTarget::Device(name(device));
    let v4 = Some(ip("10.32.0.1"));
    let v6 = Some(ip("fd00::1"));
    for (table, destination, target, source, mtu) in [
        (MAIN_TABLE, "10.32.0.0/16", RouteTarget::Unreachable, None, None),
        (MAIN_TABLE, "10.32.4.0/29", RouteTarget::Blackhole, None, None),
        (MAIN_TABLE, "10.32.4.1/32", device("hopc0000000001"), v4, None),
        (MAIN_TABLE, "10.32.4.2/32", device("hopc0000000002"), v4, None),
        (MAIN_TABLE, "10.32.8.0/29", via("10.32.0.2", "hopvxlan"), v4, Some(1450)),
        (MAIN_TABLE, "10.32.12.0/29", via("192.0.2.3", "eth0"), v4, Some(1500)),
        (MAIN_TABLE, "fd00::/48", RouteTarget::Unreachable, None, None),
        (MAIN_TABLE, "fd00:4::/125", RouteTarget::Blackhole, None, None),
        (MAIN_TABLE, "fd00:4::1/128", device("hopc0000000001"), v6, None),
        (MAIN_TABLE, "fd00:8::/125", via("fd00::2", "hopvxlan"), v6, Some(1450)),
        (46_771, "10.32.0.3/32", via("192.0.2.3", "eth0"), None, None),
        (46_772, "10.32.0.2/32", via("10.32.0.2", "hopvxlan"), None, None),
    ] {
        state.routes.insert(key(table, destination), Route { target, source, mtu });
    }
    for (tos, target) in [(0x0c, via("192.0.2.3", "eth0")), (0x1c, RouteTarget::Unreachable)] {
        let key = RouteKey { tos, ..key(MAIN_TABLE, "10.32.12.0/29") };
        state.routes.insert(key, Route { target, source: None, mtu: None });
    }
}

fn fill_firewall(state: &mut HostState) {
    let hook = Hook { kind: ChainKind::Filter, point: HookPoint::Forward, priority: -5 };
    let rules = vec![
        Rule::new("endpoints may send", "iifname @endpoints accept"),
        Rule::new("nobody else", "iifname \"hopc*\" drop"),
    ];
    state.firewall.chains.insert("forward".into(), Chain { hook: Some(hook), rules });
    let elements = [1, 2].map(|number| vec![Field::Interface(veth(number, Container::External).0)]).into();
    let set = Set { fields: vec![FieldKind::Interface], data: Vec::new(), interval: false, elements };
    state.firewall.sets.insert("endpoints".into(), set);
}

/// The state without each of its objects in turn, and without what cannot be without that object.
pub fn without_each(full: &HostState) -> Vec<(String, HostState)> {
    let mut all = Vec::new();
    let mut without = |what: String, change: &dyn Fn(&mut HostState)| {
        let mut state = full.clone();
        change(&mut state);
        all.push((what, state));
    };
    for link in full.links.keys() {
        without(format!("link {link}"), &|state| remove_link(state, link));
    }
    for address in &full.addresses {
        without(format!("address {address:?}"), &|state| {
            state.addresses.remove(address);
            // A route cannot prefer a source that is not there.
            state.routes.retain(|_, route| route.source != Some(address.1.addr()));
        });
    }
    for key in full.routes.keys() {
        without(format!("route {key:?}"), &|state| {
            state.routes.remove(key);
        });
    }
    for rule in &full.rules {
        without(format!("rule {rule:?}"), &|state| {
            state.rules.remove(rule);
        });
    }
    for key in full.neighbours.keys() {
        without(format!("neighbour {key:?}"), &|state| {
            state.neighbours.remove(key);
        });
    }
    for key in full.fdb.keys() {
        without(format!("forwarding entry {key:?}"), &|state| {
            state.fdb.remove(key);
        });
    }
    for link in full.fast_path.hooks.keys() {
        without(format!("fast path from {link}"), &|state| {
            state.fast_path.hooks.remove(link);
        });
    }
    for address in full.fast_path.endpoints.keys() {
        without(format!("fast path to {address}"), &|state| {
            state.fast_path.endpoints.remove(address);
        });
    }
    for port in &full.fast_path.published {
        without(format!("{port:?}"), &|state| {
            state.fast_path.published.remove(port);
        });
    }
    for prefix in full.fast_path.remotes.keys() {
        without(format!("fast path to {prefix}"), &|state| {
            state.fast_path.remotes.remove(prefix);
        });
    }
    without("firewall".into(), &|state| state.firewall = Default::default());
    without("set's element".into(), &|state| {
        state.firewall.sets.values_mut().for_each(|set| set.elements.clear());
    });
    all
}

/// Takes a link away with all that is on it and needs it.
pub fn remove_link(state: &mut HostState, link: &IfName) {
    state.links.remove(link);
    let sources: Vec<IpAddr> =
        state.addresses.iter().filter(|(device, _)| device == link).map(|(_, net)| net.addr()).collect();
    state.addresses.retain(|(device, _)| device != link);
    state.neighbours.retain(|(device, _), _| device != link);
    state.fdb.retain(|(device, _), _| device != link);
    state.fast_path.hooks.remove(link);
    state.fast_path.endpoints.retain(|_, entry| entry.device != *link);
    state.fast_path.remotes.retain(|_, entry| entry.device != *link);
    state.sysctls.retain(|setting, _| !setting.contains(link.as_str()));
    state.routes.retain(|_, route| {
        let over = match &route.target {
            RouteTarget::Via { device, .. } | RouteTarget::Device(device) | RouteTarget::Local(device) => {
                device == link
            }
            RouteTarget::Unreachable | RouteTarget::Blackhole => false,
        };
        !over && route.source.is_none_or(|source| !sources.contains(&source))
    });
}
