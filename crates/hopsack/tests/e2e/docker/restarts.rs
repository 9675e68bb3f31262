//! What dies and comes back: agents and engines, under running containers.

use super::*;
use hopsack_lab::{AGENT, Afterwards, Signal, UdpFlow, require};
use std::time::Instant;

/// Datagrams per second.
const RATE: u32 = 1000;
/// The accept rule's place in Docker's chain.
const RULE: &str = "-A DOCKER-USER -m mark";

impl Engines {
    /// The first rule of the chain that Docker leaves to its users.
    fn first_rule(&self, host: &str) -> String {
        let listed = self.host(host).run(&["iptables", "-S", "DOCKER-USER"]).unwrap();
        listed.lines().find(|line| line.starts_with("-A")).unwrap_or_default().to_owned()
    }

    fn forward_policy(&self, host: &str) -> String {
        let listed = self.host(host).run(&["iptables", "-S", "FORWARD"]).unwrap();
        listed.lines().next().unwrap_or_default().to_owned()
    }

    /// Waits until the agent of a host, started or killed before, answers and has done its work.
    fn await_well(&self, host: &str) {
        wait::until(&format!("all is well on {host}"), SETTLED, || {
            let told = self.host(host).exec(&["hopsack", "status"]).unwrap();
            told.success() && told.stdout.starts_with("all is well")
        })
        .unwrap();
    }
}

#[test]
fn an_agent_that_is_killed_is_missed_by_no_packet_and_awaited_by_docker_run() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    for host in HOSTS {
        engines.run(host, "c1", "--net web");
    }
    let peer = engines.address("h3", "c1", "web");
    engines.await_ping("h1", "c1", peer);
    let (from, to) = (engines.place("h1", "c1"), engines.place("h3", "c1"));
    let before = from.run(&["ip", "address"]).unwrap() + &from.run(&["ip", "route"]).unwrap();
    let flow = UdpFlow::start(&from, &to, SocketAddr::new(peer, PORT), RATE, 12 * u64::from(RATE)).unwrap();

    for host in ["h1", "h3"] {
        engines.host(host).kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    }
    engines.await_ping("h2", "c1", peer);
    move_data(&from, &to, peer);
    let line = format!("docker run -d --name c2 --stop-signal KILL --net web {IMAGE} sleep 100000");
    let waiting = engines.host("h1").spawn(&line.split(' ').collect::<Vec<_>>()).unwrap();
    wait::until("Docker to ask the dead agent", SETTLED, || {
        engines.host("h1").log(ENGINE).contains("Unable to connect to plugin")
    })
    .unwrap();
    for host in ["h1", "h3"] {
        engines.scene.start_agent(host);
    }
    waiting.wait(Duration::from_secs(40)).unwrap().checked().unwrap();
    engines.await_ping("h1", "c2", peer);

    // A restart in good order is not seen either.
    engines.scene.restart_agent("h1");
    engines.await_well("h1");
    let report = flow.finish(SETTLED).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    assert_eq!(from.run(&["ip", "address"]).unwrap() + &from.run(&["ip", "route"]).unwrap(), before);
    assert_eq!(engines.endpoints("h1"), 2);
    engines.end();
}

