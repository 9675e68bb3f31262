//! Others that filter and translate on the same hosts: firewalls, both flavours of iptables, whoever flushes all rules.

use super::ports::{Echo, OUT, with_outsider};
use super::*;
use crate::drift::shell;
use hopsack_lab::{AGENT, Afterwards, HostSpec, SegmentSpec, ServiceSpec, Signal, require};

/// What a host listens on without anybody having allowed it.
const CLOSED: &str = "9000";
/// Where Docker publishes a container's port.
const PUBLISHED: &str = "8080";
/// What the README says about ufw.
const UFW_OPEN: [&str; 2] = ["ufw allow 4677", "ufw allow 4678/udp"];
/// What the README says about firewalld.
const FIREWALLD_OPEN: [&str; 2] = [
    "firewall-cmd --permanent --add-port=4677/tcp --add-port=4677/udp --add-port=4678/udp",
    "firewall-cmd --reload",
];

impl Engines {
    /// Turns ufw on. Its folder is the machine's, so the host gets a copy.
    fn start_ufw(&self, host: &str) {
        let host = self.host(host);
        for path in ["/etc/ufw", "/etc/default/ufw"] {
            let own = format!("/run/own{}", path.replace('/', "-"));
            shell(&host, &format!("cp -a {path} {own} && mount --bind {own} {path}"));
        }
        for line in UFW_OPEN.iter().chain(&["ufw --force enable"]) {
            shell(&host, line);
        }
    }

    /// Gives a host the older iptables, as `update-alternatives` would, and an engine that finds forwarding off.
    fn use_older_iptables(&self, host: &str) {
        let host = self.host(host);
        host.stop(AGENT).unwrap();
        host.stop(ENGINE).unwrap();
        shell(
            &host,
            "cp -a /etc/alternatives /run/own-alternatives
             for name in iptables ip6tables; do ln -sf /usr/sbin/$name-legacy /run/own-alternatives/$name; done
             mount --bind /run/own-alternatives /etc/alternatives
             nft flush ruleset
             echo 0 >/proc/sys/net/ipv4/ip_forward",
        );
        host.start(ENGINE).unwrap();
        host.await_engine().unwrap();
        assert!(shell(&host, "iptables -S FORWARD").starts_with("-P FORWARD DROP"));
        assert_eq!(shell(&host, "nft list ruleset"), "");
        self.scene.start_agent(host.name());
    }

    /// Whether a host gets something by HTTP from a port of another.
    pub(super) fn fetches(&self, from: &str, to: &str, port: &str) -> bool {
        let address = self.host(to).address().unwrap();
        let fetch = format!(
            "exec 3<>/dev/tcp/{address}/{port} && printf 'GET /hosts HTTP/1.0\\r\\n\\r\\n' >&3 && grep localhost <&3"
        );
        self.host(from).exec(&["timeout", "2", "bash", "-c", &fetch]).unwrap().success()
    }

    /// Whether Docker's own networks do what they do without us: a published port, and translation on the way out.
    fn await_dockers_own(&self) {
        for (host, from) in [("h1", "h2"), ("h2", "h3"), ("h3", "h1")] {
            wait::until(&format!("{from} to reach a published port of {host}"), SETTLED, || {
                self.fetches(from, host, PUBLISHED)
            })
            .unwrap();
            self.await_ping(host, "bridged", self.host(from).address().unwrap());
        }
    }

    /// Waits until the containers of all hosts reach each other.
    fn await_all(&self, addresses: &[IpAddr]) {
        for host in HOSTS {
            for address in addresses {
                self.await_ping(host, "c1", *address);
            }
        }
    }

    /// A container of Docker's own bridge, with a published port, on each host.
    fn run_bridged(&self) {
        for host in HOSTS {
            let serve = format!("-p {PUBLISHED}:80 {IMAGE} httpd -f -p 80 -h /etc");
            self.docker(host, &format!("run -d --name bridged --stop-signal KILL {serve}"));
        }
    }
}

