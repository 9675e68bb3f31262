//! What only Linux can show: other people's objects, moved ends of pairs, notifications, time.

use super::states::{full, ip, key, mac, name, remove_link, veth, ways};
use super::{UNDERLAY, assert_holds, on_linux, pretty_eq, reconcile, with_container};
use hopsack_kernel::{
    Kernel, KernelError, LinuxKernel, LinuxSettings, Settings, Table, probe, surroundings, watch,
};
use hopsack_netlink::filter::Ingress;
use hopsack_netlink::link::{Base, LinkChange};
use hopsack_netlink::netns::{Namespace, in_new_ns, in_ns};
use hopsack_netlink::route::{Kind, Route as NetlinkRoute, RouteFilter};
use hopsack_netlink::{Socket, sysctl};
use hopsack_plan::state::{Container, FastHook, FastPath, Route, RouteTarget};
use hopsack_plan::{Features, HostState};
use hopsack_types::numbers::{ENDPOINT_BLOCK, TUNNEL_BLOCK};
use hopsack_types::{Family, IfName};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Something done to a link through a socket in its namespace.
type Meddling<'a> = &'a (dyn Fn(&mut Socket, u32) + Sync);

fn index(socket: &mut Socket, text: &str) -> u32 {
    socket.link(&name(text)).unwrap().unwrap_or_else(|| panic!("no link {text}")).index
}

fn one_endpoint(container: Container) -> (IfName, HostState) {
    let (endpoint, link) = veth(1, container);
    let mut state = HostState::default();
    state.links.insert(endpoint.clone(), link);
    (endpoint, state)
}

/// Moves an end into the namespace, as Docker does.
fn move_away(end: &str, to: &Path) {
    let mut socket = Socket::open().unwrap();
    let namespace = Namespace::open(to).unwrap();
    let number = index(&mut socket, end);
    let change =
        LinkChange { namespace: Some(namespace.fd()), name: Some(&name("eth5")), ..LinkChange::default() };
    socket.change_link(number, &change).unwrap();
}

#[test]
fn an_end_that_docker_has_moved_is_as_desired_and_is_not_touched() {
    on_linux(|kernel, container| {
        let (_, desired) = one_endpoint(Container::External);
        reconcile(kernel, &desired);
        move_away("hope0000000001", container);
        assert_holds(kernel, &desired);
        in_ns(container, || {
            let mut socket = Socket::open().unwrap();
            let link = socket.link(&name("eth5")).unwrap().unwrap();
            assert!(!link.up);
            assert_eq!(link.mac, Some(mac(1)));
        })
        .unwrap();
    });
}

#[test]
fn a_pair_that_went_with_its_container_is_made_again_with_both_ends_here() {
    on_linux(|kernel, _| {
        let (_, desired) = one_endpoint(Container::External);
        reconcile(kernel, &desired);
        with_container(|gone| move_away("hope0000000001", gone));
        // The namespace and the pair go a moment after the last thread in it.
        let deadline = Instant::now() + Duration::from_secs(5);
        while kernel.observe(&desired).unwrap() == desired {
            assert!(Instant::now() < deadline, "the pair outlived its container");
            std::thread::yield_now();
        }
        reconcile(kernel, &desired);
        index(&mut Socket::open().unwrap(), "hope0000000001");
    });
}

#[test]
fn an_end_that_comes_back_is_seen_again() {
    on_linux(|kernel, container| {
        let (_, desired) = one_endpoint(Container::External);
        reconcile(kernel, &desired);
        move_away("hope0000000001", container);
        let host = Namespace::current().unwrap();
        in_ns(container, || {
            let mut socket = Socket::open().unwrap();
            let number = index(&mut socket, "eth5");
            let change =
                LinkChange { namespace: Some(host.fd()), mac: Some(mac(0x44)), ..LinkChange::default() };
            socket.change_link(number, &change).unwrap();
        })
        .unwrap();
        let applied = reconcile(kernel, &desired);
        assert_eq!(applied.changes.get(&Table::Links), Some(&1));
        index(&mut Socket::open().unwrap(), "hope0000000001");
    });
}

