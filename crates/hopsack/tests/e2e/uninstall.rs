//! `hopsack uninstall` leaves a host as it was: the kernel, its settings, Docker's networks, the disk.

use crate::scene::{BOTH_FAMILIES, SETTLED, Scene};
use hopsack_lab::{AGENT, HostSpec, IMAGE, Inside, SegmentSpec, Topology, require, wait};

/// The network of a host, and where Docker looks for us.
const LOOK: &str = concat!(include_str!("../network.sh"), "find /run/docker -name 'hopsack*'; true\n");

/// h1 with Docker, h2 without, on one segment.
fn two_hosts() -> Topology {
    Topology::builder()
        .segment(SegmentSpec::new("lan1", &["10.77.1.0/24"]))
        .host(HostSpec::docker("h1", &["lan1"]))
        .host(HostSpec::plain("h2", &["lan1"]))
        .build()
        .unwrap()
}

fn look(scene: &Scene, host: &str) -> Vec<String> {
    let seen = scene.host(host).run(&["sh", "-c", LOOK]).unwrap();
    seen.lines().map(str::to_owned).collect()
}

/// What is in one and not in the other, both ways.
fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("gone: {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("left: {line}"));
    gone.chain(new).collect()
}

#[test]
fn a_host_that_hopsack_is_taken_off_is_as_it_was() {
    require!(Root, Nft, Vxlan, Ping, Docker);
    let scene = Scene::agents(two_hosts());
    scene.lab.load_image().unwrap();
    scene.host("h1").await_engine().unwrap();
    for host in ["h1", "h2"] {
        scene.host(host).stop(AGENT).unwrap();
    }
    let before = ["h1", "h2"].map(|host| look(&scene, host));
    for host in ["h1", "h2"] {
        scene.start_agent(host);
    }
    scene.form();
    scene.network("web", &BOTH_FAMILIES);
    let h1 = scene.host("h1");
    wait::until("Docker has the network", SETTLED, || {
        h1.docker(&["network", "ls", "-q", "--filter", "driver=hopsack"]).is_ok_and(|ids| !ids.is_empty())
    })
    .unwrap();
    h1.docker(&["run", "-d", "--name", "shop", "--net", "web", "-p", "8080:80", IMAGE, "sleep", "100000"])
        .unwrap();
    let attached = scene.attach("h2", "c2", "web", &["--publish", "8080:80"]);
    let shop = h1.docker(&["inspect", "-f", "{{.NetworkSettings.Networks.web.IPAddress}}", "shop"]).unwrap();
    let shop = shop.trim().parse().unwrap();
    attached.await_reach(shop);

    let refusal = scene.refused("h2", 1, &["uninstall", "--yes"]);
    assert!(
        refusal.contains("another agent uses the state directory /var/lib/hopsack: stop it first"),
        "{refusal}"
    );
    scene.host("h2").stop(AGENT).unwrap();
    let refusal = scene.refused("h2", 1, &["uninstall"]);
    assert_eq!(refusal, "error: nothing was done: give --yes to do it");
    assert!(attached.reaches(shop), "a look has changed something");
    scene.hopsack("h2", &["uninstall", "--keep-state", "--yes"]);
    let kept = difference(&before[1], &look(&scene, "h2"));
    assert!(kept.iter().all(|line| !line.contains("hop")), "with its state kept: {kept:#?}");
    scene.start_agent("h2");
    attached.await_reach(shop);

    scene.host("h1").stop(AGENT).unwrap();
    let refusal = scene.refused("h1", 1, &["uninstall", "--yes"]);
    assert!(refusal.contains("network web in Docker: containers use it"), "{refusal}");
    assert!(scene.host("h1").run(&["nft", "list", "tables"]).unwrap().contains("table inet hopsack"));
    scene.start_agent("h1");
    h1.docker(&["rm", "-f", "shop"]).unwrap();
    scene.host("h1").stop(AGENT).unwrap();
    scene.hopsack("h1", &["uninstall", "--yes"]);
    assert_eq!(h1.docker(&["network", "ls", "-q", "--filter", "driver=hopsack"]).unwrap(), "");
    scene.host("h2").stop(AGENT).unwrap();
    let told = scene.hopsack("h2", &["uninstall", "--yes"]);
    for part in ["link hop0", "table inet hopsack", "ip_forward back to 0", "hopsack host rm h2 --destroyed"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(scene.hopsack("h2", &["uninstall"]), "nothing of Hopsack is on this host\n");
    for (host, before) in ["h1", "h2"].into_iter().zip(&before) {
        assert_eq!(difference(before, &look(&scene, host)), Vec::<String>::new(), "on {host}");
        scene.host(host).run(&["sh", "-c", "[ ! -e /var/lib/hopsack ] && [ ! -e /run/hopsack ]"]).unwrap();
    }
    scene.end();
}
