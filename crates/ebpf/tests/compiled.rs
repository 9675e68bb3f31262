//! The object that is kept is what Debian 12's clang makes of the source that is kept. `BLESS=1` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_kept_object_is_what_clang_makes_of_the_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    let made = std::env::temp_dir().join(format!("hopsack-fastpath-{}.o", std::process::id()));
    // Little-endian code is the same for all machines; only where the kernel's headers are differs.
    let headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let output = Command::new("clang-14")
        .current_dir(&folder)
        .args(["-target", "bpfel", "-mcpu=v3", "-O2", "-Wall", "-Wextra", "-Werror", &headers, "-c", "-o"])
        .arg(&made)
        .arg("fastpath.c")
        .output()
        .expect("clang-14 must be there: tests/provide installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&made).unwrap();
    std::fs::remove_file(&made).unwrap();
    let kept = folder.join("fastpath.o");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&kept, &bytes).unwrap();
    }
    // Not `assert_eq`: nobody reads thousands of bytes.
    assert!(
        std::fs::read(&kept).unwrap() == bytes,
        "fastpath.o is not what clang-14 makes of fastpath.c: run BLESS=1 cargo test --package hopsack-ebpf --test compiled"
    );
}
