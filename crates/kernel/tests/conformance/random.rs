//! Random states, one after another, with random losses between: each is reached in one pass.

use super::states::{fast_entry, ip, key, mac, name, veth};
use super::{on_linux, reconcile};
use hopsack_kernel::{FakeKernel, Kernel};
use hopsack_plan::HostState;
use hopsack_plan::state::{Container, FastHook, Link, LinkKind, MarkRule, Route, RouteKey, RouteTarget};
use hopsack_types::firewall::{Chain, Rule};
use hopsack_types::{Family, IfName};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeSet;

/// Numbers of endpoints, peers and so on.
fn few() -> impl Strategy<Value = BTreeSet<u8>> {
    proptest::collection::btree_set(1..6u8, 0..5)
}

fn mtu() -> impl Strategy<Value = u32> {
    prop_oneof![Just(1400u32), Just(1500)]
}

fn links() -> impl Strategy<Value = Vec<(IfName, Link)>> {
    let holder = (mtu(), any::<bool>()).prop_map(|(mtu, up)| {
        (name("hop0"), Link { kind: LinkKind::Holder, alias: "hopsack:host".into(), mtu, mac: None, up })
    });
    let vxlan = (mtu(), 0..2u8, 0..2u16, 0..2u8).prop_map(|(mtu, local, port, last)| {
        let kind = LinkKind::Vxlan {
            vni: 4_677_000,
            port: 4678 + port,
            local: [ip("192.0.2.1"), ip("192.0.2.2")][usize::from(local)],
        };
        let link = Link { kind, alias: "hopsack:vxlan".into(), mtu, mac: Some(mac(0xe0 + last)), up: true };
        (name("hopvxlan"), link)
    });
    let endpoint = (1..6u8, mtu(), any::<bool>(), 0..2u8).prop_map(|(number, mtu, up, last)| {
        let (name, mut link) = veth(number, Container::External);
        link.mtu = mtu;
        link.up = up;
        if let LinkKind::Veth { peer_mac, .. } = &mut link.kind {
            *peer_mac = mac(number + 0x10 * last);
        }
        (name, link)
    });
    let endpoints = proptest::collection::vec(endpoint, 0..5);
    (proptest::option::of(holder), proptest::option::of(vxlan), endpoints).prop_map(
        |(holder, vxlan, endpoints)| {
            let mut links: Vec<_> = holder.into_iter().chain(vxlan).chain(endpoints).collect();
            links.sort_by(|(one, _), (other, _)| one.cmp(other));
            links.dedup_by(|(one, _), (other, _)| one == other);
            links
        },
    )
}

