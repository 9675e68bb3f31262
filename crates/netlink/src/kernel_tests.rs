//! Each verb against a real kernel, in network namespaces of the tests' own. Needs root.

use crate::filter::Ingress;
use crate::link::{Base, Kind, LinkChange, Vxlan};
use crate::monitor::{Event, Monitor, Topic};
use crate::netns::{Namespace, in_new_ns, in_ns};
use crate::route::{Kind as RouteKind, Route, RouteFilter};
use crate::rule::Rule;
use crate::{Socket, conntrack, sysctl};
use hopsack_types::{Family, IfName, Mac, Protocol};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PROTOCOL: u8 = 72;
const MAC: Mac = Mac::from_bytes([2, 0, 0, 0, 0, 1]);
const OTHER_MAC: Mac = Mac::from_bytes([2, 0, 0, 0, 0, 2]);

fn name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

fn ip_port(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Runs a test in a namespace of its own with a bridge `b0` that is up; gives its number.
fn with_bridge(test: impl FnOnce(&mut Socket, u32) + Send) {
    in_new_ns(|| {
        let mut socket = Socket::open().unwrap();
        socket.create_bridge(&Base { name: &name("b0"), mac: Some(MAC), mtu: 1400 }).unwrap();
        let bridge = socket.link(&name("b0")).unwrap().unwrap();
        socket.change_link(bridge.index, &LinkChange { up: Some(true), ..LinkChange::default() }).unwrap();
        test(&mut socket, bridge.index);
        assert_eq!(socket.skipped(), 0, "messages of this kernel could not be decoded");
    })
    .unwrap();
}

fn unicast(destination: &str, gateway: Option<&str>, device: u32) -> Route {
    Route {
        table: 254,
        destination: destination.parse().unwrap(),
        kind: RouteKind::Unicast,
        gateway: gateway.map(ip),
        on_link: gateway.is_some(),
        device: Some(device),
        source: None,
        mtu: None,
        protocol: PROTOCOL,
        metric: None,
        tos: 0,
    }
}

#[test]
fn a_link_reads_back_as_it_was_made_and_changed() {
    with_bridge(|socket, index| {
        let link = socket.link(&name("b0")).unwrap().unwrap();
        assert_eq!((link.kind, link.mac, link.mtu, link.up), (Kind::Bridge, Some(MAC), 1400, true));
        let change = LinkChange {
            alias: Some("hopsack:test"),
            mac: Some(OTHER_MAC),
            mtu: Some(1300),
            up: Some(false),
            ..LinkChange::default()
        };
        socket.change_link(index, &change).unwrap();
        let link = socket.links().unwrap().into_iter().find(|link| link.index == index).unwrap();
        assert_eq!((link.mac, link.mtu, link.up), (Some(OTHER_MAC), 1300, false));
        assert_eq!(link.alias, "hopsack:test");
        socket.delete_link(index).unwrap();
        assert_eq!(socket.link(&name("b0")).unwrap(), None);
        assert!(socket.delete_link(index).unwrap_err().is_gone());
    });
}

#[test]
fn a_second_link_of_the_same_name_is_refused_as_existing() {
    with_bridge(|socket, _| {
        let error = socket.create_bridge(&Base { name: &name("b0"), mac: None, mtu: 1500 }).unwrap_err();
        assert!(error.is_exists(), "{error}");
        assert_eq!(error.to_string(), "cannot create bridge b0: File exists");
    });
}

#[test]
fn vxlan_devices_of_both_families_read_back() {
    for local in ["192.0.2.1", "2001:db8::1"] {
        with_bridge(|socket, _| {
            let vxlan = Vxlan {
                vni: 4_677_000,
                port: 4678,
                local: Some(ip(local)),
                learning: false,
                ttl: 64,
                checksum: Some(true),
                inherit_df: true,
            };
            socket.create_vxlan(&Base { name: &name("v0"), mac: Some(MAC), mtu: 1430 }, &vxlan).unwrap();
            let link = socket.link(&name("v0")).unwrap().unwrap();
            assert_eq!(link.kind, Kind::Vxlan(vxlan));
            assert_eq!((link.mac, link.mtu), (Some(MAC), 1430));
            let index = link.index;
            socket.set_forwarding_entry(index, MAC, ip(local)).unwrap();
            socket.set_forwarding_entry(index, MAC, ip(local)).unwrap();
            let entries = socket.forwarding_entries(index).unwrap();
            assert_eq!(entries.len(), 1);
            assert_eq!((entries[0].mac, entries[0].remote), (MAC, ip(local)));
            socket.remove_forwarding_entry(index, MAC).unwrap();
            assert!(socket.remove_forwarding_entry(index, MAC).unwrap_err().is_gone());
        });
    }
}

#[test]
fn a_veth_end_moves_into_another_namespace_and_is_seen_from_both_sides() {
    with_bridge(|socket, _| {
        let (host, peer) = (name("host0"), name("peer0"));
        socket
            .create_veth(
                &Base { name: &host, mac: Some(MAC), mtu: 1450 },
                &Base { name: &peer, mac: Some(OTHER_MAC), mtu: 1450 },
            )
            .unwrap();
        let outside = socket.link(&host).unwrap().unwrap();
        let inside = socket.link(&peer).unwrap().unwrap();
        assert_eq!((outside.kind.clone(), outside.peer), (Kind::Veth, Some(inside.index)));
        assert!(!outside.peer_elsewhere);
        let here = Namespace::current().unwrap().id().unwrap();
        let (moved, there) = in_new_ns(|| {
            let target = Namespace::current().unwrap();
            let change = LinkChange {
                namespace: Some(target.fd()),
                name: Some(&name("eth0")),
                ..LinkChange::default()
            };
            socket.change_link(inside.index, &change).unwrap();
            assert!(socket.link(&host).unwrap().unwrap().peer_elsewhere);
            (Socket::open().unwrap().link(&name("eth0")).unwrap(), target.id().unwrap())
        })
        .unwrap();
        assert_eq!(moved.unwrap().peer, Some(outside.index));
        assert_ne!(here, there);
    });
}

#[test]
fn addresses_of_both_families_are_added_and_removed() {
    with_bridge(|socket, index| {
        for net in ["10.32.0.1/32", "fd00::1/128", "fe80::4677:1/64"] {
            let net = net.parse().unwrap();
            socket.add_address(index, net).unwrap();
            assert!(socket.add_address(index, net).unwrap_err().is_exists());
            let found = socket.addresses().unwrap().into_iter().find(|address| address.net == net).unwrap();
            assert_eq!((found.device, found.tentative), (index, false));
            assert_eq!(found.no_detection, net.addr().is_ipv6());
            socket.remove_address(index, net).unwrap();
            assert!(socket.remove_address(index, net).unwrap_err().is_gone());
        }
    });
}

#[test]
fn routes_of_every_kind_read_back_and_others_are_left_alone() {
    with_bridge(|socket, index| {
        socket.add_address(index, "10.32.0.1/32".parse().unwrap()).unwrap();
        socket.add_address(index, "fd00::1/128".parse().unwrap()).unwrap();
        let mut routes = vec![
            Route { source: Some(ip("10.32.0.1")), mtu: Some(1350), ..unicast("10.40.0.0/24", None, index) },
            unicast("10.41.0.0/24", Some("192.0.2.9"), index),
            Route { tos: 0x0c, ..unicast("10.41.0.0/24", Some("192.0.2.8"), index) },
            Route { tos: 0x1c, ..unicast("10.41.0.0/24", Some("192.0.2.8"), index) },
            Route { table: 46_771, ..unicast("10.42.0.1/32", Some("192.0.2.9"), index) },
            Route { source: Some(ip("fd00::1")), mtu: Some(1350), ..unicast("fd01::/64", None, index) },
            unicast("fd02::/64", Some("fe80::9"), index),
        ];
        for (destination, kind) in [
            ("10.43.0.0/16", RouteKind::Unreachable),
            ("10.44.0.0/29", RouteKind::Blackhole),
            ("fd03::/64", RouteKind::Unreachable),
            ("fd04::/64", RouteKind::Blackhole),
        ] {
            routes.push(Route { kind, device: None, on_link: false, ..unicast(destination, None, index) });
        }
        // As many as there are devices, of which each has its own metric.
        for metric in [4711, 4712] {
            let kind = RouteKind::Local;
            let metric = Some(metric);
            routes.push(Route { table: 255, kind, metric, ..unicast("::1/128", None, index) });
        }
        let foreign = Route { protocol: 4, ..unicast("10.99.0.0/24", None, index) };
        socket.add_route(&foreign).unwrap();
        for route in &routes {
            socket.add_route(route).unwrap();
            assert!(socket.add_route(route).unwrap_err().is_exists());
            socket.replace_route(route).unwrap();
        }
        let ours = RouteFilter { protocol: Some(PROTOCOL), table: None };
        let mut found: Vec<Route> =
            Family::BOTH.iter().flat_map(|family| socket.routes(*family, ours).unwrap()).collect();
        assert_eq!(found.len(), routes.len(), "{found:#?}");
        for route in &mut found {
            // IPv6 shows the metric that it chose and the loopback device of a route that drops.
            if route.kind != RouteKind::Local {
                route.metric = None;
                route.device = route.device.filter(|_| route.kind == RouteKind::Unicast);
            }
            assert!(routes.contains(route), "{route:#?}");
        }
        for route in &routes {
            socket.remove_route(route.table, route.destination, route.metric, route.tos, PROTOCOL).unwrap();
            let again =
                socket.remove_route(route.table, route.destination, route.metric, route.tos, PROTOCOL);
            assert!(again.unwrap_err().is_gone());
        }
        assert!(socket.remove_route(254, foreign.destination, None, 0, PROTOCOL).unwrap_err().is_gone());
        let main = RouteFilter { protocol: Some(4), table: Some(254) };
        assert_eq!(socket.routes(Family::V4, main).unwrap().len(), 1);
        assert_eq!(socket.routes(Family::V4, RouteFilter { protocol: None, table: Some(77) }).unwrap(), []);
    });
}

#[test]
fn rules_and_neighbours_read_back_and_go() {
    with_bridge(|socket, index| {
        for family in Family::BOTH {
            let rule = Rule {
                family,
                preference: 4677,
                mark: 0x1000_0000,
                mask: 0x1000_0000,
                table: 46_771,
                protocol: PROTOCOL,
            };
            socket.add_rule(&rule).unwrap();
            assert!(socket.add_rule(&rule).unwrap_err().is_exists());
            assert!(socket.rules(family).unwrap().contains(&rule));
            socket.remove_rule(&rule).unwrap();
            assert!(socket.remove_rule(&rule).unwrap_err().is_gone());
        }
        for address in ["10.1.0.1", "fd00::7"].map(ip) {
            socket.set_neighbour(index, address, MAC).unwrap();
            socket.set_neighbour(index, address, OTHER_MAC).unwrap();
            let all = socket.neighbours().unwrap();
            let found = all.iter().find(|neighbour| neighbour.address == address).unwrap();
            assert_eq!((found.device, found.mac, found.permanent), (index, Some(OTHER_MAC), true));
            socket.remove_neighbour(index, address).unwrap();
        }
    });
}

#[test]
fn many_settings_read_together_are_as_their_files_have_them() {
    with_bridge(|socket, _| {
        for link in ["b1", "b.2", "b3"] {
            socket.create_bridge(&Base { name: &name(link), mac: None, mtu: 1400 }).unwrap();
        }
        // Too small for IPv6, so that its settings go.
        let b3 = socket.link(&name("b3")).unwrap().unwrap().index;
        socket.change_link(b3, &LinkChange { mtu: Some(1000), ..LinkChange::default() }).unwrap();
        let known = [
            "ipv4/conf/DEV/accept_redirects",
            "ipv4/conf/DEV/proxy_arp",
            "ipv4/conf/DEV/route_localnet",
            "ipv4/conf/DEV/rp_filter",
            "ipv4/conf/DEV/send_redirects",
            "ipv4/neigh/DEV/proxy_delay",
            "ipv6/conf/DEV/accept_dad",
            "ipv6/conf/DEV/accept_ra",
            "ipv6/conf/DEV/accept_redirects",
            // Of no use to us, so they are read from their files.
            "ipv4/conf/DEV/forwarding",
            "ipv6/neigh/DEV/proxy_delay",
        ];
        let of = |link: &str| known.map(|setting| format!("net/{}", setting.replace("DEV", link)));
        let mut names: Vec<String> =
            ["lo", "b0", "b1", "b.2", "b3", "gone"].into_iter().flat_map(of).collect();
        names.extend(["net/ipv4/ip_forward", "net/ipv6/conf/all/accept_ra"].map(str::to_owned));
        let by_file = || {
            let read = |name: &String| Some((name.clone(), sysctl::read(name).unwrap()?));
            names.iter().filter_map(read).collect::<BTreeMap<_, _>>()
        };
        let unlike: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), "other".to_owned())).collect();
        let mut told = || {
            let differing = socket.differing_settings(&unlike).unwrap();
            assert_eq!(differing.len(), names.len(), "{differing:?}");
            differing.into_iter().filter_map(|(name, value)| Some((name, value?))).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(told(), by_file());
        // Each with a value that no other has, as far as the kernel takes it.
        for (number, setting) in (0_u32..).zip(&of("b1")) {
            // Times are kept in the kernel's ticks, of which two of these may be one.
            let value = number * 2;
            let kept = if setting.contains("redirects") || setting.ends_with("forwarding") {
                number % 2
            } else {
                value
            };
            let kept = if setting.ends_with("rp_filter") { 2 } else { kept };
            sysctl::write(setting, &kept.to_string()).unwrap();
        }
        let together = told();
        assert_eq!(together, by_file());
        assert_eq!(together["net/ipv4/neigh/b1/proxy_delay"], "10");
        assert_eq!(together["net/ipv6/conf/b1/accept_ra"], "14");
        assert!(!together.contains_key("net/ipv6/conf/b3/accept_ra"), "{together:?}");
        assert!(!together.contains_key("net/ipv4/conf/gone/proxy_arp"), "{together:?}");
        assert_eq!(socket.differing_settings(&together).unwrap(), BTreeMap::new());
    });
}

