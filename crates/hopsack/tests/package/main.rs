//! The Debian package: what is in it, and hosts that are installed from it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

mod contents;
#[cfg(target_arch = "x86_64")]
mod hosts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The package. `make test` makes it before the tests run.
fn package() -> PathBuf {
    let folder = Path::new(ROOT).join("target/deb");
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}: make deb", folder.display()));
    let mut packages: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    packages.retain(|path| path.extension().is_some_and(|end| end == "deb"));
    packages.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    packages.pop().expect("no package: make deb")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}
