//! What containers of one network send each other goes past the hosts' IP stack, on one host and through the tunnel, and
//! goes on whatever becomes of the agents.

use crate::scene::{Attached, PROGRAM, Scene};
use hopsack_lab::{AGENT, HostKind, Inside, ServiceSpec, Topology, UdpFlow, require, wait};
use hopsack_types::Cidr;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);
const DATAGRAMS: u64 = 1000;
/// What drifts is back within a second; a busy machine takes longer to look.
const SOON: Duration = Duration::from_secs(3);
/// Probes, pings and whatever else a host forwards meanwhile.
const OTHERS: u64 = 100;

/// How many packets each host has forwarded by its routes.
fn routed(scene: &Scene, family: IpAddr) -> Vec<u64> {
    let counter = |host: &hopsack_lab::Host| -> u64 {
        if family.is_ipv6() {
            let all = host.run(&["cat", "/proc/net/snmp6"]).unwrap();
            let line = all.lines().find(|line| line.starts_with("Ip6OutForwDatagrams")).unwrap().to_owned();
            return line.split_whitespace().nth(1).unwrap().parse().unwrap();
        }
        let all = host.run(&["cat", "/proc/net/snmp"]).unwrap();
        let mut lines = all.lines().filter(|line| line.starts_with("Ip:"));
        let mut words = || lines.next().unwrap().split_whitespace().collect::<Vec<_>>();
        let (names, values) = (words(), words());
        let at = names.iter().position(|name| *name == "ForwDatagrams").unwrap();
        values[at].parse().unwrap()
    };
    scene.members().iter().map(counter).collect()
}

/// Sends numbered datagrams, of which none may be lost; returns how many packets each host forwarded meanwhile.
fn send(scene: &Scene, from: &Attached, to: &Attached, address: IpAddr) -> Vec<u64> {
    let before = routed(scene, address);
    let target = SocketAddr::new(address, 5000);
    let flow = UdpFlow::start(&from.container, &to.container, target, 1000, DATAGRAMS).unwrap();
    let report = flow.finish(PATIENCE).unwrap();
    assert_eq!(
        (report.expected, report.lost, report.duplicate),
        (DATAGRAMS, 0, 0),
        "to {address}: {report:?}"
    );
    routed(scene, address).into_iter().zip(before).map(|(after, before)| after - before).collect()
}

/// Has the agent of a host run with other arguments from now on.
fn restart_with(scene: &Scene, host: &str, arguments: &[&str]) {
    let argv = [PROGRAM, "agent", "--no-docker"].iter().chain(arguments).map(|word| (*word).to_owned());
    let service = ServiceSpec { name: AGENT.to_owned(), argv: argv.collect(), env: Vec::new() };
    scene.host(host).stop(AGENT).unwrap();
    scene.host(host).define(&service).unwrap();
    scene.start_agent(host);
}

/// Waits until so many links of a host run programs of ours. Until then a packet may be lost: while what runs at a link's
/// ingress is bound or cleared, the kernel lets the link send nothing (`qdisc_graft`).
fn await_ingresses(scene: &Scene, host: &str, count: usize) {
    let host = scene.host(host);
    wait::value(&format!("{count} links with programs"), SOON, || {
        let shown =
            host.run(&["sh", "-c", "tc qdisc show; tc filter show block 46771; tc filter show block 46772"]);
        let shown = shown.unwrap_or_default();
        let programs = shown.matches("direct-action").count();
        let complete = shown.matches("ingress_block").count() == count && programs == count.min(2);
        if complete { Ok(()) } else { Err(shown) }
    })
    .unwrap();
}

#[test]
fn packets_within_a_network_are_not_routed_on_one_host_and_through_the_tunnel() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::numbered(2, &[2], HostKind::Plain).unwrap());
    let [one, far] = scene.containers(["h1", "h2"]);
    let near = scene.attach("h1", "near", "web", &[]);
    near.addresses.iter().for_each(|address| one.await_reach(*address));
    for (from, to) in [(&one, &near), (&one, &far), (&far, &one)] {
        for address in &to.addresses {
            let forwarded = send(&scene, from, to, *address);
            assert!(forwarded.iter().all(|count| *count < OTHERS), "to {address}: routed {forwarded:?}");
        }
    }
    // What does not fit goes in fragments, all by the same way.
    for address in &one.addresses {
        // Of IPv6 the first one is told how large it may be.
        far.container.run(&["ping", "-c", "3", "-i", "0.2", "-s", "2000", &address.to_string()]).unwrap();
    }
    // As many hops as the routes have: a trace shows the same hosts.
    let ping = far.container.run(&["ping", "-c", "1", &one.address().to_string()]).unwrap();
    assert!(ping.contains("ttl=62"), "{ping}");
    let ping = far.container.exec(&["ping", "-c", "1", "-t", "1", &one.address().to_string()]).unwrap();
    assert!(ping.stdout.contains("Time to live exceeded"), "{ping:?}");

    // A host that shall not does not; the other goes on.
    restart_with(&scene, "h1", &["--no-fast-path"]);
    await_ingresses(&scene, "h1", 0);
    let forwarded = send(&scene, &one, &far, far.address());
    assert!(forwarded[0] >= DATAGRAMS && forwarded[1] < OTHERS, "routed {forwarded:?}");
    restart_with(&scene, "h1", &[]);
    await_ingresses(&scene, "h1", 3);
    let forwarded = send(&scene, &one, &far, far.address());
    assert!(forwarded.iter().all(|count| *count < OTHERS), "routed {forwarded:?}");
    scene.end();
}

