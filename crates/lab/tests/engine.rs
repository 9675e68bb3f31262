//! Real Docker engines, one per host.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

use hopsack_lab::{HostKind, IMAGE, Lab, Options, Topology, leftovers};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack-lab-probe");

#[test]
fn three_engines_come_up_together_and_each_runs_a_container() {
    let options = Options::unique("engine", PROGRAM);
    let name = options.name.clone();
    let start = Instant::now();
    let lab = Lab::up(Topology::demo(HostKind::Docker).unwrap(), options).unwrap();
    eprintln!("up with three engines took {:?}", start.elapsed());
    lab.load_image().unwrap();
    eprintln!("with the image {:?}", start.elapsed());
    for host in lab.hosts().unwrap() {
        let said = host.docker(&["run", "--rm", IMAGE, "hostname", "-i"]).unwrap();
        assert_eq!(said, "172.17.0.2", "each engine has its own bridge");
        assert_eq!(host.docker(&["ps", "-aq"]).unwrap(), "");
        host.docker(&["run", "-d", "--name", "stays", IMAGE, "sleep", "100000"]).unwrap();
        assert_eq!(host.docker(&["info", "-f", "{{.Driver}}"]).unwrap(), "overlay2");
    }
    eprintln!("with containers {:?}", start.elapsed());
    lab.down().unwrap();
    eprintln!("down {:?}", start.elapsed());
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}
