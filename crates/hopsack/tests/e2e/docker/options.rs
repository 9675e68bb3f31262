//! What `docker network create` and `docker run` can say, and `hopsack network create` in the same words.

use super::*;
use hopsack_lab::require;
use hopsack_types::Cidr;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// What differs between networks of the same options, and between an original and its copies, is left out.
const SHOWN: &str = "{{.Driver}} {{.IPAM.Driver}} ipv6={{.EnableIPv6}} internal={{.Internal}} {{json .Labels}} {{json .IPAM.Config}}\
    {{range $key, $value := .Options}}{{if ne $key \"com.docker.network.windowsshim.hnsid\"}} {{$key}}={{$value}}{{end}}{{end}}";

impl Engines {
    /// What an engine shows of a network.
    fn shown(&self, host: &str, network: &str) -> String {
        self.host(host).docker(&["network", "inspect", "-f", SHOWN, network]).unwrap()
    }

    /// What a line of shell prints inside a container; it has to succeed.
    fn inside(&self, host: &str, container: &str, line: &str) -> String {
        self.host(host).docker(&["exec", container, "sh", "-c", line]).unwrap()
    }

    /// Makes a container by Docker's API.
    fn create(&self, host: &str, name: &str, container: &Value) {
        let (mut stream, body) =
            (UnixStream::connect(self.host(host).engine_socket()).unwrap(), container.to_string());
        write!(
            stream,
            "POST /v1.41/containers/create?name={name} HTTP/1.0\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 201 Created"), "{answer}");
    }

    /// Which of the addresses answer a container, or the host itself.
    fn answering(&self, host: &str, container: Option<&str>, addresses: &[IpAddr]) -> String {
        let pings = addresses
            .iter()
            .map(|address| format!("ping -c 1 -W 1 {address} >/dev/null 2>&1 && echo {address} &\n"));
        let line = format!("{}wait", pings.collect::<String>());
        match container {
            Some(container) => self.inside(host, container, &line),
            None => self.host(host).run(&["sh", "-c", &line]).unwrap(),
        }
    }

    /// Waits until every container of the name reaches every other in all families.
    fn await_everyone(&self, container: &str, network: &str) {
        for to in HOSTS {
            for address in self.addresses(to, container, network) {
                for from in HOSTS {
                    self.await_ping(from, container, address);
                }
            }
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

#[test]
fn ranges_gateways_auxiliary_addresses_and_options_are_so_on_all_hosts_whoever_makes_the_network() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    let flags = |v4: u8| {
        format!(
            "--ipv6 --subnet 10.{v4}.0.0/24 --ip-range 10.{v4}.0.64/28 --gateway 10.{v4}.0.200 \
             --aux-address rtr=10.{v4}.0.70 --subnet fd{v4}::/64 --label tier=front"
        )
    };
    let options = "-o hopsack.isolation=none -o com.docker.network.driver.mtu=1400";
    engines.network("h2", &format!("{} {options} web", flags(60)));
    let words = format!("network create {} {} twin", flags(61), options.replace("-o ", "--opt "));
    engines.scene.hopsack("h3", &words.split_whitespace().collect::<Vec<_>>());
    engines.await_network("twin", SETTLED);
    for host in HOSTS {
        let web = engines.shown(host, "web");
        assert_eq!(web, engines.shown("h2", "web"), "{host} against h2, where it was made");
        for part in
            ["10.60.0.64/28", "10.60.0.200", "10.60.0.70", "ipv6=true", "tier", "isolation=none", "mtu=1400"]
        {
            assert!(web.contains(part), "no {part} in {web}");
        }
        assert_eq!(engines.shown(host, "twin"), web.replace("10.60.", "10.61.").replace("fd60:", "fd61:"));
    }
    for part in
        ["10.60.0.64/28", "10.60.0.200, fd60::1", "mtu=1400", "10.60.0.70 (rtr)", "tier=front", "none"]
    {
        let told = engines.scene.hopsack("h1", &["network", "inspect", "web"]);
        assert!(told.contains(part), "no {part} in {told}");
    }

    // Containers that ask for nothing are inside the range, one that asks is where it wants to be.
    let range = cidr("10.60.0.64/28");
    let mut given = BTreeSet::new();
    for host in HOSTS {
        for container in ["c1", "c2"] {
            engines.run(host, container, "--net web");
            let address = engines.address(host, container, "web");
            assert!(range.contains(address) && given.insert(address), "{container} on {host} has {address}");
        }
        assert!(engines.inside(host, "c1", "ip link show eth0").contains("mtu 1400"), "{host}");
    }
    engines.await_everyone("c1", "web");
    // As Docker 20.10's own command asks for `run --net web --ip 10.60.0.5 --ip6 fd60::5 --mac-address 02:11:22:33:44:55
    // --network-alias al --expose 80`; newer commands ask only newer engines for a MAC address.
    let given = json!({
        "Image": IMAGE, "Cmd": ["sleep", "100000"], "StopSignal": "KILL", "MacAddress": "02:11:22:33:44:55",
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"NetworkMode": "web"},
        "NetworkingConfig": {"EndpointsConfig": {"web": {
            "IPAMConfig": {"IPv4Address": "10.60.0.5", "IPv6Address": "fd60::5"}, "Aliases": ["al"],
        }}},
    });
    engines.create("h1", "c3", &given);
    engines.docker("h1", "start c3");
    assert_eq!(engines.addresses("h1", "c3", "web"), [ip("10.60.0.5"), ip("fd60::5")]);
    let interface = engines.inside("h1", "c3", "ip addr show eth0");
    for part in ["02:11:22:33:44:55", "10.60.0.5/32", "fd60::5/128"] {
        assert!(interface.contains(part), "no {part} in {interface}");
    }
    engines.inside("h1", "c1", "ping -c 1 -W 2 al");
    for host in HOSTS {
        engines.await_ping(host, "c2", ip("10.60.0.5"));
        engines.await_ping(host, "c2", ip("fd60::5"));
    }

    // Each host answers the gateways, given or not, and nobody else is there.
    for host in HOSTS {
        for gateway in ["10.60.0.200", "fd60::1"] {
            assert!(engines.pings(host, "c1", ip(gateway)), "{gateway} does not answer on {host}");
            assert!(
                engines.host(host).run(&["ip", "addr", "show", "dev", "hop0"]).unwrap().contains(gateway)
            );
        }
    }
    for (kept, reason) in
        [("10.60.0.200", "the gateway"), ("10.60.0.70", "rtr"), ("10.61.0.200", "10.61.0.200")]
    {
        let refused = engines.refused("h3", &format!("run --net web --ip {kept} {IMAGE} true"));
        assert!(refused.contains(reason), "{refused}");
    }

    // Bad values are one line, in Docker and in Hopsack.
    for (wrong, words) in [
        (
            "--subnet 10.62.0.0/24 --gateway 10.62.0.0",
            "gateway 10.62.0.0 is the network address of 10.62.0.0/24",
        ),
        ("--subnet 10.62.0.0/24 --ip-range 10.62.0.0/31", "10.62.0.0/31 leaves no address for containers"),
        (
            "--subnet 10.62.0.0/24 --aux-address a=10.62.0.1",
            "10.62.0.1 is the gateway and an aux-address (a)",
        ),
        ("--subnet 10.62.0.0/24 --gateway 10.63.0.1", "10.63.0.1"),
        ("--subnet 10.62.0.0/24 --ip-range 10.63.0.0/28", "10.63.0.0/28"),
        ("--subnet 10.62.0.0/24 --subnet 10.62.0.0/25", "overlap"),
        ("--subnet 10.62.0.0/24 --gateway 10.62.0.1 --gateway 10.62.0.2", "10.62.0.2"),
        ("--subnet 10.62.0.0/24 --opt hopsack.isolaton=none", "did you mean hopsack.isolation?"),
        ("--subnet 10.62.0.0/24 --opt hopsack.gateway=10.62.0.1", "write hopsack or docker"),
        ("--subnet 10.62.0.0/24 --opt com.docker.network.driver.mtu=12", "write bytes"),
    ] {
        let refused = engines.refused("h1", &format!("{CREATE} {wrong} wrong"));
        let ours = ["network", "create"].into_iter().chain(wrong.split(' ')).chain(["wrong"]);
        let status = if wrong.contains("--opt") { 2 } else { 1 };
        let told = engines.scene.refused("h1", status, &ours.collect::<Vec<_>>());
        assert!(told.contains(words), "{wrong}: {told}");
        // Docker's own command knows some of them itself.
        let own = ["no matching subnet", "overlapping subnet", "must have a corresponding subnet"];
        assert!(refused.contains(words) || own.iter().any(|own| refused.contains(own)), "{wrong}: {refused}");
    }
    // Without IPv4, a network is Hopsack's alone on engines that have none such.
    engines.scene.hopsack("h1", &["network", "create", "six", "--subnet", "fd63::/64"]);
    for host in HOSTS {
        wait::until(&format!("{host} to say that Docker lacks the network"), SETTLED, || {
            engines.scene.hopsack(host, &["status"]).contains("network six has IPv6 only")
        })
        .unwrap();
        assert!(!engines.lists(host, "six"));
    }
    let refused = engines.refused("h1", &format!("{CREATE} --ipam-opt k=v wrong"));
    assert!(refused.contains("unknown option --ipam-opt k"), "{refused}");
    engines.end();
}

