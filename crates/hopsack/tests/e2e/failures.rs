//! What cannot be done is told by its name, while everything else goes on, and is done as soon as it can be.

use crate::drift::{TABLE, pair, shell, shown, still_reach_each_other};
use crate::scene::{Machine, SETTLED, Scene};
use hopsack_lab::{AGENT, Container, Inside, require, wait};

/// What a host says it could not do.
fn failures(scene: &Scene, host: &str) -> Vec<String> {
    let status = scene.status(host);
    let told = status["cluster"]["kernel"]["failures"].as_array().unwrap().iter();
    told.map(|line| line.as_str().unwrap().to_owned()).collect()
}

fn await_failure(scene: &Scene, host: &str, named: &str) {
    wait::value(&format!("a failure that names {named}"), SETTLED, || {
        let told = failures(scene, host);
        if told.iter().any(|line| line.contains(named)) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .unwrap();
}

fn await_no_failure(scene: &Scene, host: &str) {
    wait::value("no failure", SETTLED, || {
        let told = failures(scene, host);
        if told.is_empty() { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .unwrap();
}

#[test]
fn a_namespace_that_vanished_is_named_and_everything_else_goes_on() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, pair) = pair(Machine::shared());
    let gone = scene.attach("h1", "gone", "web", &[]);
    pair[0].await_reach(gone.address());
    Container::remove(gone.container).unwrap();
    await_failure(&scene, "h1", "gone");
    // Endpoints that are there go on, new ones come, and drift is repaired as ever.
    still_reach_each_other(&pair);
    let more = scene.attach("h1", "more", "web", &[]);
    more.await_reach(pair[1].address());
    shell(&scene.host("h1"), "nft delete table inet hopsack");
    wait::until("the table", SETTLED, || !shown(&scene.host("h1"), TABLE).is_empty()).unwrap();
    scene.hopsack("h1", &["detach", "gone", "--network", "web"]);
    await_no_failure(&scene, "h1");
    scene.end();
}

#[test]
fn a_link_of_somebody_else_under_our_name_is_left_alone_and_named() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, pair) = pair(Machine::shared());
    let h1 = scene.host("h1");
    // An alias of others makes it theirs. An agent that is there could be quicker, and give it our addresses.
    h1.stop(AGENT).unwrap();
    shell(&h1, "ip link del hop0; ip link add hop0 type bridge; ip link set hop0 alias theirs");
    scene.start_agent("h1");
    await_failure(&scene, "h1", "hop0");
    let more = scene.attach("h1", "more", "web", &[]);
    for address in &pair[1].addresses {
        more.await_reach(*address);
    }
    still_reach_each_other(&pair);
    assert!(shell(&h1, "ip link show hop0").contains("alias theirs"));
    shell(&h1, "ip link del hop0");
    await_no_failure(&scene, "h1");
    assert!(shell(&h1, "ip link show hop0").contains("alias hopsack:"));
    scene.end();
}

#[test]
fn a_route_of_somebody_else_in_place_of_ours_is_left_alone_and_named() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, pair) = pair(Machine::shared());
    let h1 = scene.host("h1");
    let near = scene.attach("h2", "near", "web", &[]);
    near.await_reach(pair[0].address());
    let far = shell(&h1, &format!("ip route show match {} proto 72 | grep hopvxlan", pair[1].address()));
    let far = far.split(' ').next().unwrap();
    let theirs = format!("ip route replace blackhole {far} proto static");
    shell(&h1, &theirs);
    await_failure(&scene, "h1", far);
    assert!(!pair[0].reaches(pair[1].address()));
    near.await_reach(pair[0].address());
    pair[0].await_reach(pair[1].addresses[1]);
    assert!(shell(&h1, &format!("ip route show {far}")).contains("proto static"));
    shell(&h1, &format!("ip route del blackhole {far} proto static"));
    await_no_failure(&scene, "h1");
    still_reach_each_other(&pair);
    scene.end();
}

#[test]
fn an_endpoint_whose_ports_cannot_be_put_in_place_is_refused_and_gone_once_they_can() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, pair) = pair(Machine::shared());
    let h1 = scene.host("h1");
    scene.await_reserves();
    let table = shown(&h1, TABLE);
    // In this host's mounts alone. A published port needs chains, which nft makes.
    shell(&h1, "mount --bind /bin/false $(readlink -f $(command -v nft))");
    let more = h1.container("more").unwrap();
    let told = scene.refused("h1", 1, &["attach", "more", "--network", "web", "-p", "8080:80"]);
    let expected = "error: the endpoint's policy cannot be put in place: table inet hopsack: ";
    assert!(told.starts_with(expected), "{told}");
    assert!(!scene.hopsack("h1", &["endpoint", "ls"]).contains("more"));
    still_reach_each_other(&pair);
    shell(&h1, "umount $(readlink -f $(command -v nft))");
    await_no_failure(&scene, "h1");
    assert!(!more.run(&["ip", "-o", "link"]).unwrap().contains("eth0"));
    assert_eq!(shown(&h1, TABLE), table, "the policy of what was not made is gone");
    scene.hopsack("h1", &["attach", "more", "--network", "web"]);
    scene.end();
}