#[test]
fn settings_of_links_that_stay_are_read_while_others_come_and_go() {
    with_bridge(|socket, _| {
        let stay: Vec<String> = (0..400).map(|number| format!("stay{number}")).collect();
        for link in &stay {
            socket.create_bridge(&Base { name: &name(link), mac: None, mtu: 1400 }).unwrap();
        }
        let names = stay.iter().flat_map(|link| {
            ["ipv4/conf/DEV/rp_filter", "ipv4/neigh/DEV/proxy_delay", "ipv6/conf/DEV/accept_ra"]
                .map(|setting| format!("net/{}", setting.replace("DEV", link)))
        });
        let there: BTreeMap<_, _> =
            names.map(|name| (name.clone(), sysctl::read(&name).unwrap().unwrap())).collect();
        let reading = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let comings = scope.spawn(|| {
                let (mut other, mut comings) = (Socket::open().unwrap(), 0);
                while reading.load(Ordering::Relaxed) {
                    other.create_bridge(&Base { name: &name("comes"), mac: None, mtu: 1400 }).unwrap();
                    let index = other.link(&name("comes")).unwrap().unwrap().index;
                    other.delete_link(index).unwrap();
                    comings += 1;
                }
                comings
            });
            let read: Vec<_> = (0..300).map(|_| socket.differing_settings(&there)).collect();
            reading.store(false, Ordering::Relaxed);
            let comings = comings.join().unwrap();
            assert!(comings > 10, "only {comings}");
            for differing in read {
                assert_eq!(differing.unwrap(), BTreeMap::new(), "{comings} links came and went");
            }
        });
    });
}

