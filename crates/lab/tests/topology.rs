//! A lab comes up as described, can be opened by its name, survives a host's restart, and leaves nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

use hopsack_lab::requirement::check;
use hopsack_lab::{
    Feature, HostKind, HostSpec, Inside, Lab, LabError, Options, SegmentSpec, Topology, leftovers, require,
    wait,
};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack-lab-probe");

fn all_reach_all(lab: &Lab) {
    for a in lab.hosts().unwrap() {
        for b in lab.hosts().unwrap() {
            for address in b.addresses() {
                a.run(&["ping", "-c1", "-W2", &address.to_string()]).unwrap();
            }
        }
    }
}

#[test]
fn three_hosts_reach_each_other_and_leave_nothing() {
    require!(Root, Ping);
    let options = Options::unique("topo", PROGRAM);
    let name = options.name.clone();
    let start = Instant::now();
    let lab = Lab::up(Topology::demo(HostKind::Plain).unwrap(), options).unwrap();
    let took = start.elapsed();
    // 0.1 seconds on an idle machine; what is checked is that nothing waits for a timeout.
    assert!(took < Duration::from_secs(5), "up took {took:?}");
    all_reach_all(&lab);
    for host in lab.hosts().unwrap() {
        assert_eq!(host.run(&["hostname"]).unwrap().trim(), host.name());
        assert!(host.run(&["ip", "route"]).unwrap().contains("default via 10.77."));
        assert_eq!(
            host.run(&["ls", "/sys/class/net"]).unwrap(),
            "eth0\nlo\n",
            "a host has a /sys of its own"
        );
        assert_eq!(host.run(&["sh", "-c", "echo $$"]).unwrap().trim().len(), 1, "and processes of its own");
    }
    assert!(!leftovers(&name).unwrap().is_empty(), "a lab that stands must be seen");
    lab.down().unwrap();
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}

#[test]
fn routers_in_a_row_carry_both_families() {
    require!(Root, Ping);
    let topology = Topology::builder()
        .segment(SegmentSpec::new("a", &["10.77.1.0/24", "fd77:1::/64"]))
        .segment(SegmentSpec::new("b", &["10.77.2.0/24", "fd77:2::/64"]).mtu(1400))
        .segment(SegmentSpec::new("c", &["10.77.3.0/24", "fd77:3::/64"]))
        .router("ab", &["a", "b"])
        .router("bc", &["b", "c"])
        .host(HostSpec::plain("h1", &["a"]))
        .host(HostSpec::plain("h2", &["b"]))
        .host(HostSpec::plain("h3", &["c"]))
        .build()
        .unwrap();
    let lab = Lab::up(topology, Options::unique("topo", PROGRAM)).unwrap();
    all_reach_all(&lab);
    assert!(lab.host("h2").unwrap().run(&["ip", "link", "show", "eth0"]).unwrap().contains("mtu 1400"));
}

#[test]
fn a_lab_is_opened_by_its_name_and_taken_down_by_another() {
    require!(Root);
    let options = Options::unique("topo", PROGRAM);
    let name = options.name.clone();
    let topology = Topology::numbered(1, &[], HostKind::Plain).unwrap();
    Lab::up(topology.clone(), options.clone()).unwrap().leave();
    assert!(matches!(Lab::up(topology, options), Err(LabError::AlreadyUp(_))));
    let opened = Lab::open(&name).unwrap();
    assert_eq!(opened.host("h1").unwrap().run(&["hostname"]).unwrap(), "h1\n");
    assert!(matches!(opened.host("h2"), Err(LabError::Unknown { .. })));
    drop(opened);
    assert!(Lab::open(&name).is_ok(), "looking at a lab does not end it");
    Lab::open(&name).unwrap().down().unwrap();
    assert!(matches!(Lab::open(&name), Err(LabError::NotUp(_))));
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}

