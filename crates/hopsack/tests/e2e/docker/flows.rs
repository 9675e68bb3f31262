//! Clients that go on while what they talk to changes: the kernel remembers where it sent them before.

use super::ports::{OUT, with_outsider};
use super::*;
use hopsack_lab::{Running, require};

/// A program in a container that answers datagrams, and whom it has seen.
fn echo(engines: &Engines, container: &str, address: IpAddr) -> Running {
    let bind = SocketAddr::new(address, 53).to_string();
    engines.place("h1", container).start_traffic(&["udp-echo", "--bind", &bind]).unwrap()
}

#[test]
fn a_udp_client_that_goes_on_comes_to_a_container_that_is_made_anew_and_to_nobody_who_has_its_address() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = with_outsider();
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --ip-range 10.50.0.128/25 --subnet fd50::/64 web");
    let (outside, h1, h2) = (engines.host(OUT), engines.host("h1"), engines.host("h2"));
    // The same number on another host, by way of this one: none of h1's business.
    engines.run("h1", "asker", "--net web");
    let elsewhere = SocketAddr::new(h2.addresses()[0], 5353);
    let other = h2.start_traffic(&["udp-echo", "--bind", &elsewhere.to_string()]).unwrap();
    let ping = |from: &dyn Fn(&[&str]) -> Running, to: SocketAddr| {
        from(&["udp-ping", "--count", "100000", "--timeout", "0.1", "--to", &to.to_string()])
    };
    let asking = ping(&|argv| engines.place("h1", "asker").spawn_traffic(argv).unwrap(), elsewhere);
    wait::until("the other host to be asked", SETTLED, || other.stdout().lines().count() > 1).unwrap();
    // Clients that begin before anything is published, each at one port of its own.
    let clients: Vec<Running> = h1
        .addresses()
        .iter()
        .map(|host| ping(&|argv| outside.spawn_traffic(argv).unwrap(), SocketAddr::new(*host, 5353)))
        .collect();
    let has_seen = |echoes: &[Running]| echoes.iter().all(|echo| echo.stdout().contains("peer"));
    for container in ["one", "two"] {
        engines.run("h1", container, "--net web --ip 10.50.0.77 --ip6 fd50::77 -p 5353:53/udp");
        let addresses = engines.addresses("h1", container, "web");
        let echoes: Vec<Running> = addresses.iter().map(|at| echo(&engines, container, *at)).collect();
        wait::until(&format!("{container} to be asked"), SETTLED, || has_seen(&echoes)).unwrap();
        drop(echoes);
        engines.docker("h1", &format!("rm -f {container}"));
    }
    // Who gets the address next has published nothing.
    engines.run("h1", "three", "--net web --ip 10.50.0.77 --ip6 fd50::77");
    let addresses = engines.addresses("h1", "three", "web");
    let echoes: Vec<Running> = addresses.iter().map(|at| echo(&engines, "three", *at)).collect();
    // The clients are still there: another port of the host shows that they would have been seen by now.
    engines.run("h1", "four", "--net web -p 5353:53/udp");
    let addresses = engines.addresses("h1", "four", "web");
    let after: Vec<Running> = addresses.iter().map(|at| echo(&engines, "four", *at)).collect();
    wait::until("four to be asked", SETTLED, || has_seen(&after)).unwrap();
    assert!(!echoes.iter().any(|echo| echo.stdout().contains("peer")), "let in without a published port");
    assert_eq!(other.stdout().lines().count(), 2, "a flow of others was cut: {}", other.stdout());
    drop((clients, asking, echoes, after, other));
    engines.end();
}
