//! Networks keep apart unless both are open, and both ends see to it.

use crate::scene::{Attached, Scene, with_an_outsider};
use hopsack_lab::{AGENT, Afterwards, HostKind, Inside, Signal, Topology, require};

const SUBNETS: [[&str; 4]; 4] = [
    ["--subnet", "10.40.1.0/24", "--subnet", "fd40:0:0:1::/64"],
    ["--subnet", "10.40.2.0/24", "--subnet", "fd40:0:0:2::/64"],
    ["--subnet", "10.40.3.0/24", "--subnet", "fd40:0:0:3::/64"],
    ["--subnet", "10.40.4.0/24", "--subnet", "fd40:0:0:4::/64"],
];

fn network(scene: &Scene, name: &str, subnets: usize, isolation: &str) {
    scene.network(name, &[&SUBNETS[subnets][..], &["--isolation", isolation]].concat());
}

fn talk(from: &Attached, to: &Attached) {
    to.addresses.iter().for_each(|address| from.await_reach(*address));
}

fn do_not_talk(from: &Attached, to: &Attached) {
    for address in &to.addresses {
        assert!(!from.reaches(*address), "{} reaches {address}", from.container.name());
    }
}

#[test]
fn networks_talk_if_both_are_open_and_not_if_one_of_them_is_not() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    network(&scene, "web", 0, "full");
    network(&scene, "db", 1, "full");
    network(&scene, "open", 2, "none");
    network(&scene, "wide", 3, "none");
    let web = scene.attach("h1", "web1", "web", &[]);
    let open = scene.attach("h1", "open1", "open", &[]);
    // One on the same host, one on the same segment, one behind the tunnel.
    for host in ["h1", "h2", "h3"] {
        let on = |network: &str| scene.attach(host, &format!("{network}-far"), network, &[]);
        let (far_web, far_db, far_wide) = (on("web"), on("db"), on("wide"));
        // That these are reached shows that the others are ready, and refused.
        talk(&web, &far_web);
        talk(&open, &far_wide);
        talk(&far_wide, &open);
        for (one, other) in [(&web, &far_db), (&web, &far_wide), (&open, &far_db)] {
            do_not_talk(one, other);
            do_not_talk(other, one);
        }
    }
    scene.end();
}

#[test]
fn the_destination_keeps_networks_apart_where_the_source_does_not() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    network(&scene, "web", 0, "full");
    network(&scene, "db", 1, "full");
    let web = scene.attach("h1", "web1", "web", &[]);
    let far = [("h2", "web2", "db2"), ("h3", "web3", "db3")];
    let far = far.map(|(host, one, other)| {
        (host, scene.attach(host, one, "web", &[]), scene.attach(host, other, "db", &[]))
    });
    let lawless = |host: &str| {
        let host = scene.host(host);
        host.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
        host.run(&["nft", "delete", "table", "inet", "hopsack"]).unwrap();
    };
    far.iter().for_each(|(_, far_web, _)| talk(&web, far_web));
    lawless("h1");
    for (host, far_web, far_db) in &far {
        assert!(web.reaches(far_web.address()), "h1 forwards what it should");
        do_not_talk(&web, far_db);
        lawless(host);
        far_db.addresses.iter().for_each(|address| {
            assert!(web.reaches(*address), "{address}: this test cannot fail");
        });
    }
    scene.end();
}

#[test]
fn the_source_keeps_networks_apart_where_the_destination_does_not() {
    require!(Root, Nft, Vxlan, Ping, Tcpdump);
    let scene = Scene::cluster(Topology::demo(HostKind::Plain).unwrap());
    network(&scene, "web", 0, "full");
    network(&scene, "db", 1, "full");
    let web = scene.attach("h1", "web1", "web", &[]);
    let far = [("h2", "web2", "db2"), ("h3", "web3", "db3")];
    let far = far.map(|(host, one, other)| {
        (host, scene.attach(host, one, "web", &[]), scene.attach(host, other, "db", &[]))
    });
    for (host, far_web, far_db) in &far {
        talk(&web, far_web);
        let host = scene.host(host);
        host.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
        host.run(&["nft", "delete", "table", "inet", "hopsack"]).unwrap();
        let seen =
            far_db.container.capture("eth0", "icmp[icmptype] == icmp-echo or icmp6[0] == 128").unwrap();
        do_not_talk(&web, far_db);
        assert_eq!(seen.stop().unwrap(), Vec::<String>::new());
    }
    scene.end();
}

#[test]
fn an_internal_network_leaves_the_way_out_to_a_containers_other_network() {
    require!(Root, Nft, Vxlan, Ping);
    let scene = Scene::cluster(with_an_outsider());
    scene.network("vault", &[&SUBNETS[0][..], &["--internal"]].concat());
    network(&scene, "web", 1, "full");
    let inside = scene.attach("h1", "both", "vault", &[]);
    for family in ["-4", "-6"] {
        let default = inside.container.run(&["ip", family, "route", "show", "default"]).unwrap();
        assert_eq!(default.trim(), "", "a way out of an internal network");
    }
    let far = ["h2", "h3"].map(|host| scene.attach(host, &format!("far-{host}"), "vault", &[]));
    far.iter().for_each(|far| talk(&inside, far));
    let out = scene.host("out1").addresses()[0];
    assert!(!inside.reaches(out));
    let name = inside.container.name().to_owned();
    scene.hopsack("h1", &["attach", &name, "--network", "web", "--interface", "eth1"]);
    inside.await_reach(out);
    far.iter().for_each(|far| talk(&inside, far));
    scene.end();
}
