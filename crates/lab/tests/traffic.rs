//! The traffic tools count right and say what they saw; captures, monitors and dumps show what happened.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

use hopsack_lab::traffic::load::LoadReport;
use hopsack_lab::traffic::raw::RawReport;
use hopsack_lab::traffic::tcp::TcpReport;
use hopsack_lab::traffic::udp::PingReport;
use hopsack_lab::{
    Amount, Host, HostKind, HostSpec, Inside, Lab, Options, SegmentSpec, TcpFlow, Topology, UdpFlow, require,
    wait,
};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack-lab-probe");
const PATIENCE: Duration = Duration::from_secs(30);

/// Two hosts with both families.
fn pair() -> (Lab, Host, Host) {
    let topology = Topology::builder()
        .segment(SegmentSpec::new("lan", &["10.77.1.0/24", "fd77::/64"]))
        .host(HostSpec::plain("h1", &["lan"]))
        .host(HostSpec::plain("h2", &["lan"]))
        .build()
        .unwrap();
    let lab = Lab::up(topology, Options::unique("traffic", PROGRAM)).unwrap();
    let (h1, h2) = (lab.host("h1").unwrap(), lab.host("h2").unwrap());
    (lab, h1, h2)
}

#[test]
fn numbered_datagrams_are_all_counted_in_both_families() {
    require!(Root);
    let (_lab, h1, h2) = pair();
    for target in ["10.77.1.2:5000", "[fd77::2]:5000"] {
        let flow = UdpFlow::start(&h1, &h2, target.parse().unwrap(), 5000, 1000).unwrap();
        let report = flow.finish(PATIENCE).unwrap();
        assert_eq!((report.expected, report.received, report.lost), (1000, 1000, 0), "{report:?}");
        assert_eq!((report.duplicate, report.reordered, report.foreign), (0, 0, 0), "{report:?}");
    }
}

#[test]
fn streams_arrive_intact_and_are_confirmed() {
    require!(Root);
    let (_lab, h1, h2) = pair();
    let target = "10.77.1.2:5001".parse().unwrap();
    for amount in [Amount::Bytes(10_000_001), Amount::Seconds(0.2), Amount::Paced(0.5, 8_000_000)] {
        let flow = TcpFlow::start(&h1, &h2, target, amount).unwrap();
        let report = flow.finish(PATIENCE).unwrap();
        assert!(report.intact && report.error.is_none() && report.bytes > 0, "{report:?}");
        match amount {
            Amount::Bytes(bytes) => assert_eq!(report.bytes, bytes),
            Amount::Seconds(_) => {}
            Amount::Paced(..) => assert!(report.bytes <= 600_000, "more than was asked for: {report:?}"),
        }
    }
}

#[test]
fn content_that_is_not_the_sequence_is_not_intact() {
    require!(Root);
    let (_lab, h1, h2) = pair();
    let receiver = h2.start_traffic(&["tcp-receive", "--bind", "10.77.1.2:5001"]).unwrap();
    // The echo's ping begins with 0, 1, 2 as well, but sends the second number twice.
    let wrong = "printf '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' >/dev/tcp/10.77.1.2/5001";
    h1.run(&["bash", "-c", wrong]).unwrap();
    let report: TcpReport = receiver.wait(PATIENCE).unwrap().checked().unwrap().report().unwrap();
    assert_eq!((report.bytes, report.intact), (16, false));
}

#[test]
fn echoes_answer_and_tell_who_called() {
    require!(Root);
    let (_lab, h1, h2) = pair();
    for kind in ["udp", "tcp", "sctp"] {
        let (echo, ping) = (format!("{kind}-echo"), format!("{kind}-ping"));
        let running = h2.start_traffic(&[&echo, "--bind", "10.77.1.2:5002"]).unwrap();
        let argv = [&ping, "--to", "10.77.1.2:5002", "--count", "20", "--timeout", "10"];
        let report: PingReport = h1.traffic(&argv, PATIENCE).unwrap().checked().unwrap().report().unwrap();
        assert_eq!((report.sent, report.returned), (20, 20), "{kind}");
        assert!(report.min_us <= report.median_us && report.median_us <= report.max_us && report.max_us > 0);
        assert!(running.stdout().contains("\"peer\":\"10.77.1.1:"), "{kind}: {}", running.stdout());
    }
    let refused = h1.traffic(&["tcp-ping", "--to", "10.77.1.2:5003"], PATIENCE).unwrap();
    assert!(!refused.success() && refused.stderr.contains("refused"), "{refused:?}");
}

#[test]
fn a_load_counts_what_has_arrived() {
    require!(Root);
    let (_lab, h1, h2) = pair();
    let target = "10.77.1.2:5004";
    let _server = h2.start_traffic(&["load-serve", "--bind", target]).unwrap();
    let load = |what: &str, more: [&str; 2]| {
        let argv = [&["load", what, "--to", target, "--seconds", "0.2"][..], &more].concat();
        h1.traffic(&argv, PATIENCE).unwrap().checked().unwrap().report::<LoadReport>().unwrap()
    };
    let received = || {
        let told = h2.run(&["ip", "-s", "-json", "link", "show", "dev", "eth0"]).unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let stats = &told[0]["stats64"]["rx"];
        (stats["bytes"].as_u64().unwrap(), stats["packets"].as_u64().unwrap())
    };
    for (what, more, frame) in [
        ("bytes", ["--streams", "1"], 1),
        ("bytes", ["--streams", "8"], 1),
        ("datagrams", ["--size", "1400"], 1442),
        ("datagrams", ["--size", "64"], 106),
    ] {
        let (before, _) = received();
        let report = load(what, more);
        let (after, _) = received();
        assert!(report.count > 1000 && report.seconds >= 0.2, "{what} {more:?}: {report:?}");
        let seen = after - before;
        let (least, most) = (report.count * frame, report.count * frame * 11 / 10 + 100_000);
        assert!((least..=most).contains(&seen), "{what} {more:?}: {report:?}, but {seen} bytes were seen");
    }
    for (what, packets) in [("round-trips", 1), ("connections", 4)] {
        let (_, before) = received();
        let report = load(what, ["--streams", "1"]);
        let (_, after) = received();
        assert!(report.count > 100, "{what}: {report:?}");
        assert!(after - before >= report.count * packets, "{what}: {report:?} in {} packets", after - before);
    }
}

