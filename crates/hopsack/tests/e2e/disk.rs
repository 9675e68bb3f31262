//! A disk that is full: what cannot be done is refused in a line, and nothing that was is lost.

use crate::bare::{Bare, stop};
use crate::refusals::matches;
use hopsack_lab::{Inside, require};
use serde_json::Value;

/// The agent that has a small disk for its state directory.
const SMALL: &str = "small";
/// What fills the disk.
const FILL: &str = "/var/lib/small/fill";
/// A label that makes a network larger than what the voter's file has kept free.
const LARGE: usize = 60_000;

impl Bare {
    /// A host with a disk of 12 MiB for the agent's state directory; it goes with the host.
    fn with_a_small_disk() -> Self {
        let bare = Self::up();
        bare.host.run(&["mkdir", "/var/lib/small"]).unwrap();
        bare.host.run(&["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", "/var/lib/small"]).unwrap();
        bare
    }

    fn done(&self, words: &[&str]) -> String {
        self.ask(SMALL, words).checked().unwrap().stdout
    }

    fn refused(&self, words: &[&str], expected: &str) {
        let output = self.ask(SMALL, words);
        let said = output.stderr.trim();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(matches(said, expected), "{words:?}\n said     {said}\n expected {expected}");
        assert_eq!(said.lines().count(), 1, "not one line: {said}");
    }

    fn fill(&self) {
        let full = self.host.exec(&["dd", "if=/dev/zero", &format!("of={FILL}"), "bs=4k"]).unwrap();
        assert!(full.stderr.contains("No space left"), "{full:?}");
    }

    fn free(&self) {
        self.host.run(&["rm", FILL]).unwrap();
    }

    fn faults(&self) -> Value {
        serde_json::from_str::<Value>(&self.done(&["status", "-o", "json"])).unwrap()["faults"].clone()
    }
}

#[test]
fn on_a_full_disk_nothing_is_made_and_nothing_lost_and_with_room_again_all_goes_on() {
    require!(Root, Nft);
    let small = Bare::with_a_small_disk();
    let agent = small.start(SMALL);
    small.done(&["init"]);
    small.done(&["network", "create", "web"]);
    for container in ["c1", "c2"] {
        small.host.container(container).unwrap();
    }
    small.done(&["attach", "c1", "--network", "web"]);
    let before = small.done(&["endpoint", "ls"]);
    small.fill();
    let full = "error: cannot write /var/lib/small/endpoints.json: is the disk full, or read-only?: No space left on *";
    small.refused(&["attach", "c2", "--network", "web"], full);
    small.refused(&["detach", "c1", "--network", "web"], full);
    assert_eq!(small.done(&["endpoint", "ls"]), before);
    small.free();
    small.done(&["attach", "c2", "--network", "web"]);
    small.done(&["detach", "c1", "--network", "web"]);
    let after = small.done(&["endpoint", "ls"]);
    stop(agent);
    let agent = small.start(SMALL);
    assert_eq!(small.done(&["endpoint", "ls"]), after, "the agent that started again knows others");
    stop(agent);
    small.end();
}

#[test]
fn a_voter_whose_disk_failed_says_so_serves_what_it_knows_and_loses_nothing() {
    require!(Root, Nft);
    let small = Bare::with_a_small_disk();
    let agent = small.start(SMALL);
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
    stop(agent);
    let agent = small.start(SMALL);
    small.done(&["network", "create", "other"]);
    let listed = small.done(&["network", "ls"]);
    assert!(listed.contains("web") && listed.contains("other"), "{listed}");
    assert_eq!(small.faults(), serde_json::json!([]));
    stop(agent);
    small.end();
}