#[test]
fn a_container_that_was_started_anew_at_the_same_path_gets_a_new_pair() {
    on_linux(|kernel, first| {
        let inside = |path: &Path| Container::Namespace {
            path: path.to_owned(),
            interface: name("eth0"),
            addresses: [ip("10.32.4.2"), ip("fd00:4::2")].into(),
            routes: ways("169.254.3.3", "fe80::4677:3"),
            mtu: 1500,
        };
        let (_, desired) = one_endpoint(inside(first));
        reconcile(kernel, &desired);
        with_container(|second| {
            let (_, desired) = one_endpoint(inside(second));
            reconcile(kernel, &desired);
        });
    });
}

#[test]
fn a_container_whose_namespace_is_gone_fails_alone_with_the_reason() {
    on_linux(|kernel, _| {
        let desired = full(Path::new("/run/netns/hopsack-kernel-gone"));
        let observed = kernel.observe(&desired).unwrap();
        let failures = kernel.apply(observed.clone(), &desired).failures;
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!((failures[0].table, failures[0].object.as_str()), (Table::Links, "hopc0000000002"));
        assert_eq!(
            failures[0].reason,
            "the container is gone: detach the endpoint, or start its container again: cannot enter the network \
             namespace /run/netns/hopsack-kernel-gone: No such file or directory"
        );
        let endpoint = name("hopc0000000002");
        let mut rest = kernel.observe(&desired).unwrap();
        assert!(rest.links.remove(&endpoint).is_some_and(|link| !link.up));
        let mut wanted = desired.clone();
        wanted.links.remove(&endpoint);
        // Routes over it wait for it.
        wanted.routes.retain(|_, route| route.target != RouteTarget::Device(endpoint.clone()));
        wanted.fast_path.hooks.remove(&endpoint);
        wanted.fast_path.endpoints.retain(|_, entry| entry.device != endpoint);
        pretty_eq(&rest, &wanted);
    });
}

#[test]
fn an_interface_name_that_the_container_uses_already_is_told() {
    on_linux(|kernel, container| {
        let desired = full(container);
        in_ns(container, || {
            let base = Base { name: &name("eth0"), mac: None, mtu: 1500 };
            Socket::open().unwrap().create_bridge(&base).unwrap();
        })
        .unwrap();
        let observed = kernel.observe(&desired).unwrap();
        let failures = kernel.apply(observed.clone(), &desired).failures;
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!(
            failures[0].reason,
            "the container has an interface eth0 already: attach it as another one"
        );
    });
}

#[test]
fn what_somebody_changes_inside_a_container_is_put_right() {
    on_linux(|kernel, container| {
        let desired = full(container);
        reconcile(kernel, &desired);
        let meddle = |change: Meddling<'_>| {
            in_ns(container, || {
                let mut socket = Socket::open().unwrap();
                let number = index(&mut socket, "eth0");
                change(&mut socket, number);
            })
            .unwrap();
        };
        let changes: [Meddling<'_>; 6] = [
            &|socket, link| socket.remove_address(link, "10.32.4.2/32".parse().unwrap()).unwrap(),
            &|socket, link| socket.add_address(link, "10.99.0.1/32".parse().unwrap()).unwrap(),
            &|socket, _| socket.remove_route(254, "0.0.0.0/0".parse().unwrap(), None, 0, 72).unwrap(),
            &|socket, _| socket.remove_route(254, "::/0".parse().unwrap(), None, 0, 72).unwrap(),
            &|socket, link| {
                socket.change_link(link, &LinkChange { up: Some(false), ..LinkChange::default() }).unwrap();
            },
            &|socket, link| {
                let change = LinkChange { mac: Some(mac(9)), mtu: Some(1300), ..LinkChange::default() };
                socket.change_link(link, &change).unwrap();
            },
        ];
        for change in changes {
            meddle(change);
            assert_ne!(kernel.observe(&desired).unwrap().links, desired.links);
            let applied = reconcile(kernel, &desired);
            assert_eq!(applied.changes.into_iter().collect::<Vec<_>>(), [(Table::Links, 1)]);
        }
    });
}

