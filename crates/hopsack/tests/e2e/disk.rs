//! A disk that is full: what cannot be done is refused in a line, and nothing that was is lost.

use crate::refusals::matches;
use crate::scene::{Machine, PROGRAM, SETTLED};
use hopsack_lab::{Host, HostKind, Inside, Lab, Options, Output, Running, Signal, Topology};
use hopsack_lab::{leftovers, require, wait};
use serde_json::Value;
use std::time::Duration;

const SOCKET: &str = "/run/small.sock";
/// A label that makes a network larger than what the voter's file has kept free.
const LARGE: usize = 60_000;

/// A host with a small disk for its agent's state directory; it goes with the host.
struct Small {
    lab: Lab,
    host: Host,
    _machine: Machine,
}

impl Small {
    fn up() -> Self {
        let machine = Machine::shared();
        let topology = Topology::numbered(1, &[], HostKind::Plain).unwrap();
        let lab = Lab::up(topology, Options::unique("e2e", PROGRAM)).unwrap();
        let host = lab.host("h1").unwrap();
        host.run(&["mkdir", "/run/small"]).unwrap();
        host.run(&["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", "/run/small"]).unwrap();
        Self { lab, host, _machine: machine }
    }

    /// Starts the agent and waits until it answers.
    fn agent(&self) -> Running {
        let state = ["--no-docker", "--log", "warn", "--state-dir", "/run/small/state", "--socket", SOCKET];
        let running = self.host.spawn(&[&[PROGRAM, "agent"], &state[..]].concat()).unwrap();
        wait::until("the agent answers", SETTLED, || self.ask(&["status"]).success()).unwrap();
        running
    }

    fn ask(&self, words: &[&str]) -> Output {
        self.host.exec(&[&[PROGRAM, "--socket", SOCKET], words].concat()).unwrap()
    }

    fn done(&self, words: &[&str]) -> String {
        self.ask(words).checked().unwrap().stdout
    }

    fn refused(&self, words: &[&str], expected: &str) {
        let output = self.ask(words);
        let said = output.stderr.trim();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(matches(said, expected), "{words:?}\n said     {said}\n expected {expected}");
        assert_eq!(said.lines().count(), 1, "not one line: {said}");
    }

    fn fill(&self) {
        let full = self.host.exec(&["dd", "if=/dev/zero", "of=/run/small/fill", "bs=4k"]).unwrap();
        assert!(full.stderr.contains("No space left"), "{full:?}");
    }

    fn free(&self) {
        self.host.run(&["rm", "/run/small/fill"]).unwrap();
    }

    fn faults(&self) -> Value {
        serde_json::from_str::<Value>(&self.done(&["status", "-o", "json"])).unwrap()["faults"].clone()
    }

    /// Ends the agent, which goes in order though its disk was full.
    fn stop(agent: Running) {
        agent.signal(Signal::SIGTERM).unwrap();
        let output = agent.wait(Duration::from_secs(10)).unwrap();
        assert!(output.success(), "{output:?}");
    }

    fn end(self) {
        let name = self.lab.name();
        self.lab.down().unwrap();
        assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn on_a_full_disk_nothing_is_made_and_nothing_lost_and_with_room_again_all_goes_on() {
    require!(Root, Nft);
    let small = Small::up();
    let agent = small.agent();
    small.done(&["init"]);
    small.done(&["network", "create", "web"]);
    for container in ["c1", "c2"] {
        small.host.container(container).unwrap();
    }
    small.done(&["attach", "c1", "--network", "web"]);
    let before = small.done(&["endpoint", "ls"]);
    small.fill();
    let full = "error: cannot write /run/small/state/endpoints.json: is the disk full, or read-only?: No space left on *";
    small.refused(&["attach", "c2", "--network", "web"], full);
    small.refused(&["detach", "c1", "--network", "web"], full);
    assert_eq!(small.done(&["endpoint", "ls"]), before);
    small.free();
    small.done(&["attach", "c2", "--network", "web"]);
    small.done(&["detach", "c1", "--network", "web"]);
    let after = small.done(&["endpoint", "ls"]);
    Small::stop(agent);
    let agent = small.agent();
    assert_eq!(small.done(&["endpoint", "ls"]), after, "the agent that started again knows others");
    Small::stop(agent);
    small.end();
}

#[test]
fn a_voter_whose_disk_failed_says_so_serves_what_it_knows_and_loses_nothing() {
    require!(Root, Nft);
    let small = Small::up();
    let agent = small.agent();
    small.done(&["init"]);
    small.done(&["network", "create", "web"]);
    assert_eq!(small.faults(), serde_json::json!([]));
    small.fill();
    let label = format!("note={}", "x".repeat(LARGE));
    let unknown =
        "error: the write was not answered within 3 s and may or may not have happened: look at the state *";
    small.refused(&["network", "create", "large", "--label", &label], unknown);
    let stopped = "error: this host's store has stopped: look for a disk error in the agent's log, then restart the agent";
    small.refused(&["network", "create", "other"], stopped);
    let faults = small.faults().to_string();
    assert!(faults.contains("store has stopped") && faults.contains("systemctl restart hopsack"), "{faults}");
    assert!(small.done(&["network", "ls"]).contains("web"));
    small.free();
    Small::stop(agent);
    let agent = small.agent();
    small.done(&["network", "create", "other"]);
    let listed = small.done(&["network", "ls"]);
    assert!(listed.contains("web") && listed.contains("other"), "{listed}");
    assert_eq!(small.faults(), serde_json::json!([]));
    Small::stop(agent);
    small.end();
}