#[test]
fn any_ip_protocol_is_sent_and_received() {
    require!(Root);
    let (_lab, h1, h2) = pair();
    for (to, more) in [("10.77.1.2", None), ("fd77::2", Some("--v6"))] {
        let listen = ["raw-receive", "--protocol", "253", "--count", "3"];
        let receiver = h2.start_traffic(&listen.into_iter().chain(more).collect::<Vec<_>>()).unwrap();
        let send = ["raw-send", "--to", to, "--protocol", "253", "--count", "3", "--text", "hello"];
        h1.traffic(&send, PATIENCE).unwrap().checked().unwrap();
        let report: RawReport = receiver.wait(PATIENCE).unwrap().checked().unwrap().report().unwrap();
        assert_eq!((report.received, report.texts["hello"]), (3, 3), "{report:?}");
    }
}

#[test]
fn a_forged_tunnel_packet_is_unpacked_by_a_real_vxlan_device() {
    require!(Root, Vxlan);
    let (_lab, h1, h2) = pair();
    let mac = "02:00:00:00:00:99";
    h2.run(&["ip", "link", "add", "vx", "address", mac, "type", "vxlan", "id", "77", "dstport", "4678"])
        .unwrap();
    h2.run(&["ip", "address", "add", "10.88.0.2/24", "dev", "vx"]).unwrap();
    h2.run(&["ip", "link", "set", "vx", "up"]).unwrap();
    let inside = ["--inner-from", "10.88.0.9", "--inner-to", "10.88.0.2", "--inner-to-mac", mac];
    // Once with the sender's own outer source, once with a forged one.
    for outer in [&[][..], &["--from", "10.77.1.77"]] {
        let receiver = h2.start_traffic(&["raw-receive", "--protocol", "253"]).unwrap();
        let argv = [
            &["forge-vxlan", "--to", "10.77.1.2", "--vni", "77", "--protocol", "253", "--text", "in"][..],
            &inside,
            outer,
        ]
        .concat();
        h1.traffic(&argv, PATIENCE).unwrap().checked().unwrap();
        let report: RawReport = receiver.wait(PATIENCE).unwrap().checked().unwrap().report().unwrap();
        assert_eq!(report.texts.get("in"), Some(&1), "{outer:?}: {report:?}");
        assert_eq!(report.sources.keys().next().unwrap().to_string(), "10.88.0.9");
    }
}

#[test]
fn a_monitor_sees_changes_of_links_routes_and_tables_and_nothing_else() {
    require!(Root, Nft, Ping);
    let (_lab, h1, _h2) = pair();
    // The kernel gives a link that is up an address of its own, in its own time.
    let own = ["ip", "-6", "addr", "show", "dev", "eth0", "scope", "link", "-tentative"];
    wait::until("the link's own address", PATIENCE, || !h1.run(&own).unwrap().is_empty()).unwrap();
    let monitor = h1.monitor().unwrap();
    h1.run(&["ping", "-c2", "-i0.01", "10.77.1.2"]).unwrap();
    assert_eq!(monitor.changes(), Vec::<String>::new(), "traffic is no change");
    h1.run(&["ip", "route", "add", "10.99.0.0/24", "via", "10.77.1.2"]).unwrap();
    h1.run(&["nft", "add", "table", "inet", "new"]).unwrap();
    let seen = |what: &str| monitor.changes().iter().any(|line| line.contains(what));
    wait::until("both changes", PATIENCE, || seen("10.99.0.0/24") && seen("add table inet new")).unwrap();
}

#[test]
fn a_capture_shows_packets_where_they_pass() {
    require!(Root, Tcpdump, Ping);
    let (lab, h1, _h2) = pair();
    let in_switch = lab.capture_in_network("lan", "h1", "icmp[icmptype] == icmp-echo").unwrap();
    let elsewhere = h1.capture("lo", "icmp").unwrap();
    h1.run(&["ping", "-c3", "-i0.01", "10.77.1.2"]).unwrap();
    in_switch.await_packets(3, PATIENCE).unwrap();
    let seen = in_switch.stop().unwrap();
    assert!(seen.len() == 3 && seen.iter().all(|line| line.contains("10.77.1.1 > 10.77.1.2")), "{seen:?}");
    assert_eq!(elsewhere.stop().unwrap(), Vec::<String>::new());
}

#[test]
fn a_dump_has_what_a_person_would_ask_for() {
    require!(Root, Nft);
    let lab = Lab::up(Topology::demo(HostKind::Plain).unwrap(), Options::unique("traffic", PROGRAM)).unwrap();
    lab.partition(&["h1"], &["h2"]).unwrap();
    let dump = lab.dump("a test asked");
    for part in [
        "a test asked",
        "==== h3: ip rule",
        "10.77.2.1/24",
        "oifname \"h2\" drop",
        "==== h1: end of supervisor.log",
    ] {
        assert!(dump.contains(part), "{part:?} is missing in:\n{dump}");
    }
}