#[test]
fn one_container_can_be_in_two_networks() {
    on_linux(|kernel, container| {
        let mut desired = HostState::default();
        for number in [1, 2] {
            desired.links.extend([veth(
                number,
                Container::Namespace {
                    path: container.to_owned(),
                    interface: name(&format!("eth{number}")),
                    addresses: [ip(&format!("10.32.{number}.2")), ip(&format!("fd00:{number}::2"))].into(),
                    routes: ways(&format!("169.254.3.{number}"), &format!("fe80::4677:{number}")),
                    mtu: 1500,
                },
            )]);
        }
        reconcile(kernel, &desired);
        in_ns(container, || {
            let mut socket = Socket::open().unwrap();
            let first = index(&mut socket, "eth1");
            for family in Family::BOTH {
                let routes = socket.routes(family, RouteFilter { protocol: Some(72), table: None }).unwrap();
                let mut defaults: Vec<&NetlinkRoute> =
                    routes.iter().filter(|route| route.destination.length() == 0).collect();
                defaults.sort_by_key(|route| route.metric);
                assert_eq!(defaults.len(), 2);
                assert_eq!(defaults[0].device, Some(first), "the first network has the default route");
            }
        })
        .unwrap();
    });
}

#[test]
fn links_and_routes_of_others_are_told_and_left_alone() {
    on_linux(|kernel, _| {
        let mut socket = Socket::open().unwrap();
        let taken = name("hopc0000000001");
        socket.create_bridge(&Base { name: &taken, mac: None, mtu: 1500 }).unwrap();
        let number = index(&mut socket, taken.as_str());
        socket.change_link(number, &LinkChange { alias: Some("mine"), ..LinkChange::default() }).unwrap();
        let foreign = NetlinkRoute {
            table: 254,
            destination: "10.32.0.0/16".parse().unwrap(),
            kind: Kind::Unicast,
            gateway: None,
            on_link: false,
            device: Some(index(&mut socket, "eth0")),
            source: None,
            mtu: None,
            protocol: 4,
            metric: None,
            tos: 0,
        };
        socket.add_route(&foreign).unwrap();
        let (_, mut desired) = one_endpoint(Container::External);
        let refused = Route { target: RouteTarget::Unreachable, source: None, mtu: None };
        desired.routes.insert(key(254, "10.32.0.0/16"), refused);
        let observed = kernel.observe(&desired).unwrap();
        pretty_eq(&observed, &HostState::default());
        let applied = kernel.apply(observed.clone(), &desired);
        let reasons: Vec<&str> = applied.failures.iter().map(|failure| failure.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "a link named hopc0000000001 is there that is not Hopsack's: rename or remove it",
                "a route to 10.32.0.0/16 is there that is not Hopsack's: remove it, or use another subnet",
            ]
        );
        reconcile(kernel, &HostState::default());
        assert_eq!(socket.link(&taken).unwrap().unwrap().index, number);
        let main = RouteFilter { protocol: Some(4), table: None };
        assert_eq!(socket.routes(Family::V4, main).unwrap().len(), 1);
    });
}

#[test]
fn a_link_that_was_made_and_not_yet_named_is_adopted() {
    on_linux(|kernel, _| {
        let mut socket = Socket::open().unwrap();
        socket.create_bridge(&Base { name: &name("hop0"), mac: None, mtu: 1500 }).unwrap();
        let number = index(&mut socket, "hop0");
        let mut desired = full(Path::new("/none"));
        desired.links.retain(|link, _| link.as_str() == "hop0");
        desired.addresses.clear();
        let desired = HostState { links: desired.links, ..HostState::default() };
        reconcile(kernel, &desired);
        assert_eq!(index(&mut socket, "hop0"), number);
    });
}

