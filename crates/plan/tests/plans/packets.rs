//! Plans at work: three hosts, a router and containers as network namespaces, real packets.
//!
//! h1 and h2 share a segment (192.0.2.0/24), h3 is behind the router (198.51.100.0/24). The router is also the world
//! outside (203.0.113.1). Needs root, `ip`, `nft` and `ping`; says SKIP where they are not to be had.

use crate::cluster::{ALL, DB, H1, H2, H3, WEB, endpoint, ip, seen_by};
use crate::namespaces::Namespaces;
use hopsack_lab::require;
use hopsack_plan::view::{Attachment, View};
use hopsack_plan::{HostState, plan};
use hopsack_types::numbers::{
    PROBE_DIRECT_ICMP_ID as DIRECT, PROBE_DIRECT_TOS, PROBE_VXLAN_ICMP_ID as VXLAN, PROBE_VXLAN_TOS,
};
use hopsack_types::path::PathKind;
use hopsack_types::{Cidr, HostId, IfName, Isolation};
use std::path::PathBuf;

/// Which container is where: name, host, network, addresses.
const CONTAINERS: [(&str, u8, HostId, bool, [&str; 2]); 5] = [
    ("c1", 1, H1, true, ["10.32.4.1", "fd32:0:0:1::1"]),
    ("c2", 2, H2, true, ["10.32.4.9", "fd32:0:0:1:1::9"]),
    ("c3", 3, H3, true, ["10.32.4.17", "fd32:0:0:1:2::17"]),
    ("d1", 4, H1, false, ["10.32.5.1", "fd32:0:0:2::1"]),
    ("d3", 5, H3, false, ["10.32.5.17", "fd32:0:0:2:2::17"]),
];
const HOSTS: [(&str, HostId); 3] = [("h1", H1), ("h2", H2), ("h3", H3)];

/// An underlay: the router's addresses, and the hosts'.
#[derive(Clone, Copy)]
struct Addresses {
    near_gateway: &'static str,
    far_gateway: &'static str,
    length: u8,
    hosts: [&'static str; 3],
}

const V4: Addresses = Addresses {
    near_gateway: "192.0.2.254",
    far_gateway: "198.51.100.254",
    length: 24,
    hosts: ["192.0.2.1", "192.0.2.2", "198.51.100.3"],
};
const V6: Addresses = Addresses {
    near_gateway: "2001:db8:1::fe",
    far_gateway: "2001:db8:2::fe",
    length: 64,
    hosts: ["2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::3"],
};

struct Lab {
    net: Namespaces,
    underlay: Addresses,
}

impl Lab {
    /// Builds the hosts, and on each what its plan says. All check sources strictly, as some distributions do.
    fn new() -> Self {
        Self::on(V4, 1)
    }

    /// The same over an underlay, and with an `rp_filter` for all devices.
    fn on(underlay: Addresses, rp_filter: u8) -> Self {
        let net = Namespaces::new(&["r", "h1", "h2", "h3", "c1", "c2", "c3", "d1", "d3"]);
        let Addresses { near_gateway, far_gateway, length, hosts } = underlay;
        net.sh(
            "r",
            "ip link add seg type bridge; ip link set seg up; ip link set lo up
            ip addr add 203.0.113.1/32 dev lo; ip addr add 2001:db8::1/128 dev lo
            echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        for ((host, id), own) in HOSTS.into_iter().zip(hosts) {
            net.pair(host, "eth0", "r", &format!("to-{host}"));
            let (gateway, attach) =
                if id == H3 { (far_gateway, "true") } else { (near_gateway, "ip link set master seg dev") };
            net.sh("r", &format!("{attach} to-{host}; ip link set to-{host} up"));
            net.sh(
                host,
                &format!(
                    "ip link set eth0 up; ip link set lo up
                    ip addr add {own}/{length} dev eth0 $(case {own} in *:*) echo nodad; esac)
                    ip route add default via {gateway}
                    echo {rp_filter} > /proc/sys/net/ipv4/conf/all/rp_filter"
                ),
            );
        }
        for (gateway, device) in [(near_gateway, "seg"), (far_gateway, "to-h3")] {
            let nodad = if gateway.contains(':') { "nodad" } else { "" };
            net.sh("r", &format!("ip addr add {gateway}/{length} dev {device} {nodad}"));
        }
        let lab = Self { net, underlay };
        for (_, host) in HOSTS {
            lab.apply(host, &plan(&lab.view(host), &ALL));
        }
        lab
    }

