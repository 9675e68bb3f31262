//! Routed networks: everybody of a network reaches everybody, whatever the protocol, family and size; what leaves
//! the cluster looks like its host, and nothing comes in.

use crate::scene::{Attached, BOTH_FAMILIES, PROGRAM, SETTLED, Scene, with_an_outsider};
use hopsack_lab::traffic::raw::RawReport;
use hopsack_lab::traffic::tcp::TcpReport;
use hopsack_lab::{
    AGENT, Afterwards, Amount, Host, HostKind, HostSpec, Inside, SegmentSpec, Signal, TcpFlow, Topology,
    require, wait,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A network of both families with a container on each host and a second one on h1.
fn containers(scene: &Scene) -> Vec<Attached> {
    scene.network("web", &BOTH_FAMILIES);
    let places = [("h1", "c1"), ("h1", "d1"), ("h2", "c2"), ("h3", "c3")];
    let all: Vec<_> = places.iter().map(|(host, name)| scene.attach(host, name, "web", &[])).collect();
    for (from, to) in pairs(&all) {
        to.addresses.iter().for_each(|address| from.await_reach(*address));
    }
    all
}

fn pairs(all: &[Attached]) -> impl Iterator<Item = (&Attached, &Attached)> {
    all.iter().flat_map(move |from| all.iter().map(move |to| (from, to)))
}

/// Moves bytes from one place to an address in another.
fn transfer(from: &impl Inside, to: &impl Inside, address: IpAddr, bytes: u64) -> TcpReport {
    let flow = TcpFlow::start(from, to, SocketAddr::new(address, 5001), Amount::Bytes(bytes)).unwrap();
    let report = flow.finish(PATIENCE).unwrap();
    assert!(report.intact && report.error.is_none() && report.bytes == bytes, "to {address}: {report:?}");
    report
}

/// Sends one packet of this size that must not be fragmented, and gives what ping says.
fn ping_whole(from: &impl Inside, to: IpAddr, size: u32) -> (bool, String) {
    // Headers of IP and ICMP are on top of what ping counts.
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let (size, to) = ((size - headers).to_string(), to.to_string());
    let output = from.exec(&["ping", "-n", "-c1", "-W1", "-M", "do", "-s", &size, &to]).unwrap();
    (output.success(), format!("{}{}", output.stdout, output.stderr))
}

#[test]
fn containers_of_all_hosts_ping_each_other_and_move_data_in_both_families() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let all = containers(&scene);
    for (from, to) in pairs(&all) {
        for address in &to.addresses {
            assert!(from.reaches(*address), "{} to {address}", from.container.name());
            transfer(&from.container, &to.container, *address, 300_000);
        }
    }
    scene.end();
}

#[test]
fn an_underlay_of_v6_carries_both_families() {
    require!(Root, Nft, Vxlan, Ping);
    let topology = Topology::builder()
        .segment(SegmentSpec::new("lan1", &["fd77:1::/64"]))
        .segment(SegmentSpec::new("lan2", &["fd77:2::/64"]))
        .router("r1", &["lan1", "lan2"])
        .host(HostSpec::plain("h1", &["lan1"]))
        .host(HostSpec::plain("h2", &["lan1"]))
        .host(HostSpec::plain("h3", &["lan2"]))
        .build()
        .unwrap();
    let scene = Scene::cluster(topology);
    let all = containers(&scene);
    scene.await_path("h1", "h2", "direct");
    scene.await_path("h1", "h3", "vxlan");
    for to in &all[2..] {
        for address in &to.addresses {
            transfer(&all[0].container, &to.container, *address, 3_000_000);
        }
    }
    // What VXLAN over IPv6 costs is 70 bytes.
    for (to, mtu) in [(&all[2], 1500), (&all[3], 1430)] {
        let to = to.addresses[1];
        wait::until("the first large packet", SETTLED, || ping_whole(&all[0].container, to, mtu).0).unwrap();
        assert_eq!(ping_whole(&all[0].container, to, 1500).0, mtu == 1500);
    }
    scene.end();
}