#[test]
fn a_network_with_several_subnets_of_a_family_gives_addresses_of_all_and_they_reach_each_other() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    let subnets = "--subnet 10.61.0.0/29 --subnet 10.62.0.0/24 --ip-range 10.62.0.128/30 --subnet fd61::/64 --subnet fd62::/64";
    engines.network("h1", &format!("--ipv6 {subnets} wide"));
    for host in HOSTS {
        assert_eq!(engines.shown(host, "wide"), engines.shown("h1", "wide"));
        for container in ["c1", "c2"] {
            engines.run(host, container, "--net wide");
        }
    }
    let (first, second) = (cidr("10.61.0.0/29"), cidr("10.62.0.128/30"));
    let all = HOSTS.iter().flat_map(|host| ["c1", "c2"].map(|c| engines.address(host, c, "wide")));
    let all: Vec<IpAddr> = all.collect();
    assert!(all.iter().all(|address| first.contains(*address) || second.contains(*address)), "{all:?}");
    // Docker's command line sends subnets in any order. One has five addresses for containers, the other's range four;
    // they are six.
    for subnet in [first, second] {
        assert!(all.iter().any(|address| subnet.contains(*address)), "none of {subnet}: {all:?}");
    }
    engines.await_everyone("c1", "wide");
    engines.run("h3", "c3", "--net wide --ip 10.62.0.7 --ip6 fd62::7");
    for host in HOSTS {
        for address in all.iter().copied().chain(["10.62.0.7", "fd62::7", "10.62.0.1", "fd62::1"].map(ip)) {
            engines.await_ping(host, "c2", address);
        }
    }
    // An address goes back where it came from.
    for host in HOSTS {
        engines.docker(host, "rm -f c1 c2");
        assert_eq!(engines.endpoints(host), usize::from(host == "h3"));
    }
    engines.run("h2", "again", &format!("--net wide --ip {}", all[0]));
    engines.end();
}