    fn view(&self, me: HostId) -> View {
        let mut view = seen_by(me);
        for (host, address) in view.hosts.values_mut().zip(self.underlay.hosts) {
            host.underlay = ip(address);
        }
        view.underlay.address = view.hosts[&me].underlay;
        view.underlay.on_link = Cidr::around(view.underlay.address, self.underlay.length);
        for choice in view.paths.values_mut().filter(|choice| choice.kind == PathKind::Vxlan) {
            choice.mtu = view.underlay.vxlan_mtu();
        }
        let grant = |view: &mut View, network, prefix: &str, host| {
            view.networks.get_mut(&network).unwrap().grants.insert(crate::cluster::cidr(prefix), host);
        };
        grant(&mut view, WEB, "fd32:0:0:1:1::/80", H2);
        grant(&mut view, WEB, "fd32:0:0:1:2::/80", H3);
        grant(&mut view, DB, "10.32.5.16/29", H3);
        grant(&mut view, DB, "fd32:0:0:2::/80", H1);
        grant(&mut view, DB, "fd32:0:0:2:2::/80", H3);
        for (name, number, host, web, addresses) in CONTAINERS {
            if host == me {
                let (id, mut endpoint) = endpoint(number, if web { WEB } else { DB }, &addresses);
                let path = PathBuf::from(self.net.name(name));
                endpoint.attachment = Attachment::Namespace { path, interface: IfName::new("eth0").unwrap() };
                view.endpoints.insert(id, endpoint);
            }
        }
        view
    }

    fn apply(&self, host: HostId, state: &HostState) {
        let name = HOSTS.iter().find(|(_, id)| *id == host).unwrap().0;
        self.net.apply(name, state);
    }

    /// Whether an echo request from one namespace is answered.
    fn pings(&self, from: &str, options: &str, to: &str) -> bool {
        self.net.succeeds(from, &format!("ping -n -c 1 -W 2 {options} {to}"))
    }

    /// Whether it is not, for as long as an answer could take here.
    fn refuses(&self, from: &str, options: &str, to: &str) -> bool {
        !self.net.succeeds(from, &format!("ping -n -c 1 -W 0.3 {options} {to}"))
    }

    /// How many packets that match come into a namespace while `act` runs.
    fn arriving(&self, at: &str, rule: &str, act: impl FnOnce()) -> u64 {
        self.net.sh(
            at,
            &format!(
                "nft 'table inet watch {{ chain seen {{ type filter hook prerouting priority -250
            {rule} counter
            }}; }}'"
            ),
        );
        act();
        let listing = self.net.output(at, "nft list table inet watch; nft delete table inet watch");
        let count = listing.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
        count.and_then(|count| count.parse().ok()).expect("a counter")
    }
}

#[test]
fn containers_of_one_network_reach_each_other_and_those_of_others_do_not() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::new();
    for (from, _, _, web, _) in CONTAINERS {
        for (to, _, _, other, addresses) in CONTAINERS {
            for address in addresses {
                let right =
                    if web == other { lab.pings(from, "", address) } else { lab.refuses(from, "", address) };
                assert!(right, "{from} to {to} {address}");
            }
        }
    }
    // Until both say that they are open.
    for (name, host) in HOSTS {
        let mut view = lab.view(host);
        for network in view.networks.values_mut() {
            network.network.isolation = Isolation::None;
        }
        lab.net.apply_firewall(name, &plan(&view, &ALL).firewall);
    }
    for address in ["10.32.5.1", "10.32.5.17", "fd32:0:0:2:2::17"] {
        assert!(lab.pings("c1", "", address), "c1 to {address}");
    }
}

#[test]
fn hosts_and_containers_of_any_host_reach_each_other_by_host_addresses() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::new();
    for (name, _) in HOSTS {
        for number in 1..=3 {
            for host in [format!("10.32.0.{number}"), format!("fd32::{number}")] {
                assert!(lab.pings(name, "", &host), "{name} to {host}");
                for container in ["c1", "d3"] {
                    assert!(lab.pings(container, "", &host), "{container} to {host}");
                }
            }
        }
        for (to, _, _, _, addresses) in CONTAINERS {
            for address in addresses {
                assert!(lab.pings(name, "", address), "{name} to {to} {address}");
            }
        }
    }
}