#[test]
fn the_monitor_tells_what_changed_and_who_did_it() {
    with_bridge(|socket, index| {
        let mut monitor = Monitor::open().unwrap();
        socket.add_address(index, "10.32.0.1/32".parse().unwrap()).unwrap();
        socket.add_route(&unicast("10.40.0.0/24", None, index)).unwrap();
        socket.set_neighbour(index, ip("10.1.0.1"), MAC).unwrap();
        socket.delete_link(index).unwrap();
        let mut changes = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        let wanted =
            |change: &crate::monitor::Change| matches!(change.topic, Topic::Link { .. }) && change.removed;
        while !changes.iter().any(wanted) {
            assert!(Instant::now() < deadline, "only {changes:?}");
            for event in monitor.wait(Some(Duration::from_millis(100)), None).unwrap() {
                match event {
                    Event::Changed(change) => changes.push(change),
                    Event::Overrun => panic!("overrun by a handful of changes"),
                }
            }
        }
        let by_us =
            |topic| changes.iter().any(|change| change.topic == topic && change.port == socket.port());
        assert!(by_us(Topic::Address { link_local: false }), "{changes:?}");
        assert!(by_us(Topic::Route { protocol: PROTOCOL }), "{changes:?}");
        assert!(by_us(Topic::Neighbour { permanent: true }), "{changes:?}");
    });
}