#[test]
fn a_setting_that_is_not_there_or_refused_is_told_by_name() {
    on_linux(|kernel, _| {
        let mut desired = HostState::default();
        desired.sysctls.insert("net/ipv4/conf/none/rp_filter".into(), "1".into());
        desired.sysctls.insert("net/ipv4/conf/all/rp_filter".into(), "many".into());
        let observed = kernel.observe(&desired).unwrap();
        let failures = kernel.apply(observed.clone(), &desired).failures;
        let reasons: Vec<&str> = failures.iter().map(|failure| failure.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "cannot write the kernel setting /proc/sys/net/ipv4/conf/all/rp_filter: Invalid argument",
                "cannot write the kernel setting /proc/sys/net/ipv4/conf/none/rp_filter: No such file or directory",
            ]
        );
    });
}

#[test]
fn settings_are_seen_without_a_look_at_everything() {
    on_linux(|kernel, container| {
        let desired = full(container);
        reconcile(kernel, &desired);
        let mut settings = LinuxSettings::new().unwrap();
        assert_eq!(settings.differing(&desired.sysctls).unwrap(), BTreeMap::new());
        sysctl::write("net/ipv4/ip_forward", "0").unwrap();
        let mut socket = Socket::open().unwrap();
        let underlay = index(&mut socket, UNDERLAY);
        socket.delete_link(underlay).unwrap();
        let differing = settings.differing(&desired.sysctls).unwrap();
        let gone = desired.sysctls.keys().filter(|name| name.contains("/eth0/"));
        let mut expected: BTreeMap<_, _> = gone.map(|name| (name.clone(), None)).collect();
        assert!(!expected.is_empty());
        expected.insert("net/ipv4/ip_forward".to_owned(), Some("0".to_owned()));
        assert_eq!(differing, expected);
    });
}

#[test]
fn a_watch_tells_of_others_changes_and_not_of_ours() {
    on_linux(|kernel, container| {
        let desired = full(container);
        reconcile(kernel, &desired);
        let (changed_tx, changed_rx) = mpsc::channel();
        let watch = watch(kernel.0.own_changes(), move || changed_tx.send(()).unwrap_or_default()).unwrap();
        let mut socket = Socket::open().unwrap();
        let hop0 = index(&mut socket, "hop0");
        let meddling: [&mut dyn FnMut(); 4] = [
            &mut || socket.remove_address(hop0, "10.32.0.1/32".parse().unwrap()).unwrap(),
            &mut || {
                let flushed = Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
                assert!(flushed.success());
            },
            &mut || {
                let mut socket = Socket::open().unwrap();
                let vxlan = index(&mut socket, "hopvxlan");
                socket.remove_forwarding_entry(vxlan, mac(0xe2)).unwrap();
            },
            &mut || {
                let mut socket = Socket::open().unwrap();
                socket.remove_route(254, "10.32.8.0/29".parse().unwrap(), None, 0, 72).unwrap();
            },
        ];
        for meddle in meddling {
            meddle();
            changed_rx.recv_timeout(Duration::from_secs(5)).unwrap();
            reconcile(kernel, &desired);
            while changed_rx.try_recv().is_ok() {}
        }
        // What we change ourselves is not told: routes, the firewall, and a pair, of which the kernel tells by itself as well.
        let mut fewer = desired.clone();
        fewer.routes.remove(&key(254, "10.32.8.0/29"));
        fewer.firewall = hopsack_types::firewall::Firewall::default();
        fewer.links.extend([veth(77, Container::External)]);
        let observed = kernel.observe(&fewer).unwrap();
        while changed_rx.recv_timeout(Duration::from_millis(100)).is_ok() {}
        kernel.apply(observed.clone(), &fewer);
        assert!(changed_rx.recv_timeout(Duration::from_millis(300)).is_err());
        let mut without = fewer.clone();
        without.links.retain(|name, _| !fewer.links[name].alias.ends_with("77"));
        assert_ne!(without, fewer);
        kernel.apply(fewer.clone(), &without);
        assert!(changed_rx.recv_timeout(Duration::from_millis(300)).is_err());
        drop(watch);
        assert_eq!(changed_rx.recv(), Err(mpsc::RecvError), "the watch did not end");
    });
}