#[test]
fn while_the_voters_agent_is_dead_containers_start_and_networks_stay_as_they_are() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    for host in HOSTS {
        engines.run(host, "c1", "--net web");
        let address = engines.address(host, "c1", "web");
        engines.await_ping("h1", "c1", address);
    }
    engines.network("h1", "--subnet 10.51.0.0/28 small");
    engines.run("h2", "small", "--net small");
    engines.host("h1").kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    // Out of what h2 was granted before.
    engines.run("h2", "c2", "--net web");
    let address = engines.address("h2", "c2", "web");
    for host in HOSTS {
        engines.await_ping(host, "c1", address);
    }
    let refused = engines.refused("h2", &format!("{CREATE} other"));
    assert!(refused.contains("no host that can change the cluster's state is reachable"), "{refused}");
    // Until that is used up.
    let refusal = (0..16).find_map(|number| {
        let line =
            format!("docker run -d --name small{number} --stop-signal KILL --net small {IMAGE} sleep 100000");
        engines.ask("h2", &line.split(' ').collect::<Vec<_>>()).err()
    });
    assert!(
        refusal.as_ref().is_some_and(|text| text.contains("this host's reserve is used up")),
        "{refusal:?}"
    );
    engines.docker("h3", "rm -f c1");
    engines.docker("h3", "network rm web");
    engines.await_network("web", SETTLED);
    engines.run("h3", "c3", "--net web");
    engines.await_ping("h3", "c3", address);

    engines.scene.start_agent("h1");
    engines.await_well("h1");
    engines.network("h2", "other");
    engines.end();
}

#[test]
fn dockers_drop_of_what_is_forwarded_lets_containers_pass() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::hosts();
    for host in HOSTS {
        // Docker turns ip_forward on and the policy to DROP, if it is the first to do so.
        engines.host(host).stop(AGENT).unwrap();
        assert_eq!(engines.forward_policy(host), "-P FORWARD DROP", "{host}");
        engines.scene.start_agent(host);
    }
    engines.scene.form();
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --subnet fd50::/64 web");
    for host in HOSTS {
        engines.run(host, "c1", "--net web");
        assert!(engines.first_rule(host).starts_with(RULE), "{host}: {}", engines.first_rule(host));
    }
    let addresses = HOSTS.map(|host| engines.address(host, "c1", "web"));
    for host in HOSTS {
        for address in addresses {
            engines.await_ping(host, "c1", address);
        }
    }

    // It is this rule that lets them pass: without it, and without the agent, nothing does.
    let h2 = engines.host("h2");
    h2.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    h2.run(&["iptables", "-F"]).unwrap();
    assert!(!engines.pings("h1", "c1", addresses[1]));
    engines.scene.start_agent("h2");
    engines.await_ping("h1", "c1", addresses[1]);

    // An engine that starts again makes its chains again.
    for host in ["h1", "h3"] {
        engines.host(host).restart(ENGINE).unwrap();
        engines.await_engine(host);
        engines.docker(host, "start c1");
    }
    // One that starts after the agent finds ip_forward on and drops nothing.
    h2.stop(ENGINE).unwrap();
    h2.run(&["iptables", "-F"]).unwrap();
    h2.run(&["iptables", "-P", "FORWARD", "ACCEPT"]).unwrap();
    h2.start(ENGINE).unwrap();
    engines.await_engine("h2");
    engines.docker("h2", "start c1");
    assert_eq!(engines.forward_policy("h2"), "-P FORWARD ACCEPT");
    let addresses = HOSTS.map(|host| engines.addresses(host, "c1", "web"));
    for host in HOSTS {
        for address in addresses.iter().flatten() {
            engines.await_ping(host, "c1", *address);
        }
    }
    engines.end();
}

#[test]
fn an_engine_or_a_host_that_is_killed_comes_back_with_its_containers_and_networks() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --subnet fd50::/64 web");
    engines.run("h1", "peer", "--net web");
    engines.run("h2", "always", "--net web --restart always");
    engines.run("h2", "once", "--net web");
    let h2 = engines.host("h2");
    let starts = h2.service(ENGINE).unwrap().starts;
    h2.kill(ENGINE, Signal::SIGKILL, Afterwards::Respawn).unwrap();
    h2.await_respawn(ENGINE, starts).unwrap();
    engines.await_engine("h2");
    let reach = |container: &str| {
        wait::until(&format!("{container} to run"), SETTLED, || {
            engines.docker("h2", &format!("inspect -f {{{{.State.Running}}}} {container}")) == "true"
        })
        .unwrap();
        for address in engines.addresses("h2", container, "web") {
            engines.await_ping("h1", "peer", address);
        }
    };
    reach("always");
    engines.docker("h2", "start once");
    reach("once");
    wait::until("two endpoints on h2", SETTLED, || engines.endpoints("h2") == 2).unwrap();

    let h2 = engines.scene.lab.restart_host("h2").unwrap();
    // As systemd starts them: at once, in no order.
    for service in [ENGINE, AGENT] {
        h2.start(service).unwrap();
    }
    engines.await_engine("h2");
    engines.await_well("h2");
    reach("always");
    engines.docker("h2", "start once");
    reach("once");
    wait::until("two endpoints on h2", SETTLED, || engines.endpoints("h2") == 2).unwrap();
    assert_eq!(engines.networks("h2"), ["web"]);
    engines.end();
}

