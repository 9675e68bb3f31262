//! What only the fake can show: refused operations, and the order.

use super::states::{full, key, name, remove_link, veth};
use super::{assert_holds, reconcile};
use hopsack_kernel::{FakeKernel, Fault, Kernel, Table};
use hopsack_plan::HostState;
use hopsack_plan::state::{Container, FastPath, LinkKind};
use std::path::Path;

const CONTAINER: &str = "/run/netns/fake";

fn kernel() -> (FakeKernel, HostState) {
    (FakeKernel::new([name("eth0")]), full(Path::new(CONTAINER)))
}

/// Applies without expecting success.
fn attempt(kernel: &mut FakeKernel, desired: &HostState) -> Vec<(Table, String)> {
    let observed = kernel.observe(desired).unwrap();
    let applied = kernel.apply(observed.clone(), desired);
    applied.failures.into_iter().map(|failure| (failure.table, failure.object)).collect()
}

/// Where in the trace something was first done.
fn position(trace: &[String], what: &str) -> usize {
    trace.iter().position(|done| done == what).unwrap_or_else(|| panic!("{what:?} is not in {trace:#?}"))
}

#[test]
fn every_single_refused_operation_is_told_and_mended_by_the_next_pass() {
    let (mut first, desired) = kernel();
    reconcile(&mut first, &desired);
    let trace = first.trace();
    assert!(trace.len() > 40);
    for done in trace {
        let (table, object) = {
            let mut words = done.splitn(3, ' ');
            let (table, _, object) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            (table.to_owned(), object.to_owned())
        };
        let (mut kernel, _) = kernel();
        let table = [
            Table::Links,
            Table::Addresses,
            Table::Sysctls,
            Table::Neighbours,
            Table::Fdb,
            Table::Firewall,
            Table::Forward,
            Table::Rules,
            Table::Routes,
            Table::FastPath,
        ]
        .into_iter()
        .find(|candidate| candidate.to_string() == table)
        .unwrap();
        kernel.fail(Fault { table, object: Some(object.clone()), times: Some(1) });
        let failures = attempt(&mut kernel, &desired);
        assert!(failures.contains(&(table, object.clone())), "{table} {object}: {failures:?}");
        reconcile(&mut kernel, &desired);
    }
}

#[test]
fn the_fast_path_waits_for_the_firewall() {
    let (mut kernel, desired) = kernel();
    kernel.fail(Fault { table: Table::Firewall, object: None, times: Some(1) });
    attempt(&mut kernel, &desired);
    let there = kernel.observe(&desired).unwrap().fast_path;
    assert_eq!((there.hooks, there.endpoints, there.remotes), Default::default());
    reconcile(&mut kernel, &desired);
    // What was published is translated for as long as the firewall says so.
    let mut less = desired.clone();
    less.fast_path.published.clear();
    less.fast_path.endpoints.values_mut().for_each(|entry| entry.has_ports = false);
    less.firewall.chains.clear();
    kernel.fail(Fault { table: Table::Firewall, object: None, times: Some(1) });
    attempt(&mut kernel, &less);
    assert_eq!(kernel.observe(&less).unwrap().fast_path, desired.fast_path);
    reconcile(&mut kernel, &less);
    // And what will be takes the routes before.
    let before = kernel.trace().len();
    reconcile(&mut kernel, &desired);
    let trace = &kernel.trace()[before..];
    let policy = position(trace, "firewall change table inet hopsack");
    assert!(position(trace, "fastpath set published port 80 of fd00:4::1") < policy);
    assert!(position(trace, "fastpath set fast path to fd00:4::1") < policy);
}

#[test]
fn a_route_that_is_refused_again_and_again_keeps_nothing_else_from_converging() {
    let (mut kernel, desired) = kernel();
    let route = "10.32.8.0/29";
    kernel.fail(Fault { table: Table::Routes, object: Some(route.into()), times: None });
    for _ in 0..3 {
        assert_eq!(attempt(&mut kernel, &desired), [(Table::Routes, route.to_owned())]);
    }
    let mut rest = desired.clone();
    rest.routes.remove(&key(254, route));
    rest.fast_path.remotes.remove(&route.parse().unwrap());
    assert_eq!(kernel.observe(&desired).unwrap(), rest);
    kernel.heal();
    reconcile(&mut kernel, &desired);
}

