//! The mirror: a network that is made, changed or removed anywhere is so everywhere, and what happens is told.

use super::*;
use hopsack_lab::{AGENT, Afterwards, Signal, require};
use std::time::Instant;

/// In which a change is on all hosts.
const AT_ONCE: Duration = Duration::from_secs(1);
/// For commands that run beside others.
const BESIDE: Duration = Duration::from_secs(30);
/// In which a copy follows its network once no container is on it: nothing tells of that, it is looked for.
const FOLLOWS: Duration = Duration::from_secs(3);

impl Engines {
    /// Waits for all hosts, a second together; how long it took, in which the looks themselves are counted.
    fn at_once(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Duration {
        let start = Instant::now();
        for host in HOSTS {
            let left = AT_ONCE.saturating_sub(start.elapsed());
            wait::until(&format!("{what} on {host}, at once"), left, || is_so(host)).unwrap();
        }
        start.elapsed()
    }

    /// The labels of an engine's network; none if it is not there.
    fn labels(&self, host: &str, network: &str) -> Option<String> {
        let inspect = ["docker", "network", "inspect", "-f", "{{.Labels}}", network];
        let told = self.host(host).exec(&inspect).unwrap();
        told.success().then(|| told.stdout.trim().to_owned())
    }

    /// What a host's agent tells of a kind of event: `object: text`, oldest first.
    fn events(&self, host: &str, kind: &str) -> Vec<String> {
        let told = self.scene.hopsack(host, &["events", "-o", "json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let of_kind = told.as_array().unwrap().iter().filter(|event| event["kind"] == kind);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        of_kind.map(|event| format!("{}: {}", text(&event["object"]), text(&event["text"]))).collect()
    }

    fn await_event(&self, host: &str, kind: &str, start: &str) {
        wait::until(&format!("{kind} {start} on {host}"), SETTLED, || {
            self.events(host, kind).iter().any(|event| event.starts_with(start))
        })
        .unwrap();
    }

    fn faults(&self, host: &str) -> String {
        self.scene.status(host)["faults"].to_string()
    }

    /// Runs a line of Docker on two hosts at once; whether each succeeded.
    fn both(&self, first: (&str, &str), second: (&str, &str)) -> [bool; 2] {
        let spawned = [first, second].map(|(host, line)| {
            let argv: Vec<&str> = std::iter::once("docker").chain(line.split_whitespace()).collect();
            self.host(host).spawn(&argv).unwrap()
        });
        spawned.map(|running| running.wait(BESIDE).unwrap().success())
    }

    /// Waits until a network is one: in the cluster, and in each engine's list.
    fn await_one(&self, network: &str) {
        let count = |names: Vec<String>| names.iter().filter(|name| *name == network).count();
        wait::until(&format!("one {network}"), SETTLED, || {
            let known = self.scene.hopsack("h3", &["network", "ls", "-o", "json"]);
            let known: Value = serde_json::from_str(&known).unwrap();
            let all = known.as_array().unwrap();
            all.iter().filter(|known| known["name"] == network).count() == 1
                && all.iter().all(|known| !known["name"].as_str().unwrap().starts_with("docker-"))
                && HOSTS.iter().all(|host| count(self.networks(host)) == 1)
        })
        .unwrap();
    }
}

#[test]
fn what_is_made_changed_or_removed_anywhere_is_so_on_all_hosts_within_a_second() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    let mut slowest = Duration::ZERO;
    for (round, maker) in HOSTS.into_iter().enumerate() {
        let (by_docker, by_hopsack) = (format!("d{round}"), format!("s{round}"));
        engines.docker(maker, &format!("{CREATE} --label tier=front {by_docker}"));
        let is_there = |host: &str| engines.labels(host, &by_docker).is_some_and(|l| l == "map[tier:front]");
        slowest = slowest.max(engines.at_once("a network of Docker's", is_there));
        engines.scene.hopsack(maker, &["network", "create", &by_hopsack, "--label", "a=b"]);
        let is_there = |host: &str| engines.labels(host, &by_hopsack).is_some_and(|l| l == "map[a:b]");
        slowest = slowest.max(engines.at_once("a network of hopsack's", is_there));

        let changer = HOSTS[(round + 1) % HOSTS.len()];
        for network in [&by_docker, &by_hopsack] {
            let isolation = ["--isolation", "none", "--label", "changed=yes", "--no-label", "tier"];
            engines.scene.hopsack(changer, &[&["network", "set", network][..], &isolation].concat());
            let is_changed = |host: &str| {
                engines
                    .labels(host, network)
                    .is_some_and(|l| l.contains("changed:yes") && !l.contains("tier"))
            };
            slowest = slowest.max(engines.at_once("the changed labels", is_changed));
            let isolation = engines.scene.hopsack(maker, &["network", "inspect", network]);
            assert!(isolation.contains("isolation  none"), "{isolation}");
        }

        let remover = HOSTS[(round + 2) % HOSTS.len()];
        engines.docker(remover, &format!("network rm {by_docker}"));
        slowest = slowest.max(engines.at_once("its end", |host| !engines.lists(host, &by_docker)));
        engines.scene.hopsack(remover, &["network", "rm", &by_hopsack]);
        slowest = slowest.max(engines.at_once("its end", |host| !engines.lists(host, &by_hopsack)));
        for kind in ["network-made", "network-changed", "network-removed"] {
            for network in [&by_docker, &by_hopsack] {
                engines.await_event(remover, kind, &format!("{network}: "));
            }
        }
    }
    println!("a change was on all three engines after {slowest:?} at most");

    // A copy that has containers stays as it is, says so, and follows later.
    engines.network("h1", "web");
    engines.run("h3", "c3", "--net web");
    engines.scene.hopsack("h1", &["network", "set", "web", "--label", "late=yes"]);
    wait::until("the fault", SETTLED, || {
        engines.faults("h3").contains("network web on this host shows old labels")
    })
    .unwrap();
    wait::until("the label on h1", SETTLED, || {
        engines.labels("h1", "web").as_deref() == Some("map[late:yes]")
    })
    .unwrap();
    assert_eq!(engines.labels("h3", "web").as_deref(), Some("map[]"));
    engines.docker("h3", "rm -f c3");
    wait::until("the label on h3", FOLLOWS, || {
        engines.labels("h3", "web").as_deref() == Some("map[late:yes]") && engines.faults("h3") == "[]"
    })
    .unwrap();
    engines.end();
}

#[test]
fn of_two_made_at_once_under_one_name_identical_ones_are_one_and_of_different_ones_one_goes_and_is_told() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    let mut both_made = 0;
    for round in 0..4 {
        for options in [format!("--subnet 10.60.{round}.0/24 --label a=b"), String::new()] {
            let line = format!("{CREATE} {options} same{round}");
            let made = engines.both(("h1", &line), ("h2", &line));
            assert!(made.contains(&true), "neither was made");
            both_made += u32::from(made == [true; 2]);
            engines.await_one(&format!("same{round}"));
            for host in HOSTS {
                assert_eq!(engines.faults(host), "[]", "{host}, {options}");
            }
            engines.docker("h3", &format!("network rm same{round}"));
            engines.await_no_network(&format!("same{round}"));
        }
    }
    assert!(both_made > 0, "Docker was never quick enough on both hosts");

    // Two names without a subnet: both hosts find the same one free, and each network has its own in the end.
    for round in 0..4 {
        let names = [format!("left{round}"), format!("right{round}")];
        let lines = names.each_ref().map(|name| format!("{CREATE} {name}"));
        assert_eq!(engines.both(("h1", &lines[0]), ("h2", &lines[1])), [true; 2]);
        for name in &names {
            engines.await_one(name);
        }
        for name in &names {
            engines.docker("h3", &format!("network rm {name}"));
            engines.await_no_network(name);
        }
    }

    wait::until("two different ones to be made at once", 4 * SETTLED, || {
        let line =
            |host: &str, third: u8| format!("{CREATE} --subnet 10.61.{third}.0/24 --label from={host} odd");
        let made = engines.both(("h1", &line("h1", 1)), ("h2", &line("h2", 2)));
        engines.await_one("odd");
        let labels = HOSTS.map(|host| engines.labels(host, "odd"));
        assert!(labels.iter().all(|of_host| *of_host == labels[0]), "{labels:?}");
        if made == [true; 2] {
            let loser = if labels[0].as_deref() == Some("map[from:h1]") { "h2" } else { "h1" };
            engines.await_event(loser, "network-refused", "odd: network odd (10.61.");
            assert!(
                engines.faults(loser).contains("make yours under another name"),
                "{}",
                engines.faults(loser)
            );
        }
        engines.docker("h3", "network rm odd");
        engines.await_no_network("odd");
        made == [true; 2]
    })
    .unwrap();
    engines.end();
}

#[test]
fn what_docker_removes_though_it_is_in_use_or_declared_is_back_within_a_second_and_that_is_told() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.scene.network("declared", &[]);
    engines.await_network("declared", SETTLED);
    engines.network("h2", "used");
    engines.run("h1", "c1", "--net used");
    engines.run("h3", "stopped", "--net declared --restart always");
    engines.docker("h3", "stop -t 0 stopped");
    // The agent of every host learns from Docker on h1 who uses it.
    wait::until("the container's name on h3", SETTLED, || {
        let refused = engines.host("h3").exec(&["hopsack", "network", "rm", "used"]).unwrap();
        assert!(!refused.success());
        refused.stderr.contains("in use by c1 on h1")
    })
    .unwrap();
    let listed = engines.scene.hopsack("h1", &["endpoint", "ls", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let id = engines.docker("h1", "inspect -f {{.Id}} c1");
    assert_eq!(listed[0]["container"], serde_json::json!({ "id": id, "name": "c1" }));

    let id =
        |host: &str, network: &str| engines.docker(host, &format!("network ls -q --filter name={network}"));
    for network in ["declared", "used"] {
        let before = id("h3", network);
        engines.docker("h3", &format!("network rm {network}"));
        wait::until(&format!("{network} to be back"), AT_ONCE, || {
            let now = id("h3", network);
            !now.is_empty() && now != before
        })
        .unwrap();
    }
    engines.await_event(
        "h3",
        "network-brought-back",
        "declared: Docker's user removed it on this host: it was declared",
    );
    engines.await_event(
        "h3",
        "network-brought-back",
        "used: Docker's user removed it on this host: network used is in use by c1",
    );
    // A container that was stopped meanwhile asks for the network's old id; the chapter about Docker says what to do.
    assert!(engines.refused("h3", "start stopped").contains("not found"));
    for line in ["network disconnect declared stopped", "network connect declared stopped", "start stopped"] {
        engines.docker("h3", line);
    }
    engines.await_ping("h3", "stopped", engines.address("h3", "stopped", "declared"));
    engines.docker("h3", "rm -f stopped");
    engines.docker("h2", "network prune -f");
    engines.at_once("both", |host| engines.lists(host, "declared") && engines.lists(host, "used"));
    engines.await_event("h2", "network-brought-back", "declared: ");

    // What happens is followed as it happens.
    let follow = ["hopsack", "events", "--follow", "--since", "1s"];
    let following = engines.host("h3").spawn(&follow).unwrap();
    engines.docker("h1", "rm -f c1");
    engines.docker("h1", "network rm used");
    engines.host("h2").kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    engines.await_event("h3", "host-down", "h2: ");
    engines.scene.start_agent("h2");
    engines.await_event("h3", "host-up", "h2: ");
    let told = following.stop().unwrap().stdout;
    for event in ["network-removed used: ", "host-down h2: "] {
        assert!(told.contains(event), "{event} is missing in {told}");
    }
    engines.await_event("h2", "agent-started", "agent: hopsack ");
    engines.await_event("h1", "endpoint-removed", "c1: ");
    engines.end();
}

#[test]
fn with_the_cluster_unreachable_docker_is_answered_until_the_reserve_is_used_up_and_then_told() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/26 web");
    engines.run("h2", "c0", "--net web");
    engines.host("h1").kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    let mut started = 0;
    let refused = loop {
        let line =
            format!("docker run -d --name r{started} --stop-signal KILL --net web {IMAGE} sleep 100000");
        let output = engines.host("h2").exec(&line.split(' ').collect::<Vec<_>>()).unwrap();
        if !output.success() {
            break output.stderr;
        }
        started += 1;
        assert!(started < 62, "a host has more than there is");
    };
    assert!(started > 0, "nothing out of the reserve: {refused}");
    assert!(refused.contains("network web: this host's reserve is used up"), "{refused}");
    engines.scene.start_agent("h1");
    wait::until("addresses again", SETTLED, || {
        let line = format!("docker run --rm --net web {IMAGE} true");
        engines.host("h2").exec(&line.split(' ').collect::<Vec<_>>()).unwrap().success()
    })
    .unwrap();
    engines.end();
}
