//! Published ports in a plan: which sets and settings they become.

use crate::cluster::{ALL, DB, H1, WEB, device, endpoint, ip, view};
use hopsack_lab::require;
use hopsack_nft::Nft;
use hopsack_plan::state::{Route, RouteTarget};
use hopsack_plan::view::View;
use hopsack_plan::{HostState, plan};
use hopsack_types::firewall::{Field, Firewall, Rule};
use hopsack_types::{HostPort, Protocol, PublishedPort};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::num::NonZeroU16;

pub fn published(protocol: Protocol, address: &str, port: u16, container_port: u16) -> PublishedPort {
    let number = |port| NonZeroU16::new(port).unwrap();
    let host = HostPort { protocol, address: ip(address), port: number(port) };
    PublishedPort { host, container_port: number(container_port) }
}

/// h1 with one container of both families in `web` and one of IPv4 only in `db`.
pub fn with_ports(web: &[PublishedPort], db: &[PublishedPort]) -> View {
    let mut view = view();
    for (number, ports) in [(1, web), (2, db)] {
        let (id, _) = endpoint(number, WEB, &[]);
        view.endpoints.get_mut(&id).unwrap().ports = ports.to_vec();
    }
    view
}

/// The elements of a set, each as one line.
fn elements(state: &HostState, set: &str) -> Vec<String> {
    let field = |field: &Field| match field {
        Field::Address(address) => address.to_string(),
        Field::Protocol(protocol) => protocol.to_string(),
        Field::Port(port) => port.to_string(),
        other => format!("{other:?}"),
    };
    let elements = state.firewall.sets[set].elements.iter();
    elements.map(|element| element.iter().map(field).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_host_without_published_ports_has_no_chain_and_no_set_for_them() {
    let Firewall { chains, sets } = plan(&view(), &ALL).firewall;
    for name in ["nat_prerouting", "nat_output", "ports", "port_sources"] {
        assert!(!chains.contains_key(name), "{name}");
    }
    assert!(!sets.keys().any(|name| name.starts_with("ports_") || name.starts_with("published")));
}

#[test]
fn a_published_port_leads_to_the_container_from_all_addresses_or_from_the_one_that_was_given() {
    let web = [
        published(Protocol::Tcp, "0.0.0.0", 8080, 80),
        published(Protocol::Tcp, "::", 8080, 80),
        published(Protocol::Udp, "127.0.0.1", 5353, 53),
    ];
    let state = plan(&with_ports(&web, &[published(Protocol::Sctp, "192.0.2.1", 8080, 81)]), &ALL);
    assert_eq!(elements(&state, "ports_any4"), ["tcp 8080 10.32.4.1 80"]);
    assert_eq!(
        elements(&state, "ports_at4"),
        ["127.0.0.1 udp 5353 10.32.4.1 53", "192.0.2.1 sctp 8080 10.32.5.77 81"]
    );
    assert_eq!(elements(&state, "ports_any6"), ["tcp 8080 fd32:0:0:1::1 80"]);
    assert_eq!(elements(&state, "published6"), ["fd32:0:0:1::1 tcp 80"]);
    assert_eq!(
        elements(&state, "published4"),
        ["10.32.4.1 tcp 80", "10.32.4.1 udp 53", "10.32.5.77 sctp 81"],
        "and no other port is let in"
    );
    assert_eq!(elements(&state, "hairpin4"), ["10.32.4.1 10.32.4.1", "10.32.5.77 10.32.5.77"]);
}

#[test]
fn nothing_is_published_in_a_family_that_the_container_has_no_address_of() {
    let state = plan(&with_ports(&[], &[published(Protocol::Tcp, "::", 8080, 80)]), &ALL);
    assert!(!state.firewall.chains.contains_key("nat_prerouting"));
}

#[test]
fn only_devices_whose_ports_are_at_the_loopback_carry_packets_of_the_loopback() {
    let web = [published(Protocol::Tcp, "127.0.0.1", 80, 80)];
    let db = [published(Protocol::Tcp, "192.0.2.1", 81, 80)];
    let state = plan(&with_ports(&web, &db), &ALL);
    let route_localnet = |device: &str| &state.sysctls[&format!("net/ipv4/conf/{device}/route_localnet")];
    assert_eq!(route_localnet(device("hopc0101010101").as_str()), "1");
    assert_eq!(route_localnet(device("hopc0202020202").as_str()), "0");
    let from_containers = &state.firewall.chains["endpoint_in4"].rules;
    let dropped = |rule: &Rule| rule.body == "ip daddr 127.0.0.0/8 counter drop";
    assert!(from_containers.iter().any(dropped), "so no container may send there: {from_containers:?}");
}

#[test]
fn answers_to_the_loopback_find_their_way_in_by_the_devices_of_ports_that_are_published_there() {
    let at = |address: &str| plan(&with_ports(&[published(Protocol::Tcp, address, 80, 80)], &[]), &ALL);
    for (address, expected) in [("::", 1), ("::1", 1), ("fd32::1", 0), ("0.0.0.0", 0)] {
        let state = at(address);
        let local = |route: &&Route| route.target == RouteTarget::Local(device("hopc0101010101"));
        assert_eq!(state.routes.values().filter(local).count(), expected, "{address}");
    }
}

fn ports() -> impl Strategy<Value = Vec<PublishedPort>> {
    let addresses = ["0.0.0.0", "::", "127.0.0.1", "192.0.2.1", "fd32::1"];
    let one = (0..3usize, 0..5usize, 1..4u16, 1..4u16)
        .prop_map(move |(p, a, port, to)| published(Protocol::ALL[p], addresses[a], port, to));
    proptest::collection::vec(one, 0..6)
}

proptest! {
    /// Else nft would refuse the table as a whole.
    #[test]
    fn no_port_leads_to_two_containers_whoever_claims_it(web in ports(), db in ports()) {
        let state = plan(&with_ports(&web, &db), &ALL);
        for set in state.firewall.sets.values().filter(|set| !set.data.is_empty()) {
            let keys: BTreeSet<_> = set.elements.iter().map(|element| &element[..set.fields.len()]).collect();
            prop_assert_eq!(keys.len(), set.elements.len());
        }
    }
}

#[test]
fn the_kernel_takes_the_tables_of_published_ports_and_gives_them_back() {
    require!(Root, Nft);
    let web = [published(Protocol::Tcp, "0.0.0.0", 8080, 80), published(Protocol::Udp, "fd32::1", 53, 53)];
    let moved = [published(Protocol::Tcp, "0.0.0.0", 8080, 81), published(Protocol::Sctp, "::", 53, 53)];
    let mut without_address = with_ports(&web, &moved);
    without_address.hosts.get_mut(&H1).unwrap().addresses.clear();
    let (_, added) = endpoint(3, DB, &["10.32.5.3"]);
    let mut more = with_ports(&moved, &web[..0]);
    more.endpoints.insert(added.id, added);
    let views = [view(), with_ports(&web, &[]), with_ports(&[], &web), without_address, more, view()];
    std::thread::scope(|scope| {
        let test = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let nft = Nft::find().unwrap();
            let mut before = Firewall::default();
            for view in &views {
                let desired = plan(view, &ALL).firewall;
                nft.apply(&before, &desired).unwrap();
                before = nft.observe().unwrap();
                assert_eq!(before, desired);
            }
        });
        test.join().unwrap();
    });
}
