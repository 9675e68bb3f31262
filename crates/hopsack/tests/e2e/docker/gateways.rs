//! Published ports where a container's default route moves, where Docker publishes them itself, and where engines begin
//! anew: in a container of networks of both kinds of gateway.

use super::ports::{Echo, OUT, with_outsider};
use super::*;
use hopsack_lab::{Afterwards, Signal, require};

const CONTAINER: &str = "server";

fn lines(text: &str) -> usize {
    text.lines().count()
}

#[test]
fn ports_follow_a_containers_default_route_from_network_to_network_and_from_docker_to_hopsack_and_back() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = with_outsider();
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --subnet fd50::/64 web");
    // Docker looks at names to choose: one before and one after.
    engines.network("h1", "-o hopsack.gateway=docker --subnet 10.51.0.0/24 aside");
    engines.network("h1", "-o hopsack.gateway=docker --subnet 10.52.0.0/24 yard");
    engines.run("h1", CONTAINER, "--net aside -p 8080:80");
    let place = engines.place("h1", CONTAINER);
    let echo = Echo::start(&place, "tcp", "0.0.0.0:80".parse().unwrap());
    let (h1, outside) = (engines.host("h1"), engines.host(OUT));
    let check = |step: &str, by_hopsack: bool| {
        let client = echo.ask(&outside, "10.77.1.1:8080".parse().unwrap());
        assert_eq!(client, Some(outside.addresses()[0]), "from outside after {step}");
        assert!(echo.ask(&h1, "127.0.0.1:8080".parse().unwrap()).is_some(), "on localhost after {step}");
        // Who publishes shows it: Hopsack of a network of both families, or Docker.
        let of_docker = lines(&engines.docker("h1", &format!("port {CONTAINER}"))) > 0;
        assert_eq!(of_docker, !by_hopsack, "Docker's list after {step}");
        let expected = if by_hopsack { 2 } else { 0 };
        wait::until(&format!("hopsack port after {step}"), SETTLED, || {
            lines(&engines.scene.hopsack("h1", &["port", CONTAINER])) == expected
        })
        .unwrap();
        place.run(&["ping", "-c", "1", "-W", "2", &outside.addresses()[0].to_string()]).unwrap();
    };
    check("the start", false);
    for (step, by_hopsack) in [
        ("connect web", true),
        ("connect yard", true),
        ("disconnect aside", true),
        ("disconnect web", false),
        ("connect web", true),
        ("disconnect yard", true),
        ("connect yard", true),
        ("disconnect web", false),
    ] {
        engines.docker("h1", &format!("network {step} {CONTAINER}"));
        check(step, by_hopsack);
    }
    engines.docker("h1", &format!("rm -f {CONTAINER}"));
    drop(echo);
    assert_eq!(engines.scene.hopsack("h1", &["port", "-o", "json"]).trim(), "[]");
    drop(Echo::start(h1.place(), "tcp", "0.0.0.0:8080".parse().unwrap()));

    // Two networks that lead to all open ones, by Docker's routes, which have no metric.
    let wide = "-o hopsack.gateway=docker -o hopsack.isolation=none";
    engines.network("h1", &format!("{wide} --subnet 10.53.0.0/24 here"));
    engines.network("h1", &format!("{wide} --subnet 10.54.0.0/24 there"));
    engines.run("h1", "wide", "--net here");
    let told = engines.refused("h1", "network connect there wide");
    assert!(told.contains("it can be in one such network"), "{told}");
    engines.docker("h1", "network disconnect here wide");
    engines.docker("h1", "network connect there wide");
    engines.docker("h1", "restart -t 0 wide");
    engines.end();
}

#[test]
fn without_dockers_proxy_ports_work_and_come_back_with_their_engine_however_it_ended() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = with_outsider();
    let (h1, outside) = (engines.host("h1"), engines.host(OUT));
    let settings = |live_restore| EngineSettings { live_restore, userland_proxy: false };
    h1.configure_engine(settings(false)).unwrap();
    h1.restart(ENGINE).unwrap();
    engines.await_engine("h1");
    engines.network("h1", "--ipv6 --subnet 10.50.0.0/24 --subnet fd50::/64 web");
    engines.network("h1", "-o hopsack.gateway=docker --subnet 10.51.0.0/24 yard");
    engines.run("h1", "ours", "--net web -p 8080:80 --restart always");
    engines.run("h1", "dockers", "--net yard -p 8081:80 --restart always");
    let shown = "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n";
    let check = |when: &str| {
        let running = || engines.docker("h1", "ps -q").lines().count() == 2;
        wait::until(&format!("both containers to run {when}"), SETTLED, running).unwrap();
        wait::until(&format!("the container's name {when}"), SETTLED, || {
            engines.host("h1").exec(&[crate::scene::PROGRAM, "port", "ours"]).is_ok_and(|o| o.stdout == shown)
        })
        .unwrap();
        for (container, port) in [("ours", 8080), ("dockers", 8081)] {
            let place = engines.place("h1", container);
            let echo = Echo::start(&place, "tcp", "0.0.0.0:80".parse().unwrap());
            let at = |address: &str| SocketAddr::new(address.parse().unwrap(), port);
            let client = echo.ask(&outside, at("10.77.1.1"));
            assert_eq!(client, Some(outside.addresses()[0]), "{container} from outside {when}");
            for to in ["10.77.1.1", "127.0.0.1"] {
                assert!(echo.ask(&h1, at(to)).is_some(), "{container} at {to} {when}");
            }
            // Docker's own bridge of gateways lets no container come back to itself.
            let itself = container != "ours" || echo.ask(&place, at("10.77.1.1")).is_some();
            assert!(itself, "{container} by itself {when}");
        }
    };
    check("at first");
    // The first with live-restore still ends without.
    for (live_restore, killed) in [(false, false), (false, true), (true, false), (true, false), (true, true)]
    {
        h1.configure_engine(settings(live_restore)).unwrap();
        if killed {
            h1.kill(ENGINE, Signal::SIGKILL, Afterwards::StayDead).unwrap();
        } else {
            h1.stop(ENGINE).unwrap();
        }
        h1.start(ENGINE).unwrap();
        engines.await_engine("h1");
        check(&format!("after an engine that was killed: {killed}, with live-restore: {live_restore}"));
    }
    engines.docker("h1", "rm -f ours dockers");
    assert_eq!(engines.scene.hopsack("h1", &["port", "-o", "json"]).trim(), "[]");
    for port in [8080, 8081] {
        drop(Echo::start(h1.place(), "tcp", SocketAddr::new("0.0.0.0".parse().unwrap(), port)));
    }
    engines.end();
}
