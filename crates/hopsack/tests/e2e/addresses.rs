//! Where addresses come from: pools, subnets, blocks; never twice, and to the last one.

use crate::refusals::matches;
use crate::scene::{SETTLED, Scene, free_beside};
use hopsack_api::client::{Client, ClientError};
use hopsack_api::{AllocateRequest, ErrorCode};
use hopsack_lab::{AGENT, Afterwards, Host, HostKind, Inside, Signal, Topology, require, wait};
use hopsack_types::{Cidr, Family, NetworkId};
use serde_json::Value;
use std::collections::BTreeSet;
use std::iter;
use std::net::IpAddr;
use std::thread;

fn plain(count: usize) -> Topology {
    Topology::numbered(count, &[], HostKind::Plain).unwrap()
}

/// The subnets of a network, as a host knows them.
fn subnets(scene: &Scene, host: &str, network: &str) -> Vec<Cidr> {
    let told: Value =
        serde_json::from_str(&scene.hopsack(host, &["network", "inspect", network, "-o", "json"])).unwrap();
    serde_json::from_value(told["subnets"].clone()).unwrap()
}

fn id(scene: &Scene, network: &str) -> NetworkId {
    let told: Value =
        serde_json::from_str(&scene.hopsack("h1", &["network", "inspect", network, "-o", "json"])).unwrap();
    serde_json::from_value(told["id"].clone()).unwrap()
}

/// Asks a host's agent from here, as a front door does: many calls, no process for each.
fn front_door(host: &Host) -> Client {
    Client::new(format!("/proc/{}/root/run/hopsack/api.sock", host.pid()))
}

/// Takes the next free address of a host.
fn take(host: &Client, network: NetworkId, holder: String) -> Result<IpAddr, ClientError> {
    host.allocate(&AllocateRequest { network, family: Family::V4, address: None, holder })
}

/// Takes the next free address of a host. Twenty debug builds on few processors may be late with their answers to each
/// other; then the host says so, and is asked again, as a user would.
fn take_patiently(host: &Client, network: NetworkId, number: usize) -> Result<IpAddr, ClientError> {
    wait::value("an answer that stands", SETTLED, || match take(host, network, format!("test:{number}")) {
        Err(ClientError::Refused(error)) if error.code == ErrorCode::Unavailable => Err(error.message),
        answer => Ok(answer),
    })
    .unwrap()
}

/// Takes addresses until there is none, and gives them and the last word.
fn take_all(host: &Client, network: NetworkId, name: &str) -> (Vec<IpAddr>, ClientError) {
    let mut taken = Vec::new();
    loop {
        match take(host, network, format!("test:{name}-{}", taken.len())) {
            Ok(address) => taken.push(address),
            Err(error) => return (taken, error),
        }
    }
}

fn distinct(addresses: &[IpAddr]) -> usize {
    addresses.iter().collect::<BTreeSet<_>>().len()
}

/// Lets all other hosts join the first, without waiting for their paths.
fn gather(scene: &Scene) {
    scene.hopsack("h1", &["init"]);
    let token = scene.token();
    for host in scene.members().iter().skip(1) {
        scene.hopsack(host.name(), &["join", "10.77.1.1", "--token", &token]);
    }
}

#[test]
fn subnets_come_from_the_pools_one_after_the_other() {
    require!(Root, Nft);
    let scene = Scene::agents(plain(2));
    scene.hopsack("h1", &["init", "--pool", "172.30.0.0/16", "--pool", "fd30::/48"]);
    let token = scene.token();
    scene.hopsack("h2", &["join", "10.77.1.1", "--token", &token]);
    let pools: [Cidr; 2] = ["172.30.0.0/16", "fd30::/48"].map(|pool| pool.parse().unwrap());
    let mut seen: Vec<Cidr> = Vec::new();
    for (number, by) in ["h1", "h2", "h1", "h2"].into_iter().enumerate() {
        let name = format!("net{number}");
        scene.hopsack(by, &["network", "create", &name, "--ipv6"]);
        let made = subnets(&scene, by, &name);
        assert_eq!(made.iter().map(|subnet| subnet.length()).collect::<Vec<_>>(), [24, 64]);
        for (subnet, pool) in made.iter().zip(pools) {
            assert!(pool.contains(subnet.first()), "{subnet} is not of {pool}");
            assert!(!seen.contains(subnet), "{subnet} was given twice");
        }
        seen.extend(made);
    }
    // Hosts have addresses of their own in the same pools, apart from all subnets.
    let own = scene.status("h2")["cluster"]["addresses"].clone();
    let own: Vec<IpAddr> = serde_json::from_value(own).unwrap();
    assert_eq!(own.len(), 2);
    for (address, pool) in own.iter().zip(pools) {
        assert!(pool.contains(*address) && !seen.iter().any(|subnet| subnet.contains(*address)), "{own:?}");
    }
    // What is gone is given again.
    scene.hopsack("h1", &["network", "rm", "net0"]);
    scene.hopsack("h1", &["network", "create", "again", "--ipv6"]);
    assert_eq!(subnets(&scene, "h1", "again"), seen[..2]);
    scene.end();
}