#[test]
fn a_link_that_cannot_be_made_is_told_once_and_not_with_all_that_would_be_on_it() {
    let (mut kernel, desired) = kernel();
    kernel.fail(Fault { table: Table::Links, object: Some("hopvxlan".into()), times: Some(1) });
    assert_eq!(attempt(&mut kernel, &desired), [(Table::Links, "hopvxlan".to_owned())]);
}

#[test]
fn links_stay_down_while_the_firewall_is_refused() {
    let (mut kernel, desired) = kernel();
    kernel.fail(Fault { table: Table::Firewall, object: None, times: Some(1) });
    let failures = attempt(&mut kernel, &desired);
    assert!(failures.contains(&(Table::Links, "hopc0000000001".into())), "{failures:?}");
    assert!(kernel.state().links.values().all(|link| !link.up));
    reconcile(&mut kernel, &desired);
}

#[test]
fn a_link_that_is_up_stays_up_while_the_firewall_is_refused() {
    let (mut kernel, desired) = kernel();
    reconcile(&mut kernel, &desired);
    kernel.lose(Table::Firewall, "");
    kernel.fail(Fault { table: Table::Firewall, object: None, times: Some(1) });
    assert_eq!(attempt(&mut kernel, &desired), [(Table::Firewall, "table inet hopsack".to_owned())]);
    assert!(kernel.state().links.values().all(|link| link.up));
}

#[test]
fn an_endpoints_policy_is_in_place_before_its_link_is_up_and_outlives_it() {
    let (mut kernel, mut desired) = kernel();
    reconcile(&mut kernel, &desired);
    let trace = kernel.trace();
    let policy = position(&trace, "firewall change table inet hopsack");
    for link in ["hopc0000000001", "hopc0000000002", "hopvxlan"] {
        assert!(position(&trace, &format!("links create {link}")) < policy);
        assert!(policy < position(&trace, &format!("links up {link}")));
    }
    let before = kernel.trace().len();
    let (endpoint, _) = veth(1, Container::External);
    remove_link(&mut desired, &endpoint);
    desired.firewall.sets.values_mut().for_each(|set| set.elements.clear());
    reconcile(&mut kernel, &desired);
    let trace = &kernel.trace()[before..];
    let policy = position(trace, "firewall change table inet hopsack");
    assert!(position(trace, "links delete hopc0000000001") < policy);
}

#[test]
fn things_are_made_in_the_order_that_the_head_of_the_module_gives() {
    let (mut kernel, desired) = kernel();
    reconcile(&mut kernel, &desired);
    let trace = kernel.trace();
    let order = [
        "links create hopvxlan",
        "addresses add 10.32.0.1/32",
        "sysctls write net/ipv4/ip_forward",
        "sysctls write net/ipv4/conf/hopvxlan/rp_filter",
        "neighbours set 10.32.0.2",
        "fdb set 02:00:00:00:00:e2",
        "fastpath set published port 80 of fd00:4::1",
        "firewall change table inet hopsack",
        "forward accept IPv4",
        "links place hopc0000000002",
        "fastpath set fast path from hopc0000000002",
        "links up hopc0000000002",
        "rules add IPv4 mark 0x10000000 table 46771",
        "routes add 10.32.8.0/29",
        "fastpath set fast path to 10.32.4.1",
        "fastpath set fast path to 10.32.8.0/29",
    ];
    let positions: Vec<usize> = order.iter().map(|what| position(&trace, what)).collect();
    assert!(positions.is_sorted(), "{positions:?} in {trace:#?}");
}