#[test]
fn any_ip_protocol_passes_inside_a_host_a_segment_and_a_tunnel() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let all = containers(&scene);
    for to in &all[1..] {
        for address in &to.addresses {
            // 253 is for experiments (RFC 3692).
            let v6 = address.is_ipv6().then_some("--v6");
            let listen = ["raw-receive", "--protocol", "253"].into_iter().chain(v6).collect::<Vec<_>>();
            let receiver = to.container.start_traffic(&listen).unwrap();
            let target = address.to_string();
            let send = ["raw-send", "--to", &target, "--protocol", "253", "--text", "hello"];
            all[0].container.traffic(&send, PATIENCE).unwrap().checked().unwrap();
            let report: RawReport = receiver.wait(PATIENCE).unwrap().checked().unwrap().report().unwrap();
            assert_eq!(report.texts.get("hello"), Some(&1), "to {address}: {report:?}");
        }
    }
    scene.end();
}

#[test]
fn hosts_and_containers_of_any_host_reach_each_other_by_host_addresses() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let all = containers(&scene);
    for host in scene.members() {
        let status = scene.status(host.name());
        let own = status["cluster"]["addresses"].as_array().unwrap().iter();
        let own: Vec<IpAddr> = own.map(|address| address.as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(own.len(), 2, "one of each family: {own:?}");
        for container in &all {
            for address in &own {
                container.await_reach(*address);
            }
            for address in &container.addresses {
                let reached = wait::until("a container", SETTLED, || host.reaches(*address).unwrap());
                assert!(reached.is_ok(), "{} to {address}", host.name());
                transfer(&host, &container.container, *address, 10_000);
            }
        }
        for peer in scene.members() {
            own.iter().for_each(|address| assert!(peer.reaches(*address).unwrap(), "{}", peer.name()));
        }
    }
    scene.end();
}

/// A container calls somebody outside, who sees the call come from an address.
fn calls_as(container: &Attached, outside: &Host, source: IpAddr) {
    let target = format!("{}:5002", outside.address().unwrap());
    for kind in ["udp", "tcp"] {
        let echo = outside.start_traffic(&[&format!("{kind}-echo"), "--bind", &target]).unwrap();
        let ping = [&format!("{kind}-ping"), "--to", &target];
        container.container.traffic(&ping, PATIENCE).unwrap().checked().unwrap();
        let caller = format!("\"peer\":\"{source}:");
        wait::until("the echo to tell who called", PATIENCE, || echo.stdout().contains("peer")).unwrap();
        assert!(echo.stdout().contains(&caller), "{kind} of {source}: {}", echo.stdout());
    }
}

#[test]
fn what_leaves_the_cluster_looks_like_its_host_and_answers_come_back() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(with_an_outsider());
    let all = containers(&scene);
    let outside = scene.host("out1");
    for container in &all {
        calls_as(container, &outside, container.container.host().address().unwrap());
    }
    scene.end();
}

#[test]
fn what_leaves_a_cluster_without_nat_keeps_its_own_source() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::agents(with_an_outsider());
    let (h1, outside) = (scene.host("h1"), scene.host("out1"));
    scene.hopsack("h1", &["init", "--no-nat"]);
    scene.hopsack("h1", &["network", "create", "web"]);
    let container = scene.attach("h1", "c1", "web", &[]);
    // As routers outside must: the pool is reached by its hosts.
    let (subnet, gateway) = (format!("{}/32", container.address()), h1.address().unwrap().to_string());
    outside.run(&["ip", "route", "add", &subnet, "via", &gateway]).unwrap();
    calls_as(&container, &outside, container.address());
    assert!(!outside.reaches(container.address()).unwrap(), "nothing gets in all the same");
    scene.end();
}

