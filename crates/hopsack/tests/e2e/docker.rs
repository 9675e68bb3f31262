//! Docker as its users type it: three real engines with an agent each, h1 and h2 on one segment, h3 behind a router.

mod agreement;
mod compose;
mod containers;
mod flows;
mod gateways;
mod mirror;
mod neighbours;
mod networks;
mod options;
mod orders;
mod ports;
mod reach;
mod replays;
mod restarts;
mod soak;
mod swarm;

use crate::scene::{SETTLED, Scene};
use hopsack_lab::{
    Amount, ENGINE, EngineSettings, Host, HostKind, IMAGE, Inside, Place, TcpFlow, Topology, wait,
};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The hosts.
const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// How a network is made.
const CREATE: &str = "network create -d hopsack --ipam-driver hopsack";
/// Containers and their traffic go on while the engine is away.
const LIVE_RESTORE: EngineSettings = EngineSettings { live_restore: true, userland_proxy: true };
/// The port of streams between containers.
const PORT: u16 = 5000;

/// Three engines whose hosts are a cluster.
struct Engines {
    scene: Scene,
}

impl Engines {
    /// Engines and agents that start together, as when a host boots.
    fn cluster() -> Self {
        let engines = Self::hosts();
        engines.scene.form();
        engines
    }

    /// Engines and agents, no cluster yet.
    fn hosts() -> Self {
        Self::on(Topology::demo(HostKind::Docker).unwrap())
    }

    /// The same in another topology with hosts of these names.
    fn on(topology: Topology) -> Self {
        let scene = Scene::agents(topology);
        scene.lab.load_image().unwrap();
        Self { scene }
    }

    fn host(&self, name: &str) -> Host {
        self.scene.host(name)
    }

    /// What `docker LINE` prints on a host; it has to succeed.
    fn docker(&self, host: &str, line: &str) -> String {
        self.host(host).docker(&line.split_whitespace().collect::<Vec<_>>()).unwrap()
    }

    /// What Docker's user reads when `docker LINE` fails.
    fn refused(&self, host: &str, line: &str) -> String {
        let argv: Vec<&str> = std::iter::once("docker").chain(line.split_whitespace()).collect();
        let output = self.host(host).exec(&argv).unwrap();
        assert!(!output.success(), "docker {line} did not fail: {}", output.stdout);
        output.stderr
    }

    /// Makes a network on a host and waits until all engines list it.
    fn network(&self, host: &str, options_and_name: &str) {
        self.docker(host, &format!("{CREATE} {options_and_name}"));
        let name = options_and_name.split(' ').next_back().unwrap();
        self.await_network(name, SETTLED);
    }

    /// Waits until all engines list a network.
    fn await_network(&self, name: &str, patience: Duration) {
        for host in HOSTS {
            wait::until(&format!("{name} to be on {host}"), patience, || self.lists(host, name)).unwrap();
        }
    }

    /// Waits until no engine lists a network.
    fn await_no_network(&self, name: &str) {
        for host in HOSTS {
            wait::until(&format!("{name} to leave {host}"), SETTLED, || !self.lists(host, name)).unwrap();
        }
    }

    fn lists(&self, host: &str, network: &str) -> bool {
        self.networks(host).iter().any(|name| name == network)
    }

    /// The hopsack networks that an engine lists.
    fn networks(&self, host: &str) -> Vec<String> {
        let listed = self.docker(host, "network ls --filter driver=hopsack --format {{.Name}}");
        listed.lines().map(str::to_owned).collect()
    }

    /// Starts a container that waits.
    fn run(&self, host: &str, name: &str, options: &str) {
        self.docker(host, &format!("run -d --name {name} --stop-signal KILL {options} {IMAGE} sleep 100000"));
    }

    /// A container's addresses in a network, v4 first.
    fn addresses(&self, host: &str, container: &str, network: &str) -> Vec<IpAddr> {
        let format = format!(
            "{{{{with .NetworkSettings.Networks.{network}}}}}{{{{.IPAddress}}}} {{{{.GlobalIPv6Address}}}}{{{{end}}}}"
        );
        let told = self.host(host).docker(&["inspect", "-f", &format, container]).unwrap();
        told.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    /// A container's v4 address in a network.
    fn address(&self, host: &str, container: &str, network: &str) -> IpAddr {
        self.addresses(host, container, network)[0]
    }

    /// The network namespace of a container.
    fn place(&self, host: &str, container: &str) -> Place {
        self.host(host).docker_network(container).unwrap()
    }

    /// Whether a container gets an answer by the image's own ping.
    fn pings(&self, host: &str, container: &str, address: IpAddr) -> bool {
        let address = address.to_string();
        let ping = ["docker", "exec", container, "ping", "-c", "1", "-W", "1", &address];
        self.host(host).exec(&ping).unwrap().success()
    }

    /// Waits until a container gets an answer. Of a host that was just told of a block, the route may be missing yet.
    fn await_ping(&self, host: &str, container: &str, address: IpAddr) {
        let what = format!("{container} on {host} to reach {address}");
        wait::until(&what, SETTLED, || self.pings(host, container, address)).unwrap();
    }

    /// Endpoints that a host's agent has.
    fn endpoints(&self, host: &str) -> usize {
        let told = self.scene.hopsack(host, &["endpoint", "ls", "-o", "json"]);
        serde_json::from_str::<Value>(&told).unwrap().as_array().unwrap().len()
    }

    /// The engine is there again after `stop`, `start` or a kill, and so is what it starts by itself.
    fn await_engine(&self, host: &str) {
        self.host(host).await_engine().unwrap();
    }

    /// Ends the test: containers and networks by Docker, then the lab.
    fn end(self) {
        for host in HOSTS {
            let all = self.docker(host, "ps -aq");
            if !all.is_empty() {
                let argv: Vec<&str> = ["rm", "-f"].into_iter().chain(all.lines()).collect();
                self.host(host).docker(&argv).unwrap();
            }
            assert_eq!(self.endpoints(host), 0, "endpoints are left on {host}");
        }
        self.scene.end();
    }
}

/// Moves a checked mebibyte from one container to another.
fn move_data(from: &Place, to: &Place, address: IpAddr) {
    const AMOUNT: u64 = 1 << 20;
    let flow = TcpFlow::start(from, to, SocketAddr::new(address, PORT), Amount::Bytes(AMOUNT)).unwrap();
    let report = flow.finish(SETTLED).unwrap();
    assert!(report.intact && report.bytes == AMOUNT, "to {address}: {report:?}");
}