#[test]
fn an_internal_network_has_no_way_out_and_none_in() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--internal --ipv6 --subnet 10.60.0.0/24 --subnet fd60::/64 inner");
    engines.network("h1", "-o hopsack.isolation=none --subnet 10.61.0.0/24 open");
    engines.scene.hopsack(
        "h2",
        &["network", "create", "--internal", "--isolation", "none", "--subnet", "10.62.0.0/24", "inner2"],
    );
    engines.await_network("inner2", SETTLED);
    for host in HOSTS {
        assert!(engines.shown(host, "inner").contains("internal=true"), "{host}");
        assert!(engines.shown(host, "inner2").contains("internal=true"), "{host}");
        engines.run(host, "c1", "--net inner");
        engines.run(host, "c2", "--net inner2");
        engines.run(host, "c3", "--net open -p 8080:80");
        let serve = "while true; do echo hello | nc -l -p 80; done";
        engines.host(host).docker(&["exec", "-d", "c3", "sh", "-c", serve]).unwrap();
        let routes = engines.inside(host, "c1", "ip route; ip -6 route; ls /sys/class/net");
        assert!(!routes.contains("default") && !routes.contains("eth1"), "{routes}");
    }
    // Inside: each other, and what each host answers.
    engines.await_everyone("c1", "inner");
    engines.await_everyone("c2", "inner2");
    engines.await_everyone("c3", "open");
    for host in HOSTS {
        for gateway in ["10.60.0.1", "fd60::1"] {
            assert!(engines.pings(host, "c1", ip(gateway)), "{gateway} does not answer on {host}");
        }
    }
    // Out, even for who makes itself a route: not to the world, nor to hosts, nor to other networks.
    for host in HOSTS {
        let hop = engines.inside(host, "c1", "ip route | grep 10.60.0.0/24");
        let hop = hop.split_whitespace().nth(2).unwrap().to_owned();
        engines.place(host, "c1").run(&["ip", "route", "add", "default", "via", &hop]).unwrap();
        let mut outside = vec![ip("10.77.1.254"), ip("10.77.2.254")];
        outside.extend(HOSTS.iter().map(|other| engines.host(other).address().unwrap()));
        outside.extend(HOSTS.iter().map(|other| engines.address(other, "c3", "open")));
        outside.extend(HOSTS.iter().map(|other| engines.address(other, "c2", "inner2")));
        let own = engines.scene.status(host)["cluster"]["addresses"].clone();
        let own: Vec<IpAddr> = serde_json::from_value(own).unwrap();
        outside.extend(own.into_iter().filter(IpAddr::is_ipv4));
        assert_eq!(engines.answering(host, Some("c1"), &outside), "", "c1 on {host} gets out");
        // A port that another container publishes is a way out too.
        for other in HOSTS {
            let address = engines.host(other).address().unwrap();
            let get = format!("nc -w 1 {address} 8080; true");
            assert_eq!(engines.inside(host, "c1", &get), "", "c1 on {host} gets out by the port on {other}");
        }
    }
    wait::until("h2 to reach the port on h1", SETTLED, || {
        let address = engines.host("h1").address().unwrap().to_string();
        engines
            .host("h2")
            .exec(&["busybox", "nc", "-w", "2", &address, "8080"])
            .unwrap()
            .stdout
            .contains("hello")
    })
    .unwrap();
    engines.host("h1").container("bare").unwrap();
    let publish = ["attach", "bare", "--network", "inner", "--publish", "8081:80"];
    let refused = engines.scene.refused("h1", 1, &publish);
    assert!(refused.contains("network inner is internal"), "{refused}");
    // In: not from other networks, nor from other hosts.
    let inner = |host: &str| {
        let of = |(container, network)| engines.address(host, container, network);
        [("c1", "inner"), ("c2", "inner2")].map(of)
    };
    for host in HOSTS {
        let all: Vec<IpAddr> = HOSTS.iter().flat_map(|other| inner(other)).collect();
        assert_eq!(engines.answering(host, Some("c3"), &all), "", "c3 on {host} gets in");
        let others = HOSTS.iter().filter(|other| **other != host);
        let elsewhere: Vec<IpAddr> = others.flat_map(|other| inner(other)).collect();
        assert_eq!(engines.answering(host, None, &elsewhere), "", "{host} gets in");
    }
    engines.end();
}

