//! An agent on a kernel that is not this machine's: Debian's, with and without its module for VXLAN.
#![cfg(target_arch = "x86_64")]

use crate::scene::{Machine, PROGRAM};
use hopsack_lab::{Guest, Kit, Output};
use std::path::Path;
use std::time::Duration;

/// A processor that is emulated on a busy machine takes its time.
const DEADLINE: Duration = Duration::from_secs(180);
/// What the plan needs of this kernel besides VXLAN, and a device for the underlay.
const MODULES: [&str; 8] =
    ["dummy", "bridge", "veth", "nf_tables", "nft_ct", "nft_chain_nat", "nft_masq", "nft_fib_inet"];
const REFUSAL: &str = "error: this kernel has no vxlan, which reaches hosts outside of this host's segment: load it \
                       with `modprobe vxlan`, or install the distribution's full kernel (linux-image-amd64 on Debian), \
                       then restart the agent; where all hosts share one segment, give --without-vxlan\n";

/// An underlay, an agent that answers, and a network namespace to attach.
const BEGIN: &str = "
busybox ip link add eth0 type dummy && busybox ip link set eth0 up && busybox ip addr add 10.77.1.1/24 dev eth0 &&
    busybox ip route add default via 10.77.1.254 && busybox hostname h1 || exit 99
hopsack() { PROGRAM \"$@\"; }
hopsack agent --no-docker --log error &
until hopsack status >/dev/null 2>&1; do busybox sleep 0.1; done
busybox unshare -n busybox sleep 1000 &
container=$!
";
/// A container in a network, and the host's status once all that is wanted was tried.
const FILL: &str = "
hopsack network create web && hopsack attach pid:$container --network web || exit 98
until hopsack status | busybox grep -q 'kernel .* applied$'; do busybox sleep 0.1; done
hopsack status
busybox ip link show hopvxlan
";

fn run(modules: &[&str], script: &str) -> Output {
    let _machine = Machine::shared();
    let guest: Guest = Kit::beside(Path::new(PROGRAM)).unwrap().guest().unwrap();
    let guest = guest.program(Path::new(PROGRAM)).unwrap().program(Path::new("/usr/sbin/nft")).unwrap();
    let script = format!("{BEGIN}{script}").replace("PROGRAM", PROGRAM);
    guest.modules(&MODULES).unwrap().modules(modules).unwrap().run(&script, DEADLINE).unwrap()
}

#[test]
fn a_kernel_without_vxlan_makes_no_cluster_unless_told_to_go_on_and_then_it_is_the_only_fault() {
    let refused = "hopsack init; echo \"init: $?\"; hopsack status; busybox ls /var/lib/hopsack";
    let told = "hopsack init --without-vxlan || exit 97";
    let output = run(&[], &format!("{refused}\n{told}\n{FILL}"));
    let said = &output.stdout;
    let alone = "init: 1\nthis host is in no cluster: make one with `hopsack init`, or enter one with `hopsack join`\nlock\n";
    assert!(said.starts_with(&format!("{REFUSAL}{alone}made cluster ")), "{said}");
    let fault = "\n1 fault\n  - this kernel has no vxlan, so only hosts of one segment reach each other: ";
    assert!(said.contains(fault), "{said}");
    assert!(said.contains("networks   1, with 1 endpoint on this host\n"), "{said}");
    assert!(said.ends_with("can't find device 'hopvxlan'\n"), "{said}");
}

#[test]
fn the_same_kernel_with_vxlan_is_well() {
    let output = run(&["vxlan"], &format!("hopsack init || exit 97\n{FILL}"));
    let said = &output.stdout;
    assert!(output.success(), "{said}");
    assert!(said.starts_with("made cluster ") && said.contains("\nall is well\n"), "{said}");
    assert!(
        said.contains("networks   1, with 1 endpoint on this host\n") && said.contains(" hopvxlan: "),
        "{said}"
    );
}