#[test]
fn an_observation_with_nothing_new_is_quick() {
    on_linux(|kernel, _| {
        let mut desired = HostState::default();
        for number in 1..=50 {
            desired.links.extend([veth(number, Container::External)]);
            let route = Route { target: RouteTarget::Blackhole, source: None, mtu: None };
            desired.routes.insert(key(254, &format!("10.40.{number}.0/24")), route);
        }
        desired.forward_accept = Family::BOTH.into();
        reconcile(kernel, &desired);
        let best = (0..20)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(kernel.0.observe(&desired).unwrap(), desired);
                start.elapsed()
            })
            .min()
            .unwrap();
        // Measured: 1.5 ms unoptimised; running any program would take longer than this bound.
        assert!(best < Duration::from_millis(8), "{best:?}");
    });
}

#[test]
fn the_surroundings_leave_out_what_is_ours() {
    on_linux(|kernel, container| {
        let mut socket = Socket::open().unwrap();
        let eth0 = index(&mut socket, "eth0");
        let route = |destination: &str, gateway: Option<&str>, metric| NetlinkRoute {
            table: 254,
            destination: destination.parse().unwrap(),
            kind: Kind::Unicast,
            gateway: gateway.map(ip),
            on_link: gateway.is_some(),
            device: Some(eth0),
            source: None,
            mtu: None,
            protocol: 4,
            metric,
            tos: 0,
        };
        let far0 = index(&mut socket, "far0");
        socket.add_address(far0, "198.51.100.1/24".parse().unwrap()).unwrap();
        socket
            .add_route(&NetlinkRoute {
                device: Some(far0),
                ..route("0.0.0.0/0", Some("198.51.100.9"), Some(9))
            })
            .unwrap();
        socket.add_route(&route("0.0.0.0/0", Some("192.0.2.254"), None)).unwrap();
        socket.add_route(&route("10.200.0.0/16", None, None)).unwrap();
        reconcile(kernel, &full(container));
        let found = surroundings().unwrap();
        let mut addresses: Vec<String> = found
            .addresses
            .iter()
            .filter(|on| on.address.is_ipv4())
            .map(|on| format!("{} {} {} {}", on.device, on.address, on.on_link, on.mtu))
            .collect();
        addresses.sort();
        assert_eq!(addresses, ["eth0 192.0.2.1 192.0.2.0/24 1500", "far0 198.51.100.1 198.51.100.0/24 1500"]);
        let defaults: Vec<&str> = found.default_routes.iter().map(|route| route.device.as_str()).collect();
        assert_eq!(defaults, ["eth0", "far0"]);
        let routes: Vec<String> = found.routes.iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["10.200.0.0/16", "192.0.2.0/24", "198.51.100.0/24"]);
    });
}

#[test]
fn features_are_tried_out_and_told() {
    in_new_ns(|| {
        let report = probe().unwrap();
        assert_eq!(report.features, Features { vxlan: true, ipv6: true, fast_path: true }, "{report:?}");
        assert_eq!(report.remarks, Vec::<String>::new());
        sysctl::write("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let report = probe().unwrap();
        assert!(!report.features.ipv6);
        assert!(report.remarks[0].starts_with("IPv6 is off"), "{report:?}");
        // Nothing of the trial is left here.
        assert_eq!(Socket::open().unwrap().links().unwrap().len(), 1);
    })
    .unwrap();
}

#[test]
fn a_kernel_can_be_handed_to_another_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<LinuxKernel>();
    assert_send::<KernelError>();
    assert_send::<Box<dyn Kernel>>();
}

#[test]
fn what_was_written_is_believed_until_somebody_else_writes() {
    on_linux(|kernel, container| {
        let desired = full(container);
        reconcile(kernel, &desired);
        let own = &mut kernel.0;
        let before = own.observe(&desired).unwrap();
        let mut less = desired.clone();
        less.firewall.sets.values_mut().for_each(|set| drop(set.elements.pop_first()));
        assert_eq!(own.apply(before.clone(), &less).failures, []);
        let believed = own.observe(&less).unwrap();
        pretty_eq(&believed, &less);
        assert_eq!(believed.firewall, LinuxKernel::new().unwrap().observe(&less).unwrap().firewall);
        let flush = Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
        assert!(flush.success());
        assert!(own.observe(&less).unwrap().firewall.chains.is_empty(), "the flush was not seen");
    });
}

