//! Two real Docker engines, each with our plugin, in front of one agent in memory whose only data plane is the pair
//! of interfaces of each endpoint. What is tested is what Docker makes of our answers, and the mirror.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stdout, reason = "without the harness this program reports by itself")]

#[path = "fake/agent.rs"]
mod fake;

use fake::{FakeApi, FakeCluster, Wires};
use hopsack_api::EndpointStatus;
use hopsack_docker::{DockerEngine, DockerStatus, EngineState, FrontDoor};
use hopsack_lab::requirement::require;
use hopsack_lab::{
    Afterwards, ENGINE, Feature, Host, HostSpec, IMAGE, Inside, Lab, Options, SegmentSpec, Signal, Topology,
    leftovers, wait,
};
use hopsack_types::Family;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The mirror reacts to events at once; two cores shared with others may not.
const SOON: Duration = Duration::from_secs(20);

/// Interface pairs by `ip` on one host, with the next hop on the host's end.
struct IpWires(Host);

impl IpWires {
    fn ip(&self, arguments: &str) {
        let argv: Vec<&str> = std::iter::once("ip").chain(arguments.split(' ')).collect();
        self.0.run(&argv).unwrap();
    }
}

impl Wires for IpWires {
    fn make(&self, endpoint: &EndpointStatus) {
        let EndpointStatus { link, peer, mac, mtu, .. } = endpoint;
        self.ip(&format!("link add {link} mtu {mtu} type veth peer name {peer} address {mac} mtu {mtu}"));
        for hop in &endpoint.next_hops {
            self.ip(&format!("addr add {hop} dev {link}{}", if hop.is_ipv6() { " nodad" } else { "" }));
        }
        self.ip(&format!("link set {link} up"));
        for address in &endpoint.addresses {
            self.ip(&format!("route add {address} dev {link}"));
        }
    }

    fn remove(&self, endpoint: &EndpointStatus) {
        // It is gone with the container's namespace, if that ended first.
        self.0.exec(&["ip", "link", "del", endpoint.link.as_str()]).unwrap();
    }
}

/// A host with its engine, its agent and the front door between them.
struct Side {
    host: Host,
    api: Arc<FakeApi>,
    door: Option<FrontDoor>,
}

struct Pair {
    cluster: Arc<FakeCluster>,
    runtime: tokio::runtime::Runtime,
    h1: Side,
    h2: Side,
    lab: Lab,
}

impl Pair {
    fn up() -> Self {
        let program = std::env::current_exe().unwrap();
        let topology = Topology::builder()
            .segment(SegmentSpec::new("lan", &["10.77.0.0/24"]))
            .host(HostSpec::docker("h1", &["lan"]))
            .host(HostSpec::docker("h2", &["lan"]))
            .build()
            .unwrap();
        let lab = Lab::up(topology, Options { dump_on_panic: false, ..Options::unique("docker", program) })
            .unwrap();
        lab.load_image().unwrap();
        let cluster = FakeCluster::new();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let side = |name| {
            let host = lab.host(name).unwrap();
            host.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]).unwrap();
            host.run(&["iptables", "-P", "FORWARD", "ACCEPT"]).unwrap();
            let api = cluster.host(IpWires(host.clone()));
            let mut side = Side { host, api, door: None };
            side.open(&runtime);
            side
        };
        let (h1, h2) = (side("h1"), side("h2"));
        Self { cluster, runtime, h1, h2, lab }
    }
}

impl Pair {
    /// Ends a test: what one of them leaves, the next would find.
    fn remove_networks(&self) {
        for network in self.h1.networks() {
            self.h1.docker(&format!("network rm {network}"));
        }
        self.h1.await_networks(&[]);
        self.h2.await_networks(&[]);
        assert!(self.cluster.networks().is_empty());
    }
}

impl Side {
    fn open(&mut self, runtime: &tokio::runtime::Runtime) {
        let socket = PathBuf::from(format!("/proc/{}/root/run/docker/plugins/hopsack.sock", self.host.pid()));
        let engine = Arc::new(DockerEngine::new(self.host.engine_socket()));
        let opened = async { hopsack_docker::serve(&socket, engine, self.api.clone()) };
        self.door = Some(runtime.block_on(opened).unwrap());
    }

    fn docker(&self, line: &str) -> String {
        self.host.docker(&line.split(' ').collect::<Vec<_>>()).unwrap()
    }

    /// What Docker's user reads when a command fails.
    fn refused(&self, line: &str) -> String {
        let argv: Vec<&str> = std::iter::once("docker").chain(line.split(' ')).collect();
        let output = self.host.exec(&argv).unwrap();
        assert!(!output.success(), "docker {line} did not fail");
        output.stderr
    }