#[test]
fn with_live_restore_no_packet_is_lost_while_engine_and_agent_are_dead_and_what_ended_meanwhile_is_cleared_away()
 {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    let h3 = engines.host("h3");
    h3.configure_engine(LIVE_RESTORE).unwrap();
    h3.restart(ENGINE).unwrap();
    engines.await_engine("h3");
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    engines.run("h1", "c1", "--net web");
    for container in ["c1", "ends"] {
        engines.run("h3", container, "--net web");
    }
    let peer = engines.address("h3", "c1", "web");
    engines.await_ping("h1", "c1", peer);
    let (from, to) = (engines.place("h1", "c1"), engines.place("h3", "c1"));
    let process = engines.docker("h3", "inspect -f {{.State.Pid}} ends");
    let before = engines.scene.hopsack("h3", &["endpoint", "ls"]);
    let flow = UdpFlow::start(&from, &to, SocketAddr::new(peer, PORT), RATE, 20 * u64::from(RATE)).unwrap();

    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for service in [ENGINE, AGENT] {
            h3.kill(service, signal, Afterwards::StayDead).unwrap();
            wait::until("it to end", SETTLED, || h3.service(service).unwrap().pid.is_none()).unwrap();
        }
        move_data(&from, &to, peer);
        if signal == Signal::SIGKILL {
            // Its address was never given back by Docker.
            h3.run(&["kill", "-9", &process]).unwrap();
        }
        for service in [ENGINE, AGENT] {
            h3.start(service).unwrap();
        }
        engines.await_engine("h3");
        engines.await_well("h3");
        if signal == Signal::SIGTERM {
            assert_eq!(engines.scene.hopsack("h3", &["endpoint", "ls"]), before);
        }
    }
    engines.await_agreement();
    assert_eq!(engines.endpoints("h3"), 1);
    let report = flow.finish(2 * SETTLED).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    engines.end();
}

#[test]
fn an_agent_that_stops_takes_its_socket_along_and_one_that_is_killed_is_back_within_two_seconds() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    let h2 = engines.host("h2");
    let is_open = || h2.exec(&["test", "-e", hopsack_docker::PLUGIN_SOCKET]).unwrap().success();
    assert!(is_open());
    h2.stop(AGENT).unwrap();
    assert!(!is_open());
    engines.scene.start_agent("h2");
    engines.await_well("h2");

    // The machine has other things to do as well, so the quickest of three.
    let back = (0..3).map(|number| {
        let starts = h2.service(AGENT).unwrap().starts;
        h2.kill(AGENT, Signal::SIGKILL, Afterwards::Respawn).unwrap();
        let begin = Instant::now();
        h2.await_respawn(AGENT, starts).unwrap();
        wait::until("the agent to answer", SETTLED, || {
            h2.exec(&["hopsack", "status"]).unwrap().success() && is_open()
        })
        .unwrap();
        let took = begin.elapsed();
        engines.run("h2", &format!("c{number}"), "--net web");
        took
    });
    let back = back.min().unwrap();
    assert!(back < Duration::from_secs(2), "{back:?}");
    engines.await_agreement();
    engines.end();
}
