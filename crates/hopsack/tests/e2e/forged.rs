//! Packets that no honest host sends: tunnel packets of strangers, sources that are not the sender's own, and
//! addresses of the cluster that come from outside. The last packet of each test is an honest one that gets through,
//! by the same way and to the same receiver.

use crate::scene::{Attached, Scene, free_beside, with_an_outsider};
use hopsack_lab::traffic::raw::RawReport;
use hopsack_lab::{Host, Inside, Running, require, wait};
use std::net::IpAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
/// For experiments (RFC 3692).
const PROTOCOL: &str = "253";

/// Three members and a stranger next to h1, so that nothing but the hosts themselves could stop a packet, and h3's
/// containers' addresses are none that the stranger's segment should see.
fn scene() -> (Scene, [Attached; 3]) {
    let scene = Scene::cluster(with_an_outsider());
    let all = scene.containers(["h1", "h2", "h3"]);
    (scene, all)
}

/// Listens for one packet in a container.
fn listen(container: &Attached, family: usize) -> Running {
    let v6 = (family == 1).then_some("--v6");
    let words: Vec<_> = ["raw-receive", "--protocol", PROTOCOL].into_iter().chain(v6).collect();
    container.container.start_traffic(&words).unwrap()
}

/// The one packet that came must be the honest one: whatever was forged was sent before.
fn only_the_honest_one(receiver: Running) {
    let report: RawReport = receiver.wait(PATIENCE).unwrap().checked().unwrap().report().unwrap();
    assert_eq!(report.texts.into_iter().collect::<Vec<_>>(), [("honest".to_owned(), 1)]);
}

/// A tunnel packet to h1.
struct Tunnelled<'a> {
    h1: &'a Host,
    to: IpAddr,
}

impl Tunnelled<'_> {
    fn send(&self, from: &Host, inner_from: IpAddr, text: &str) {
        let outer = self.h1.address().unwrap().to_string();
        let link = self.h1.run(&["ip", "-o", "link", "show", "hopvxlan"]).unwrap();
        let mac = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        let (inner_from, inner_to) = (inner_from.to_string(), self.to.to_string());
        let words = [
            &["forge-vxlan", "--to", &outer, "--inner-to-mac", mac, "--inner-from", &inner_from][..],
            &["--inner-to", &inner_to, "--protocol", PROTOCOL, "--text", text],
        ];
        from.traffic(&words.concat(), PATIENCE).unwrap().checked().unwrap();
    }
}

/// How many packets the drops of one chain of our table have counted.
fn dropped(host: &Host, chain: &str) -> u64 {
    let text = host.run(&["nft", "list", "chain", "inet", "hopsack", chain]).unwrap();
    let counters = text.lines().filter(|line| line.contains("drop"));
    counters.filter_map(|line| line.split("packets ").nth(1)?.split(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn tunnel_packets_of_strangers_are_dropped() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, all) = scene();
    let (h1, h2, stranger) = (scene.host("h1"), scene.host("h2"), scene.host("out1"));
    for family in 0..2 {
        let tunnelled = Tunnelled { h1: &h1, to: all[0].addresses[family] };
        let receiver = listen(&all[0], family);
        let before = dropped(&h1, "tunnel_in");
        for container in &all[1..] {
            tunnelled.send(&stranger, container.addresses[family], "of a stranger");
        }
        wait::until("both to be counted", PATIENCE, || dropped(&h1, "tunnel_in") >= before + 2).unwrap();
        tunnelled.send(&h2, all[1].addresses[family], "honest");
        only_the_honest_one(receiver);
    }
    scene.end();
}

#[test]
fn tunnel_packets_of_members_with_sources_of_others_inside_are_dropped() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, all) = scene();
    let (h1, h3) = (scene.host("h1"), scene.host("h3"));
    for (family, outside) in ["192.0.2.1", "2001:db8::1"].into_iter().enumerate() {
        let tunnelled = Tunnelled { h1: &h1, to: all[0].addresses[family] };
        let receiver = listen(&all[0], family);
        let before = dropped(&h1, "tunnel_in");
        // Another member's container, the receiver itself, and somebody outside.
        for source in [all[1].addresses[family], all[0].addresses[family], outside.parse().unwrap()] {
            tunnelled.send(&h3, source, "of another's");
        }
        wait::until("all to be counted", PATIENCE, || dropped(&h1, "tunnel_in") >= before + 3).unwrap();
        tunnelled.send(&h3, all[2].addresses[family], "honest");
        only_the_honest_one(receiver);
    }
    scene.end();
}

