//! Docker's own multi-host network beside ours: overlay on the same hosts, engines and containers, and no need of Swarm.

use super::*;
use crate::drift::shell;
use hopsack_lab::{AGENT, Afterwards, Signal, require};

/// An overlay that plain containers may use.
const OVERLAY: &str = "network create -d overlay --attachable --subnet 10.98.0.0/24 ov";

impl Engines {
    fn swarm_state(&self, host: &str) -> String {
        self.docker(host, "info -f {{.Swarm.LocalNodeState}}")
    }

    /// Makes the engines a swarm, managed by the first.
    fn swarm(&self) {
        let address = |host| self.host(host).address().unwrap();
        let manager = address("h1");
        self.docker("h1", &format!("swarm init --advertise-addr {manager}"));
        let token = self.docker("h1", "swarm join-token -q worker");
        for host in ["h2", "h3"] {
            let line = format!("swarm join --token {token} --advertise-addr {} {manager}", address(host));
            self.docker(host, &line);
        }
    }

    /// Runs a container on an overlay, which a worker learns of only then, and not always at the first try.
    fn run_on_overlay(&self, host: &str, name: &str) {
        wait::value(&format!("{name} to run on {host}"), SETTLED, || {
            let line =
                format!("docker run -d --name {name} --stop-signal KILL --net ov {IMAGE} sleep 100000");
            let output = self.host(host).exec(&line.split(' ').collect::<Vec<_>>()).unwrap();
            if output.success() {
                return Ok(());
            }
            self.host(host).exec(&["docker", "rm", "-f", name]).unwrap();
            Err(output.stderr)
        })
        .unwrap();
    }

    /// Waits until a container on each host reaches all addresses.
    fn await_each(&self, container: &str, addresses: &[IpAddr]) {
        for host in HOSTS {
            for address in addresses {
                self.await_ping(host, container, *address);
            }
        }
    }
}

#[test]
fn an_overlay_and_ours_live_side_by_side_and_neither_needs_the_other() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    for host in HOSTS {
        engines.run(host, "ours", "--net web");
        assert_eq!(engines.swarm_state(host), "inactive", "{host}");
    }
    let ours = HOSTS.map(|host| engines.address(host, "ours", "web"));
    engines.await_each("ours", &ours);

    engines.swarm();
    engines.docker("h1", OVERLAY);
    for host in HOSTS {
        engines.run_on_overlay(host, "theirs");
    }
    let theirs = HOSTS.map(|host| engines.address(host, "theirs", "ov"));
    engines.await_each("theirs", &theirs);
    engines.await_each("ours", &ours);
    // Both have tunnels, each at its own port, and the two are apart.
    let listening = shell(&engines.host("h1"), "ss -Hlun | awk '{ print $4 }'");
    for port in [":4678", ":4789"] {
        assert!(listening.lines().any(|line| line.ends_with(port)), "nothing at {port}: {listening}");
    }
    assert!(!engines.pings("h2", "theirs", ours[0]));
    assert!(!engines.pings("h2", "ours", theirs[0]));

    // One that is on both, whichever it was on first.
    engines.run("h1", "both", "--net web");
    engines.docker("h1", "network connect ov both");
    engines.run_on_overlay("h2", "both");
    engines.docker("h2", "network connect web both");
    for host in ["h1", "h2"] {
        for address in ours.iter().chain(&theirs) {
            engines.await_ping(host, "both", *address);
        }
        engines.await_ping("h3", "ours", engines.address(host, "both", "web"));
        engines.await_ping("h3", "theirs", engines.address(host, "both", "ov"));
    }

    // Swarm has what it was given, and nothing of ours; we have nothing of it.
    let listed = engines.docker("h1", "network ls --filter scope=swarm --format {{.Name}}");
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["ingress", "ov"]);
    assert_eq!(engines.docker("h1", "node ls --format {{.Status}}"), "Ready\nReady\nReady");
    assert!(!engines.scene.hopsack("h1", &["network", "ls"]).contains("ov"));

    for host in HOSTS {
        engines.host(host).kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    }
    engines.docker("h3", "rm -f theirs");
    engines.run_on_overlay("h3", "theirs");
    let theirs = HOSTS.map(|host| engines.address(host, "theirs", "ov"));
    engines.await_each("theirs", &theirs);
    for host in HOSTS {
        engines.scene.start_agent(host);
    }

    for host in ["h3", "h2", "h1"] {
        engines.docker(host, "rm -f theirs");
        if host != "h3" {
            engines.docker(host, "rm -f both");
        }
        engines.docker(host, "swarm leave --force");
    }
    engines.await_each("ours", &ours);
    engines.network("h2", "more");
    engines.run("h3", "more", "--net more");
    engines.run("h1", "more", "--net more");
    engines.await_ping("h1", "more", engines.address("h3", "more", "more"));
    engines.end();
}
