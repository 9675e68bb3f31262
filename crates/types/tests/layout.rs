//! The repository's shape: which crate may use which, and what files may look like. It stands with the vocabulary,
//! below everything that it is about.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest file, in lines: whoever needs more has a second idea.
const LONGEST: usize = 600;

/// What a crate may do, beside using crates of ours.
#[derive(Clone, Copy, PartialEq)]
enum Layer {
    /// Pure: what it needs of time, randomness, sockets and kernel is given to it.
    Core,
    /// System calls, blocking, no decisions.
    Leaf,
    /// Tasks, sockets, files; puts cores and leaves together.
    Shell,
}
use Layer::{Core, Leaf, Shell};

/// Every crate, from the bottom up: its layer, and the crates of ours that it may use. Arrows point down.
const CRATES: &[(&str, Layer, &[&str])] = &[
    ("types", Core, &[]),
    ("ipam", Core, &["types"]),
    ("path", Core, &["types"]),
    ("gossip", Core, &["types"]),
    ("plan", Core, &["types"]),
    ("netlink", Leaf, &["types"]),
    ("nft", Leaf, &["types"]),
    ("ebpf", Leaf, &["types"]),
    ("memory", Leaf, &[]),
    ("kernel", Shell, &["types", "plan", "netlink", "nft", "ebpf"]),
    ("store", Shell, &["types"]),
    ("api", Shell, &["types"]),
    ("docker", Shell, &["types", "api"]),
    (
        "agent",
        Shell,
        &["types", "ipam", "path", "gossip", "plan", "netlink", "nft", "kernel", "store", "api", "docker"],
    ),
    ("lab", Shell, &["types"]),
    ("hopsack", Shell, &["types", "api", "docker", "kernel", "store", "agent", "lab", "memory"]),
];

/// What cores may use of others' crates: data structures, encodings, errors, and state machines that are handed time
/// and a seeded generator. A crate that is not here may be as pure; look, then add it.
const PURE: &[&str] = &[
    "bytes",
    "crc32fast",
    "foca",
    "hex",
    "ipnet",
    "postcard",
    "rand",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
];

/// What leaves must not use: they block, and whoever calls them chooses the thread.
const ASYNC: &[&str] = &["async-trait", "futures", "tokio", "tokio-stream"];

/// How a core would get hold of the world without a crate.
const WORLD: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "std::env",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "rand::rng()",
    "thread_rng",
    "from_os_rng",
];

/// The one place that may say that a test does not run.
const REQUIREMENT: &str = "crates/lab/src/requirement.rs";

/// File names that say nothing about what is inside.
const NAMELESS: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Each crate's normal and build dependencies, ours without the prefix.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let short = |name: &Value| {
        let name = name.as_str().unwrap();
        name.strip_prefix("hopsack-").unwrap_or(name).to_owned()
    };
    let used = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"] != "dev").map(|d| short(&d["name"])).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|p| (short(&p["name"]), used(p))).collect()
}

/// All Rust files of a folder that are under version control or could be.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn every_crate_has_a_layer_and_uses_only_what_is_below_it() {
    let found = dependencies();
    let listed: BTreeSet<&str> = CRATES.iter().map(|(name, _, _)| *name).collect();
    let names: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, listed, "the crates that there are, and the table in this test");
    let mut wrong = Vec::new();
    for (name, _, may_use) in CRATES {
        let ours = found[*name].iter().filter(|used| names.contains(used.as_str()));
        wrong.extend(ours.filter(|used| !may_use.contains(&used.as_str())).map(|u| format!("{name} -> {u}")));
    }
    assert!(wrong.is_empty(), "arrows that must not be: {wrong:?}");
}

#[test]
fn the_table_itself_points_down() {
    for (at, (name, layer, may_use)) in CRATES.iter().enumerate() {
        for used in *may_use {
            let below = CRATES[..at].iter().find(|(other, _, _)| other == used);
            let (_, other, _) = below.unwrap_or_else(|| panic!("{used} does not stand below {name}"));
            assert!(*layer == Shell || *other == Core, "{name} is no shell, and {used} is no core");
        }
    }
}

#[test]
fn cores_and_leaves_bring_no_runtime_with_them() {
    let found = dependencies();
    let mut wrong = Vec::new();
    for (name, layer, may_use) in CRATES {
        for used in found[*name].iter().filter(|used| !may_use.contains(&used.as_str())) {
            let refused = match layer {
                Core => !PURE.contains(&used.as_str()),
                Leaf => ASYNC.contains(&used.as_str()),
                Shell => false,
            };
            if refused {
                wrong.push(format!("{name} -> {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies that do not fit the layer: {wrong:?}");
}

#[test]
fn cores_do_not_look_at_clocks_files_or_sockets() {
    let mut wrong = Vec::new();
    for (name, _, _) in CRATES.iter().filter(|(_, layer, _)| *layer == Core) {
        for file in sources(&root().join("crates").join(name).join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let world = WORLD.iter().filter(|word| text.contains(**word));
            wrong.extend(world.map(|word| format!("{}: {word}", shown(&file))));
        }
    }
    assert!(wrong.is_empty(), "cores that reach for the world: {wrong:#?}");
}

/// `make test` counts skips, and knows only of those that `require!` of the lab notes.
#[test]
fn no_test_skips_in_silence() {
    let says_so = |path: &PathBuf| fs::read_to_string(path).unwrap().contains(concat!("!(\"", "SKIP"));
    let all = sources(&root().join("crates")).into_iter().filter(says_so);
    let wrong: Vec<String> = all.map(|path| shown(&path)).filter(|path| path != REQUIREMENT).collect();
    assert!(wrong.is_empty(), "say what the test needs with require! of the lab instead: {wrong:?}");
}

#[test]
fn files_are_short_and_named_by_what_is_in_them() {
    let mut wrong = Vec::new();
    for file in sources(&root().join("crates")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > LONGEST {
            wrong.push(format!("{} has {lines} lines, {LONGEST} are allowed", shown(&file)));
        }
        let stem = file.file_stem().unwrap().to_str().unwrap();
        if NAMELESS.contains(&stem) {
            wrong.push(format!("{} is named after nothing", shown(&file)));
        }
        // Below `tests/` Cargo takes any other name for a test of its own.
        if stem == "mod" && file.components().any(|part| part.as_os_str() == "src") {
            wrong.push(format!("{}: name it after its folder, beside the folder", shown(&file)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
