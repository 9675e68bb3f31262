//! What an agent says when it cannot start: one line on standard error, a status that is not zero, its files as they
//! were.

use crate::bare::{Bare, agent, stop};
use crate::refusals::matches;
use crate::scene::{PROGRAM, SETTLED};
use hopsack_lab::{Inside, require, wait};
use std::fs;

impl Bare {
    /// Makes a cluster with one container, and ends its agent.
    fn lived(&self, name: &str) {
        let running = self.start(name);
        self.host.container("c1").unwrap();
        self.ask(name, &["init"]).checked().unwrap();
        self.ask(name, &["network", "create", "web"]).checked().unwrap();
        self.ask(name, &["attach", "c1", "--network", "web"]).checked().unwrap();
        stop(running);
    }

    /// Runs an agent that must not start, and compares its one line; `*` stands for anything.
    fn refuses(&self, command: &str, expected: &str) {
        let output = self.host.exec(&["timeout", "10", "sh", "-c", command]).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {} {}", output.stdout, output.stderr);
        let said = output.stderr.trim();
        assert!(matches(said, expected), "{command}\n said     {said}\n expected {expected}");
        assert_eq!(said.lines().count(), 1, "not one line: {said}");
    }
}

#[test]
fn a_damaged_file_of_the_state_directory_is_named_and_left_alone() {
    require!(Root, Nft);
    let bare = Bare::up();
    bare.lived("one");
    let remedy = "restore it from a backup, or remove the state directory and join again";
    for (file, expected) in [
        ("identity.json", format!("is damaged: {remedy}: *")),
        ("endpoints.json", format!("is damaged: {remedy}: *")),
        ("cluster.key", format!("is damaged (it has not 32 bytes): {remedy}")),
        ("host.key", format!("is damaged (it is no key): {remedy}")),
        ("host.crt", format!("is damaged (it is no certificate of this host): {remedy}")),
        ("ca.crt", format!("is damaged (it is no certificate): {remedy}")),
        ("ca.key", format!("is damaged (it is no key of this cluster's authority): {remedy}")),
        ("intent.redb", "is damaged: keep it for inspection, then restore it from a backup; *".to_owned()),
    ] {
        let path = bare.file("one", file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, "not what it was").unwrap();
        bare.refuses(&agent("one"), &format!("error: /var/lib/one/{file} {expected}"));
        assert_eq!(fs::read(&path).unwrap(), b"not what it was", "{file} was changed");
        fs::write(&path, good).unwrap();
    }
    let path = bare.file("one", "addresses.journal");
    let good = fs::read(&path).unwrap();
    fs::write(&path, "not what it was").unwrap();
    bare.refuses(
        &agent("one"),
        "error: /var/lib/one/addresses.journal: the address journal does not begin like one: move it away; the agent \
         rebuilds it from what runs",
    );
    fs::write(&path, good).unwrap();
    for (file, remedy) in [
        ("host.key", format!("is damaged (it is missing): {remedy}")),
        ("intent.redb", "does not exist: run `hopsack init` or `hopsack join` first, *".to_owned()),
    ] {
        let (path, aside) = (bare.file("one", file), bare.file("one", "aside"));
        fs::rename(&path, &aside).unwrap();
        bare.refuses(&agent("one"), &format!("error: /var/lib/one/{file} {remedy}"));
        fs::rename(&aside, &path).unwrap();
    }
    // With all files as they were it is the host that it was.
    let running = bare.start("one");
    let endpoints = bare.ask("one", &["endpoint", "ls"]).checked().unwrap().stdout;
    assert!(endpoints.contains("c1"), "{endpoints}");
    stop(running);
    bare.end();
}