#[test]
fn a_monitor_that_falls_behind_says_so() {
    with_bridge(|socket, index| {
        let mut monitor = Monitor::open().unwrap();
        // Root may exceed the system's limit for buffers, so the flood has to fill the monitor's whole queue.
        let net = "10.32.0.1/32".parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        for _ in 0..40_000 {
            socket.add_address(index, net).unwrap();
            socket.remove_address(index, net).unwrap();
            assert!(Instant::now() < deadline);
        }
        assert!(monitor.wait(Some(Duration::ZERO), None).unwrap().contains(&Event::Overrun));
    });
}

#[test]
fn a_closed_stop_ends_a_wait_without_timeout() {
    in_new_ns(|| {
        let mut monitor = Monitor::open().unwrap();
        let (stop, held) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(held);
        assert_eq!(monitor.wait(None, Some(std::os::fd::AsFd::as_fd(&stop))).unwrap(), []);
    })
    .unwrap();
}

#[test]
fn the_generation_of_nftables_moves_with_each_transaction() {
    in_new_ns(|| {
        let before = crate::generation::generation().unwrap();
        assert_eq!(crate::generation::generation().unwrap(), before);
        let done = Command::new("nft").args(["add", "table", "inet", "t"]).status().unwrap();
        assert!(done.success());
        assert_ne!(crate::generation::generation().unwrap(), before);
    })
    .unwrap();
}

