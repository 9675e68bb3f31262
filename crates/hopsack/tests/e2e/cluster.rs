//! Hosts become a cluster, know each other, and go on without each other.

use crate::refusals::matches;
use crate::scene::{PROGRAM, SETTLED, Scene};
use hopsack_lab::{
    AGENT, Afterwards, Host, HostKind, HostSpec, Inside, SegmentSpec, Signal, Topology, require, wait,
};
use serde_json::Value;

fn plain(count: usize) -> Topology {
    Topology::numbered(count, &[], HostKind::Plain).unwrap()
}

/// The names of the hosts that a host knows, with whether their agents answer.
fn hosts(scene: &Scene, asked: &str) -> Vec<(String, bool)> {
    let told: Value = serde_json::from_str(&scene.hopsack(asked, &["host", "ls", "-o", "json"])).unwrap();
    let name = |host: &Value| host["name"].as_str().unwrap().to_owned();
    told.as_array().unwrap().iter().map(|host| (name(host), host["alive"] == true)).collect()
}

fn alive(names: &[&str]) -> Vec<(String, bool)> {
    names.iter().map(|&name| (name.to_owned(), true)).collect()
}

fn await_hosts(scene: &Scene, asked: &str, expected: &[(String, bool)]) {
    wait::value(&format!("{asked} to know the hosts"), SETTLED, || {
        let known = hosts(scene, asked);
        if known == expected { Ok(()) } else { Err(format!("{known:?}")) }
    })
    .unwrap();
}

fn kill(host: &Host) {
    host.kill(AGENT, Signal::SIGKILL, Afterwards::StayDead).unwrap();
}

#[test]
fn hosts_join_through_any_member_by_argument_file_or_standard_input() {
    require!(Root, Nft);
    let scene = Scene::agents(plain(4));
    let told = scene.hopsack("h1", &["init"]);
    // What it prints is what the next host is to type.
    let command = told.lines().find_map(|line| line.trim().strip_prefix("hopsack ")).unwrap();
    scene.hopsack("h2", &command.split(' ').collect::<Vec<_>>());
    let token = scene.token();
    scene.host("h3").program(&["tee", "/run/token"]).input(format!("{token}\n")).run().unwrap();
    scene.hopsack("h3", &["join", "10.77.1.2", "--token-file", "/run/token"]);
    let join = [PROGRAM, "join", "10.77.1.3:4677", "--token-file", "-", "--name", "last"];
    let told = scene.host("h4").program(&join).input(token).run().unwrap();
    assert!(
        matches(told.trim(), "joined cluster *: this host is last, reached at 10.77.1.4\nhosts: *"),
        "{told}"
    );
    for host in ["h1", "h2", "h3", "h4"] {
        await_hosts(&scene, host, &alive(&["h1", "h2", "h3", "last"]));
    }
    // Any member makes tokens, and any takes what becomes a write.
    let token = scene.hopsack("h4", &["token", "create", "--quiet"]);
    assert!(token.starts_with("hopsack1."), "{token}");
    scene.hopsack("h3", &["network", "create", "web"]);
    wait::until("h1 has the network", SETTLED, || scene.hopsack("h1", &["network", "ls"]).contains("web"))
        .unwrap();
    scene.end();
}

#[test]
fn status_tells_the_underlay_and_how_it_was_found_in_text_and_json() {
    require!(Root, Nft);
    let lan = |name, prefix| SegmentSpec::new(name, &[prefix]);
    let both = ["front", "back"];
    let topology = Topology::builder()
        .segment(lan("front", "10.77.1.0/24"))
        .segment(lan("back", "10.77.2.0/24"))
        .host(HostSpec::plain("h1", &both))
        .host(HostSpec::plain("h2", &both))
        .build()
        .unwrap();
    let scene = Scene::agents(topology);
    // The default route goes by the first segment; h1 says another.
    scene.hopsack("h1", &["init", "--advertise", "10.77.2.1"]);
    let token = scene.token();
    scene.hopsack("h2", &["join", "10.77.2.1", "--token", &token]);
    let underlay = |host: &str| {
        let underlay = &scene.status(host)["cluster"]["underlay"];
        ["device", "address", "foundBy"].map(|field| underlay[field].as_str().unwrap().to_owned())
    };
    assert_eq!(underlay("h1"), ["eth1", "10.77.2.1", "--advertise"]);
    assert_eq!(underlay("h2"), ["eth0", "10.77.1.2", "default route"]);
    let text = scene.hopsack("h1", &["status"]);
    assert!(text.contains("underlay   10.77.2.1 on eth1, MTU 1500, found by --advertise\n"), "{text}");
    assert!(text.contains("state      revision ") && text.contains(", voter\n"), "{text}");
    let text = scene.hopsack("h2", &["status"]);
    assert!(text.contains("underlay   10.77.1.2 on eth0, MTU 1500, found by default route\n"), "{text}");
    assert!(text.contains(", copy\n"), "{text}");
    scene.end();
}

