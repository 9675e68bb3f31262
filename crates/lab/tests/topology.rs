//! A lab comes up as described, can be entered from another process's view, and leaves nothing.

use hopsack_lab::{HostKind, Inside, Lab, Options, Topology, leftovers};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack-lab-probe");

#[test]
fn three_hosts_reach_each_other_and_leave_nothing() {
    let options = Options::unique("topo", PROGRAM);
    let name = options.name.clone();
    let start = Instant::now();
    let lab = Lab::up(Topology::demo(HostKind::Plain).unwrap(), options).unwrap();
    let took = start.elapsed();
    eprintln!("up took {took:?}");
    for a in lab.hosts().unwrap() {
        for b in lab.hosts().unwrap() {
            a.run(&["ping", "-c1", "-W2", &b.address().unwrap().to_string()]).unwrap();
        }
        assert_eq!(a.run(&["hostname"]).unwrap().trim(), a.name());
        assert!(a.run(&["ip", "route"]).unwrap().contains("default via 10.77."));
    }
    assert!(took < Duration::from_secs(10), "up took {took:?}");
    assert!(!leftovers(&name).unwrap().is_empty(), "a lab that stands must be seen");
    lab.down().unwrap();
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}
