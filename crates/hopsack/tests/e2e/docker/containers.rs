//! Containers and their addresses: given, chosen, freed, changed while they run.

use super::*;
use crate::scene::free_beside;
use hopsack_lab::require;

#[test]
fn an_address_is_free_again_when_its_container_stops_or_goes() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --subnet fd50::/64 web");
    engines.run("h1", "c1", "--net web");
    let addresses = engines.addresses("h1", "c1", "web");
    let given = format!("--net web --ip {} --ip6 {}", addresses[0], addresses[1]);
    let refused = engines.refused("h2", &format!("run --name c2 {given} {IMAGE} true"));
    assert!(refused.contains("is in use") && refused.contains("h1"), "{refused}");
    engines.docker("h2", "rm c2");

    engines.docker("h1", "stop c1");
    assert_eq!(engines.endpoints("h1"), 0);
    engines.run("h2", "c2", &given);
    assert_eq!(engines.addresses("h2", "c2", "web"), addresses);
    engines.docker("h2", "rm -f c2");
    engines.run("h3", "c3", &given);
    // A container that starts again finds its place, with other addresses.
    engines.docker("h1", "start c1");
    for address in &addresses {
        engines.await_ping("h1", "c1", *address);
    }
    engines.end();
}

#[test]
fn a_given_address_may_lie_anywhere_in_the_subnet() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 --aux-address printer=10.50.0.9 web");
    for host in HOSTS {
        engines.run(host, "c1", "--net web");
    }
    let first = HOSTS.map(|host| engines.address(host, "c1", "web"));
    // Near an address of h1 lies h1's block; h2 and h3 take some there, and h1 in theirs. Which part of the subnet that is
    // is chance.
    let mut taken: Vec<IpAddr> = first.to_vec();
    taken
        .extend(["10.50.0.0", "10.50.0.1", "10.50.0.9", "10.50.0.255"].map(|a| a.parse::<IpAddr>().unwrap()));
    for (host, near) in [("h2", first[0]), ("h3", first[1]), ("h1", first[2])] {
        let wanted = free_beside(near, &taken);
        taken.push(wanted);
        engines.run(host, "c2", &format!("--net web --ip {wanted}"));
        assert_eq!(engines.address(host, "c2", "web"), wanted);
        for other in HOSTS {
            engines.await_ping(other, "c1", wanted);
        }
    }
    let refused = engines.refused("h3", &format!("run --net web --ip 10.50.0.9 {IMAGE} true"));
    assert!(refused.contains("printer"), "{refused}");
    let refused = engines.refused("h3", &format!("run --net web --ip 10.51.0.9 {IMAGE} true"));
    assert!(refused.contains("10.51.0.9"), "{refused}");
    let refused = engines.refused("h3", &format!("run --net web --ip {} {IMAGE} true", first[2]));
    assert!(refused.contains("is in use"), "{refused}");
    engines.end();
}

#[test]
fn a_running_container_is_connected_and_disconnected() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 --ip-range 10.50.0.0/25 web");
    engines.run("h2", "c2", "--net web");
    let peer = engines.address("h2", "c2", "web");
    engines.run("h1", "c1", "--net none");
    engines.docker("h1", "network disconnect none c1");
    for round in 0..3 {
        engines.docker("h1", "network connect web c1");
        engines.await_ping("h1", "c1", peer);
        let mine = engines.address("h1", "c1", "web");
        engines.await_ping("h2", "c2", mine);
        engines.docker("h1", "network disconnect web c1");
        assert!(!engines.pings("h2", "c2", mine), "round {round}: {mine} still answers");
        assert_eq!(engines.endpoints("h1"), 0, "round {round}");
    }
    engines.docker("h1", "network connect --ip 10.50.0.200 web c1");
    engines.await_ping("h2", "c2", "10.50.0.200".parse().unwrap());
    engines.end();
}

#[test]
fn a_subnet_that_is_used_up_says_so_and_serves_again_when_one_goes() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    // Eight addresses: the network's own, Docker's gateway, the last one, and five for containers.
    engines.network("h1", "--subnet 10.50.0.0/29 small");
    for (host, name) in [("h1", "a1"), ("h2", "a2"), ("h3", "a3"), ("h1", "a4"), ("h2", "a5")] {
        engines.run(host, name, "--net small");
    }
    let refused = engines.refused("h3", &format!("run --name a6 --net small {IMAGE} true"));
    assert!(
        refused.contains("network small has no free IPv4 address: h1 has 2, h2 has 2, h3 has 1"),
        "{refused}"
    );
    engines.docker("h3", "rm a6");
    engines.docker("h1", "rm -f a4");
    engines.run("h3", "a6", "--net small");
    for (host, name) in [("h1", "a1"), ("h2", "a2"), ("h2", "a5")] {
        engines.await_ping("h3", "a6", engines.address(host, name, "small"));
    }
    engines.end();
}
