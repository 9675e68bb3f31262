//! Which path is used between two hosts, and that it changes by itself, under traffic, when another is better.

use crate::scene::{Attached, SETTLED, Scene};
use hopsack_lab::{HostKind, HostSpec, Inside, SegmentSpec, Topology, UdpFlow, require, wait};
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);
/// What `direct` is recognised by on a wire: packets that are not of the segment's own addresses.
const FOREIGN_SOURCES: &str = "ether type ip ip saddr != 10.77.1.0/24";

/// The words of one peer's line of `hopsack path ls`: name, kind, MTU.
fn path_line(scene: &Scene, host: &str, peer: &str) -> [String; 3] {
    let list = scene.hopsack(host, &["path", "ls"]);
    let line = list.lines().find(|line| line.split_whitespace().next() == Some(peer));
    let mut words = line.unwrap_or_else(|| panic!("no {peer} in {list}")).split_whitespace();
    std::array::from_fn(|_| words.next().unwrap_or_default().to_owned())
}

fn await_line(scene: &Scene, host: &str, line: [&str; 3]) {
    wait::value(&format!("{host} to show {line:?}"), PATIENCE, || {
        let shown = path_line(scene, host, line[0]);
        if shown == line { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .unwrap();
}

/// Numbered datagrams, 1,000 a second, from one to the other.
fn flow(pair: &[Attached; 2], seconds: u64) -> UdpFlow {
    let target = SocketAddr::new(pair[1].address(), 5000);
    let (from, to) = (&pair[0].container, &pair[1].container);
    let mut flow = UdpFlow::start(from, to, target, 1000, seconds * 1000).unwrap();
    flow.await_first(PATIENCE).unwrap();
    flow
}

#[test]
fn hosts_of_a_segment_use_direct_and_those_behind_a_router_vxlan() {
    require!(Root, Nft, Vxlan);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    await_line(&scene, "h1", ["h2", "direct", "1500"]);
    await_line(&scene, "h2", ["h1", "direct", "1500"]);
    for (host, peer) in [("h1", "h3"), ("h3", "h1"), ("h2", "h3"), ("h3", "h2")] {
        await_line(&scene, host, [peer, "vxlan", "1450"]);
    }
    scene.end();
}

#[test]
fn a_segment_that_drops_foreign_sources_makes_vxlan_be_chosen() {
    require!(Root, Nft, Vxlan, Ping);
    let topology = Topology::builder()
        .segment(SegmentSpec::new("lan1", &["10.77.1.0/24"]).anti_spoofing())
        .host(HostSpec::plain("h1", &["lan1"]))
        .host(HostSpec::plain("h2", &["lan1"]))
        .build()
        .unwrap();
    let scene = Scene::cluster(topology);
    let pair = scene.containers(["h1", "h2"]);
    for (host, peer) in [("h1", "h2"), ("h2", "h1")] {
        await_line(&scene, host, [peer, "vxlan", "1450"]);
    }
    let report = flow(&pair, 2).finish(PATIENCE).unwrap();
    assert_eq!((report.expected, report.lost), (2000, 0), "{report:?}");
    // Direct is what the segment refuses: it was tried, and is tried on.
    let refused =
        scene.lab.run_in_network("lan1", &["nft", "list", "chain", "bridge", "hopsack_lab", "guard"]);
    let counted = refused.unwrap();
    assert!(counted.lines().any(|line| line.contains("@own4") && !line.contains("packets 0 ")), "{counted}");
    scene.end();
}

#[test]
fn a_broken_direct_path_is_left_within_seconds_and_taken_again_when_it_is_whole() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::numbered(2, &[], HostKind::Plain).unwrap());
    let pair = scene.containers(["h1", "h2"]);
    scene.await_path("h1", "h2", "direct");
    scene.await_path("h2", "h1", "direct");
    let traffic = flow(&pair, 20);
    scene.lab.block("lan1", FOREIGN_SOURCES).unwrap();
    scene.await_path("h1", "h2", "vxlan");
    scene.await_path("h2", "h1", "vxlan");
    scene.lab.heal().unwrap();
    scene.await_path("h1", "h2", "direct");
    scene.await_path("h2", "h1", "direct");
    let report = traffic.finish(PATIENCE).unwrap();
    // There was one gap, while the first losses were told from noise; the way back cost nothing.
    assert!(report.lost > 0, "this test cannot fail: {report:?}");
    assert!(report.longest_gap_ms < 5_000, "{report:?}");
    assert!(
        report.lost <= report.longest_gap_ms * 11 / 10 + 100,
        "lost elsewhere than in the gap: {report:?}"
    );
    scene.end();
}

#[test]
fn a_blocked_tunnel_does_not_hurt_direct() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let pair = scene.containers(["h1", "h2"]);
    scene.await_path("h1", "h2", "direct");
    scene.await_path("h2", "h1", "direct");
    scene.lab.block("lan1", "udp dport 4678").unwrap();
    let traffic = flow(&pair, 8);
    // The other peer's path shows that the loss was noticed.
    wait::until("the tunnel to be found silent", SETTLED, || {
        scene.hopsack("h1", &["path", "ls"]).contains("no answer")
    })
    .unwrap();
    let report = traffic.finish(PATIENCE).unwrap();
    assert_eq!((report.expected, report.lost), (8000, 0), "{report:?}");
    assert_eq!(path_line(&scene, "h1", "h2")[1], "direct");
    assert_eq!(path_line(&scene, "h2", "h1")[1], "direct");
    scene.end();
}