#[test]
fn containers_reach_outside_and_members_as_the_host_and_nobody_outside_reaches_them() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::new();
    let as_the_host = lab.arriving("r", "ip saddr 192.0.2.1 ip daddr 203.0.113.1", || {
        assert!(lab.pings("c1", "", "203.0.113.1"));
    });
    assert_eq!(as_the_host, 1);
    // A member's own address is outside too.
    for (container, member) in [("c1", "192.0.2.2"), ("c1", "198.51.100.3"), ("c3", "192.0.2.1")] {
        assert!(lab.pings(container, "", member), "{container} to {member}");
    }
    lab.net.sh("r", "ip route add 10.32.0.0/12 via 192.0.2.1");
    let inside = lab.arriving("c1", "ip saddr 203.0.113.1", || {
        assert!(lab.refuses("r", "-I 203.0.113.1", "10.32.4.1"));
        assert!(lab.refuses("r", "", "10.32.4.1"));
        assert!(lab.refuses("r", "", "10.32.0.1"), "a host address is reached from outside");
    });
    assert_eq!(inside, 0);
    assert!(lab.pings("r", "", "192.0.2.1"), "a host as such is nobody's business but its own");
}

#[test]
fn sources_of_ours_are_refused_where_they_do_not_belong() {
    require!(Root, Nft, Ping, Vxlan);
    // Nothing but our table stands in the way.
    let lab = Lab::on(V4, 0);
    // From the segment: a free address, a far host's container, this host's own container.
    lab.net.sh("r", "ip route add 10.32.0.0/12 via 192.0.2.1");
    for source in ["10.32.4.99", "10.32.4.17", "10.32.5.1"] {
        lab.net.sh("r", &format!("ip addr add {source}/32 dev lo"));
        let seen = lab.arriving("c1", &format!("ip saddr {source}"), || {
            lab.refuses("r", &format!("-I {source}"), "10.32.4.1");
        });
        assert_eq!(seen, 0, "{source} from the underlay");
    }
    // From a container: another's address, on the same host and elsewhere.
    for source in ["10.32.4.9", "10.32.5.1", "10.32.0.2", "203.0.113.9"] {
        lab.net.sh("c1", &format!("ip addr add {source}/32 dev lo; ip link set lo up"));
        let seen = lab.arriving("c3", &format!("ip saddr {source}"), || {
            lab.refuses("c1", &format!("-I {source}"), "10.32.4.17");
        });
        assert_eq!(seen, 0, "{source} from a container");
    }
}

#[test]
fn tunnel_packets_of_strangers_and_with_wrong_insides_are_dropped() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::new();
    let tunnel = |remote: &str, local: &str| {
        format!("ip link add fake type vxlan id 4677000 dstport 4678 remote {remote} local {local} nolearning noudpcsum
            ip link set fake up; ip route add 10.32.4.0/24 dev fake
            ip neigh add 10.32.4.1 lladdr {} dev fake", hopsack_types::numbers::vtep_mac(H1))
    };
    // The router is no member, whatever it puts inside.
    lab.net.sh("r", &tunnel("192.0.2.1", "192.0.2.254"));
    lab.net.sh("r", "ip addr add 10.32.4.9/32 dev lo");
    let arrived = lab.arriving("h1", "udp dport 4678", || {
        let inside = lab.arriving("c1", "ip saddr 10.32.4.9", || {
            lab.refuses("r", "-I 10.32.4.9", "10.32.4.1");
        });
        assert_eq!(inside, 0, "a stranger's tunnel packet was unpacked");
    });
    assert_eq!(arrived, 0, "it is dropped before connection tracking");
    let at_all = lab.net.output("h1", "nft list chain inet hopsack tunnel_in");
    assert!(!at_all.contains("counter packets 0 "), "{at_all}");
    // h3 is one, but h2's container is not its own. Right sources pass the same way.
    lab.net.sh(
        "h3",
        "ip addr add 10.32.4.9/32 dev lo; ip addr add 10.32.4.18/32 dev lo
        ip addr add fd32:0:0:1:1::9/128 dev lo; ip addr add fd32:0:0:1:2::18/128 dev lo",
    );
    for (source, passes) in [("10.32.4.9", 0), ("10.32.4.18", 1)] {
        let seen = lab.arriving("c1", &format!("ip saddr {source}"), || {
            lab.refuses("h3", &format!("-I {source}"), "10.32.4.1");
        });
        assert_eq!(seen, passes, "{source} inside a tunnel packet of h3");
    }
    for (source, passes) in [("fd32:0:0:1:1::9", 0), ("fd32:0:0:1:2::18", 1)] {
        let seen = lab.arriving("c1", &format!("ip6 saddr {source}"), || {
            lab.refuses("h3", &format!("-I {source}"), "fd32:0:0:1::1");
        });
        assert_eq!(seen, passes, "{source} inside a tunnel packet of h3");
    }
    // A container's tunnel packet would leave as its host's.
    lab.net.sh("c2", &tunnel("192.0.2.1", "10.32.4.9"));
    let sent = || {
        lab.arriving("h1", "udp dport 4678 ip saddr 192.0.2.2", || {
            lab.refuses("c2", "-I fake", "10.32.4.1");
        })
    };
    assert_eq!(sent(), 0);
    lab.net.sh("h2", "nft flush chain inet hopsack forwarded");
    assert_ne!(sent(), 0, "this test cannot fail");
}

