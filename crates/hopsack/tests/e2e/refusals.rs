//! What bad input gets: one line on standard error that says what to do, a status that is not zero, nothing changed.
//!
//! Here is what a user types. What an agent finds wrong at its own start is in `starts`.

use crate::scene::{PROGRAM, SETTLED, Scene};
use hopsack_lab::{HostKind, Inside, Topology, require, wait};
use std::time::{Duration, Instant};

/// Something wrong to type on a host, the exit status, and the line that it gets. A `*` stands for what differs from
/// run to run.
type Case<'a> = (&'a str, i32, &'a [&'a str], &'a str);

/// Types all of it; afterwards every host knows what it knew before.
fn refuses(scene: &Scene, cases: &[Case<'_>]) {
    let before = picture(scene);
    for (host, status, words, expected) in cases {
        let said = scene.refused(host, *status, words);
        assert!(matches(&said, expected), "{words:?} on {host}\n said     {said}\n expected {expected}");
    }
    assert_eq!(picture(scene), before, "something was changed");
}

/// Networks, endpoints and hosts as each host knows them. What a host in no cluster says instead counts as well.
fn picture(scene: &Scene) -> Vec<String> {
    let mut known = Vec::new();
    for host in scene.lab.hosts().unwrap() {
        let said = |words: &[&str]| {
            let output = host.exec(&[&[PROGRAM], words].concat()).unwrap();
            output.stdout + &output.stderr
        };
        let hosts: Vec<_> = serde_json::from_str::<serde_json::Value>(&said(&["host", "ls", "-o", "json"]))
            .ok()
            .and_then(|hosts| Some(hosts.as_array()?.iter().map(|host| host["name"].to_string()).collect()))
            .unwrap_or_default();
        known.extend([said(&["network", "ls"]), said(&["endpoint", "ls"]), hosts.join(" ")]);
    }
    known
}

/// Whether a text is of a pattern's parts, in order, with anything between them.
pub fn matches(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or(("", rest), |(middle, last)| (middle, last));
    for part in middle.split('*') {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[test]
fn a_wrong_token_lets_nobody_in_and_says_which_way_it_is_wrong() {
    require!(Root);
    let scene = Scene::agents(Topology::numbered(4, &[], HostKind::Plain).unwrap());
    scene.hopsack("h1", &["init"]);
    scene.hopsack("h4", &["init"]);
    let token = scene.token();
    let wrong = format!("{}{}", &token[..token.len() - 32], "0".repeat(32));
    let short_lived = scene.hopsack("h1", &["token", "create", "--quiet", "--ttl", "1s"]);
    let (short_lived, made) = (short_lived.trim(), Instant::now());
    let single = scene.hopsack("h1", &["token", "create", "--quiet", "--uses", "1"]);
    let single = single.trim();
    scene.hopsack("h3", &["join", "10.77.1.1", "--token", single]);
    // Whole seconds are counted.
    wait::until("the token to expire", SETTLED, || made.elapsed() > Duration::from_millis(2100)).unwrap();

    let revoked = scene.hopsack("h1", &["token", "create", "--quiet", "--uses", "7"]);
    let revoked = revoked.trim();
    let id = revoked.split('.').nth(2).unwrap();
    let list = || scene.hopsack("h3", &["token", "ls"]);
    wait::until("the token to be known on h3", SETTLED, || list().contains(&id[..10])).unwrap();
    let listed = list();
    let line = listed.lines().find(|line| line.starts_with(&id[..10])).unwrap();
    assert!(line.contains("  in ") && line.ends_with("  7"), "{line}");
    assert!(listed.contains("  0\n"), "the token of one use is used up: {listed}");
    let secret = revoked.rsplit('.').next().unwrap();
    let told = scene.hopsack("h3", &["token", "ls", "-o", "json"]);
    assert!(told.contains(id) && !told.contains(secret) && !told.contains("secret"), "{told}");
    let told = scene.hopsack("h3", &["token", "revoke", &id[..6]]);
    assert_eq!(told, format!("revoked token {}\n", &id[..10]));
    assert!(!list().contains(&id[..10]), "a write is seen by who made it");
    wait::until("the token to be gone on h1", SETTLED, || {
        !scene.hopsack("h1", &["token", "ls"]).contains(&id[..10])
    })
    .unwrap();

    let not_a_token = "error: this is not a join token: copy the whole of what `hopsack token create` printed (it begins with hopsack1.)";
    refuses(
        &scene,
        &[
            ("h2", 2, &["join", "10.77.1.1", "--token", "x"], not_a_token),
            ("h2", 2, &["join", "10.77.1.1", "--token", &token[..token.len() - 1]], not_a_token),
            (
                "h2",
                1,
                &["join", "10.77.1.1", "--token-file", "/nowhere"],
                "error: cannot read the token from /nowhere: *",
            ),
            (
                "h2",
                1,
                &["join", "10.77.1.1", "--token", &wrong],
                "error: the token is not valid here, or was revoked: make a new one with `hopsack token create`",
            ),
            (
                "h2",
                1,
                &["join", "10.77.1.1", "--token", revoked],
                "error: the token is not valid here, or was revoked: make a new one with `hopsack token create`",
            ),
            (
                "h1",
                1,
                &["token", "revoke", &id[..6]],
                &format!("error: there is no token {:?}: `hopsack token ls` lists them", &id[..6]),
            ),
            (
                "h2",
                1,
                &["join", "10.77.1.1", "--token", short_lived],
                "error: the token has expired: make a new one with `hopsack token create`",
            ),
            (
                "h2",
                1,
                &["join", "10.77.1.3", "--token", single],
                "error: the token has been used as often as it may be: make a new one with `hopsack token create`",
            ),
            (
                "h2",
                1,
                &["join", "10.77.1.4", "--token", &token],
                "error: the host at 10.77.1.4:4677 belongs to another cluster than the token: check both",
            ),
            (
                "h2",
                1,
                &["join", "10.77.1.1:9", "--token", &token],
                "error: no hopsack agent answers at 10.77.1.1:9: check the address, and that TCP port 9 is open: *",
            ),
        ],
    );
    scene.hopsack("h2", &["join", "10.77.1.1", "--token", &token]);
    scene.end();
}

#[test]
fn who_tries_tokens_is_stopped_after_ten() {
    require!(Root);
    let scene = Scene::agents(Topology::numbered(2, &[], HostKind::Plain).unwrap());
    scene.hopsack("h1", &["init"]);
    let token = scene.token();
    let wrong = format!("{}{}", &token[..token.len() - 32], "0".repeat(32));
    for _ in 0..10 {
        let said = scene.refused("h2", 1, &["join", "10.77.1.1", "--token", &wrong]);
        assert!(said.contains("not valid here"), "{said}");
    }
    let told = "error: too many wrong tokens from 10.77.1.2: wait a minute";
    refuses(&scene, &[("h2", 1, &["join", "10.77.1.1", "--token", &token], told)]);
    scene.end();
}

#[test]
fn a_host_is_in_one_cluster_under_a_name_and_an_address_of_its_own() {
    require!(Root);
    let scene = Scene::agents(Topology::numbered(3, &[], HostKind::Plain).unwrap());
    let alone =
        "error: this host is in no cluster: make one with `hopsack init`, or enter one with `hopsack join`";
    refuses(
        &scene,
        &[
            ("h1", 1, &["token", "create"], alone),
            ("h1", 1, &["token", "ls"], alone),
            ("h1", 1, &["token", "revoke", "ab"], alone),
            ("h1", 1, &["host", "ls"], alone),
            ("h1", 1, &["network", "create", "web"], alone),
            ("h1", 1, &["attach", "c1", "--network", "web"], alone),
            (
                "h1",
                1,
                &["init", "--advertise", "192.0.2.1"],
                "error: 192.0.2.1 is on no device of this host: give one of its own addresses with --advertise",
            ),
            (
                "h1",
                1,
                &["init", "--advertise", "127.0.0.1"],
                "error: 127.0.0.1 is a loopback or link-local address *",
            ),
            (
                "h1",
                2,
                &["init", "--name", "H 1"],
                "error: invalid value 'H 1' for '--name <NAME>': host name \"H 1\" is not valid: use 1 to 63 of a-z, *",
            ),
            (
                "h1",
                1,
                &["init", "--pool", "10.77.0.0/16"],
                "error: 10.77.0.0/16 overlaps *, *of host h1: choose another range",
            ),
            (
                "h1",
                2,
                &["init", "--pool", "10.32.0.1/14"],
                "error: invalid value '10.32.0.1/14' for '--pool <CIDR>': 10.32.0.1/14 has host bits set: did you mean \
                 10.32.0.0/14?",
            ),
        ],
    );
    scene.hopsack("h1", &["init"]);
    scene.hopsack("h3", &["init"]);
    let token = scene.token();
    let taken = "error: host name h1 is taken by the host at 10.77.1.1: choose another with --name";
    let again =
        |name| format!("error: this host is in cluster * already, as {name}: to move it to another, stop *");
    refuses(
        &scene,
        &[
            ("h2", 1, &["join", "10.77.1.1", "--token", &token, "--name", "h1"], taken),
            ("h1", 1, &["init"], &again("h1")),
            ("h1", 1, &["join", "10.77.1.3", "--token", &token], &again("h1")),
            // Two that have made a cluster each do not become one.
            ("h3", 1, &["join", "10.77.1.1", "--token", &token], &again("h3")),
        ],
    );
    scene.hopsack("h2", &["join", "10.77.1.1", "--token", &token]);
    refuses(&scene, &[("h2", 1, &["join", "10.77.1.1", "--token", &token], &again("h2"))]);
    scene.end();
}

#[test]
fn a_subnet_that_meets_something_is_not_taken() {
    require!(Root, Nft);
    let scene = Scene::agents(Topology::numbered(2, &[], HostKind::Plain).unwrap());
    // Told by h2 to h1 when it joins; h1 looks at its own as they are.
    scene.host("h2").run(&["ip", "route", "add", "172.21.0.0/16", "via", "10.77.1.254"]).unwrap();
    scene.form();
    scene.host("h1").run(&["ip", "route", "add", "172.20.0.0/16", "via", "10.77.1.254"]).unwrap();
    scene.network("web", &["--subnet", "10.40.0.0/24"]);
    let create = |subnet: &'static str| ["network", "create", "other", "--subnet", subnet];
    refuses(
        &scene,
        &[
            (
                "h1",
                2,
                &create("10.40.1.1/24"),
                "error: invalid value '10.40.1.1/24' for '--subnet <CIDR>': 10.40.1.1/24 has host bits set: did you \
                 mean 10.40.1.0/24?",
            ),
            (
                "h2",
                1,
                &create("10.40.0.128/25"),
                "error: 10.40.0.128/25 overlaps 10.40.0.0/24, * network web: choose another range",
            ),
            (
                "h2",
                1,
                &create("10.77.1.0/24"),
                "error: 10.77.1.0/24 overlaps 10.77.1.*/*, * of host h*: choose another range",
            ),
            (
                "h1",
                1,
                &create("172.20.5.0/24"),
                "error: 172.20.5.0/24 overlaps 172.20.0.0/16, a route of host h1: choose another range",
            ),
            (
                "h1",
                1,
                &create("172.21.5.0/24"),
                "error: 172.21.5.0/24 overlaps 172.21.0.0/16, a route of host h2: choose another range",
            ),
            (
                "h1",
                1,
                &create("10.32.0.0/24"),
                "error: 10.32.0.0/24 overlaps 10.32.0.0/22, the hosts' own addresses in pool default-v4: choose \
                 another range",
            ),
            (
                "h1",
                1,
                &create("127.0.0.0/24"),
                "error: 127.0.0.0/24 lies in or covers 127.0.0.0/8, the loopback range: choose a private range, like \
                 10.32.0.0/24 or fd00::/64",
            ),
            (
                "h2",
                1,
                &["network", "create", "web"],
                "error: there is a network web already: choose another name, or remove that one",
            ),
            (
                "h1",
                1,
                &["network", "rm", "nope"],
                "error: there is no network \"nope\": `hopsack network ls` lists them",
            ),
        ],
    );
    scene.end();
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_its_holder() {
    require!(Root, Nft);
    let scene = Scene::cluster(Topology::numbered(2, &[], HostKind::Plain).unwrap());
    scene.network("web", &["--subnet", "10.40.0.0/24"]);
    scene.attach("h1", "c1", "web", &["--ip", "10.40.0.9"]);
    scene.attach("h2", "c2", "web", &["--ip", "10.40.0.8"]);
    for host in ["h1", "h2"] {
        scene.host(host).container("free").unwrap();
    }
    let attach = |address: &'static str| ["attach", "free", "--network", "web", "--ip", address];
    refuses(
        &scene,
        &[
            (
                "h1",
                1,
                &attach("10.41.0.1"),
                "error: 10.41.0.1 is not in network web: its subnet is 10.40.0.0/24",
            ),
            ("h1", 1, &attach("fd00::1"), "error: fd00::1 is not in network web: its subnet is 10.40.0.0/24"),
            (
                "h1",
                1,
                &attach("10.40.0.0"),
                "error: 10.40.0.0 of network web is the network address: choose another address of 10.40.0.0/24",
            ),
            (
                "h2",
                1,
                &attach("10.40.0.255"),
                "error: 10.40.0.255 of network web is the broadcast address: choose another address of 10.40.0.0/24",
            ),
            (
                "h1",
                1,
                &attach("10.40.0.9"),
                "error: 10.40.0.9 is in use by c1 on host h1: detach it there, or choose another address",
            ),
            (
                "h2",
                1,
                &attach("10.40.0.9"),
                "error: 10.40.0.9 is in use by c1 on host h1: detach it there, or choose another address",
            ),
            (
                "h1",
                1,
                &attach("10.40.0.8"),
                "error: 10.40.0.8 is in use by c2 on host h2: detach it there, or choose another address",
            ),
            (
                "h1",
                1,
                &["attach", "free", "--network", "nope"],
                "error: there is no network nope: `hopsack network ls` lists them",
            ),
            (
                "h1",
                1,
                &["attach", "nope", "--network", "web"],
                "error: there is no network namespace at /run/netns/nope: make one with `ip netns add`, or give its \
                 path",
            ),
            (
                "h1",
                1,
                &["attach", "c1", "--network", "web"],
                "error: eth0 in /run/netns/c1 is attached already: detach it first, or choose another interface name",
            ),
            (
                "h1",
                1,
                &["detach", "free", "--network", "web"],
                "error: /run/netns/free is not attached to network web: `hopsack endpoint ls` lists what is",
            ),
            (
                "h2",
                1,
                &["network", "rm", "web"],
                "error: network web is in use by *c1 on h1*: disconnect them first",
            ),
        ],
    );
    scene.end();
}