#[test]
fn a_cluster_lives_on_an_underlay_of_ipv6_alone() {
    require!(Root, Nft, Vxlan, Ping);
    let mut topology = Topology::builder().segment(SegmentSpec::new("lan1", &["fd77:1::/64"]));
    for name in ["h1", "h2"] {
        topology = topology.host(HostSpec::plain(name, &["lan1"]));
    }
    let scene = Scene::cluster(topology.build().unwrap());
    assert_eq!(scene.status("h2")["cluster"]["underlay"]["address"], "fd77:1::2");
    scene.network("web", &["--subnet", "10.40.1.0/24", "--subnet", "fd40:0:0:1::/64"]);
    let (one, two) = (scene.attach("h1", "c1", "web", &[]), scene.attach("h2", "c2", "web", &[]));
    for address in two.addresses {
        one.await_reach(address);
    }
    scene.end();
}

#[test]
fn endpoints_are_known_everywhere_and_a_network_goes_only_when_unused() {
    require!(Root, Nft);
    let scene = Scene::cluster(plain(3));
    scene.network("web", &["--subnet", "10.40.0.0/24"]);
    scene.attach("h3", "c3", "web", &["--ip", "10.40.0.7"]);
    for host in ["h1", "h2"] {
        scene.host(host).container("free").unwrap();
        // Who has the address is known from intent at once, and what it is called there from facts soon.
        let told = "error: 10.40.0.7 is in use by c3 on host h3: detach it there, or choose another address";
        wait::until(&format!("{host} knows the endpoint"), SETTLED, || {
            let ask = [PROGRAM, "attach", "free", "--network", "web", "--ip", "10.40.0.7"];
            scene.host(host).exec(&ask).unwrap().stderr.trim() == told
        })
        .unwrap();
        let in_use = "error: network web is in use by c3 on h3: disconnect them first";
        assert_eq!(scene.refused(host, 1, &["network", "rm", "web"]), in_use);
    }
    scene.hopsack("h3", &["detach", "c3", "--network", "web"]);
    wait::until("the network is unused", SETTLED, || {
        scene.host("h1").exec(&[PROGRAM, "network", "rm", "web"]).unwrap().success()
    })
    .unwrap();
    for host in ["h1", "h2", "h3"] {
        let gone = || !scene.hopsack(host, &["network", "ls"]).contains("web");
        wait::until("the network is gone", SETTLED, gone).unwrap();
    }
    scene.end();
}

#[test]
fn an_agent_starts_from_disk_with_nobody_reachable_and_serves() {
    require!(Root, Nft, Ping);
    let scene = Scene::cluster(plain(3));
    scene.network("web", &["--subnet", "10.40.1.0/24", "--subnet", "fd40:0:0:1::/64"]);
    let (one, two) = (scene.attach("h2", "c1", "web", &[]), scene.attach("h2", "c2", "web", &[]));
    let far = scene.attach("h3", "c3", "web", &[]);
    far.await_reach(one.address());
    for host in ["h2", "h1", "h3"] {
        kill(&scene.host(host));
    }
    assert!(one.reaches(two.address()), "the network needs no agent");
    scene.start_agent("h2");
    for address in &two.addresses {
        one.await_reach(*address);
    }
    // From the reserve that was granted ahead of need.
    let fresh = scene.attach("h2", "c4", "web", &[]);
    for address in &fresh.addresses {
        one.await_reach(*address);
    }
    let status = scene.status("h2");
    assert_eq!(status["cluster"]["store"]["connected"], false);
    assert!(
        status["faults"].to_string().contains("the cluster's state cannot be written from here"),
        "{status}"
    );
    // A write is refused in time, not left hanging.
    let told = scene.refused("h2", 1, &["network", "create", "other"]);
    assert!(told.contains("reach") && !told.contains("outcome"), "{told}");
    for host in ["h1", "h3"] {
        scene.start_agent(host);
    }
    for host in ["h1", "h2", "h3"] {
        await_hosts(&scene, host, &alive(&["h1", "h2", "h3"]));
    }
    for address in &fresh.addresses {
        far.await_reach(*address);
    }
    wait::until("h2 follows again", SETTLED, || scene.status("h2")["cluster"]["store"]["connected"] == true)
        .unwrap();
    scene.hopsack("h2", &["network", "create", "other"]);
    scene.end();
}

