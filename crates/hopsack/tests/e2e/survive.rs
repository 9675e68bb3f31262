//! An agent may die, stay dead and come back: traffic does not notice, and no kernel changes.

use crate::scene::{Attached, Scene};
use hopsack_lab::traffic::tcp::TcpReport;
use hopsack_lab::{
    AGENT, Afterwards, Amount, HostKind, Monitor, Signal, TcpFlow, Topology, UdpFlow, require, wait,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long the agent stays dead.
const DEAD: Duration = Duration::from_secs(120);
/// How long it is watched after it has come back.
const BACK: Duration = Duration::from_secs(20);
/// Long enough for an agent to start.
const SHORTLY: Duration = Duration::from_secs(8);
/// Beyond what a flow takes.
const PATIENCE: Duration = Duration::from_secs(60);
const PACKETS_PER_SECOND: u32 = 1000;
/// Slow enough for a machine that other tests share.
const BITS_PER_SECOND: u64 = 8_000_000;

/// Numbered datagrams from one container to another.
fn datagrams(from: &Attached, to: &Attached, port: u16, length: Duration) -> UdpFlow {
    let count = length.as_secs() * u64::from(PACKETS_PER_SECOND);
    let target = SocketAddr::new(to.address(), port);
    UdpFlow::start(&from.container, &to.container, target, PACKETS_PER_SECOND, count).unwrap()
}

fn all_arrived(flows: Vec<UdpFlow>) {
    for flow in flows {
        let report = flow.finish(DEAD + PATIENCE).unwrap();
        assert!(report.expected > 0 && report.lost == 0 && report.duplicate == 0, "{report:?}");
    }
}

/// `Monitor::changes` leaves out the neighbours that the kernel itself finds on the underlay and lets go stale: they
/// change while hosts talk, with or without an agent. Links, addresses, routes, rules, permanent neighbours and
/// nftables are all in it.
fn nothing_changed(monitors: &[Monitor]) {
    for monitor in monitors {
        assert_eq!(monitor.changes(), Vec::<String>::new(), "on {}", monitor.host().name());
    }
}

/// A container on each host of one network, with the paths between them proven.
fn containers(scene: &Scene) -> [Attached; 3] {
    let all = scene.containers(["h1", "h2", "h3"]);
    scene.await_path("h1", "h2", "direct");
    scene.await_path("h2", "h1", "direct");
    scene.await_reserves();
    all
}

#[test]
fn an_agent_that_is_killed_stays_dead_and_comes_back_without_a_lost_packet_or_a_change() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let [c1, c2, c3] = containers(&scene);
    let h1 = scene.host("h1");
    let repaired = |host: &str| scene.status(host)["cluster"]["kernel"]["repaired"].clone();
    let before = ["h1", "h2", "h3"].map(repaired);

    let monitors: Vec<_> = scene.members().iter().map(|host| host.monitor().unwrap()).collect();
    let stream = |to: &Attached| {
        let target = SocketAddr::new(to.address(), 5001);
        let amount = Amount::Paced((DEAD + BACK).as_secs_f64(), BITS_PER_SECOND);
        TcpFlow::start(&c1.container, &to.container, target, amount).unwrap()
    };
    // One pair goes direct, one by the tunnel.
    let streams = [stream(&c2), stream(&c3)];
    let flows = [&c2, &c3].map(|to| datagrams(&c1, to, 5000, DEAD + Duration::from_secs(2)));
    h1.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    let died = Instant::now();
    all_arrived(flows.into());
    assert!(died.elapsed() >= DEAD && h1.service(AGENT).unwrap().pid.is_none(), "{:?}", died.elapsed());
    nothing_changed(&monitors);

    let flows = [&c2, &c3].map(|to| datagrams(&c1, to, 5002, BACK));
    scene.start_agent("h1");
    scene.await_paths();
    all_arrived(flows.into());
    for stream in streams {
        let report: TcpReport = stream.finish(PATIENCE).unwrap();
        assert!(report.intact && report.error.is_none(), "{report:?}");
    }
    nothing_changed(&monitors);
    assert_eq!(repaired("h1"), serde_json::json!({}), "a new agent adopts what it finds");
    assert_eq!(["h2", "h3"].map(repaired), before[1..]);
    // The watch can see: whatever an agent changes is in it.
    scene.attach("h1", "later", "web", &[]);
    wait::until("the monitor to see a change", PATIENCE, || !monitors[0].changes().is_empty()).unwrap();
    drop(monitors);
    scene.end();
}

#[test]
fn all_agents_may_be_dead_at_once_or_be_restarted_politely() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let [c1, c2, c3] = containers(&scene);
    let monitors: Vec<_> = scene.members().iter().map(|host| host.monitor().unwrap()).collect();
    let flows = [&c2, &c3].map(|to| datagrams(&c1, to, 5000, SHORTLY));
    for host in scene.members() {
        host.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    }
    all_arrived(flows.into());
    let flows = [&c2, &c3].map(|to| datagrams(&c1, to, 5001, SHORTLY));
    for host in scene.members() {
        scene.start_agent(host.name());
    }
    scene.await_paths();
    all_arrived(flows.into());
    let flows = [&c2, &c3].map(|to| datagrams(&c1, to, 5002, SHORTLY));
    for host in scene.members() {
        scene.restart_agent(host.name());
    }
    scene.await_paths();
    all_arrived(flows.into());
    nothing_changed(&monitors);
    drop(monitors);
    scene.end();
}
