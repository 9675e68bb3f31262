//! `-p` and `-P`: who reaches a published port, who is seen as the client, and what is refused.

use super::*;
use hopsack_lab::{AGENT, Afterwards, HostSpec, Running, SegmentSpec, Signal, require};
use serde_json::json;
use std::collections::BTreeSet;

/// Where a host outside of the cluster stands: on the segment of h1 and h2.
pub(super) const OUT: &str = "out1";
/// Beyond it, so that it has a segment of both families too.
const SEGMENTS: [[&str; 2]; 2] = [["10.77.1.0/24", "fd77:0:0:1::/64"], ["10.77.2.0/24", "fd77:0:0:2::/64"]];
/// Both families of a network.
const DUAL: &str = "--ipv6 --subnet 10.50.0.0/24 --subnet fd50::/64";

/// Three engines as ever, both families below them, and a host that is none of the cluster's.
pub(super) fn with_outsider() -> Engines {
    let topology = Topology::builder()
        .segment(SegmentSpec::new("lan1", &SEGMENTS[0]))
        .segment(SegmentSpec::new("lan2", &SEGMENTS[1]))
        .router("r1", &["lan1", "lan2"])
        .host(HostSpec::docker("h1", &["lan1"]))
        .host(HostSpec::docker("h2", &["lan1"]))
        .host(HostSpec::docker("h3", &["lan2"]))
        .host(HostSpec::plain(OUT, &["lan1"]))
        .build()
        .unwrap();
    let engines = Engines::on(topology);
    engines.scene.form();
    engines
}

/// A program in a container that answers, and prints who asked.
pub(super) struct Echo {
    protocol: &'static str,
    running: Running,
}

impl Echo {
    pub(super) fn start(at: &Place, protocol: &'static str, address: SocketAddr) -> Self {
        let tool = format!("{protocol}-echo");
        let running = at.start_traffic(&[&tool, "--bind", &address.to_string()]).unwrap();
        Self { protocol, running }
    }

    /// Asks through a published port. Gives the client that was seen, or none if nothing answered.
    pub(super) fn ask(&self, from: &impl Inside, to: SocketAddr) -> Option<IpAddr> {
        let before = self.running.stdout().len();
        answers(from, self.protocol, to).then(|| {
            let seen = self.running.stdout()[before..].to_owned();
            let line = seen.lines().next().unwrap_or_else(|| panic!("somebody else answers at {to}"));
            let caller: Value = serde_json::from_str(line).unwrap();
            caller["peer"].as_str().unwrap().parse::<SocketAddr>().unwrap().ip()
        })
    }
}

/// Whether somebody answers.
fn answers(from: &impl Inside, protocol: &str, to: SocketAddr) -> bool {
    let ping = [&format!("{protocol}-ping"), "--timeout", "1", "--to", &to.to_string()];
    let output = from.traffic(&ping, SETTLED).unwrap();
    let report: Value = serde_json::from_str(output.stdout.trim()).unwrap_or_default();
    report["returned"] == 1
}

/// A host's addresses of both families: on the underlay, then in the cluster.
fn host_addresses(engines: &Engines, host: &str) -> Vec<IpAddr> {
    let mut addresses = engines.host(host).addresses().to_vec();
    let own = engines.scene.status(host)["cluster"]["addresses"].clone();
    addresses.extend(own.as_array().unwrap().iter().map(|a| a.as_str().unwrap().parse::<IpAddr>().unwrap()));
    addresses
}