/// Turns firewalld on, with a bus for it.
fn start_firewalld(host: &Host) {
    shell(host, "cp -a /etc/firewalld /run/own-firewalld && mkdir -p /run/dbus");
    let services = [
        ("bus", "dbus-daemon --system --nofork --nopidfile"),
        ("firewalld", "firewalld --nofork --nopid --system-config /run/own-firewalld"),
    ];
    for (name, line) in services {
        let argv = line.split(' ').map(str::to_owned).collect();
        host.define(&ServiceSpec { name: name.to_owned(), argv, env: Vec::new() }).unwrap();
        host.start(name).unwrap();
    }
    wait::until("firewalld to run", SETTLED, || {
        host.exec(&["firewall-cmd", "--state"]).is_ok_and(|output| output.success())
    })
    .unwrap();
    for line in FIREWALLD_OPEN {
        shell(host, line);
    }
}

/// How many rules of ours are in the forward chains of others.
fn our_rules(host: &Host) -> usize {
    let list = "iptables -S; ip6tables -S; nft list chain inet firewalld filter_FORWARD 2>/dev/null || :";
    shell(host, list).lines().filter(|line| line.contains("comment") && line.contains("hopsack")).count()
}

#[test]
fn hosts_with_ufw_with_firewalld_and_with_the_older_iptables_are_one_cluster() {
    require!(Root, Docker, Busybox, Vxlan, Nft, Ufw, Firewalld);
    let engines = Engines::hosts();
    let [h1, h2, h3] = HOSTS.map(|host| engines.host(host));
    engines.start_ufw("h1");
    start_firewalld(&h2);
    // It greets firewalld when it starts.
    h2.restart(ENGINE).unwrap();
    engines.await_engine("h2");
    assert_eq!(shell(&h2, "firewall-cmd --get-zone-of-interface=docker0").trim(), "docker");
    engines.use_older_iptables("h3");
    engines.scene.form();
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --subnet fd50::/64 web");
    for host in HOSTS {
        engines.run(host, "c1", "--net web");
    }
    let addresses = HOSTS.map(|host| engines.addresses(host, "c1", "web")).concat();
    engines.await_all(&addresses);
    for (host, router) in [("h1", "10.77.1.254"), ("h2", "10.77.1.254"), ("h3", "10.77.2.254")] {
        engines.await_ping(host, "c1", router.parse().unwrap());
    }

    // The others go on: what Docker publishes and translates, what a firewall closes.
    engines.run_bridged();
    engines.await_dockers_own();
    let listening = HOSTS.map(|host| {
        engines.host(host).spawn(&["busybox", "httpd", "-f", "-p", CLOSED, "-h", "/etc"]).unwrap()
    });
    wait::until("the host without a firewall to answer", SETTLED, || engines.fetches("h1", "h3", CLOSED))
        .unwrap();
    assert!(!engines.fetches("h2", "h1", CLOSED), "ufw lets in what it should not");
    assert!(!engines.fetches("h1", "h2", CLOSED), "firewalld lets in what it should not");
    drop(listening);

    // They make their rules anew, without ours; somebody empties a chain of the older iptables, which tells nobody.
    shell(&h1, "ufw reload");
    shell(&h2, "firewall-cmd --reload");
    shell(&h3, "iptables -F FORWARD");
    engines.await_all(&addresses);
    h3.restart(ENGINE).unwrap();
    engines.await_engine("h3");
    engines.docker("h3", "start c1 bridged");
    let addresses = HOSTS.map(|host| engines.addresses(host, "c1", "web")).concat();
    engines.await_all(&addresses);
    engines.await_dockers_own();
    // In each family in which somebody drops: v4 in Docker's chain and in FORWARD, v6 in ufw's FORWARD, both in
    // firewalld's, whose reload has taken Docker's jump away.
    assert_eq!([&h1, &h2, &h3].map(our_rules), [3, 3, 2]);

    // Without our agents nothing of theirs is missing, nor of what the agents left in the kernel.
    for host in [&h1, &h2, &h3] {
        host.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    }
    engines.await_all(&addresses);
    engines.await_dockers_own();
    assert!(shell(&h1, "ufw status").starts_with("Status: active"));
    assert_eq!(shell(&h2, "firewall-cmd --state").trim(), "running");
    for host in [&h1, &h2, &h3] {
        engines.scene.start_agent(host.name());
    }
    engines.end();
}

