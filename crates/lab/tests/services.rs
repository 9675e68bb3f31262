//! Services of a host: run again when they end, dead when they are to be dead.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

use hopsack_lab::{
    AGENT, Afterwards, AgentOptions, Host, HostKind, Inside, Lab, LabError, Options, ServiceSpec, Signal,
    Topology, leftovers, require, wait,
};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack-lab-probe");

fn one_host() -> (Lab, Host) {
    let topology = Topology::numbered(1, &[], HostKind::Plain).unwrap();
    let lab = Lab::up(topology, Options::unique("service", PROGRAM)).unwrap();
    let host = lab.host("h1").unwrap();
    let argv = ["sh", "-c", "echo began as $WHO; exec sleep 100000"].map(str::to_owned).to_vec();
    host.define(&ServiceSpec { name: "idle".into(), argv, env: vec![("WHO".into(), "idle".into())] })
        .unwrap();
    (lab, host)
}

#[test]
fn a_killed_service_runs_again_after_a_pause() {
    require!(Root);
    let (_lab, host) = one_host();
    let first = host.start("idle").unwrap();
    wait::until("it to have spoken", Duration::from_secs(5), || host.log("idle") == "began as idle\n")
        .unwrap();
    let killed = Instant::now();
    host.kill("idle", Signal::SIGKILL, Afterwards::Respawn).unwrap();
    let second = host.await_respawn("idle", first.starts).unwrap();
    assert!(killed.elapsed() >= Duration::from_millis(300));
    assert_ne!(first.pid, second.pid);
    assert_eq!(second.last_end, Some(-9));
    let twice = "began as idle\nbegan as idle\n";
    wait::until("both to have spoken", Duration::from_secs(5), || host.log("idle") == twice).unwrap();
}

#[test]
fn a_service_that_is_to_stay_dead_stays_dead_until_it_is_started() {
    require!(Root);
    let (_lab, host) = one_host();
    let first = host.start("idle").unwrap();
    host.kill("idle", Signal::SIGKILL, Afterwards::StayDead).unwrap();
    // Another service that is run again meanwhile shows that the pause has passed.
    let argv = vec!["true".to_owned()];
    host.define(&ServiceSpec { name: "brief".into(), argv, env: vec![] }).unwrap();
    host.start("brief").unwrap();
    wait::until("three starts", Duration::from_secs(10), || host.service("brief").unwrap().starts >= 3)
        .unwrap();
    let dead = host.service("idle").unwrap();
    assert_eq!((dead.pid, dead.starts), (None, first.starts));
    assert!(host.start("idle").unwrap().pid.is_some());
    host.stop("idle").unwrap();
    assert_eq!(host.service("idle").unwrap().last_end, Some(-15));
}

#[test]
fn orphans_are_reaped_and_unknown_services_refused() {
    require!(Root);
    let (_lab, host) = one_host();
    host.run(&["sh", "-c", "(sleep 0.01 &) ; true"]).unwrap();
    wait::until("no zombie", Duration::from_secs(5), || {
        !host.run(&["ps", "-eo", "stat"]).unwrap().contains('Z')
    })
    .unwrap();
    match host.start("nothing") {
        Err(LabError::Refused { reason, .. }) => assert!(reason.contains("idle"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_is_not_there_is_told_in_the_log() {
    require!(Root);
    let (_lab, host) = one_host();
    host.define(&ServiceSpec { name: "wrong".into(), argv: vec!["/no/such".into()], env: vec![] }).unwrap();
    host.start("wrong").unwrap();
    wait::until("the log", Duration::from_secs(5), || {
        host.log("wrong").contains("cannot run [\"/no/such\"]")
    })
    .unwrap();
}

#[test]
fn the_agent_is_a_service_with_its_arguments() {
    require!(Root);
    let mut options = Options::unique("service", PROGRAM);
    options.agent = Some(AgentOptions { args: vec!["--some".into()], env: vec![] });
    let lab = Lab::up(Topology::numbered(1, &[], HostKind::Plain).unwrap(), options).unwrap();
    let host = lab.host("h1").unwrap();
    // The probe has no agent: it ends at once with its usage, again and again.
    wait::until("two starts", Duration::from_secs(10), || host.service(AGENT).unwrap().starts >= 2).unwrap();
    assert!(host.log(AGENT).starts_with("usage: "), "{}", host.log(AGENT));
}

#[test]
fn the_end_of_its_first_process_ends_all_of_a_host() {
    require!(Root);
    let (lab, host) = one_host();
    host.start("idle").unwrap();
    let mut beside = host.spawn(&["sleep", "100000"]).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(host.pid()), Signal::SIGKILL).unwrap();
    wait::until("all to end", Duration::from_secs(10), || !beside.is_running()).unwrap();
    let is_dead = || matches!(host.run(&["true"]), Err(LabError::Dead { .. }));
    wait::until("the host to be dead", Duration::from_secs(10), is_dead).unwrap();
    let name = lab.name();
    lab.down().unwrap();
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}