/// Makes an attacker of somebody: what it sends to 127.0.0.1 leaves, and it takes answers from there.
fn take_loopback_for_remote(attacker: &impl Inside) {
    let script = "ip addr flush dev lo; ip route flush table local dev lo
        echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet";
    attacker.run(&["sh", "-ec", script]).unwrap();
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_the_client_is_seen_as_it_is() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = with_outsider();
    engines.network("h1", &format!("{DUAL} web"));
    engines.network("h1", "--ipv6 --subnet 10.51.0.0/24 --subnet fd51::/64 data");
    engines.run("h1", "server", "--net web -p 8080:80 -p 8080:80/udp -p 8080:80/sctp");
    for host in HOSTS {
        for network in ["web", "data"] {
            engines.run(host, &format!("{network}-{host}"), &format!("--net {network}"));
        }
    }
    engines.run("h1", "bridged", "");
    let server = engines.place("h1", "server");
    let inside = engines.addresses("h1", "server", "web");
    let outside = engines.host(OUT);
    let hosts = HOSTS.map(|host| engines.host(host));
    let of_h1 = host_addresses(&engines, "h1");
    let underlay = engines.host("h1").addresses().to_vec();
    for protocol in ["tcp", "udp", "sctp"] {
        for address in &inside {
            let echo = Echo::start(&server, protocol, SocketAddr::new(*address, 80));
            let v6 = address.is_ipv6();
            let at = |address: &IpAddr| SocketAddr::new(*address, 8080);
            for target in of_h1.iter().filter(|target| target.is_ipv6() == v6) {
                let told = format!("{protocol} to {target}");
                // From outside: only where hosts are known there.
                let seen = echo.ask(&outside, at(target));
                if underlay.contains(target) {
                    let client = outside.addresses().iter().find(|a| a.is_ipv6() == v6);
                    assert_eq!(seen.as_ref(), client, "{told} from outside");
                } else {
                    assert_eq!(seen, None, "{told} from outside");
                }
                for (name, host) in HOSTS.iter().zip(&hosts) {
                    let seen = echo.ask(host, at(target)).unwrap_or_else(|| panic!("{told} from {name}"));
                    assert!(host_addresses(&engines, name).contains(&seen), "{told} from {name}: {seen}");
                    for container in [format!("web-{name}"), format!("data-{name}")] {
                        let client = engines.place(name, &container);
                        assert!(echo.ask(&client, at(target)).is_some(), "{told} from {container}");
                    }
                }
                // By hairpin, and from a bridge of Docker's own, which has IPv4 only.
                assert!(echo.ask(&server, at(target)).is_some(), "{told} from itself");
                let bridged = engines.place("h1", "bridged");
                let reached = v6 || !underlay.contains(target) || echo.ask(&bridged, at(target)).is_some();
                assert!(reached, "{told} from Docker's bridge");
            }
            // On localhost, of the host itself only.
            let localhost = ip(if v6 { "::1" } else { "127.0.0.1" });
            let seen = echo.ask(&hosts[0], at(&localhost));
            assert!(seen.is_some_and(|seen| of_h1.contains(&seen)), "{protocol} to {localhost}: {seen:?}");
            assert_eq!(echo.ask(&hosts[1], at(&localhost)), None);
        }
    }
    engines.end();
}

#[test]
fn nothing_but_published_ports_gets_in_and_what_is_bound_to_an_address_answers_there_only() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = with_outsider();
    engines.network("h1", &format!("{DUAL} web"));
    engines.run("h1", "server", "--net web -p 127.0.0.1:8081:80 -p 10.77.1.1:8082:80");
    engines.run("h1", "other", "--net web");
    let (server, other) = (engines.place("h1", "server"), engines.place("h1", "other"));
    let inside = engines.address("h1", "server", "web");
    let echo = Echo::start(&server, "tcp", SocketAddr::new(inside, 80));
    let closed = Echo::start(&server, "tcp", SocketAddr::new(inside, 81));
    let (h1, outside) = (engines.host("h1"), engines.host(OUT));
    let at = |address: &str, port| SocketAddr::new(ip(address), port);
    assert!(echo.ask(&h1, at("127.0.0.1", 8081)).is_some());
    assert!(echo.ask(&outside, at("10.77.1.1", 8082)).is_some());
    for (from, to) in
        [(&h1, at("127.0.0.1", 8082)), (&h1, at("10.77.1.1", 8081)), (&outside, at("10.77.1.1", 8081))]
    {
        assert_eq!(echo.ask(from, to), None, "{to}");
    }
    // Who knows the way still does not get in: neither to the container nor to this host's loopback.
    outside.run(&["ip", "route", "add", "10.50.0.0/24", "via", "10.77.1.1"]).unwrap();
    take_loopback_for_remote(&outside);
    outside.run(&["ip", "route", "add", "127.0.0.1", "via", "10.77.1.1", "src", "10.77.1.3"]).unwrap();
    for to in [SocketAddr::new(inside, 80), SocketAddr::new(inside, 81), at("127.0.0.1", 8081)] {
        assert!(!answers(&outside, "tcp", to), "{to} from outside");
    }
    // A service on the host's loopback stays there, though packets of the loopback go to containers.
    let private = Echo::start(h1.place(), "tcp", at("127.0.0.1", 9000));
    assert!(private.ask(&h1, at("127.0.0.1", 9000)).is_some());
    for container in [&server, &other] {
        take_loopback_for_remote(container);
        let via = engines.scene.hopsack("h1", &["endpoint", "ls", "-o", "json"]);
        let endpoints: Value = serde_json::from_str(&via).unwrap();
        let next_hop = endpoints[0]["nextHops"][0].as_str().unwrap().to_owned();
        container
            .run(&["ip", "route", "add", "127.0.0.1", "via", &next_hop, "dev", "eth0", "onlink"])
            .unwrap();
        assert!(!answers(container, "tcp", at("127.0.0.1", 9000)));
    }
    drop((echo, closed, private));
    engines.end();
}