/// States that hang together: what is on a link only where the link is, routes only over links that are up.
fn state() -> impl Strategy<Value = HostState> {
    let kinds = proptest::collection::vec((0..4u8, 0..2u8), 12);
    (links(), few(), few(), few(), few(), kinds, any::<bool>()).prop_map(
        |(links, addresses, neighbours, routes, rules, kinds, policy)| {
            let mut state = HostState { links: links.into_iter().collect(), ..HostState::default() };
            let all: Vec<(IfName, bool)> =
                state.links.iter().map(|(name, link)| (name.clone(), link.up)).collect();
            for (device, up) in &all {
                for number in &addresses {
                    for text in [format!("10.9.{number}.1/32"), format!("fd09::{number}/128")] {
                        // The kernel takes IPv6 addresses away from a link that goes down.
                        if *up || !text.contains(':') {
                            state.addresses.insert((device.clone(), text.parse().unwrap()));
                        }
                    }
                }
                for number in neighbours.iter().filter(|_| *up) {
                    for text in [format!("10.8.0.{number}"), format!("fd08::{number}")] {
                        let last = kinds[usize::from(*number)].1;
                        state.neighbours.insert((device.clone(), ip(&text)), mac(0x30 + last));
                    }
                }
                let setting = format!("net/ipv4/conf/{device}/rp_filter");
                state.sysctls.insert(setting, kinds[0].1.to_string());
            }
            if state.links.contains_key(&name("hopvxlan")) {
                for number in &neighbours {
                    let last = kinds[usize::from(*number)].1;
                    let remote = ip(&format!("198.51.100.{}", number + 100 * last));
                    state.fdb.insert((name("hopvxlan"), mac(0x50 + number)), remote);
                }
            }
            let up: Vec<&IfName> = all.iter().filter(|(_, up)| *up).map(|(name, _)| name).collect();
            for number in &routes {
                let (kind, choice) = kinds[usize::from(*number) + 5];
                let device = up.get(usize::from(choice) % up.len().max(1)).copied();
                for (destination, next_hop) in [
                    (format!("10.7.{number}.0/29"), "10.8.0.200"),
                    (format!("fd07:{number}::/64"), "fd08::200"),
                ] {
                    let target = match (kind, device) {
                        (0, Some(device)) => {
                            RouteTarget::Via { next_hop: ip(next_hop), device: device.clone() }
                        }
                        (1, Some(device)) => RouteTarget::Device(device.clone()),
                        (2, _) => RouteTarget::Blackhole,
                        _ => RouteTarget::Unreachable,
                    };
                    let mtu = Some(1300).filter(|_| choice == 1 && kind < 2 && device.is_some());
                    let table = if choice == 0 { 254 } else { 46_771 };
                    let route = Route { target, source: None, mtu };
                    // Alone, or beside the one for any packet.
                    let key = key(table, &destination);
                    let is_v4 = destination.contains('.');
                    if is_v4 && number % 2 == 0 {
                        state.routes.insert(RouteKey { tos: 0x0c, ..key }, route.clone());
                    }
                    if !is_v4 || kind != 3 {
                        state.routes.insert(key, route);
                    }
                }
            }
            for number in rules {
                let family = Family::BOTH[usize::from(number % 2)];
                let mark = 1 << number;
                state.rules.insert(MarkRule { family, preference: 4677, mark, table: 46_771 });
            }
            for (device, _) in all.iter().filter(|(device, _)| *device != name("hop0")) {
                let is_tunnel = *device == name("hopvxlan");
                let hook = if is_tunnel { FastHook::Tunnel } else { FastHook::Endpoint };
                if kinds[11].1 == 0 {
                    state.fast_path.hooks.insert(device.clone(), hook);
                }
                for number in &routes {
                    let entry = fast_entry(device.clone(), mac(0x70 + kinds[usize::from(*number)].1));
                    if is_tunnel {
                        let prefix = format!("fd07:{number}::/64").parse().unwrap();
                        state.fast_path.remotes.insert(prefix, entry);
                    } else {
                        state.fast_path.endpoints.insert(ip(&format!("10.7.{number}.1")), entry);
                    }
                }
            }
            if policy {
                let rules =
                    routes.iter().map(|number| Rule::new("drop", format!("ip daddr 10.7.{number}.9 drop")));
                let chain = Chain { hook: None, rules: rules.collect() };
                state.firewall.chains.insert("refusals".into(), chain);
            }
            state
        },
    )
}

/// From nothing to the first state, to the second; to the first with a part of the second lost, and to nothing.
fn walk(kernel: &mut dyn Kernel, first: &HostState, second: &HostState) {
    reconcile(kernel, first);
    reconcile(kernel, second);
    reconcile(kernel, first);
    let mut lost = first.clone();
    lost.routes.retain(|key, _| second.routes.contains_key(key));
    lost.neighbours.retain(|key, _| second.neighbours.contains_key(key));
    lost.addresses.retain(|key| second.addresses.contains(key));
    let observed = kernel.observe(&lost).unwrap();
    assert_eq!(kernel.apply(observed.clone(), &lost).failures, []);
    reconcile(kernel, first);
    reconcile(kernel, &HostState::default());
}

proptest! {
    #[test]
    fn any_state_is_reached_from_any_other_in_one_pass_on_the_fake(first in state(), second in state()) {
        walk(&mut FakeKernel::new([]), &first, &second);
    }
}

#[test]
fn any_state_is_reached_from_any_other_in_one_pass_on_linux() {
    on_linux(|kernel, _| {
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(12) });
        let kernel = std::cell::RefCell::new(kernel);
        runner
            .run(&(state(), state()), |(first, second)| {
                walk(*kernel.borrow_mut(), &first, &second);
                Ok(())
            })
            .unwrap();
    });
}