#[test]
fn packets_for_a_neighbour_leave_past_the_routes_and_are_routed_where_they_arrive() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::numbered(2, &[], HostKind::Plain).unwrap());
    let [one, far] = scene.containers(["h1", "h2"]);
    scene.await_path("h1", "h2", "direct");
    scene.await_path("h2", "h1", "direct");
    let forwarded = send(&scene, &one, &far, far.address());
    assert!(forwarded[0] < OTHERS && forwarded[1] > DATAGRAMS - OTHERS, "routed {forwarded:?}");
    scene.end();
}

#[test]
fn each_host_answers_a_networks_gateway_for_its_own_containers_whoever_holds_its_prefix() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::numbered(2, &[2], HostKind::Plain).unwrap());
    // So small that the containers need all of it, the gateway's prefix too.
    scene.network("web", &["--subnet", "10.50.0.0/26", "--gateway", "10.50.0.20"]);
    let all: Vec<Attached> = (0..28)
        .flat_map(|number| ["h1", "h2"].map(|host| (host, format!("c{number}-{host}"))))
        .map(|(host, name)| scene.attach(host, &name, "web", &[]))
        .collect();
    all[0].await_reach(all[1].address());
    for (host, container) in ["h1", "h2"].into_iter().zip(&all) {
        let server = scene.host(host).start_traffic(&["tcp-echo", "--bind", "10.50.0.20:7000"]).unwrap();
        let ask = ["tcp-ping", "--timeout", "2", "--to", "10.50.0.20:7000"];
        let answer = container.container.traffic(&ask, PATIENCE).unwrap();
        let report: Value = serde_json::from_str(answer.stdout.trim()).unwrap();
        assert_eq!(report["returned"], 1, "{host}: {answer:?}");
        drop(server);
    }
    let shown = scene.hopsack("h1", &["ipam", "show", "web"]);
    let blocks = shown.lines().filter_map(|line| line.split(' ').next()?.parse::<Cidr>().ok());
    assert!(blocks.into_iter().any(|block| block.contains("10.50.0.20".parse().unwrap())), "{shown}");
    scene.end();
}

#[test]
fn the_next_agents_programs_take_the_place_of_those_before_under_traffic() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::numbered(2, &[2], HostKind::Plain).unwrap());
    let [one, far] = scene.containers(["h1", "h2"]);
    let programs =
        |host: &str| scene.host(host).run(&["tc", "filter", "show", "dev", "hopvxlan", "ingress"]).unwrap();
    let before = ["h1", "h2"].map(programs);
    let target = SocketAddr::new(far.address(), 5000);
    let mut flow = UdpFlow::start(&one.container, &far.container, target, 1000, 10 * DATAGRAMS).unwrap();
    flow.await_first(PATIENCE).unwrap();
    for host in ["h1", "h2"] {
        scene.restart_agent(host);
    }
    let report = flow.finish(PATIENCE).unwrap();
    assert_eq!((report.expected, report.lost, report.duplicate), (10 * DATAGRAMS, 0, 0), "{report:?}");
    let after = ["h1", "h2"].map(programs);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    let forwarded = send(&scene, &one, &far, far.address());
    assert!(forwarded.iter().all(|count| *count < OTHERS), "routed {forwarded:?}");
    scene.end();
}

#[test]
fn a_fast_path_that_somebody_takes_away_is_back_within_a_second_while_packets_take_the_routes() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::numbered(2, &[2], HostKind::Plain).unwrap());
    let [one, far] = scene.containers(["h1", "h2"]);
    let host = scene.host("h1");
    await_ingresses(&scene, "h1", 2);
    let target = SocketAddr::new(one.address(), 5000);
    let mut flow = UdpFlow::start(&far.container, &one.container, target, 1000, 4 * DATAGRAMS).unwrap();
    flow.await_first(PATIENCE).unwrap();
    for taken in [
        "tc qdisc del dev hopvxlan clsact",
        "tc filter del block 46772",
        "tc qdisc del dev $(ip -br link | grep -o 'hopc[0-9a-f]*') clsact",
    ] {
        host.run(&["sh", "-c", taken]).unwrap();
        await_ingresses(&scene, "h1", 2);
    }
    let report = flow.finish(PATIENCE).unwrap();
    assert!(report.expected == 4 * DATAGRAMS && report.lost < 10 && report.duplicate == 0, "{report:?}");
    let told = scene.hopsack("h1", &["events", "--since", "1m"]);
    assert!(told.contains("fastpath"), "{told}");
    scene.end();
}