#[test]
fn a_voter_that_is_killed_comes_back_with_all_that_was_agreed() {
    require!(Root, Nft);
    let scene = Scene::cluster(plain(2));
    for number in 0..5 {
        scene.network(&format!("net{number}"), &[]);
    }
    let token = scene.token();
    let before = scene.hopsack("h1", &["network", "ls"]);
    for _ in 0..3 {
        kill(&scene.host("h1"));
        scene.start_agent("h1");
        assert_eq!(scene.hopsack("h1", &["network", "ls"]), before);
    }
    await_hosts(&scene, "h2", &alive(&["h1", "h2"]));
    wait::until("h2 writes again", SETTLED, || {
        scene.host("h2").exec(&[PROGRAM, "network", "create", "late"]).unwrap().success()
    })
    .unwrap();
    assert!(scene.hopsack("h1", &["network", "ls"]).contains("late"));
    // The authority's key and the tokens came back as well.
    let host = scene.host("h2");
    host.stop(AGENT).unwrap();
    host.run(&["rm", "-r", "/var/lib/hopsack"]).unwrap();
    scene.start_agent("h2");
    let taken = scene.refused("h2", 1, &["join", "10.77.1.1", "--token", &token]);
    assert!(taken.contains("host name h2 is taken"), "{taken}");
    scene.end();
}

#[test]
fn a_host_that_is_gone_is_removed_and_its_name_and_addresses_are_free_once_it_is_destroyed() {
    require!(Root, Nft);
    let scene = Scene::cluster(plain(3));
    scene.network("web", &["--subnet", "10.40.0.0/24"]);
    let lost = scene.attach("h3", "c3", "web", &[]).address().to_string();
    let told = scene.refused("h1", 1, &["host", "rm", "h3"]);
    assert_eq!(told, "error: the agent of host h3 answers: end its containers and stop its agent first");
    let hosts: Value = serde_json::from_str(&scene.hopsack("h1", &["host", "ls", "-o", "json"])).unwrap();
    let gone = hosts.as_array().unwrap().iter().find(|host| host["name"] == "h3").unwrap();
    let id = &gone["id"].as_str().unwrap()[..10];
    let h3 = scene.host("h3");
    h3.stop(AGENT).unwrap();
    wait::until("h3 to be silent", SETTLED, || {
        scene
            .hopsack("h2", &["host", "ls"])
            .lines()
            .any(|line| line.starts_with("h3") && line.contains("silent"))
    })
    .unwrap();
    let told = scene.hopsack("h2", &["host", "rm", "h3"]);
    let aside = format!(
        "removed host h3\nits addresses in web stay set aside until it can never run again: `hopsack host rm {id} \
         --destroyed`\n"
    );
    assert_eq!(told, aside);
    wait::until("h1 to know", SETTLED, || !scene.hopsack("h1", &["host", "ls"]).contains("h3")).unwrap();
    // What it may still use is nobody's.
    scene.host("h1").container("c1").unwrap();
    let attach = ["attach", "c1", "--network", "web", "--ip", &lost];
    let told = scene.refused("h1", 1, &attach);
    assert!(told.contains(id), "{told}");
    let told = scene.refused("h1", 1, &["network", "rm", "web"]);
    assert!(told.ends_with(&format!("say so with `hopsack host rm {id} --destroyed`")), "{told}");
    assert_eq!(scene.hopsack("h1", &["host", "rm", id, "--destroyed"]), format!("removed host {id}\n"));
    scene.hopsack("h1", &attach);
    // A new machine takes the place of the old one.
    h3.run(&["rm", "-r", "/var/lib/hopsack"]).unwrap();
    scene.start_agent("h3");
    scene.hopsack("h3", &["join", "10.77.1.1", "--token", &scene.token()]);
    scene.await_paths();
    scene.end();
}