#[test]
fn what_is_left_over_goes_in_reverse_order_after_all_else_is_in_place() {
    let (mut kernel, full) = kernel();
    reconcile(&mut kernel, &full);
    let mut desired = full.clone();
    desired.fast_path = FastPath::default();
    desired.routes.clear();
    desired.rules.clear();
    desired.fdb.clear();
    desired.neighbours.clear();
    desired.addresses.clear();
    desired.forward_accept.clear();
    desired.rules.insert(hopsack_plan::state::MarkRule {
        family: hopsack_types::Family::V4,
        preference: 1,
        mark: 1,
        table: 9,
    });
    let before = kernel.trace().len();
    reconcile(&mut kernel, &desired);
    let trace = &kernel.trace()[before..];
    let order = [
        "rules add IPv4 mark 0x1 table 9",
        "fastpath remove fast path from hopc0000000001",
        "fastpath remove fast path to 10.32.4.1",
        "fastpath remove published port 80 of fd00:4::1",
        "routes remove 10.32.8.0/29",
        "rules remove IPv4 mark 0x10000000 table 46771",
        "forward remove IPv4",
        "fdb remove 02:00:00:00:00:e2",
        "neighbours remove 10.32.0.2",
        "addresses remove 10.32.0.1/32",
    ];
    let positions: Vec<usize> = order.iter().map(|what| position(trace, what)).collect();
    assert!(positions.is_sorted(), "{positions:?} in {trace:#?}");
}

#[test]
fn what_is_lost_takes_along_what_hangs_on_it_and_all_comes_back() {
    let (mut kernel, desired) = kernel();
    reconcile(&mut kernel, &desired);
    assert!(kernel.lose(Table::Links, "hopvxlan"));
    assert!(!kernel.lose(Table::Links, "hopvxlan"));
    assert!(!kernel.state().routes.contains_key(&key(254, "10.32.8.0/29")));
    assert!(kernel.state().fdb.is_empty());
    reconcile(&mut kernel, &desired);
    for (table, object) in [
        (Table::Addresses, "fd00::1/128"),
        (Table::Sysctls, "net/ipv4/ip_forward"),
        (Table::Neighbours, "10.32.0.2"),
        (Table::Fdb, "02:00:00:00:00:e2"),
        (Table::Firewall, ""),
        (Table::Forward, "IPv6"),
        (Table::Rules, "IPv4 mark 0x10000000 table 46771"),
        (Table::Routes, "10.32.0.3/32 table 46771"),
        (Table::Routes, "10.32.12.0/29 tos 0x0c"),
    ] {
        assert!(kernel.lose(table, object), "{table} {object}");
        assert_ne!(kernel.observe(&desired).unwrap(), desired);
        let applied = reconcile(&mut kernel, &desired);
        assert_eq!(applied.changes.into_iter().collect::<Vec<_>>(), [(table, 1)]);
    }
}

#[test]
fn a_namespace_that_comes_back_is_filled_again() {
    let (mut kernel, desired) = kernel();
    kernel.set_namespace_gone(CONTAINER.into(), true);
    assert_eq!(attempt(&mut kernel, &desired), [(Table::Links, "hopc0000000002".to_owned())]);
    kernel.set_namespace_gone(CONTAINER.into(), false);
    reconcile(&mut kernel, &desired);
}

#[test]
fn an_end_that_somebody_else_moves_is_as_desired_whatever_became_of_it() {
    let (mut kernel, desired) = kernel();
    reconcile(&mut kernel, &desired);
    let endpoint = name("hopc0000000001");
    kernel.edit(|state| {
        if let Some(LinkKind::Veth { container, .. }) =
            state.links.get_mut(&endpoint).map(|link| &mut link.kind)
        {
            let LinkKind::Veth { container: other, .. } = desired.links[&name("hopc0000000002")].kind.clone()
            else {
                panic!("not a pair");
            };
            *container = other;
        }
    });
    assert_holds(&mut kernel, &desired);
}

#[test]
fn a_kernel_that_cannot_be_read_says_so_as_often_as_it_was_told() {
    let (mut kernel, desired) = kernel();
    kernel.blind(2);
    assert!(kernel.observe(&desired).is_err());
    assert!(kernel.observe(&desired).is_err());
    assert!(kernel.observe(&desired).is_ok());
}

#[test]
fn the_same_calls_leave_the_same_trace() {
    let run = || {
        let (mut kernel, desired) = kernel();
        kernel.fail(Fault { table: Table::Routes, object: None, times: Some(3) });
        attempt(&mut kernel, &desired);
        reconcile(&mut kernel, &desired);
        reconcile(&mut kernel, &HostState::default());
        (kernel.trace(), kernel.operations())
    };
    assert_eq!(run(), run());
}