#[test]
fn the_default_pool_meets_no_route_and_a_host_whose_route_meets_it_stays_out() {
    require!(Root);
    let scene = Scene::agents(plain(2));
    let via = ["via", "10.77.1.254"];
    scene.host("h1").run(&[&["ip", "route", "add", "10.32.0.0/12"][..], &via].concat()).unwrap();
    scene.hopsack("h1", &["init"]);
    let pools: Vec<Cidr> = serde_json::from_value(scene.status("h1")["cluster"]["pools"].clone()).unwrap();
    let avoided: [Cidr; 2] = ["10.32.0.0/12", "10.77.1.0/24"].map(|route| route.parse().unwrap());
    assert_eq!(pools.len(), 2);
    assert!(avoided.iter().all(|route| !pools[0].overlaps(route)), "{pools:?}");
    let inside = format!("{}/20", pools[0].first());
    scene.host("h2").run(&[&["ip", "route", "add", &inside][..], &via].concat()).unwrap();
    let token = scene.token();
    let told = scene.refused("h2", 1, &["join", "10.77.1.1", "--token", &token]);
    let expected = format!(
        "error: {inside}, a route of host h2 overlaps {}, pool default-v4 of the cluster: remove it from this host, or \
         use a cluster with another pool",
        pools[0]
    );
    assert_eq!(told, expected);
    assert!(scene.hopsack("h2", &["status"]).contains("in no cluster"));
    scene.host("h2").run(&["ip", "route", "del", &inside]).unwrap();
    scene.hopsack("h2", &["join", "10.77.1.1", "--token", &token]);
    scene.end();
}

#[test]
fn twenty_hosts_share_a_24_and_use_it_to_its_last_address() {
    require!(Root, Nft);
    let scene = Scene::agents(plain(20));
    gather(&scene);
    scene.network("web", &["--subnet", "10.40.0.0/24"]);
    let network = id(&scene, "web");
    let hosts: Vec<Client> = scene.members().iter().map(front_door).collect();
    // The first one takes the free blocks, the others use up theirs in turn, the first one takes the very last.
    let others = hosts[1..].iter().cycle().take(19 * 8);
    let in_turn = iter::repeat_n(&hosts[0], 94).chain(others).enumerate();
    let mut taken: Vec<IpAddr> =
        in_turn.map(|(number, host)| take_patiently(host, network, number).unwrap()).collect();
    let error = loop {
        match take_patiently(&hosts[0], network, taken.len()) {
            Ok(address) => taken.push(address),
            Err(error) => break error,
        }
    };
    assert_eq!((taken.len(), distinct(&taken)), (253, 253));
    let subnet: Cidr = "10.40.0.0/24".parse().unwrap();
    assert!(taken.iter().all(|address| subnet.contains(*address)));
    let ClientError::Refused(error) = error else { panic!("{error}") };
    assert_eq!(error.code, ErrorCode::Exhausted, "{error}");
    let expected = "network web has no free IPv4 address: h1 has 101, h10 has 8, *; stop containers there, or use a \
                    larger subnet";
    assert!(matches(&error.message, expected), "{error}");
    scene.end();
}

#[test]
fn an_exhausted_subnet_is_told_with_its_holders_and_a_release_is_of_use_to_others() {
    require!(Root, Nft);
    let scene = Scene::cluster(plain(2));
    scene.network("tiny", &["--subnet", "10.40.0.0/29"]);
    for number in 0..4 {
        scene.attach("h1", &format!("c{number}"), "tiny", &[]);
    }
    scene.attach("h2", "c4", "tiny", &[]);
    for host in ["h1", "h2"] {
        scene.host(host).container("late").unwrap();
        let told = scene.refused(host, 1, &["attach", "late", "--network", "tiny"]);
        let expected = "error: network tiny has no free IPv4 address: h1 has 4, h2 has 1, *; stop containers there, or use a \
                        larger subnet";
        assert!(matches(&told, expected), "{told}");
    }
    scene.hopsack("h1", &["detach", "c0", "--network", "tiny"]);
    scene.attach("h2", "late", "tiny", &[]);
    scene.end();
}

#[test]
fn a_certain_address_is_had_from_anywhere_in_the_subnet() {
    require!(Root, Nft, Ping);
    let scene = Scene::cluster(plain(2));
    scene.network("web", &["--subnet", "10.40.1.0/24", "--subnet", "fd40:0:0:1::/64"]);
    let one = scene.attach("h1", "c1", "web", &[]);
    // Next to the other's, and so in the block of the other host.
    let mut taken = ["10.40.1.0", "10.40.1.1", "10.40.1.255", "fd40:0:0:1::", "fd40:0:0:1::1"]
        .map(|address| address.parse().unwrap())
        .to_vec();
    taken.extend(&one.addresses);
    let next = one.addresses.iter().map(|address| free_beside(*address, &taken).to_string());
    let next: Vec<String> = next.collect();
    let two = scene.attach("h2", "c2", "web", &["--ip", &next[0], "--ip", &next[1]]);
    assert_eq!(two.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), next);
    for address in &two.addresses {
        one.await_reach(*address);
    }
    taken.extend(&two.addresses);
    let [first, last] =
        ["10.40.1.1", "10.40.1.255"].map(|end| free_beside(end.parse().unwrap(), &taken).to_string());
    for wanted in [&first, &last, "fd40:0:0:1:ffff:ffff:ffff:ffff"] {
        for (host, container) in [("h1", "c3"), ("h2", "c4")] {
            let there = scene.attach(host, container, "web", &["--ip", wanted]);
            assert!(there.addresses.contains(&wanted.parse().unwrap()));
            scene.hopsack(host, &["detach", container, "--network", "web"]);
        }
    }
    scene.end();
}

