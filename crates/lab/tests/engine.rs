//! Real Docker engines, one per host.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

use hopsack_lab::{
    Afterwards, ENGINE, HostKind, IMAGE, Inside, Lab, Options, Signal, Topology, leftovers, require, wait,
};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack-lab-probe");

#[test]
fn three_engines_come_up_together_and_each_runs_a_container() {
    require!(Root, Docker, Busybox);
    let options = Options::unique("engine", PROGRAM);
    let name = options.name.clone();
    let start = Instant::now();
    let lab = Lab::up(Topology::demo(HostKind::Docker).unwrap(), options).unwrap();
    // One to three seconds where this is developed.
    assert!(start.elapsed() < Duration::from_secs(60), "up took {:?}", start.elapsed());
    lab.load_image().unwrap();
    for host in lab.hosts().unwrap() {
        let said = host.docker(&["run", "--rm", IMAGE, "hostname", "-i"]).unwrap();
        assert_eq!(said, "172.17.0.2", "each engine has its own bridge");
        assert_eq!(host.docker(&["ps", "-aq"]).unwrap(), "");
        assert!(host.engine_socket().exists(), "the engine is reached from outside too");
    }
    // Containers that run when the lab goes down go with it, and with all that they had.
    let h1 = lab.host("h1").unwrap();
    h1.docker(&["run", "-d", "--name", "stays", IMAGE, "sleep", "100000"]).unwrap();
    let inside = h1.docker_network("stays").unwrap();
    assert!(inside.run(&["ip", "-o", "address"]).unwrap().contains("172.17.0.2/16"));
    lab.down().unwrap();
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}

#[test]
fn an_engine_may_start_late_be_killed_and_see_its_host_restart() {
    require!(Root, Docker, Busybox);
    let mut options = Options::unique("engine", PROGRAM);
    options.start_engines = false;
    let lab = Lab::up(Topology::numbered(1, &[], HostKind::Docker).unwrap(), options).unwrap();
    let host = lab.host("h1").unwrap();
    assert_eq!(host.service(ENGINE).unwrap().starts, 0);
    host.start(ENGINE).unwrap();
    host.await_engine().unwrap();
    lab.load_image().unwrap();

    host.kill(ENGINE, Signal::SIGKILL, Afterwards::Respawn).unwrap();
    host.await_respawn(ENGINE, 1).unwrap();
    host.await_engine().unwrap();
    assert_eq!(host.docker(&["images", "-q", IMAGE]).unwrap().lines().count(), 1);

    let host = lab.restart_host("h1").unwrap();
    assert_eq!(host.service(ENGINE).unwrap().starts, 0);
    host.start(ENGINE).unwrap();
    host.await_engine().unwrap();
    let echo = || host.docker(&["run", "--rm", IMAGE, "echo", "as before"]);
    wait::value("a container", Duration::from_secs(10), || echo().map_err(|error| error.chain())).unwrap();
}
