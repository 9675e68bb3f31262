//! Engines and agents that end and begin in every order, politely or not, on three hosts at once: each time all is there
//! again afterwards, and nothing else.

use super::*;
use hopsack_lab::{AGENT, Afterwards, Signal, require};
use std::collections::BTreeMap;
use std::thread;

/// The host whose containers outlive their engine.
const LIVE: &str = "h3";
/// An engine that ends without an agent waits for it, 15 s and more.
const POLITE: Duration = Duration::from_secs(60);

/// What one host goes through: who ends, in this order, how, and in which order they begin again.
#[derive(Debug, Clone, Copy)]
struct Case {
    ends: &'static [&'static str],
    signal: Signal,
    begins: &'static [&'static str],
}

const fn case(ends: &'static [&'static str], signal: Signal, begins: &'static [&'static str]) -> Case {
    Case { ends, signal, begins }
}

const STOP: Signal = Signal::SIGTERM;
const KILL: Signal = Signal::SIGKILL;
const BOTH: &[&str] = &[AGENT, ENGINE];
const REVERSE: &[&str] = &[ENGINE, AGENT];

/// All cases, three at a time: one for each host.
const ROUNDS: [[Case; 3]; 4] = [
    [case(&[AGENT], STOP, &[AGENT]), case(&[ENGINE], KILL, &[ENGINE]), case(BOTH, KILL, REVERSE)],
    [case(&[ENGINE], STOP, &[ENGINE]), case(BOTH, KILL, BOTH), case(REVERSE, STOP, BOTH)],
    [case(REVERSE, KILL, REVERSE), case(&[AGENT], KILL, &[AGENT]), case(BOTH, STOP, REVERSE)],
    [case(REVERSE, STOP, REVERSE), case(REVERSE, KILL, BOTH), case(BOTH, STOP, BOTH)],
];

impl Case {
    /// Whether containers run on.
    fn spares_containers(self, host: &str) -> bool {
        host == LIVE || !self.ends.contains(&ENGINE)
    }

    fn go_through(self, host: &Host) {
        for service in self.ends {
            host.kill(service, self.signal, Afterwards::StayDead).unwrap();
        }
        for service in self.ends {
            wait::until(&format!("{service} on {} to end", host.name()), POLITE, || {
                host.service(service).unwrap().pid.is_none()
            })
            .unwrap();
        }
        for service in self.begins {
            host.start(service).unwrap();
        }
    }
}

impl Engines {
    /// Docker's ids of our networks, by name.
    fn network_ids(&self, host: &str) -> BTreeMap<String, String> {
        let listed = self.host(host).docker(&[
            "network",
            "ls",
            "--filter",
            "driver=hopsack",
            "--format",
            "{{.Name}} {{.ID}}",
        ]);
        let listed = listed.unwrap();
        listed.lines().filter_map(|line| line.split_once(' ')).map(|(n, i)| (n.into(), i.into())).collect()
    }

    /// Process and addresses of a container.
    fn process(&self, host: &str, container: &str) -> String {
        self.docker(host, &format!("inspect -f {{{{.State.Pid}}}} {container}"))
    }

    fn await_running(&self, host: &str, container: &str) {
        wait::until(&format!("{container} to run on {host}"), SETTLED, || {
            self.docker(host, &format!("inspect -f {{{{.State.Running}}}} {container}")) == "true"
        })
        .unwrap();
    }

    /// All is as before: networks with their ids, containers with the addresses that were asked for.
    fn await_all_back(&self, before: &BTreeMap<&str, BTreeMap<String, String>>) {
        for host in HOSTS {
            self.await_engine(host);
            self.scene.await_agent(host);
            self.await_running(host, "always");
            self.docker(host, "start once static");
        }
        self.await_agreement();
        for (number, host) in (1..).zip(HOSTS) {
            assert_eq!(self.network_ids(host), before[host], "{host}");
            assert_eq!(self.address(host, "static", "web"), IpAddr::from([10, 50, 0, 60 + number]));
        }
    }
}

#[test]
fn whoever_ends_and_begins_in_whatever_order_all_is_there_again_and_nothing_else() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.host(LIVE).configure_engine(LIVE_RESTORE).unwrap();
    engines.host(LIVE).restart(ENGINE).unwrap();
    engines.await_engine(LIVE);
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --ip-range 10.50.0.128/25 --subnet fd50::/64 web");
    engines.network("h2", "db");
    engines.scene.hopsack("h3", &["network", "create", "declared"]);
    engines.await_network("declared", SETTLED);
    for (number, host) in (1..).zip(HOSTS) {
        engines.run(host, "always", "--net web --restart always");
        engines.docker(host, "network connect db always");
        engines.run(host, "once", "--net declared");
        engines.run(
            host,
            "static",
            &format!("--net web --ip 10.50.0.{} --ip6 fd50::{number}:1", 60 + number),
        );
    }
    engines.await_agreement();
    let before = HOSTS.map(|host| (host, engines.network_ids(host))).into();

    for round in ROUNDS {
        let processes = HOSTS.map(|host| engines.process(host, "once"));
        thread::scope(|scope| {
            for (host, case) in HOSTS.into_iter().zip(round) {
                let host = engines.host(host);
                scope.spawn(move || case.go_through(&host));
            }
        });
        engines.await_all_back(&before);
        for ((host, case), process) in HOSTS.into_iter().zip(round).zip(processes) {
            let runs_on = engines.process(host, "once") == process;
            assert_eq!(runs_on, case.spares_containers(host), "{host}: {case:?}");
        }
    }

    // All hosts lose their power and boot, as systemd does it: everything at once, in no order.
    thread::scope(|scope| {
        for host in HOSTS {
            scope.spawn(|| drop(engines.scene.lab.restart_host(host).unwrap()));
        }
    });
    for host in HOSTS {
        for service in REVERSE {
            engines.host(host).start(service).unwrap();
        }
    }
    engines.await_all_back(&before);
    engines.end();
}