#[test]
fn nobody_outside_reaches_a_container_or_a_host_address() {
    require!(Root, Nft, Vxlan, Ping, Tcpdump);
    let scene = Scene::cluster(with_an_outsider());
    let all = containers(&scene);
    let (outside, h1, c1) = (scene.host("out1"), scene.host("h1"), &all[0]);
    let gateway = h1.address().unwrap().to_string();
    outside.run(&["ip", "route", "add", "10.0.0.0/8", "via", &gateway]).unwrap();
    let own = scene.status("h1")["cluster"]["addresses"][0].as_str().unwrap().parse().unwrap();
    let seen = c1.container.capture("eth0", &format!("host {}", outside.address().unwrap())).unwrap();
    let tries = |address: IpAddr| {
        let target = SocketAddr::new(address, 5003).to_string();
        let ping = outside.reaches(address).unwrap();
        let udp = outside.traffic(&["udp-send", "--to", &target, "--count", "3"], PATIENCE).unwrap();
        assert!(udp.success(), "{udp:?}");
        ping
    };
    for address in [c1.addresses[0], all[3].addresses[0], own] {
        assert!(!tries(address), "out1 reaches {address}");
    }
    assert_eq!(seen.lines(), Vec::<String>::new());
    // The same gets in once nobody minds the door: what was refused was refused there.
    h1.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
    h1.run(&["nft", "delete", "table", "inet", "hopsack"]).unwrap();
    assert!(tries(c1.addresses[0]), "this test cannot fail");
    seen.await_packets(1, PATIENCE).unwrap();
    seen.stop().unwrap();
    scene.end();
}

#[test]
fn packets_of_the_paths_mtu_pass_whole_and_larger_ones_are_told_so() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let all = containers(&scene);
    scene.await_path("h1", "h2", "direct");
    let (c1, c2, c3) = (&all[0], &all[2], &all[3]);
    // Over an underlay of IPv4 the tunnel carries IPv6 even inside a segment.
    let largest =
        [(c2.addresses[0], 1500), (c2.addresses[1], 1450), (c3.addresses[0], 1450), (c3.addresses[1], 1450)];
    for (to, mtu) in largest {
        if mtu < 1500 {
            let (passed, said) = ping_whole(&c1.container, to, 1500);
            let told = said.contains(&format!("mtu = {mtu}")) || said.contains(&format!("mtu={mtu}"));
            assert!(!passed && told, "1500 bytes to {to}: {said}");
        }
        let (passed, said) = ping_whole(&c1.container, to, mtu);
        assert!(passed, "{mtu} bytes to {to}: {said}");
    }
    for to in [c2, c3] {
        for address in &to.addresses {
            transfer(&c1.container, &to.container, *address, 20_000_000);
        }
    }
    scene.end();
}

#[test]
fn an_open_connection_outlives_a_switch_to_a_smaller_path() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    let all = containers(&scene);
    scene.await_path("h1", "h2", "direct");
    scene.await_path("h2", "h1", "direct");
    let target = SocketAddr::new(all[2].addresses[0], 5001);
    let amount = Amount::Paced(12.0, 20_000_000);
    let flow = TcpFlow::start(&all[0].container, &all[2].container, target, amount).unwrap();
    // Before this the segments are of 1500 bytes.
    let port = format!("sport = :{}", target.port());
    let running = || all[2].container.run(&["ss", "-Htin", "state", "established", &port]).unwrap();
    wait::until("a connection with segments of 1448 bytes", PATIENCE, || running().contains("rcvmss:1448"))
        .unwrap();
    scene.lab.block("lan1", "ether type ip ip saddr != 10.77.1.0/24").unwrap();
    scene.await_path("h1", "h2", "vxlan");
    let report = flow.finish(PATIENCE).unwrap();
    assert!(report.intact && report.error.is_none(), "{report:?}");
    assert!(report.longest_gap_ms < 8_000, "{report:?}");
    assert!(scene.host("h1").run(&[PROGRAM, "path", "ls"]).unwrap().contains("1450"));
    scene.end();
}