#[test]
fn addresses_of_the_cluster_that_come_from_outside_are_dropped() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, all) = scene();
    let (h1, h2, stranger) = (scene.host("h1"), scene.host("h2"), scene.host("out1"));
    let target = all[0].address().to_string();
    let gateway = h1.address().unwrap().to_string();
    for host in [&stranger, &h2] {
        host.run(&["ip", "route", "replace", &format!("{target}/32"), "via", &gateway]).unwrap();
    }
    let send = |from: &Host, source: &str, text: &str| {
        let words = ["forge-ip", "--from", source, "--to", &target, "--protocol", PROTOCOL, "--text", text];
        from.traffic(&words, PATIENCE).unwrap().checked().unwrap();
    };
    let receiver = listen(&all[0], 0);
    let before = dropped(&h1, "raw_prerouting");
    // A container that is only reached by the tunnel, the receiver itself, an address beside the first that nobody has, h3's own and
    // h1's own. Not any free one: it may be of h2's, and what comes from a neighbour's block over the segment may be h2's.
    let free = free_beside(all[2].address(), &all[2].addresses).to_string();
    let own = |host: &str| scene.status(host)["cluster"]["addresses"][0].as_str().unwrap().to_owned();
    let sources = [all[2].address().to_string(), target.clone(), free, own("h3"), own("h1")];
    for source in &sources {
        send(&stranger, source, "from outside");
    }
    let count = sources.len() as u64;
    wait::until("all to be counted", PATIENCE, || dropped(&h1, "raw_prerouting") >= before + count).unwrap();
    send(&h2, &all[1].address().to_string(), "honest");
    only_the_honest_one(receiver);
    scene.end();
}

#[test]
fn containers_cannot_send_as_others_nor_make_tunnel_packets() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, all) = scene();
    let (h1, target) = (scene.host("h1"), all[2].address().to_string());
    let receiver = listen(&all[2], 0);
    let send = |source: &str, text: &str| {
        let words = ["forge-ip", "--from", source, "--to", &target, "--protocol", PROTOCOL, "--text", text];
        all[0].container.traffic(&words, PATIENCE).unwrap().checked().unwrap();
    };
    let before = dropped(&h1, "endpoint_in");
    let own = scene.status("h1")["cluster"]["addresses"][0].as_str().unwrap().to_owned();
    let free = free_beside(all[0].address(), &[all[1].address(), all[2].address()]).to_string();
    for source in [&all[1].address().to_string(), &free, "192.0.2.1", &own] {
        send(source, "of another's");
    }
    wait::until("all to be counted", PATIENCE, || dropped(&h1, "endpoint_in") >= before + 4).unwrap();
    // It would leave under its host's address, which members trust.
    let before = dropped(&h1, "forwarded");
    let h3 = scene.host("h3");
    let (outer, inner) = (h3.address().unwrap().to_string(), all[0].address().to_string());
    let link = h3.run(&["ip", "-o", "link", "show", "hopvxlan"]).unwrap();
    let mac = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    let words = [
        &[
            "forge-vxlan",
            "--to",
            &outer,
            "--inner-to-mac",
            mac,
            "--inner-from",
            &inner,
            "--inner-to",
            &target,
        ][..],
        &["--protocol", PROTOCOL, "--text", "a container's tunnel"],
    ];
    all[0].container.traffic(&words.concat(), PATIENCE).unwrap().checked().unwrap();
    wait::until("it to be counted", PATIENCE, || dropped(&h1, "forwarded") > before).unwrap();
    send(&all[0].address().to_string(), "honest");
    only_the_honest_one(receiver);
    scene.end();
}