#[test]
fn a_busy_port_is_an_error_of_docker_run_and_ports_are_shown_and_survive_agent_and_engine() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = with_outsider();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    engines.run("h1", "one", "--net web -p 8080:80 -p 127.0.0.1:5353:53/udp -p 9999:99/sctp --expose 77 -P");
    let refused = |options: &str| {
        let told =
            engines.refused("h1", &format!("run -d --name three --net web {options} {IMAGE} sleep 100000"));
        engines.docker("h1", "rm -f three");
        told
    };
    let told = refused("-p 8080:81");
    assert!(told.contains("port 0.0.0.0:8080/tcp of this host is published for"), "{told}");
    let h1 = engines.host("h1");
    let somebody = Echo::start(h1.place(), "tcp", "0.0.0.0:8090".parse().unwrap());
    let told = refused("-p 8090:80");
    assert!(told.contains("0.0.0.0:8090/tcp is in use by another program"), "{told}");
    // And the other way round.
    for protocol in ["tcp", "udp"] {
        let port = if protocol == "tcp" { "0.0.0.0:8080" } else { "127.0.0.1:5353" };
        let output = h1.traffic(&[&format!("{protocol}-echo"), "--bind", port], SETTLED).unwrap();
        assert!(!output.success() && output.stderr.contains("in use"), "{}", output.stderr);
    }
    drop(somebody);
    // A range gives the first that is free.
    engines.run("h1", "two", "--net web -p 8080-8082:80");

    let shown = engines.scene.hopsack("h1", &["port", "one"]);
    let fixed = ["53/udp -> 127.0.0.1:5353", "80/tcp -> 0.0.0.0:8080", "99/sctp -> 0.0.0.0:9999"];
    let lines: BTreeSet<&str> = shown.lines().collect();
    assert!(fixed.iter().all(|line| lines.contains(line)), "{shown}");
    let any: Vec<&&str> = lines.iter().filter(|line| line.starts_with("77/tcp -> 0.0.0.0:")).collect();
    assert!(any.len() == 1 && lines.len() == 4, "{shown}");
    assert_eq!(engines.scene.hopsack("h1", &["port", "two"]), "80/tcp -> 0.0.0.0:8081\n");
    assert_eq!(engines.docker("h1", "port one"), "", "as the protocol has it");
    let id = engines.docker("h1", "inspect -f {{.Id}} two");
    let told = engines.scene.hopsack("h1", &["port", &id.trim()[..12], "-o", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told[0]["host"], json!({"protocol": "tcp", "address": "0.0.0.0", "port": 8081}));
    let told = engines.scene.refused("h1", 1, &["port", "three"]);
    assert!(told.contains("no container or endpoint \"three\""), "{told}");

    let inside = engines.address("h1", "one", "web");
    let echo = Echo::start(&engines.place("h1", "one"), "tcp", SocketAddr::new(inside, 80));
    let (outside, target) = (engines.host(OUT), "10.77.1.1:8080".parse().unwrap());
    let works = || echo.ask(&outside, target) == Some(outside.addresses()[0]);
    assert!(works());
    h1.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    assert!(works(), "without an agent");
    engines.scene.start_agent("h1");
    assert_eq!(engines.scene.hopsack("h1", &["port", "one"]), shown);
    assert!(refused("-p 8080:81").contains("is published for one already"));
    let echo_8080 = h1.traffic(&["tcp-echo", "--bind", "0.0.0.0:8080"], SETTLED).unwrap();
    assert!(!echo_8080.success(), "the agent does not hold its ports again");
    // Somebody flushes the rules.
    h1.run(&["nft", "flush", "ruleset"]).unwrap();
    wait::until("the port to be back", SETTLED, works).unwrap();
    // With the container the port goes, and with a new one it comes.
    drop(echo);
    engines.docker("h1", "rm -f one two");
    assert!(!answers(&outside, "tcp", target));
    assert_eq!(engines.scene.hopsack("h1", &["port", "-o", "json"]).trim(), "[]");
    drop(Echo::start(h1.place(), "tcp", "0.0.0.0:8080".parse().unwrap()));
    engines.end();
}
