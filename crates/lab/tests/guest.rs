//! Machines with a kernel of their own.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hopsack_lab::{Kit, LabError};
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

fn kit() -> Kit {
    Kit::beside(Path::new(env!("CARGO_BIN_EXE_hopsack-lab-probe"))).unwrap()
}

#[test]
fn a_guest_has_the_programs_and_modules_that_it_was_given_and_tells_how_its_script_ended() {
    let guest = kit().guest().unwrap().program(Path::new("/usr/sbin/nft")).unwrap();
    let guest = guest.modules(&["nf_tables", "dummy"]).unwrap();
    let script = "busybox ip link add eth7 type dummy && busybox ip -o link show eth7
        nft add table inet guest && nft list tables
        busybox ip link add br0 type bridge || exit 7";
    let output = guest.run(script, DEADLINE).unwrap();
    assert!(output.stdout.contains("eth7") && output.stdout.contains("table inet guest"), "{output:?}");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

#[test]
fn a_guest_that_does_not_come_to_its_end_is_cut_off_and_what_it_said_is_told() {
    let error = kit().guest().unwrap().run("echo here; busybox sleep 1000", Duration::from_secs(20));
    let Err(LabError::Command { stderr, .. }) = error else { panic!("{error:?}") };
    assert!(stderr.contains("it still runs; it was killed"), "{stderr}");
    assert!(stderr.contains("it said:\nhere\n"), "{stderr}");
}
