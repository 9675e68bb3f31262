//! The scene of a test: a lab whose hosts form a cluster, and what a user types on them.

use hopsack_lab::{
    AGENT, AgentOptions, Container, Host, HostSpec, Inside, Lab, Options, SegmentSpec, Topology, leftovers,
    wait,
};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack");
/// Nobody wants more addresses who has not asked for them in this time.
const QUIET: Duration = Duration::from_secs(2);
/// Time for a cluster to settle: paths proven, copies of intent up to date.
pub const SETTLED: Duration = Duration::from_secs(20);

/// Begins the names of hosts that stay outside of the cluster, without an agent.
pub const OUTSIDE: &str = "out";
/// What a network of both families is made with.
pub const BOTH_FAMILIES: [&str; 4] = ["--subnet", "10.40.1.0/24", "--subnet", "fd40:0:0:1::/64"];

/// Whoever measures time has the machine alone among these tests; all others share it.
static MACHINE: RwLock<()> = RwLock::new(());

/// The machine, for as long as this is held.
pub enum Machine {
    /// With others.
    Shared { _until_dropped: RwLockReadGuard<'static, ()> },
    /// Alone.
    Alone { _until_dropped: RwLockWriteGuard<'static, ()> },
}

impl Machine {
    /// Waits until nobody has it alone.
    pub fn shared() -> Self {
        Self::Shared { _until_dropped: MACHINE.read().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Waits until nobody has it.
    pub fn alone() -> Self {
        Self::Alone { _until_dropped: MACHINE.write().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// h1 and h2 on one segment, h3 behind a router, and `out1` outside of the cluster, next to h1.
pub fn with_an_outsider() -> Topology {
    Topology::builder()
        .segment(SegmentSpec::new("lan1", &["10.77.1.0/24"]))
        .segment(SegmentSpec::new("lan2", &["10.77.2.0/24"]))
        .router("r1", &["lan1", "lan2"])
        .host(HostSpec::plain("h1", &["lan1"]))
        .host(HostSpec::plain("h2", &["lan1"]))
        .host(HostSpec::plain("h3", &["lan2"]))
        .host(HostSpec::plain("out1", &["lan1"]))
        .build()
        .unwrap()
}

/// An address close to another, and so most likely in the same block, that nothing has. Which part of a subnet a host
/// gets is chance.
pub fn free_beside(address: IpAddr, taken: &[IpAddr]) -> IpAddr {
    let near = (1..8).map(|bits| match address {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) ^ bits).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) ^ u128::from(bits)).into()),
    });
    near.into_iter().find(|near| !taken.contains(near)).unwrap()
}

/// A lab with agents. Gone when it is dropped; after a panic it tells what it saw.
pub struct Scene {
    /// The lab.
    pub lab: Lab,
    /// Given back once the lab is gone.
    _machine: Machine,
}

/// A bare namespace that is attached to a network.
pub struct Attached {
    /// The namespace.
    pub container: Container,
    /// Its addresses, v4 first.
    pub addresses: Vec<IpAddr>,
}

impl Scene {
    /// A lab with an agent on each host; no cluster yet.
    pub fn agents(topology: Topology) -> Self {
        Self::agents_on(Machine::shared(), topology)
    }

    fn agents_on(machine: Machine, topology: Topology) -> Self {
        let mut options = Options::unique("e2e", PROGRAM);
        options.agent = Some(AgentOptions::default());
        let scene = Self { lab: Lab::up(topology, options).unwrap(), _machine: machine };
        for outsider in scene.lab.hosts().unwrap().iter().filter(|host| host.name().starts_with(OUTSIDE)) {
            outsider.stop(AGENT).unwrap();
        }
        for host in scene.members() {
            scene.await_agent(host.name());
        }
        scene
    }

    /// The hosts that are, or shall be, one cluster.
    pub fn members(&self) -> Vec<Host> {
        let hosts = self.lab.hosts().unwrap().into_iter();
        hosts.filter(|host| !host.name().starts_with(OUTSIDE)).collect()
    }

    /// Waits until a host's agent answers.
    pub fn await_agent(&self, host: &str) {
        let host = self.host(host);
        wait::until("the agent answers", SETTLED, || {
            host.exec(&[PROGRAM, "status"]).is_ok_and(|output| output.success())
        })
        .unwrap();
    }

    /// A lab whose hosts are one cluster, made by the first.
    pub fn cluster(topology: Topology) -> Self {
        Self::cluster_on(Machine::shared(), topology)
    }

    /// The same on a machine that the test has for itself, or with others.
    pub fn cluster_on(machine: Machine, topology: Topology) -> Self {
        let scene = Self::agents_on(machine, topology);
        scene.form();
        scene
    }

    /// Makes a cluster on the first host and lets the others join; returns once every path is answered.
    pub fn form(&self) {
        let hosts = self.members();
        let (first, others) = hosts.split_first().unwrap();
        first.run(&[PROGRAM, "init"]).unwrap();
        let address = first.address().unwrap().to_string();
        for host in others {
            let token = self.token();
            host.run(&[PROGRAM, "join", &address, "--token", &token]).unwrap();
        }
        self.await_paths();
    }

    /// Takes the lab down and looks whether anything of it is left: the end of every test.
    pub fn end(self) {
        let name = self.lab.name();
        self.lab.down().unwrap();
        assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
    }

    /// Waits until hosts have the reserves of addresses that they shall have, and all know it: nothing is written any more.
    pub fn await_reserves(&self) {
        let revisions = || {
            let of = |host: &Host| self.status(host.name())["cluster"]["store"]["revision"].clone();
            self.members().iter().map(of).collect::<Vec<_>>()
        };
        let (mut seen, mut since) = (revisions(), Instant::now());
        wait::until("reserves of addresses to be as they shall be", SETTLED, || {
            let now = revisions();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            since.elapsed() > QUIET && seen.iter().all(|revision| *revision == seen[0])
        })
        .unwrap();
    }

    /// Starts a host's agent; returns once it answers, as `systemctl start` does.
    pub fn start_agent(&self, host: &str) {
        self.host(host).start(AGENT).unwrap();
        self.await_agent(host);
    }

    /// Ends a host's agent politely and starts it again.
    pub fn restart_agent(&self, host: &str) {
        self.host(host).stop(AGENT).unwrap();
        self.start_agent(host);
    }

    /// A fresh token of the first host's cluster.
    pub fn token(&self) -> String {
        let first = &self.lab.hosts().unwrap()[0];
        first.run(&[PROGRAM, "token", "create", "--quiet"]).unwrap().trim().to_owned()
    }

    /// A host.
    pub fn host(&self, name: &str) -> Host {
        self.lab.host(name).unwrap()
    }

    /// What the program prints on a host; the command has to succeed.
    pub fn hopsack(&self, host: &str, words: &[&str]) -> String {
        self.host(host).run(&[&[PROGRAM], words].concat()).unwrap()
    }

    /// The line that the program prints to standard error on a host; the command has to fail, with this exit status.
    pub fn refused(&self, host: &str, status: i32, words: &[&str]) -> String {
        let output = self.host(host).exec(&[&[PROGRAM], words].concat()).unwrap();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {} {}", output.stdout, output.stderr);
        assert_eq!(output.stderr.trim().lines().count(), 1, "not one line: {}", output.stderr);
        output.stderr.trim().to_owned()
    }

    /// A host's status.
    pub fn status(&self, host: &str) -> Value {
        serde_json::from_str(&self.hopsack(host, &["status", "-o", "json"])).unwrap()
    }

    /// The kind of path that a host uses to another.
    pub fn path(&self, from: &str, to: &str) -> String {
        let status = self.status(from);
        let hosts = status["cluster"]["hosts"].as_array().unwrap();
        let host = hosts.iter().find(|host| host["name"] == to).unwrap_or_else(|| panic!("no host {to}"));
        host["path"]["kind"].as_str().unwrap_or("none").to_owned()
    }

    /// Waits until every host knows all others and every path is answered.
    pub fn await_paths(&self) {
        let hosts = self.members();
        for host in &hosts {
            wait::until("every path is answered", SETTLED, || {
                let status = self.status(host.name());
                let known = status["cluster"]["hosts"].as_array().cloned().unwrap_or_default();
                let answered = known.iter().filter(|peer| peer["path"]["answered"] == true).count();
                known.len() == hosts.len() && answered + 1 == hosts.len()
            })
            .unwrap();
        }
    }

    /// Waits until a host uses a kind of path to another.
    pub fn await_path(&self, from: &str, to: &str, kind: &str) {
        wait::until(&format!("{from} uses {kind} to {to}"), SETTLED, || self.path(from, to) == kind).unwrap();
    }

    /// Makes a network on the first host and waits until every host has it.
    pub fn network(&self, name: &str, words: &[&str]) {
        let hosts = self.members();
        hosts[0].run(&[&[PROGRAM, "network", "create", name], words].concat()).unwrap();
        for host in &hosts {
            wait::until("the network has arrived", SETTLED, || {
                self.hopsack(host.name(), &["network", "ls"]).contains(name)
            })
            .unwrap();
        }
    }

    /// Makes a network of both families with a container on each of some hosts; the first one reaches all others.
    pub fn containers<const N: usize>(&self, hosts: [&str; N]) -> [Attached; N] {
        self.network("web", &BOTH_FAMILIES);
        let all = hosts.map(|host| self.attach(host, &format!("c-{host}"), "web", &[]));
        all[1..].iter().flat_map(|other| &other.addresses).for_each(|address| all[0].await_reach(*address));
        all
    }

    /// Makes a namespace on a host and attaches it to a network.
    pub fn attach(&self, host: &str, container: &str, network: &str, words: &[&str]) -> Attached {
        let container = self.host(host).container(container).unwrap();
        let told = self.hopsack(
            host,
            &[&["attach", container.name(), "--network", network, "-o", "json"], words].concat(),
        );
        let told: Value = serde_json::from_str(&told).unwrap();
        let addresses = told["addresses"].as_array().unwrap().iter();
        let addresses = addresses.map(|address| address.as_str().unwrap().parse().unwrap()).collect();
        Attached { container, addresses }
    }
}

impl Attached {
    /// Its address of the network's first family.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }

    /// Waits until it reaches another by ping.
    pub fn await_reach(&self, to: IpAddr) {
        wait::until(&format!("{} reaches {to}", self.container.name()), SETTLED, || {
            self.container.reaches(to).unwrap()
        })
        .unwrap();
    }

    /// Whether it reaches another by ping.
    pub fn reaches(&self, to: IpAddr) -> bool {
        self.container.reaches(to).unwrap()
    }
}