#[test]
fn after_somebody_has_flushed_all_rules_ours_are_back_and_dockers_come_with_its_engine() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --subnet fd50::/64 web");
    for host in HOSTS {
        engines.run(host, "c1", "--net web");
    }
    engines.run_bridged();
    let mut addresses = HOSTS.map(|host| engines.addresses(host, "c1", "web")).concat();
    engines.await_all(&addresses);
    engines.await_dockers_own();
    for host in HOSTS {
        shell(&engines.host(host), "nft flush ruleset");
    }
    engines.await_all(&addresses);
    // Docker's are its own to bring back.
    let h2 = engines.host("h2").address().unwrap();
    assert!(!engines.pings("h1", "bridged", h2), "what leaves Docker's bridge is translated after all");
    for host in HOSTS {
        engines.host(host).restart(ENGINE).unwrap();
        engines.await_engine(host);
        engines.docker(host, "start c1 bridged");
    }
    addresses = HOSTS.map(|host| engines.addresses(host, "c1", "web")).concat();
    engines.await_all(&addresses);
    engines.await_dockers_own();
    engines.end();
}

#[test]
fn firewalld_with_its_check_of_sources_lets_ipv6_hosts_use_the_direct_path() {
    require!(Root, Vxlan, Nft, Ping, Firewalld);
    let topology = Topology::builder()
        .segment(SegmentSpec::new("lan1", &["fd77:1::/64"]))
        .host(HostSpec::plain("h1", &["lan1"]))
        .host(HostSpec::plain("h2", &["lan1"]))
        .build();
    let scene = Scene::agents(topology.unwrap());
    for host in scene.members() {
        start_firewalld(&host);
    }
    scene.form();
    for (from, to) in [("h1", "h2"), ("h2", "h1")] {
        scene.await_path(from, to, "direct");
    }
    scene.containers(["h1", "h2"]);
    scene.end();
}

#[test]
fn a_chain_of_ones_own_that_drops_what_is_forwarded_stops_ours_unless_it_lets_the_mark_pass() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = with_outsider();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    engines.run("h1", "server", "--net web -p 8080:80");
    engines.run("h3", "far", "--net web");
    let (h1, outside) = (engines.host("h1"), engines.host(OUT));
    let inside = engines.address("h1", "server", "web");
    let echo = Echo::start(&engines.place("h1", "server"), "tcp", SocketAddr::new(inside, 80));
    engines.await_ping("h3", "far", inside);
    let far = engines.place("h3", "far");
    let who_passes = || {
        [
            echo.ask(&outside, "10.77.1.1:8080".parse().unwrap()).is_some(),
            // Within a network the first packets of a connection take the routes, others need not.
            echo.ask(&far, SocketAddr::new(inside, 80)).is_some(),
            engines.pings("h1", "server", outside.addresses()[0]),
        ]
    };
    assert_eq!(who_passes(), [true; 3]);
    shell(
        &h1,
        "nft 'add table inet mine; add chain inet mine f { type filter hook forward priority 5; policy drop; }'",
    );
    assert_eq!(who_passes(), [false; 3]);
    // As the chapter about Docker says.
    shell(&h1, "nft 'add rule inet mine f meta mark and 0x8000000 != 0 accept'");
    assert_eq!(who_passes(), [true; 3]);
    drop(echo);
    engines.end();
}