#[test]
fn a_released_address_rests_unless_it_is_asked_for() {
    require!(Root, Nft);
    let scene = Scene::cluster(plain(1));
    scene.network("web", &["--subnet", "10.40.0.0/24"]);
    let first = scene.attach("h1", "c1", "web", &[]).address();
    for _ in 0..3 {
        scene.hopsack("h1", &["detach", "c1", "--network", "web"]);
        let next = scene.attach("h1", "c1", "web", &[]).address();
        assert_ne!(next, first);
    }
    scene.hopsack("h1", &["detach", "c1", "--network", "web"]);
    let again = scene.attach("h1", "c1", "web", &["--ip", &first.to_string()]);
    assert_eq!(again.address(), first);
    scene.end();
}

#[test]
fn a_host_that_is_cut_off_lives_on_its_reserve_and_says_when_that_is_used_up() {
    require!(Root, Nft, Ping);
    let scene = Scene::cluster(plain(3));
    scene.network("web", &["--subnet", "10.40.0.0/25"]);
    let network = id(&scene, "web");
    // Granted ahead of need, before anything was asked for. A host blackholes its own blocks.
    wait::until("h3 has a reserve", SETTLED, || {
        scene.host("h3").run(&["ip", "route", "show", "type", "blackhole"]).unwrap().contains("10.40.0.")
    })
    .unwrap();
    scene.lab.partition(&["h3"], &["h1", "h2"]).unwrap();
    let lonely = scene.attach("h3", "c3", "web", &[]);
    let minority = take_all(&front_door(&scene.host("h3")), network, "h3");
    let ClientError::Refused(error) = &minority.1 else { panic!("{}", minority.1) };
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert!(matches(&error.message, "network web: this host's reserve is used up*"), "{error}");
    let near = scene.attach("h1", "c1", "web", &[]);
    let majority: Vec<IpAddr> = (0..20)
        .map(|number| take(&front_door(&scene.host("h2")), network, format!("test:h2-{number}")).unwrap())
        .collect();
    scene.lab.heal().unwrap();
    let all = [&minority.0[..], &majority, &lonely.addresses, &near.addresses].concat();
    assert_eq!(distinct(&all), all.len());
    // Together again, it gets more.
    wait::until("h3 gets more", SETTLED, || {
        take(&front_door(&scene.host("h3")), network, "test:more".to_owned())
            .is_ok_and(|more| !all.contains(&more))
    })
    .unwrap();
    near.await_reach(lonely.address());
    scene.end();
}

#[test]
fn an_address_that_was_given_is_never_given_again_however_often_the_agent_is_killed() {
    require!(Root, Nft);
    let scene = Scene::cluster(plain(2));
    scene.network("web", &["--subnet", "10.40.0.0/23"]);
    let network = id(&scene, "web");
    let host = scene.host("h2");
    let client = front_door(&host);
    let mut given: Vec<IpAddr> = Vec::new();
    for round in 0..4 {
        let before = host.service(AGENT).unwrap().starts;
        let until = given.len() + 5;
        // Calls fail while the agent is dead; whatever was answered counts.
        let taker = thread::scope(|scope| {
            let taker = scope.spawn(|| {
                let mut taken = Vec::new();
                let mut calls = 0;
                wait::until("addresses before and after the kill", SETTLED, || {
                    calls += 1;
                    taken.extend(take(&client, network, format!("test:{round}-{calls}")));
                    let respawned = host.service(AGENT).is_ok_and(|service| service.starts > before);
                    respawned && taken.len() + given.len() >= until
                })
                .unwrap();
                taken
            });
            host.kill(AGENT, Signal::SIGKILL, Afterwards::Respawn).unwrap();
            taker.join().unwrap()
        });
        given.extend(taker);
    }
    assert_eq!(distinct(&given), given.len(), "{given:?}");
    // Nor does the other host get one of them, by name or as any.
    let other = front_door(&scene.host("h1"));
    let wanted =
        AllocateRequest { network, family: Family::V4, address: Some(given[0]), holder: "test:x".to_owned() };
    assert!(
        matches!(other.allocate(&wanted), Err(ClientError::Refused(error)) if error.code == ErrorCode::Conflict)
    );
    let any = take(&other, network, "test:y".to_owned()).unwrap();
    assert!(!given.contains(&any));
    scene.end();
}
