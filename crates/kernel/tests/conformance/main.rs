//! What every kernel promises, held against the fake one and against Linux (in network namespaces of the tests' own;
//! needs root and `nft`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod advertisements;
mod elements;
mod fake;
mod forward;
mod linux;
mod random;
mod states;

use hopsack_kernel::{Applied, FakeKernel, Kernel, KernelError, LinuxKernel, Table};
use hopsack_netlink::Socket;
use hopsack_netlink::link::{Base, LinkChange};
use hopsack_netlink::netns::in_new_ns;
use hopsack_plan::HostState;
use hopsack_plan::state::{Container, LOCAL_TABLE, LinkKind, Route, RouteKey, RouteTarget};
use hopsack_types::Family;
use states::{full, name, without_each};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// The host's own device.
const UNDERLAY: &str = "eth0";

/// Runs a test on the fake; it gets the path of a container's namespace.
fn on_fake(test: impl FnOnce(&mut dyn Kernel, &Path)) {
    test(&mut FakeKernel::new([name(UNDERLAY)]), Path::new("/run/netns/fake"));
}

/// A kernel that is read anew for each look: one that wrote itself believes what it wrote.
struct ReadBack(LinuxKernel);

impl Kernel for ReadBack {
    fn observe(&mut self, desired: &HostState) -> Result<HostState, KernelError> {
        // Only who has loaded the fast path sees what is in it.
        let fast_path = self.0.observe(desired)?.fast_path;
        Ok(HostState { fast_path, ..LinuxKernel::new()?.observe(desired)? })
    }

    fn apply(&mut self, observed: HostState, desired: &HostState) -> Applied {
        self.0.apply(observed, desired)
    }

    fn observe_forward_accept(&mut self, left: &BTreeSet<Family>) -> Result<BTreeSet<Family>, KernelError> {
        self.0.observe_forward_accept(left)
    }
}

/// Runs a test on Linux, in a new namespace with an underlay device; it gets the path of a container's namespace.
fn on_linux(test: impl FnOnce(&mut ReadBack, &Path) + Send) {
    with_container(|container| {
        in_new_ns(|| {
            let mut socket = Socket::open().unwrap();
            let (device, peer) = (name(UNDERLAY), name("far0"));
            let end = |name| Base { name, mac: None, mtu: 1500 };
            socket.create_veth(&end(&device), &end(&peer)).unwrap();
            for end in [&device, &peer] {
                let index = socket.link(end).unwrap().unwrap().index;
                socket.change_link(index, &LinkChange { up: Some(true), ..LinkChange::default() }).unwrap();
            }
            let index = socket.link(&device).unwrap().unwrap().index;
            socket.add_address(index, "192.0.2.1/24".parse().unwrap()).unwrap();
            test(&mut ReadBack(LinuxKernel::new().unwrap()), container);
        })
        .unwrap();
    });
}

/// Holds a second namespace open on a thread while the closure runs.
fn with_container(closure: impl FnOnce(&Path)) {
    let (path_tx, path_rx) = mpsc::channel::<PathBuf>();
    let (done_tx, done_rx) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            in_new_ns(move || {
                let thread = nix::unistd::gettid();
                path_tx.send(format!("/proc/{}/task/{thread}/ns/net", std::process::id()).into()).unwrap();
                // Ends when the other side is dropped, also by a panic.
                let _ = done_rx.recv();
            })
            .unwrap();
        });
        closure(&path_rx.recv().unwrap());
        drop(done_tx);
    });
}

/// Observes, applies, and checks that this is all there was to do.
fn reconcile(kernel: &mut dyn Kernel, desired: &HostState) -> Applied {
    let observed = kernel.observe(desired).unwrap();
    let applied = kernel.apply(observed.clone(), desired);
    assert_eq!(applied.failures, []);
    assert_holds(kernel, desired);
    applied
}

fn assert_holds(kernel: &mut dyn Kernel, desired: &HostState) {
    let observed = kernel.observe(desired).unwrap();
    pretty_eq(&observed, desired);
    let again = kernel.apply(observed.clone(), desired);
    assert_eq!(again, Applied::default(), "a second apply had something to do");
}

/// Tells tables apart, because a whole state is too long to read.
fn pretty_eq(observed: &HostState, desired: &HostState) {
    assert_eq!(observed.links, desired.links);
    assert_eq!(observed.addresses, desired.addresses);
    assert_eq!(observed.sysctls, desired.sysctls);
    assert_eq!(observed.neighbours, desired.neighbours);
    assert_eq!(observed.fdb, desired.fdb);
    assert_eq!(observed.forward_accept, desired.forward_accept);
    assert_eq!(observed.rules, desired.rules);
    assert_eq!(observed.routes, desired.routes);
    assert_eq!(observed.firewall, desired.firewall);
    assert_eq!(observed.fast_path, desired.fast_path);
}

/// Makes each of the shared tests into one on the fake and one on Linux.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_fake {
            $(#[test] fn $name() { super::on_fake(|kernel, container| super::$name(kernel, container)); })*
        }
        mod on_linux {
            $(#[test] fn $name() { super::on_linux(|kernel, container| super::$name(kernel, container)); })*
        }
    };
}

on_both!(
    what_was_applied_is_observed_and_nothing_is_left_to_do,
    uninstalling_leaves_nothing,
    whatever_is_lost_comes_back,
    whatever_is_added_behind_our_back_goes,
    links_change_in_place,
    a_vxlan_device_of_another_kind_is_made_anew_with_all_that_is_on_it,
    routes_change_their_target,
    links_have_routes_of_their_own_to_the_loopback_beside_each_other,
    a_link_that_is_down_is_raised_with_all_that_it_lost,
);

