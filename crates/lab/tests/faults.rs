//! What is broken on purpose is broken, and healed when it is healed; the hosts' own tables are not touched.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

use hopsack_lab::traffic::udp::{PingReport, UdpReport};
use hopsack_lab::{HostKind, HostSpec, Inside, Lab, Options, SegmentSpec, Topology, UdpFlow, require, wait};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack-lab-probe");
const PATIENCE: Duration = Duration::from_secs(30);

fn demo() -> Lab {
    Lab::up(Topology::demo(HostKind::Plain).unwrap(), Options::unique("fault", PROGRAM)).unwrap()
}

fn reaches(lab: &Lab, from: &str, to: &str) -> bool {
    lab.host(from).unwrap().reaches(lab.host(to).unwrap().address().unwrap()).unwrap()
}

#[test]
fn a_partition_cuts_the_named_hosts_and_no_others_until_healed() {
    require!(Root, Nft, Ping);
    let lab = demo();
    lab.partition(&["h1"], &["h2", "h3"]).unwrap();
    for (from, to, passes) in
        [("h1", "h2", false), ("h3", "h1", false), ("h2", "h3", true), ("h3", "h2", true)]
    {
        assert_eq!(reaches(&lab, from, to), passes, "{from} to {to}");
    }
    for host in lab.hosts().unwrap() {
        assert_eq!(host.run(&["nft", "list", "ruleset"]).unwrap(), "", "{}", host.name());
    }
    lab.heal().unwrap();
    // A neighbour that could not be found is asked for again once a second.
    for (from, to) in [("h1", "h2"), ("h3", "h1")] {
        wait::until("the hosts to meet again", PATIENCE, || reaches(&lab, from, to)).unwrap();
    }
}

#[test]
fn a_pulled_cable_is_seen_as_no_carrier_and_put_back() {
    require!(Root, Nft, Ping);
    let lab = demo();
    let h1 = lab.host("h1").unwrap();
    let carrier = || h1.run(&["cat", "/sys/class/net/eth0/carrier"]).unwrap();
    assert_eq!(carrier(), "1\n");
    lab.link_down("h1").unwrap();
    assert_eq!(carrier(), "0\n");
    assert!(!reaches(&lab, "h2", "h1"));
    lab.link_up("h1").unwrap();
    wait::until("the cable to work", Duration::from_secs(5), || reaches(&lab, "h2", "h1")).unwrap();
}

fn numbered(lab: &Lab, from: &str, to: &str, count: u64) -> UdpReport {
    let (from, to) = (lab.host(from).unwrap(), lab.host(to).unwrap());
    let target = (to.address().unwrap(), 5000).into();
    UdpFlow::start(&from, &to, target, 4000, count).unwrap().finish(PATIENCE).unwrap()
}

#[test]
fn loss_is_about_what_was_asked_for_and_only_where() {
    require!(Root, Nft);
    let lab = demo();
    lab.set_loss_between("h1", "h3", 20).unwrap();
    let report = numbered(&lab, "h1", "h3", 2000);
    // 20 percent of 2000; the bounds are eight standard deviations away.
    assert!((250..=550).contains(&report.lost), "{report:?}");
    assert_eq!(numbered(&lab, "h1", "h2", 2000).lost, 0);
    lab.heal().unwrap();
    assert_eq!(numbered(&lab, "h1", "h3", 2000).lost, 0);
    lab.set_loss("h2", 20).unwrap();
    let report = numbered(&lab, "h1", "h2", 2000);
    assert!((250..=550).contains(&report.lost), "{report:?}");
}

#[test]
fn a_segment_with_anti_spoofing_drops_foreign_sources_and_passes_own() {
    require!(Root, Nft, Tcpdump);
    let topology = Topology::builder()
        .segment(SegmentSpec::new("lan", &["10.77.1.0/24", "fd77::/64"]).anti_spoofing())
        .host(HostSpec::plain("h1", &["lan"]))
        .host(HostSpec::plain("h2", &["lan"]))
        .build()
        .unwrap();
    let lab = Lab::up(topology, Options::unique("fault", PROGRAM)).unwrap();
    let (h1, h2) = (lab.host("h1").unwrap(), lab.host("h2").unwrap());
    let [v4, v6] = h2.addresses() else { panic!("two addresses expected: {:?}", h2.addresses()) };
    for address in [v4, v6] {
        h1.run(&["ping", "-c1", "-W2", &address.to_string()]).unwrap();
    }
    let capture = h2.capture("eth0", "udp port 7777").unwrap();
    let forge = |from: &str, to: &str, text: &str| {
        let sent =
            h1.traffic(&["forge-ip", "--from", from, "--to", to, "--udp", "7777", "--text", text], PATIENCE);
        sent.unwrap().checked().unwrap();
    };
    // A foreign one, the other host's own, and a foreign one of the other family; then one that is right.
    forge("10.99.0.1", "10.77.1.2", "foreign");
    forge("10.77.1.2", "10.77.1.2", "foreign");
    forge("fd99::1", "fd77::2", "foreign");
    forge("10.77.1.1", "10.77.1.2", "own");
    let seen = capture.await_packets(1, PATIENCE).unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("10.77.1.1.40000 > 10.77.1.2.7777"), "{seen:?}");
    drop(capture);
}

#[test]
fn without_anti_spoofing_foreign_sources_pass() {
    require!(Root, Nft, Tcpdump);
    let lab = demo();
    let (h1, h2) = (lab.host("h1").unwrap(), lab.host("h2").unwrap());
    let capture = h2.capture("eth0", "udp port 7777").unwrap();
    let target = h2.address().unwrap().to_string();
    h1.traffic(&["forge-ip", "--from", "10.99.0.1", "--to", &target, "--udp", "7777"], PATIENCE)
        .unwrap()
        .checked()
        .unwrap();
    let seen = capture.await_packets(1, PATIENCE).unwrap();
    assert!(seen[0].contains("10.99.0.1.40000 > 10.77.1.2.7777"), "{seen:?}");
}

#[test]
fn a_smaller_mtu_holds_on_all_links_of_its_segment_until_healed() {
    require!(Root, Nft, Ping);
    let lab = demo();
    lab.set_mtu("lan1", 1300).unwrap();
    let ping = |size: &str| {
        let target = lab.host("h2").unwrap().address().unwrap().to_string();
        let argv = ["ping", "-c1", "-W1", "-M", "do", "-s", size, &target];
        lab.host("h1").unwrap().exec(&argv).unwrap().success()
    };
    assert!(ping("1272") && !ping("1273"));
    lab.heal().unwrap();
    assert!(ping("1472"));
}

#[test]
fn a_block_drops_what_it_names() {
    require!(Root, Nft);
    let lab = demo();
    let (h1, h2) = (lab.host("h1").unwrap(), lab.host("h2").unwrap());
    let echo = |port: u16| {
        let at = format!("{}:{port}", h2.address().unwrap());
        let running = h2.start_traffic(&["udp-echo", "--bind", &at]).unwrap();
        (at, running)
    };
    let (open, _running) = echo(6000);
    let (blocked, _running) = echo(4678);
    lab.block("lan1", "udp dport 4678").unwrap();
    let returned = |at: &str| {
        let output = h1.traffic(&["udp-ping", "--to", at, "--timeout", "0.5"], PATIENCE).unwrap();
        output.checked().unwrap().report::<PingReport>().unwrap().returned
    };
    assert_eq!((returned(&open), returned(&blocked)), (1, 0));
}