/// What makes `ping` send an IPv4 probe.
fn probe(id: u16) -> String {
    let tos = if id == DIRECT { PROBE_DIRECT_TOS } else { PROBE_VXLAN_TOS };
    format!("-e {id} -Q {tos}")
}

#[test]
fn probes_take_their_own_path_whatever_is_in_use() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::new();
    let by = |host: &str, device: &str, id: u16, to: &str| {
        lab.arriving(
            host,
            &format!("iifname {device} icmp type {{ echo-request, echo-reply }} icmp id {id}"),
            || {
                lab.refuses("h1", &format!("{} -I 10.32.0.1", probe(id)), to);
            },
        )
    };
    for (to, host, id, device, other) in [
        ("10.32.0.2", "h2", DIRECT, "eth0", "hopvxlan"),
        ("10.32.0.2", "h2", VXLAN, "hopvxlan", "eth0"),
        ("10.32.0.3", "h3", VXLAN, "hopvxlan", "eth0"),
    ] {
        for at in [host, "h1"] {
            assert_eq!(by(at, device, id, to), 1, "{id:#x} to {to} at {at} over {device}");
            assert_eq!(by(at, other, id, to), 0, "{id:#x} to {to} at {at} over {other}");
        }
    }
    // Never over another path than their own.
    assert!(lab.refuses("h1", &format!("{} -I 10.32.0.1", probe(DIRECT)), "10.32.0.3"));
    assert!(lab.pings("h1", &format!("-e {VXLAN} -I fd32::1"), "fd32::3"));
    // Though the segment clears the type of service, and h2 uses the other path.
    lab.net.sh(
        "r",
        "nft 'table bridge bleach { chain f { type filter hook forward priority 0; ether type ip ip dscp set 0; }; }'",
    );
    lab.net
        .sh("h2", "ip route replace 10.32.0.1/32 via 10.32.0.1 dev hopvxlan onlink proto 72 src 10.32.0.2");
    for (id, device, other) in [(DIRECT, "eth0", "hopvxlan"), (VXLAN, "hopvxlan", "eth0")] {
        assert_eq!(by("h1", device, id, "10.32.0.2"), 1, "{id:#x} over {device}");
        assert_eq!(by("h1", other, id, "10.32.0.2"), 0, "{id:#x} over {other}");
    }
    // A segment that drops foreign sources is noticed.
    lab.net.sh(
        "r",
        "nft 'table bridge guard { chain f { type filter hook forward priority 0
        ether type ip ip saddr != { 192.0.2.0/24, 198.51.100.0/24 } drop
        }; }'",
    );
    assert!(lab.refuses("h1", &format!("{} -I 10.32.0.1", probe(DIRECT)), "10.32.0.2"));
    assert!(lab.pings("h1", &format!("{} -I 10.32.0.1", probe(VXLAN)), "10.32.0.2"));
}