    fn run(&self, name: &str, options: &str) {
        self.docker(&format!("run -d --name {name} --stop-signal KILL {options} {IMAGE} sleep 100000"));
    }

    fn networks(&self) -> Vec<String> {
        self.docker("network ls --filter driver=hopsack --format {{.Name}}")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn await_networks(&self, expected: &[&str]) {
        wait::value(&format!("{} to list {expected:?}", self.host.name()), SOON, || {
            let listed = self.networks();
            if listed == expected { Ok(()) } else { Err(format!("{listed:?}, {:?}", self.status())) }
        })
        .unwrap();
    }

    fn remove_containers(&self) {
        let all = self.docker("ps -aq");
        let argv: Vec<&str> = ["rm", "-f"].into_iter().chain(all.lines()).collect();
        self.host.docker(&argv).unwrap();
    }

    fn status(&self) -> DockerStatus {
        self.door.as_ref().unwrap().status().borrow().clone()
    }
}

const CREATE: &str = "network create -d hopsack --ipam-driver hopsack";

fn a_network_made_on_one_host_is_on_the_other_with_its_name_and_labels(pair: &mut Pair) {
    pair.h1.docker(&format!("{CREATE} --subnet 10.50.0.0/16 --gateway 10.50.0.7 --label a=b web"));
    pair.h2.await_networks(&["web"]);
    let format = "{{.Labels}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}";
    let inspect = ["network", "inspect", "-f", format, "web"];
    for side in [&pair.h1, &pair.h2] {
        assert_eq!(side.host.docker(&inspect).unwrap(), "map[a:b] 10.50.0.0/16 10.50.0.7");
        assert_eq!(side.status(), DockerStatus { engine: EngineState::Connected, faults: Vec::new() });
    }
    // Removed where it is a copy, it goes everywhere: nobody uses it.
    pair.h2.docker("network rm web");
    pair.h1.await_networks(&[]);
    assert!(pair.cluster.networks().is_empty());
}

fn a_network_that_is_in_use_elsewhere_comes_back(pair: &mut Pair) {
    pair.h1.docker(&format!("{CREATE} web"));
    pair.h2.await_networks(&["web"]);
    pair.h2.run("c1", "--net web");
    let id = pair.h1.docker("network ls -q --filter name=web");
    pair.h1.docker("network rm web");
    wait::until("web to be back", SOON, || {
        let now = pair.h1.docker("network ls -q --filter name=web");
        !now.is_empty() && now != id
    })
    .unwrap();
    pair.h1.run("c1", "--net web");
    pair.h1.docker("rm -f c1");
    pair.h2.docker("rm -f c1");
    pair.remove_networks();
}

fn containers_get_addresses_routes_and_each_other(pair: &mut Pair) {
    let h1 = &pair.h1;
    h1.docker(&format!("{CREATE} --subnet 10.50.0.0/16 --aux-address rtr=10.50.0.9 web"));
    h1.run("c1", "--net web");
    h1.run("c2", "--net web --ip 10.50.3.3");
    let hop = pair.cluster.network("web").unwrap().next_hop(Family::V4);
    let settings =
        "{{with .NetworkSettings.Networks.web}}{{.IPAddress}}/{{.IPPrefixLen}} {{.Gateway}}{{end}}";
    assert_eq!(h1.host.docker(&["inspect", "-f", settings, "c2"]).unwrap(), format!("10.50.3.3/32 {hop}"));
    let routes = h1.docker("exec c1 ip route");
    let routes: Vec<&str> = routes.lines().map(str::trim).collect();
    assert_eq!(
        routes,
        [
            format!("default via {hop} dev eth0"),
            format!("10.50.0.0/16 via {hop} dev eth0"),
            format!("{hop} dev eth0 scope link"),
        ]
    );
    h1.docker("exec c1 ping -c 1 -W 2 10.50.3.3");
    h1.docker("exec c2 ping -c 1 -W 2 c1");
    assert!(
        h1.refused(&format!("run --rm --net web --ip 10.50.3.3 {IMAGE} true"))
            .contains("10.50.3.3 is in use")
    );
    assert!(
        h1.refused(&format!("run --rm --net web --ip 10.50.0.9 {IMAGE} true"))
            .contains("kept in network web for: rtr")
    );
    h1.docker("exec c1 ping -c 1 -W 2 10.50.3.3");
    // The refused ones stay in Docker's list of containers.
    h1.remove_containers();
    assert!(pair.cluster.endpoints().is_empty());
    assert!(pair.cluster.taken().is_empty());
    pair.remove_networks();
}

fn a_container_is_in_two_networks_of_both_families(pair: &mut Pair) {
    let h1 = &pair.h1;
    h1.docker(&format!("{CREATE} --subnet 10.50.0.0/16 web"));
    h1.docker(&format!("{CREATE} --ipv6 --subnet fd50::/64 dual"));
    h1.run("c1", "--net web");
    h1.run("c2", "--net dual");
    h1.run("c3", "--net dual --ip6 fd50::77");
    h1.docker("network connect web c2");
    let c1 = h1.docker("inspect -f {{.NetworkSettings.Networks.web.IPAddress}} c1");
    h1.docker(&format!("exec c2 ping -c 1 -W 2 {c1}"));
    h1.docker("exec c2 ping -6 -c 1 -W 2 fd50::77");
    let dual = pair.cluster.network("dual").unwrap();
    let routes = h1.docker("exec c2 ip -6 route");
    assert!(routes.contains(&format!("default via {} dev eth0", dual.next_hop(Family::V6))), "{routes}");
    h1.docker("network disconnect dual c2");
    let web = pair.cluster.network("web").unwrap();
    let routes = h1.docker("exec c2 ip route");
    assert!(routes.contains(&format!("default via {} dev eth1", web.next_hop(Family::V4))), "{routes}");
    h1.docker(&format!("exec c2 ping -c 1 -W 2 {c1}"));
    h1.remove_containers();
    assert!(pair.cluster.taken().is_empty());
    pair.remove_networks();
}

fn what_cannot_be_done_is_told_to_dockers_user(pair: &mut Pair) {
    let h1 = &pair.h1;
    let refused = h1.refused("network create -d hopsack web");
    assert!(refused.contains("docker network create -d hopsack --ipam-driver hopsack"), "{refused}");
    let refused = h1.refused(&format!("{CREATE} -o foo=bar web"));
    assert!(refused.contains("-o: unknown option foo; known: hopsack.isolation"), "{refused}");
    let refused = h1.refused(&format!("{CREATE} --ipam-opt k=v web"));
    assert!(refused.contains("--ipam-opt k"), "{refused}");
    let refused = h1.refused(&format!("{CREATE} --subnet 10.50.0.0/31 web"));
    assert!(refused.contains("too small for Docker"), "{refused}");
    h1.docker(&format!("{CREATE} --subnet 10.50.0.0/16 web"));
    let refused = h1.refused(&format!("{CREATE} --subnet 10.50.0.0/16 again"));
    assert!(refused.contains("overlaps"), "{refused}");
    let refused = h1.refused(&format!("{CREATE} --subnet 10.50.1.0/24 again"));
    assert!(refused.contains("overlaps"), "{refused}");
    h1.await_networks(&["web"]);
    assert_eq!(pair.cluster.networks().len(), 1);
    h1.run("c1", "--net web");
    h1.remove_containers();
    pair.remove_networks();
}

fn a_name_that_one_engine_uses_otherwise_is_told_and_used_when_it_is_free(pair: &mut Pair) {
    pair.h2.docker("network create web");
    pair.h1.docker(&format!("{CREATE} web"));
    wait::until("the fault", SOON, || {
        pair.h2.status().faults.iter().any(|f| f.text.contains("bridge network web"))
    })
    .unwrap();
    pair.h2.docker("network rm web");
    pair.h2.await_networks(&["web"]);
    wait::until("no fault", SOON, || pair.h2.status().faults.is_empty()).unwrap();
    pair.remove_networks();
}

fn an_agent_that_restarts_knows_the_copies_of_networks(pair: &mut Pair) {
    pair.h1.docker(&format!("{CREATE} web"));
    pair.h2.await_networks(&["web"]);
    pair.h2.run("c1", "--net web");
    pair.h2.door = None;
    pair.h2.open(&pair.runtime);
    pair.h2.run("c2", "--net web");
    pair.h2.docker("exec c2 ping -c 1 -W 2 c1");
    pair.h2.remove_containers();
    assert!(pair.cluster.taken().is_empty());
    pair.h2.door = None;
    pair.h2.open(&pair.runtime);
    // Docker does not list what it is just removing: an agent that has not read the list before cannot know that this was
    // a copy, and brings it back.
    wait::until("the agent to have read the engine's list", SOON, || {
        pair.h2.status().engine == EngineState::Connected
    })
    .unwrap();
    pair.h2.docker("network rm web");
    pair.h1.await_networks(&[]);
}

fn an_engine_that_was_killed_leaves_no_address_and_no_endpoint_behind(pair: &mut Pair) {
    pair.h1.docker(&format!("{CREATE} --ipv6 web"));
    pair.h2.await_networks(&["web"]);
    pair.h2.run("gone", "--net web");
    pair.h2.run("back", "--net web --restart always");
    let starts = pair.h2.host.service(ENGINE).unwrap().starts;
    // The agent is new as well and has seen no list of this engine when its containers start.
    pair.h2.door = None;
    pair.h2.host.kill(ENGINE, Signal::SIGKILL, Afterwards::Respawn).unwrap();
    pair.h2.open(&pair.runtime);
    pair.h2.host.await_respawn(ENGINE, starts).unwrap();
    pair.h2.host.await_engine().unwrap();
    wait::value("one endpoint", SOON, || {
        let endpoints = pair.cluster.endpoints();
        if endpoints.len() == 1 { Ok(()) } else { Err(format!("{endpoints:?}")) }
    })
    .unwrap();
    pair.h2.await_networks(&["web"]);
    let addresses: BTreeSet<IpAddr> =
        pair.cluster.endpoints().into_iter().flat_map(|e| e.addresses).collect();
    assert_eq!(pair.cluster.taken(), addresses);
    pair.h2.docker("start gone");
    pair.h2.docker("exec gone ping -c 1 -W 2 back");
    pair.h2.remove_containers();
    assert!(pair.cluster.taken().is_empty() && pair.cluster.endpoints().is_empty());
    pair.remove_networks();
}

fn an_engine_that_restarts_finds_its_networks(pair: &mut Pair) {
    pair.h1.docker(&format!("{CREATE} --ipv6 --aux-address rtr=fd99::9 --subnet fd99::/64 web"));
    pair.h2.await_networks(&["web"]);
    for side in [&pair.h1, &pair.h2] {
        side.run("c1", "--net web");
        side.host.restart(ENGINE).unwrap();
        side.host.await_engine().unwrap();
        side.docker("start c1");
        side.docker("exec c1 ip -6 route get fd99::1234");
    }
    let before = pair.cluster.network("web");
    for side in [&pair.h1, &pair.h2] {
        side.await_networks(&["web"]);
        side.remove_containers();
    }
    assert_eq!(pair.cluster.network("web"), before);
    assert!(pair.cluster.taken().is_empty());
    pair.remove_networks();
}

type Test = (&'static str, fn(&mut Pair));

macro_rules! tests {
    ($($test:ident),* $(,)?) => { [$((stringify!($test), $test as fn(&mut Pair))),*] };
}

const TESTS: &[Test] = &tests![
    a_network_made_on_one_host_is_on_the_other_with_its_name_and_labels,
    a_network_that_is_in_use_elsewhere_comes_back,
    containers_get_addresses_routes_and_each_other,
    a_container_is_in_two_networks_of_both_families,
    what_cannot_be_done_is_told_to_dockers_user,
    a_name_that_one_engine_uses_otherwise_is_told_and_used_when_it_is_free,
    an_agent_that_restarts_knows_the_copies_of_networks,
    an_engine_that_was_killed_leaves_no_address_and_no_endpoint_behind,
    an_engine_that_restarts_finds_its_networks,
];

/// The line that ends every test program, for whoever counts. A skipped one counts as passed, as with the harness.
fn summarise(passed: usize, failed: usize) {
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured");
}

/// Runs as a host of its own lab, or runs the tests whose names contain one of the words given.
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [command, config] = words.as_slice()
        && command == "lab-host"
    {
        hopsack_lab::host::run(Path::new(config)).unwrap();
        return ExitCode::SUCCESS;
    }
    if require("engines", &[Feature::Root, Feature::Docker, Feature::Busybox]).is_err() {
        summarise(1, 0);
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut pair = Pair::up();
    let mut passed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        let start = Instant::now();
        // The rest would find what a failed one has left behind.
        if catch_unwind(AssertUnwindSafe(|| test(&mut pair))).is_err() {
            eprintln!("{}", pair.lab.dump("a test failed"));
            println!("test {name} ... FAILED");
            summarise(passed, 1);
            return ExitCode::FAILURE;
        }
        println!("test {name} ... ok ({:.1} s)", start.elapsed().as_secs_f32());
        passed += 1;
    }
    let name = pair.lab.name();
    pair.lab.down().unwrap();
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
    summarise(passed, 0);
    ExitCode::SUCCESS
}