#[test]
fn a_state_directory_of_a_newer_version_is_left_alone() {
    require!(Root, Nft);
    let bare = Bare::up();
    bare.lived("one");
    let identity = bare.file("one", "identity.json");
    let good = fs::read_to_string(&identity).unwrap();
    let newer = good.replace("\"format\": 1", "\"format\": 2");
    assert_ne!(newer, good);
    fs::write(&identity, &newer).unwrap();
    bare.refuses(
        &agent("one"),
        "error: /var/lib/one/identity.json was written by a newer hopsack (format 2, this one knows 1): upgrade this \
         program",
    );
    assert_eq!(fs::read_to_string(&identity).unwrap(), newer);
    fs::write(&identity, good).unwrap();
    // Its version follows eight bytes that say what it is.
    let journal = bare.file("one", "addresses.journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[8] += 1;
    fs::write(&journal, &bytes).unwrap();
    bare.refuses(
        &agent("one"),
        "error: /var/lib/one/addresses.journal: the address journal has version 2, this program reads up to 1: \
         upgrade hopsack on this host",
    );
    assert_eq!(fs::read(&journal).unwrap(), bytes);
    bare.end();
}

#[test]
fn a_state_directory_that_cannot_be_written_or_is_in_use_is_refused() {
    require!(Root, Nft);
    let bare = Bare::up();
    let read_only = format!(
        "mkdir /run/ro && mount -t tmpfs -o ro tmpfs /run/ro && exec {PROGRAM} agent --no-docker --state-dir /run/ro/state"
    );
    bare.refuses(
        &format!("unshare -m sh -c '{read_only}'"),
        "error: the state directory /run/ro/state cannot be written: run as root, or give another with --state-dir: \
         Read-only file system*",
    );
    let running = bare.start("one");
    bare.refuses(&agent("one"), "error: another agent uses the state directory /var/lib/one: stop it first");
    bare.refuses(
        &agent("two").replace("/run/two.sock", "/run/one.sock"),
        "error: cannot listen on /run/one.sock: does another agent run?: *",
    );
    assert!(bare.ask("one", &["status"]).success(), "the agent that ran was disturbed");
    stop(running);
    bare.end();
}

#[test]
fn a_control_port_in_use_keeps_a_host_out_of_a_cluster_wholly() {
    require!(Root, Nft);
    let bare = Bare::up();
    let first = bare.start("one");
    bare.ask("one", &["init"]).checked().unwrap();
    let told = "cannot listen on 10.77.1.1:4677, TCP and UDP: stop what uses the port, or choose another with \
                `hopsack agent --control-port` before `hopsack init` or `join`: *";
    let second = bare.start("two");
    let token = bare.ask("one", &["token", "create", "--quiet"]).checked().unwrap().stdout;
    for words in [&["init"][..], &["join", "10.77.1.1", "--token", token.trim()]] {
        let output = bare.ask("two", words);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(matches(output.stderr.trim(), &format!("error: {told}")), "{output:?}");
        assert!(bare.ask("two", &["status"]).stdout.contains("in no cluster"));
        assert!(!bare.file("two", "identity.json").exists());
    }
    let hosts = bare.ask("one", &["host", "ls", "-o", "json"]).checked().unwrap().stdout;
    assert_eq!(hosts.matches("\"underlay\"").count(), 1, "{hosts}");
    stop(second);
    // A member finds its port taken when it starts.
    stop(first);
    fs::rename(bare.host.var_lib().join("one"), bare.host.var_lib().join("three")).unwrap();
    let squatter = bare.start("four");
    bare.ask("four", &["init"]).checked().unwrap();
    bare.refuses(&agent("three"), &format!("error: {told}"));
    stop(squatter);
    stop(bare.start("three"));
    bare.end();
}

#[test]
fn without_nft_or_root_no_agent_starts() {
    require!(Root, Nft);
    let bare = Bare::up();
    let nft = bare.host.run(&["sh", "-c", "dirname $(readlink -f $(command -v nft))"]).unwrap();
    let without =
        format!("mkdir /run/empty && mount --bind /run/empty {} && exec {}", nft.trim(), agent("one"));
    bare.refuses(&format!("unshare -m sh -c '{without}'"), "error: nft not found: apt-get install nftables");
    // Where nobody's own eyes reach it, and with a state directory of nobody's own.
    let nobody = "touch /run/hopsack-as-nobody && mount --bind PROGRAM /run/hopsack-as-nobody && \
                  mkdir /run/state && chown 65534 /run/state && exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                  /run/hopsack-as-nobody";
    let nobody = nobody.replace("PROGRAM", PROGRAM);
    bare.refuses(
        &format!(
            "unshare -m sh -c '{nobody} agent --no-docker --state-dir /run/state --socket /run/state/sock'"
        ),
        "error: not allowed to change the network: run as root (or with CAP_NET_ADMIN and CAP_SYS_ADMIN)",
    );
    let running = bare.start("one");
    let asked = "rm -r /run/state && NOBODY --socket /run/one.sock status".replace("NOBODY", &nobody);
    let output = bare.host.exec(&["unshare", "-m", "sh", "-c", &asked]).unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stderr.trim(), "error: not allowed to ask the agent at /run/one.sock: run as root");
    stop(running);
    let output = bare.ask("one", &["status"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(
        output.stderr.trim(),
        "error: no agent answers at /run/one.sock: start one with `hopsack agent`"
    );
    bare.end();
}

#[test]
fn without_docker_an_agent_runs_and_says_so() {
    require!(Root, Nft);
    let bare = Bare::up();
    let command = agent("one").replace(" --no-docker", "");
    let running = bare.host.spawn(&["sh", "-c", &format!("exec {command}")]).unwrap();
    wait::until("the agent answers", SETTLED, || bare.ask("one", &["init"]).success()).unwrap();
    wait::until("the status to tell", SETTLED, || {
        bare.ask("one", &["status"]).stdout.contains("docker     no Docker engine on this host\n")
    })
    .unwrap();
    assert!(bare.ask("one", &["status"]).stdout.starts_with("all is well\n"));
    stop(running);
    let running = bare.start("one");
    let status = bare.ask("one", &["status"]).stdout;
    assert!(status.contains("docker     left alone (--no-docker)\n"), "{status}");
    stop(running);
    bare.end();
}