#[test]
fn an_underlay_of_v6_carries_both_families() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::on(V6, 1);
    for (from, _, _, web, _) in CONTAINERS.into_iter().filter(|(_, _, host, ..)| *host != H2) {
        for (to, _, _, other, addresses) in CONTAINERS {
            for address in addresses {
                let right =
                    if web == other { lab.pings(from, "", address) } else { lab.refuses(from, "", address) };
                assert!(right, "{from} to {to} {address}");
            }
        }
    }
    for (id, device) in [(0x4801, "eth0"), (0x4802, "hopvxlan")] {
        let rule = format!("iifname {device} icmpv6 type echo-reply icmpv6 id {id}");
        let seen =
            lab.arriving("h1", &rule, || assert!(lab.pings("h1", &format!("-e {id} -I fd32::1"), "fd32::2")));
        assert_eq!(seen, 1, "over {device}");
    }
    lab.net.sh("h3", "ip addr add 10.32.4.9/32 dev lo; ip addr add 10.32.4.18/32 dev lo");
    for (source, passes) in [("10.32.4.9", 0), ("10.32.4.18", 1)] {
        let seen = lab.arriving("c1", &format!("ip saddr {source}"), || {
            lab.refuses("h3", &format!("-I {source}"), "10.32.4.1");
        });
        assert_eq!(seen, passes, "{source} inside a tunnel packet of h3");
    }
}

#[test]
fn large_packets_learn_the_tunnels_size_and_segments_are_clamped_to_it() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::new();
    assert!(lab.pings("c1", "-s 1472 -M do", "10.32.4.9"), "full size over the segment");
    let answer = lab.net.output("c1", "ping -n -c 1 -W 1 -s 1472 -M do 10.32.4.17 || true");
    assert!(answer.contains("mtu = 1450") || answer.contains("mtu=1450"), "{answer}");
    assert!(lab.pings("c1", "-s 1422 -M do", "10.32.4.17"));
    assert!(lab.pings("c1", "-s 1402 -M do", "fd32:0:0:1:2::17"));
    let clamped = lab.arriving("c3", "tcp flags syn tcp option maxseg size 1410", || {
        lab.net.succeeds("c1", "timeout 1 bash -c '</dev/tcp/10.32.4.17/9'");
    });
    assert_eq!(clamped, 1);
}

#[test]
fn what_containers_of_one_network_send_each_other_is_not_tracked_and_all_else_is() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::new();
    let untracked = |host: &str, from: &str, to: &str| {
        lab.arriving(host, &format!("icmp type echo-request ip daddr {to} ct state untracked"), || {
            assert!(lab.pings(from, "", to), "{from} to {to}");
        })
    };
    for (host, from, to) in [
        ("h1", "c1", "10.32.4.9"),
        ("h2", "c1", "10.32.4.9"),
        ("h1", "c1", "10.32.4.17"),
        ("h3", "c1", "10.32.4.17"),
    ] {
        assert_eq!(untracked(host, from, to), 1, "{from} to {to} at {host}");
    }
    for (host, from, to) in
        [("h1", "c1", "10.32.0.2"), ("h2", "h1", "10.32.4.9"), ("h1", "c1", "203.0.113.1")]
    {
        assert_eq!(untracked(host, from, to), 0, "{from} to {to} at {host}");
    }
}

#[test]
fn a_host_on_the_way_may_say_that_a_packet_is_too_large() {
    require!(Root, Nft, Ping, Vxlan);
    let lab = Lab::new();
    lab.net.sh("h2", "for link in $(ls /sys/class/net | grep hopc); do ip link set $link mtu 1400; done");
    let told = || {
        let answer = lab.net.output("c1", "ping -n -c 1 -W 1 -s 1400 -M do 10.32.4.9 || true");
        answer.contains("mtu = 1400") || answer.contains("mtu=1400")
    };
    assert!(told(), "in a network with a way out");
    for (name, host) in HOSTS {
        let mut view = lab.view(host);
        for network in view.networks.values_mut() {
            network.network.internal = true;
        }
        lab.net.apply_firewall(name, &plan(&view, &ALL).firewall);
    }
    lab.net.sh("c1", "ip route flush cache");
    assert!(told(), "in one without");
}