#[test]
fn what_somebody_wrote_meanwhile_is_seen_after_our_own_write() {
    on_linux(|kernel, container| {
        let desired = full(container);
        reconcile(kernel, &desired);
        let own = &mut kernel.0;
        let before = own.observe(&desired).unwrap();
        let chain = before.firewall.chains.keys().next().unwrap().clone();
        let flush = Command::new("nft").args(["flush", "chain", "inet", "hopsack", &chain]).status().unwrap();
        assert!(flush.success());
        let mut less = desired.clone();
        less.firewall.sets.values_mut().for_each(|set| drop(set.elements.pop_first()));
        assert_eq!(own.apply(before.clone(), &less).failures, []);
        assert_ne!(own.observe(&less).unwrap().firewall, less.firewall, "the flushed chain was not seen");
    });
}

#[test]
fn the_next_agent_takes_the_fast_path_over_with_one_step_for_each_kind_of_link() {
    on_linux(|kernel, container| {
        let desired = full(container);
        reconcile(kernel, &desired);
        let mut socket = Socket::open().unwrap();
        let before = socket.ingresses().unwrap();
        let running =
            |socket: &mut Socket| [ENDPOINT_BLOCK, TUNNEL_BLOCK].map(|block| socket.block_program(block));
        let programs = running(&mut socket);
        // It has tables of its own, which are full before anything looks at them.
        let mut next = LinuxKernel::new().unwrap();
        let found = next.observe(&desired).unwrap();
        assert!(found.fast_path.endpoints.is_empty());
        assert!(found.fast_path.hooks.values().all(|hook| *hook == FastHook::Left), "{:?}", found.fast_path);
        assert_eq!(next.apply(found.clone(), &desired).failures, []);
        assert_eq!(next.observe(&desired).unwrap().fast_path, desired.fast_path);
        assert_eq!(socket.ingresses().unwrap(), before, "links were bound anew, with a gap");
        assert_ne!(running(&mut socket), programs);
        // One that was told to leave it takes away what was left.
        let mut last = LinuxKernel::new().unwrap();
        let without = HostState { fast_path: FastPath::default(), ..desired };
        let found = last.observe(&without).unwrap();
        assert_eq!(last.apply(found.clone(), &without).failures, []);
        assert_eq!(socket.ingresses().unwrap(), []);
        assert_eq!(running(&mut socket), [Ok(None), Ok(None)]);
    });
}

#[test]
fn filters_that_somebody_else_runs_at_our_links_stay_and_packets_take_the_routes() {
    on_linux(|kernel, container| {
        let mut desired = full(container);
        let fast_path = std::mem::take(&mut desired.fast_path);
        reconcile(kernel, &desired);
        let mut socket = Socket::open().unwrap();
        let number = index(&mut socket, "hopc0000000001");
        socket.bind_ingress(number, 5).unwrap();
        desired.fast_path = fast_path;
        reconcile(kernel, &desired);
        desired.fast_path = FastPath::default();
        reconcile(kernel, &desired);
        assert_eq!(socket.ingresses().unwrap(), [Ingress { device: number, block: Some(5) }]);
    });
}

#[test]
fn an_entry_for_a_link_that_is_gone_is_set_again_or_removed() {
    on_linux(|kernel, container| {
        let desired = full(container);
        reconcile(kernel, &desired);
        let mut socket = Socket::open().unwrap();
        let number = index(&mut socket, "hopc0000000001");
        socket.delete_link(number).unwrap();
        let lost = kernel.observe(&desired).unwrap();
        assert_eq!(lost.fast_path.endpoints[&ip("10.32.4.1")].device, IfName::loopback());
        reconcile(kernel, &desired);
        let mut less = desired.clone();
        remove_link(&mut less, &name("hopc0000000001"));
        reconcile(kernel, &less);
    });
}