#[test]
fn settings_belong_to_the_namespace_of_the_thread() {
    in_new_ns(|| {
        sysctl::write("net/ipv4/ip_forward", "1").unwrap();
        let outside = in_new_ns(|| sysctl::read("net/ipv4/ip_forward").unwrap()).unwrap();
        assert_eq!(outside.as_deref(), Some("0"));
        assert_eq!(sysctl::read("net/ipv4/ip_forward").unwrap().as_deref(), Some("1"));
        assert_eq!(sysctl::read("net/ipv4/conf/none/rp_filter").unwrap(), None);
        assert!(sysctl::write("net/ipv4/conf/none/rp_filter", "0").unwrap_err().is_gone());
        for outside in ["../etc/passwd", "/etc/passwd", ""] {
            assert!(sysctl::read(outside).is_err(), "{outside:?} was read");
        }
    })
    .unwrap();
}

#[test]
fn a_namespace_that_is_gone_or_no_namespace_is_told_by_path() {
    let gone = in_ns(Path::new("/run/netns/hopsack-none"), || ()).unwrap_err();
    assert!(gone.is_gone());
    assert_eq!(
        gone.to_string(),
        "cannot enter the network namespace /run/netns/hopsack-none: No such file or directory"
    );
    assert!(in_ns(Path::new("/etc/passwd"), || ()).is_err());
}

/// Sends a datagram from a socket of its own to a port of the loopback, where a socket answers.
fn exchange(to: &UdpSocket) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"?", to.local_addr().unwrap()).unwrap();
    let (_, peer) = to.recv_from(&mut [0; 8]).unwrap();
    to.send_to(b"!", peer).unwrap();
    client.recv_from(&mut [0; 8]).unwrap();
    client
}

#[test]
fn flows_to_a_port_are_found_and_one_is_removed_without_the_others() {
    in_new_ns(|| {
        let mut socket = Socket::open().unwrap();
        let loopback = socket.link(&name("lo")).unwrap().unwrap();
        socket.change_link(loopback.index, &LinkChange { up: Some(true), ..LinkChange::default() }).unwrap();
        // Tracks, and translates one port to another.
        let rules = "table ip t {\n chain c {\n type nat hook output priority -100;\n udp dport 5353 redirect to :5300\n }\n }";
        let loaded = Command::new("nft").arg(rules).status().unwrap();
        assert!(loaded.success());
        let (translated, other) = (UdpSocket::bind("127.0.0.1:5300"), UdpSocket::bind("127.0.0.1:5354"));
        let (translated, other) = (translated.unwrap(), other.unwrap());
        exchange(&other);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"?", "127.0.0.1:5353").unwrap();
        translated.recv_from(&mut [0; 8]).unwrap();

        let flows = |port| conntrack::flows_to(Family::V4, Protocol::Udp, port).unwrap();
        let found = flows(5353);
        let [flow] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((flow.target, flow.answers), (ip_port("127.0.0.1:5353"), ip_port("127.0.0.1:5300")));
        assert_eq!(flows(5354).len(), 1);
        assert_eq!(conntrack::flows_to(Family::V4, Protocol::Tcp, 5353).unwrap(), []);
        assert_eq!(conntrack::flows_to(Family::V6, Protocol::Udp, 5353).unwrap(), []);
        conntrack::remove(flow).unwrap();
        assert_eq!(flows(5353), []);
        assert_eq!(flows(5354).len(), 1, "another flow went along");
        assert!(conntrack::remove(flow).unwrap_err().is_gone());
    })
    .unwrap();
}

#[test]
fn an_ingress_is_bound_to_a_block_once_and_cleared() {
    with_bridge(|socket, index| {
        assert_eq!(socket.ingresses().unwrap(), []);
        socket.bind_ingress(index, 77).unwrap();
        assert_eq!(socket.ingresses().unwrap(), [Ingress { device: index, block: Some(77) }]);
        assert!(socket.bind_ingress(index, 78).unwrap_err().is_exists());
        assert_eq!(socket.block_program(77).unwrap(), None);
        assert_eq!(socket.block_program(78).unwrap(), None, "there is no such block");
        socket.clear_ingress(index).unwrap();
        assert_eq!(socket.ingresses().unwrap(), []);
        socket.clear_ingress(index).unwrap();
    });
}