#[test]
fn a_panic_leaves_nothing() {
    require!(Root);
    let mut options = Options::unique("topo", PROGRAM);
    options.dump_on_panic = false;
    let name = options.name.clone();
    let topology = Topology::numbered(2, &[], HostKind::Plain).unwrap();
    let panicked = std::panic::catch_unwind(|| {
        let _lab = Lab::up(topology, options).unwrap();
        panic!("as a failed test does");
    });
    assert!(panicked.is_err());
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}

#[test]
#[ignore = "is the process that the next test kills"]
fn victim() {
    let name = std::env::var("LAB_VICTIM").unwrap();
    let topology = Topology::numbered(2, &[], HostKind::Plain).unwrap();
    let lab = Lab::up(topology, Options::new(name, PROGRAM)).unwrap();
    lab.host("h1").unwrap().run(&["sleep", "1000"]).unwrap();
}

#[test]
fn when_its_maker_is_killed_a_lab_goes_down_by_itself() {
    require!(Root);
    let name = Options::unique("orphan", PROGRAM).name;
    let mut maker = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "victim"])
        .env("LAB_VICTIM", &name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait::until("the lab to stand", Duration::from_secs(20), || {
        Lab::open(&name).is_ok_and(|lab| lab.host("h2").is_ok_and(|host| host.run(&["true"]).is_ok()))
    })
    .unwrap();
    maker.kill().unwrap();
    maker.wait().unwrap();
    wait::value("nothing to be left", Duration::from_secs(20), || {
        let left = leftovers(&name).unwrap();
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    })
    .unwrap();
}

#[test]
fn a_failed_up_leaves_nothing() {
    require!(Root);
    let mut options = Options::unique("topo", PROGRAM);
    // A program that is no lab-host: hosts end at once.
    options.program = "/bin/true".into();
    let name = options.name.clone();
    let failed = Lab::up(Topology::numbered(2, &[], HostKind::Plain).unwrap(), options);
    assert!(failed.is_err());
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}

#[test]
fn a_restarted_host_keeps_its_disk_and_loses_all_else() {
    require!(Root, Ping);
    let topology = Topology::numbered(2, &[], HostKind::Plain).unwrap();
    let lab = Lab::up(topology, Options::unique("topo", PROGRAM)).unwrap();
    let h1 = lab.host("h1").unwrap();
    h1.run(&[
        "sh",
        "-c",
        "mkdir -p /var/lib/hopsack && echo kept >/var/lib/hopsack/file && echo lost >/run/file",
    ])
    .unwrap();
    h1.container("c").unwrap();
    let again = lab.restart_host("h1").unwrap();
    assert!(matches!(h1.run(&["true"]), Err(LabError::Dead { .. })), "the old handle is of no use");
    assert_eq!(again.run(&["cat", "/var/lib/hopsack/file"]).unwrap(), "kept\n");
    assert!(!again.exec(&["cat", "/run/file"]).unwrap().success());
    assert_eq!(again.run(&["ip", "netns", "list"]).unwrap(), "");
    all_reach_all(&lab);
    assert!(
        !std::path::Path::new("/var/lib/hopsack/file").exists(),
        "the machine's own /var/lib is untouched"
    );
}

#[test]
fn a_plain_container_is_a_network_of_its_own_on_its_host() {
    require!(Root);
    let topology = Topology::numbered(1, &[], HostKind::Plain).unwrap();
    let lab = Lab::up(topology, Options::unique("topo", PROGRAM)).unwrap();
    let host = lab.host("h1").unwrap();
    let container = host.container("c1").unwrap();
    assert_eq!(container.run(&["ls", "/sys/class/net"]).unwrap(), "eth0\nlo\n", "/sys stays the host's");
    let links = container.run(&["ip", "-o", "link"]).unwrap();
    assert_eq!(links.lines().count(), 1, "{links}");
    assert_eq!(container.run(&["hostname"]).unwrap(), "h1\n");
    host.container("c1").unwrap();
    container.remove().unwrap();
    assert_eq!(host.run(&["ip", "netns", "list"]).unwrap(), "");
}

#[test]
fn a_missing_feature_is_a_reason_and_a_present_one_is_not() {
    assert_eq!(check(Feature::Root).is_ok(), nix::unistd::geteuid().is_root());
}
