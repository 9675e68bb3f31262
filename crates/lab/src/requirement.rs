//! What a test needs of the machine. A test that cannot run says so, and `make test` counts.

use crate::command::Program;
use crate::namespace::{NETWORK, in_new};
use std::fs::OpenOptions;
use std::io::Write;

/// Names the file that gets one line per skipped test: its name, a tab, the reason.
const SKIPS_FILE: &str = "HOPSACK_SKIPS_FILE";

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// The right to make namespaces.
    Root,
    /// The kernel's VXLAN device.
    Vxlan,
    /// The `nft` program and a kernel that takes its rules.
    Nft,
    /// A Docker engine and its CLI, not necessarily running.
    Docker,
    /// tcpdump.
    Tcpdump,
    /// iperf3.
    Iperf3,
    /// ping.
    Ping,
    /// Busybox, linked statically, for images.
    Busybox,
    /// docker-compose.
    Compose,
    /// ufw.
    Ufw,
    /// firewalld, and the message bus that it is spoken to over.
    Firewalld,
}

/// Why a test does not run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Skip(
    /// What is missing and how to get it.
    pub &'static str,
);

/// Whether this machine has a feature.
pub fn check(feature: Feature) -> Result<(), Skip> {
    let (there, why) = match feature {
        Feature::Root => (nix::unistd::geteuid().is_root(), "not root"),
        Feature::Vxlan => (
            works(&["ip", "link", "add", "vxlan0", "type", "vxlan", "id", "1", "dstport", "4789"]),
            "this kernel has no vxlan",
        ),
        Feature::Nft => {
            (works(&["nft", "add", "table", "inet", "probe"]), "no nft or no nftables: install nftables")
        }
        Feature::Docker => (
            runs(&["dockerd", "--version"]) && runs(&["docker", "--version"]),
            "no dockerd or docker: install docker.io",
        ),
        Feature::Tcpdump => (runs(&["tcpdump", "--version"]), "no tcpdump: install tcpdump"),
        Feature::Iperf3 => (runs(&["iperf3", "--version"]), "no iperf3: install iperf3"),
        Feature::Ping => (runs(&["ping", "-V"]), "no ping: install iputils-ping"),
        Feature::Compose => {
            (runs(&["docker-compose", "--version"]), "no docker-compose: install docker-compose")
        }
        Feature::Ufw => (runs(&["ufw", "--version"]), "no ufw: install ufw"),
        Feature::Firewalld => (
            runs(&["firewalld", "--help"]) && runs(&["dbus-daemon", "--version"]),
            "no firewalld or no dbus-daemon: install firewalld",
        ),
        Feature::Busybox => (runs(&["busybox", "--list"]), "no busybox: install busybox-static"),
    };
    if there { Ok(()) } else { Err(Skip(why)) }
}

fn runs(argv: &[&str]) -> bool {
    Program::new(argv.iter().copied()).run().is_ok()
}

/// Whether a command succeeds in a network namespace of its own.
fn works(argv: &[&str]) -> bool {
    in_new(NETWORK, || Program::new(argv.iter().copied()).run()).is_ok()
}

/// Checks features for a test. If one is missing, says `SKIP test: why` on standard error, notes it in the file that
/// `HOPSACK_SKIPS_FILE` names, and gives the reason. Use [`crate::require!`], which knows the test's name.
pub fn require(test: &str, features: &[Feature]) -> Result<(), Skip> {
    let Some(skip) = features.iter().find_map(|feature| check(*feature).err()) else { return Ok(()) };
    eprintln!("SKIP {test}: {skip}");
    if let Some(path) = std::env::var_os(SKIPS_FILE) {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        // One write, so that lines of tests that run at once do not mix.
        let noted = file.and_then(|mut file| file.write_all(format!("{test}\t{skip}\n").as_bytes()));
        if let Err(error) = noted {
            eprintln!("the skip could not be noted in {}: {error}", path.display());
        }
    }
    Err(skip)
}

/// Returns from the test that it stands in, with a visible skip, unless the machine has all the named
/// [`Feature`](crate::requirement::Feature)s: `require!(Root, Docker);`
#[macro_export]
macro_rules! require {
    ($($feature:ident),+ $(,)?) => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here).trim_end_matches("::here");
        // An asynchronous test is a closure in the function of its name.
        let name = name.trim_end_matches("::{{closure}}");
        let features = [$($crate::requirement::Feature::$feature),+];
        if $crate::requirement::require(name, &features).is_err() {
            return;
        }
    }};
}