#[test]
fn with_dockers_gateway_a_container_has_dockers_interface_ports_and_translation_and_its_network_by_hopsack() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "-o hopsack.gateway=docker --ipv6 --subnet 10.60.0.0/24 --subnet fd60::/64 web");
    engines.network("h1", "-o hopsack.gateway=docker -o hopsack.isolation=none --subnet 10.61.0.0/24 open");
    for host in HOSTS {
        engines.run(host, "c1", "--net web -p 8080:80");
        engines.run(host, "c2", "--net open");
        let routes = engines.inside(host, "c1", "ip route");
        let default = routes.lines().find(|line| line.starts_with("default")).unwrap_or_default();
        assert!(default.contains("eth1"), "{routes}");
        let port = engines.docker(host, "port c1");
        assert!(port.contains("80/tcp -> 0.0.0.0:8080"), "{port}");
        let serve = "while true; do echo hello | nc -l -p 80; done";
        engines.host(host).docker(&["exec", "-d", "c1", "sh", "-c", serve]).unwrap();
    }
    engines.await_everyone("c1", "web");
    engines.await_everyone("c2", "open");
    for host in HOSTS {
        assert!(engines.pings(host, "c1", ip("10.60.0.1")), "the gateway on {host}");
        for outside in ["10.77.1.254", "10.77.2.254"] {
            assert!(engines.pings(host, "c1", ip(outside)), "c1 on {host} does not reach {outside}");
        }
        // Through Docker's port, from other hosts.
        for other in HOSTS.iter().filter(|other| **other != host) {
            let to = engines.host(host).address().unwrap().to_string();
            wait::until(&format!("{other} to reach the port on {host}"), SETTLED, || {
                let said = engines.host(other).exec(&["busybox", "nc", "-w", "2", &to, "8080"]).unwrap();
                said.stdout.contains("hello")
            })
            .unwrap();
        }
        // Its packets to the cluster do not take Docker's way.
        let peer = engines.address(if host == "h1" { "h2" } else { "h1" }, "c1", "web");
        let web = engines.inside(host, "c1", &format!("ip route get {peer}"));
        let open = engines.inside(host, "c2", "ip route get 10.32.77.7");
        assert!(web.contains("eth0") && open.contains("eth0"), "{web} {open}");
    }
    engines.end();
}