fn what_was_applied_is_observed_and_nothing_is_left_to_do(kernel: &mut dyn Kernel, container: &Path) {
    let applied = reconcile(kernel, &full(container));
    assert!(applied.changes.values().sum::<u64>() > 20, "{applied:?}");
}

fn uninstalling_leaves_nothing(kernel: &mut dyn Kernel, container: &Path) {
    let nothing = HostState::default();
    assert_holds(kernel, &nothing);
    reconcile(kernel, &full(container));
    reconcile(kernel, &nothing);
}

fn whatever_is_lost_comes_back(kernel: &mut dyn Kernel, container: &Path) {
    let desired = full(container);
    reconcile(kernel, &desired);
    for (lost, state) in without_each(&desired) {
        let before = kernel.observe(&desired).unwrap();
        let removal = kernel.apply(before.clone(), &state);
        assert_eq!(removal.failures, [], "removing {lost}");
        assert_ne!(kernel.observe(&desired).unwrap(), desired, "{lost} was not lost");
        reconcile(kernel, &desired);
    }
}

fn whatever_is_added_behind_our_back_goes(kernel: &mut dyn Kernel, container: &Path) {
    let full = full(container);
    for (_, desired) in without_each(&full) {
        reconcile(kernel, &full);
        reconcile(kernel, &desired);
    }
}

fn links_change_in_place(kernel: &mut dyn Kernel, container: &Path) {
    let mut desired = full(container);
    reconcile(kernel, &desired);
    for link in desired.links.values_mut() {
        link.mtu = 1400;
        link.alias.push('x');
        if let LinkKind::Vxlan { .. } = link.kind {
            link.mac = Some(states::mac(0x77));
        }
        if let LinkKind::Veth { peer_mac, container, .. } = &mut link.kind {
            *peer_mac = states::mac(0x78);
            if let Container::Namespace { mtu, addresses, interface, .. } = container {
                *mtu = 1400;
                addresses.insert("10.32.4.9".parse().unwrap());
                addresses.remove(&states::ip("10.32.4.2"));
                *interface = name("eth7");
            }
        }
    }
    let applied = reconcile(kernel, &desired);
    // What is made anew gets its addresses anew.
    assert!(!applied.changes.contains_key(&Table::Addresses), "{applied:?}");
}

fn a_vxlan_device_of_another_kind_is_made_anew_with_all_that_is_on_it(
    kernel: &mut dyn Kernel,
    container: &Path,
) {
    let mut desired = full(container);
    reconcile(kernel, &desired);
    for (change, new) in [
        ("local", LinkKind::Vxlan { vni: 4_677_000, port: 4678, local: states::ip("192.0.2.7") }),
        ("port", LinkKind::Vxlan { vni: 4_677_000, port: 4690, local: states::ip("192.0.2.7") }),
        ("kind", LinkKind::Holder),
    ] {
        desired.links.get_mut(&name("hopvxlan")).unwrap().kind = new.clone();
        if new == LinkKind::Holder {
            desired.fdb.clear();
        }
        let applied = reconcile(kernel, &desired);
        assert!(applied.changes.contains_key(&Table::Routes), "{change}: {applied:?}");
    }
}

fn routes_change_their_target(kernel: &mut dyn Kernel, container: &Path) {
    let mut desired = full(container);
    reconcile(kernel, &desired);
    let destinations: Vec<_> = desired.routes.keys().copied().collect();
    for target in [
        RouteTarget::Unreachable,
        RouteTarget::Device(name("hopvxlan")),
        RouteTarget::Blackhole,
        RouteTarget::Device(name("hopc0000000001")),
    ] {
        for key in &destinations {
            let route = desired.routes.get_mut(key).unwrap();
            route.target = target.clone();
            route.mtu = match &target {
                RouteTarget::Device(_) => Some(1333),
                _ => None,
            };
            route.source = None;
        }
        reconcile(kernel, &desired);
    }
}

fn links_have_routes_of_their_own_to_the_loopback_beside_each_other(
    kernel: &mut dyn Kernel,
    container: &Path,
) {
    let without = full(container);
    let to_loopback = |link: &str, metric: u32| {
        let key = RouteKey { metric: Some(metric), ..states::key(LOCAL_TABLE, "::1/128") };
        (key, Route { target: RouteTarget::Local(name(link)), source: None, mtu: None })
    };
    let mut desired = without.clone();
    desired.routes.extend([to_loopback("hopc0000000001", 4711), to_loopback("hopvxlan", 4712)]);
    reconcile(kernel, &desired);
    let (gone, _) = to_loopback("hopc0000000001", 4711);
    desired.routes.remove(&gone);
    reconcile(kernel, &desired);
    reconcile(kernel, &without);
}

fn a_link_that_is_down_is_raised_with_all_that_it_lost(kernel: &mut dyn Kernel, container: &Path) {
    let desired = full(container);
    reconcile(kernel, &desired);
    let mut lowered = desired.clone();
    for link in lowered.links.values_mut() {
        link.up = false;
    }
    // Routes over links that are down cannot be.
    lowered
        .routes
        .retain(|_, route| !matches!(&route.target, RouteTarget::Device(_) | RouteTarget::Via { .. }));
    let observed = kernel.observe(&lowered).unwrap();
    assert_eq!(kernel.apply(observed.clone(), &lowered).failures, []);
    reconcile(kernel, &desired);
}