#[test]
fn a_paths_mtu_is_the_smallest_on_the_way_and_follows_the_underlay() {
    require!(Root, Nft, Vxlan, Ping);
    // h1 and h3 sit on wide segments; only what lies between is narrow, which no device of theirs tells.
    let topology = Topology::builder()
        .segment(SegmentSpec::new("lan1", &["10.77.1.0/24"]))
        .segment(SegmentSpec::new("narrow", &["10.77.3.0/24"]).mtu(1400))
        .segment(SegmentSpec::new("lan2", &["10.77.2.0/24"]))
        .router("r1", &["lan1", "narrow"])
        .router("r2", &["narrow", "lan2"])
        .host(HostSpec::plain("h1", &["lan1"]))
        .host(HostSpec::plain("h2", &["lan1"]))
        .host(HostSpec::plain("h3", &["lan2"]))
        .build()
        .unwrap();
    let scene = Scene::cluster(topology);
    await_line(&scene, "h1", ["h2", "direct", "1500"]);
    await_line(&scene, "h1", ["h3", "vxlan", "1350"]);
    await_line(&scene, "h3", ["h1", "vxlan", "1350"]);
    scene.lab.set_mtu("lan1", 1380).unwrap();
    await_line(&scene, "h1", ["h2", "direct", "1380"]);
    await_line(&scene, "h1", ["h3", "vxlan", "1330"]);
    await_line(&scene, "h3", ["h1", "vxlan", "1330"]);
    scene.lab.heal().unwrap();
    await_line(&scene, "h1", ["h2", "direct", "1500"]);
    scene.end();
}

#[test]
fn a_partition_changes_no_route_and_leaves_nothing_behind_when_it_ends() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let pair = scene.containers(["h1", "h2"]);
    let far = scene.attach("h3", "c-h3", "web", &[]);
    pair[0].await_reach(far.address());
    scene.await_path("h1", "h2", "direct");
    let routes = || scene.host("h1").run(&["ip", "route", "show", "proto", "72"]).unwrap();
    let before = routes();
    scene.lab.partition(&["h1"], &["h2", "h3"]).unwrap();
    for peer in ["h2", "h3"] {
        let silent = || {
            scene
                .hopsack("h1", &["path", "ls"])
                .lines()
                .any(|line| line.starts_with(peer) && line.contains("no answer"))
        };
        wait::until("the silence to be noticed", SETTLED, silent).unwrap();
    }
    assert!(!pair[0].reaches(pair[1].address()) && !pair[0].reaches(far.address()));
    assert_eq!(routes(), before, "nobody who is silent is gone");
    scene.lab.heal().unwrap();
    for to in [&pair[1], &far] {
        to.addresses.iter().for_each(|address| pair[0].await_reach(*address));
    }
    await_line(&scene, "h1", ["h2", "direct", "1500"]);
    scene.end();
}
