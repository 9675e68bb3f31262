//! Agents that a test starts and ends by itself, on the one host of a lab.

use crate::scene::{Machine, PROGRAM, SETTLED};
use hopsack_lab::{Host, HostKind, Inside, Lab, Options, Output, Running, Signal, Topology, leftovers, wait};
use std::path::PathBuf;
use std::time::Duration;

/// A lab of one host, with agents that the test starts by itself. Each has a name, and a state directory and a socket
/// of that name.
pub struct Bare {
    lab: Lab,
    /// The host.
    pub host: Host,
    _machine: Machine,
}

/// The command line of an agent.
pub fn agent(name: &str) -> String {
    format!("{PROGRAM} agent --no-docker --log warn --state-dir /var/lib/{name} --socket /run/{name}.sock")
}

impl Bare {
    /// The lab, without an agent.
    pub fn up() -> Self {
        let machine = Machine::shared();
        let topology = Topology::numbered(1, &[], HostKind::Plain).unwrap();
        let lab = Lab::up(topology, Options::unique("e2e", PROGRAM)).unwrap();
        let host = lab.host("h1").unwrap();
        Self { lab, host, _machine: machine }
    }

    /// Takes the lab down and looks whether anything of it is left.
    pub fn end(self) {
        let name = self.lab.name();
        self.lab.down().unwrap();
        assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
    }

    /// A file of an agent's state directory.
    pub fn file(&self, name: &str, file: &str) -> PathBuf {
        self.host.var_lib().join(name).join(file)
    }

    /// Starts an agent and waits until it answers.
    pub fn start(&self, name: &str) -> Running {
        let running = self.host.spawn(&["sh", "-c", &format!("exec {}", agent(name))]).unwrap();
        wait::until("the agent answers", SETTLED, || self.ask(name, &["status"]).success()).unwrap();
        running
    }

    /// Asks an agent.
    pub fn ask(&self, name: &str, words: &[&str]) -> Output {
        let socket = format!("/run/{name}.sock");
        self.host.exec(&[&[PROGRAM, "--socket", &socket], words].concat()).unwrap()
    }
}

/// Ends an agent in order.
pub fn stop(running: Running) {
    running.signal(Signal::SIGTERM).unwrap();
    let output = running.wait(Duration::from_secs(10)).unwrap();
    assert!(output.success(), "{output:?}");
}
