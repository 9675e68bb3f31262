//! What the package that `make deb` makes holds, and that it asks nothing of a machine but what it says.

use crate::{ROOT, package, run};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// What the package installs, in a folder.
fn unpacked() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("dpkg-deb").arg("-x").arg(package()).arg(folder.path()));
    folder
}

#[test]
fn the_package_holds_all_that_a_host_needs_and_says_what_it_asks_for() {
    // `-rwxr-xr-x root/root  123 2026-11-21 07:48 ./usr/bin/hopsack`
    let listed = run(Command::new("dpkg-deb").arg("-c").arg(package()));
    let files: BTreeSet<(&str, &str)> = listed
        .lines()
        .map(|line| (line.get(..10).unwrap(), line.rsplit(' ').next().unwrap().trim_start_matches("./")))
        .collect();
    for (mode, file) in [
        ("-rwxr-xr-x", "usr/bin/hopsack"),
        ("-rw-r--r--", "lib/systemd/system/hopsack.service"),
        ("-rw-r--r--", "etc/default/hopsack"),
        ("-rw-r--r--", "usr/share/man/man1/hopsack.1.gz"),
        ("-rw-r--r--", "usr/share/man/man1/hopsack-network-create.1.gz"),
        ("-rw-r--r--", "usr/share/bash-completion/completions/hopsack"),
        ("-rw-r--r--", "usr/share/zsh/vendor-completions/_hopsack"),
        ("-rw-r--r--", "usr/share/fish/vendor_completions.d/hopsack.fish"),
        ("-rw-r--r--", "usr/share/doc/hopsack/copyright"),
        ("-rw-r--r--", "usr/share/doc/hopsack/docs/docker.md"),
    ] {
        assert!(files.contains(&(mode, file)), "{mode} {file} is not in\n{listed}");
    }
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    let field =
        |name: &str| run(Command::new("dpkg-deb").arg("-f").arg(package()).arg(name)).trim().to_owned();
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Depends"), "nftables (>= 1.0)");
    let told = run(Command::new("dpkg-deb").arg("-I").arg(package()).arg("conffiles"));
    assert_eq!(told, "/etc/default/hopsack\n");
}

#[test]
fn its_program_runs_where_there_is_no_library_at_all() {
    let folder = unpacked();
    let said = run(Command::new("chroot").arg(folder.path()).args(["/usr/bin/hopsack", "--version"]));
    assert_eq!(said, format!("hopsack {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_same_program_makes_the_same_package_whoever_makes_it() {
    let (folder, made) = (unpacked(), tempfile::tempdir().unwrap());
    let make = |umask: &str| {
        let into = made.path().join(umask);
        let script = format!("umask {umask} && exec {ROOT}/packaging/deb usr/bin/hopsack {}", into.display());
        let mut shell = Command::new("sh");
        // What is compared is not how well it is compressed, which takes its time.
        shell.args(["-c", &script]).current_dir(folder.path()).env("DPKG_DEB_COMPRESSOR_LEVEL", "0");
        fs::read(run(&mut shell).trim()).unwrap()
    };
    assert!(make("022") == make("077"), "two packages of one program differ");
}
