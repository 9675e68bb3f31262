//! Who reaches whom: containers of all hosts, of one network and of several, and the world outside.

use super::*;
use hopsack_lab::require;

#[test]
fn every_container_pings_every_other_and_moves_data_in_both_families() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    engines.network("h2", "--ipv6 --subnet 10.51.0.0/24 --subnet fd51::/64 dual");
    for (network, families) in [("web", 1), ("dual", 2)] {
        let containers = HOSTS.map(|host| {
            let name = format!("{network}-{host}");
            engines.run(host, &name, &format!("--net {network}"));
            let addresses = engines.addresses(host, &name, network);
            assert_eq!(addresses.len(), families, "{name}: {addresses:?}");
            let place = engines.place(host, &name);
            (host, name, addresses, place)
        });
        for (host, name, _, from) in &containers {
            for (_, _, addresses, to) in &containers {
                for address in addresses {
                    engines.await_ping(host, name, *address);
                    move_data(from, to, *address);
                }
            }
        }
    }
    // As they are: direct on the segment, in a tunnel across the router.
    assert_eq!(engines.scene.path("h1", "h2"), "direct");
    assert_eq!(engines.scene.path("h1", "h3"), "vxlan");
    engines.end();
}

#[test]
fn containers_of_different_networks_are_apart_and_all_reach_outside_by_nat() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    engines.network("h1", "--subnet 10.51.0.0/24 data");
    for host in HOSTS {
        engines.run(host, "web", "--net web");
        engines.run(host, "data", "--net data");
    }
    let web = HOSTS.map(|host| engines.address(host, "web", "web"));
    for host in HOSTS {
        // Of the same network first: then what follows is no accident.
        for address in web {
            engines.await_ping(host, "web", address);
        }
        for address in web {
            assert!(!engines.pings(host, "data", address), "data on {host} reaches {address} of web");
        }
    }
    // Docker's own networks do not get in either.
    engines.run("h1", "bridged", "");
    assert!(!engines.pings("h1", "bridged", web[0]));
    assert!(!engines.pings("h1", "bridged", web[1]));
    // The router has no route to containers: only what comes from a host's own address is answered.
    let (near, far) = ("10.77.1.254".parse().unwrap(), "10.77.2.254".parse().unwrap());
    for host in HOSTS {
        for container in ["web", "data"] {
            assert!(engines.pings(host, container, near), "{container} on {host} does not reach {near}");
            assert!(engines.pings(host, container, far), "{container} on {host} does not reach {far}");
        }
    }
    engines.end();
}

#[test]
fn a_container_is_in_two_networks_and_on_dockers_bridge() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    engines.network("h1", "--ipv6 --subnet 10.51.0.0/24 --subnet fd51::/64 data");
    engines.run("h2", "web", "--net web");
    engines.run("h3", "data", "--net data");
    engines.run("h1", "both", "--net web");
    let web = engines.address("h2", "web", "web");
    let data = engines.addresses("h3", "data", "data");
    engines.await_ping("h1", "both", web);
    assert!(!engines.pings("h1", "both", data[0]));

    engines.docker("h1", "network connect data both");
    for address in data.iter().chain([&web]) {
        engines.await_ping("h1", "both", *address);
    }
    // Both ways, and each only with its own.
    engines.await_ping("h2", "web", engines.address("h1", "both", "web"));
    engines.await_ping("h3", "data", engines.address("h1", "both", "data"));
    assert!(!engines.pings("h2", "web", data[0]));

    engines.docker("h1", "network create bridged");
    engines
        .docker("h1", &format!("run -d --name near --stop-signal KILL --net bridged {IMAGE} sleep 100000"));
    let near = engines.address("h1", "near", "bridged");
    engines.docker("h1", "network connect bridged both");
    for address in data.iter().chain([&web, &near]) {
        engines.await_ping("h1", "both", *address);
    }
    assert!(!engines.pings("h1", "near", web));

    // The other way round: it was on a bridge first.
    engines.docker("h1", "network connect web near");
    engines.await_ping("h1", "near", web);
    engines.await_ping("h2", "web", engines.address("h1", "near", "web"));

    engines.docker("h1", "network disconnect data both");
    assert!(!engines.pings("h1", "both", data[0]));
    for address in [web, near] {
        engines.await_ping("h1", "both", address);
    }
    engines.end();
}