#[test]
fn a_container_is_in_two_hopsack_networks_on_a_bridge_and_on_a_macvlan_and_comes_and_goes_while_it_runs() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.60.0.0/24 web");
    engines.network("h1", "--ipv6 --subnet 10.61.0.0/24 --ip-range 10.61.0.128/25 --subnet fd61::/64 data");
    engines.run("h2", "web", "--net web");
    engines.run("h3", "data", "--net data");
    let (web, data) = (engines.address("h2", "web", "web"), engines.addresses("h3", "data", "data"));
    // h1 and h2 share a segment, which Docker's macvlan takes addresses of.
    let macvlan = "network create -d macvlan -o parent=eth0 --subnet 10.77.1.0/24 --gateway 10.77.1.254";
    for (host, range) in [("h1", "10.77.1.128/28"), ("h2", "10.77.1.144/28")] {
        engines.docker(host, &format!("{macvlan} --ip-range {range} lan"));
    }
    engines.docker("h1", "network create bridged");
    engines.run("h1", "near", "--net bridged");
    engines.run("h2", "on-lan", "--net lan");
    let peers = [
        ("bridged", engines.address("h1", "near", "bridged")),
        ("lan", engines.address("h2", "on-lan", "lan")),
    ];

    engines.run("h1", "all", "--net web");
    engines.docker("h1", "network connect --alias everything data all");
    for (network, _) in peers {
        engines.docker("h1", &format!("network connect {network} all"));
    }
    let everywhere = || peers.iter().map(|(_, address)| *address).chain(data.iter().copied()).chain([web]);
    for address in everywhere() {
        engines.await_ping("h1", "all", address);
    }
    // Each network has its own interface and next hop.
    let way = |to: IpAddr| {
        let told = engines.inside("h1", "all", &format!("ip route get {to}"));
        let word = |after: &str| {
            told.split_whitespace().skip_while(|word| *word != after).nth(1).unwrap_or_default().to_owned()
        };
        (word("via"), word("dev"))
    };
    let ways: BTreeSet<(String, String)> = everywhere().map(way).collect();
    assert_eq!(ways.iter().map(|(_, device)| device).collect::<BTreeSet<_>>().len(), 4, "{ways:?}");
    assert_ne!(way(web).0, way(data[0]).0);
    // And back.
    engines.await_ping("h2", "web", engines.address("h1", "all", "web"));
    engines.await_ping("h3", "data", engines.address("h1", "all", "data"));
    engines.await_ping("h2", "on-lan", engines.address("h1", "all", "lan"));
    engines.await_ping("h1", "near", engines.address("h1", "all", "bridged"));

    // Off one after the other; the rest stays.
    engines.docker("h1", "network disconnect web all");
    assert!(!engines.pings("h1", "all", web));
    for address in everywhere().filter(|address| *address != web) {
        engines.await_ping("h1", "all", address);
    }
    for network in ["lan", "bridged"] {
        engines.docker("h1", &format!("network disconnect {network} all"));
    }
    for address in &data {
        engines.await_ping("h1", "all", *address);
    }
    engines.docker("h1", "network disconnect data all");
    assert_eq!(engines.endpoints("h1"), 0);
    engines.docker("h1", "network connect --ip 10.61.0.77 data all");
    engines.await_ping("h3", "data", ip("10.61.0.77"));
    engines.end();
}
