//! What `make demo` runs: it shows what it promises, and cleans up after itself however it ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

use hopsack_lab::{Lab, LabError, Options, leftovers, require, wait};
use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack");
/// What the demo may take once it is built.
const BUDGET: Duration = Duration::from_secs(60);
/// How long an interrupted demo, or its lab's keeper, may take to clean up.
const CLEAN: Duration = Duration::from_secs(30);

/// A demo that runs beside the test, in a lab of its own.
struct Demo {
    name: String,
    child: Child,
    output: NamedTempFile,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let name = Options::unique("show", PROGRAM).name;
        let output = NamedTempFile::new().unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["demo", "--name", &name]).args(arguments).stdin(Stdio::null());
        command.stdout(output.as_file().try_clone().unwrap()).stderr(output.as_file().try_clone().unwrap());
        Self { name, child: command.spawn().unwrap(), output }
    }

    /// What it has written so far.
    fn said(&self) -> String {
        fs::read_to_string(self.output.path()).unwrap()
    }

    fn await_text(&self, text: &str) {
        wait::value(&format!("the demo to say {text:?}"), BUDGET, || {
            let said = self.said();
            if said.contains(text) { Ok(()) } else { Err(said) }
        })
        .unwrap();
    }

    fn await_end(&mut self) -> ExitStatus {
        wait::value("the demo to end", BUDGET, || match self.child.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err(self.said()),
        })
        .unwrap()
    }

    fn signal(&self, signal: &str) {
        let line = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    fn await_nothing_left(&self) {
        wait::value("nothing to be left", CLEAN, || {
            let left = leftovers(&self.name).unwrap();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .unwrap();
        assert!(matches!(Lab::open(&self.name), Err(LabError::NotUp(_))));
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // After a failed assertion; the lab's keeper does the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_demo_shows_every_pair_of_containers_in_time_and_leaves_nothing() {
    require!(Root, Docker, Busybox, Nft, Vxlan, Ping);
    let start = Instant::now();
    let mut demo = Demo::start(&[]);
    let status = demo.await_end();
    let (said, took) = (demo.said(), start.elapsed());
    assert!(status.success(), "{status}: {said}");
    assert!(took < BUDGET, "it took {took:?}");
    let row = |from: &str, to: &str| {
        let begins =
            |line: &&str| line.trim_start().starts_with(&format!("c{from} on h{from}  c{to} on h{to}"));
        said.lines().find(begins).unwrap_or_else(|| panic!("no row from {from} to {to} in {said}"))
    };
    for (from, to, path) in [
        ("1", "2", "direct  1500"),
        ("2", "1", "direct  1500"),
        ("1", "3", "vxlan   1450"),
        ("3", "1", "vxlan   1450"),
        ("2", "3", "vxlan   1450"),
        ("3", "2", "vxlan   1450"),
    ] {
        assert!(row(from, to).contains(path), "{}", row(from, to));
        assert!(row(from, to).ends_with("Gbit/s"), "{}", row(from, to));
    }
    for typed in [
        "h1# hopsack init",
        "h2# hopsack join 10.77.1.1 --token ",
        "h3# hopsack join 10.77.1.1 --token ",
        "h1# docker network create -d hopsack --ipam-driver hopsack web",
        "h3# docker network ls",
        "h2# docker run -d --name c2 --net web ",
        "h1# hopsack status",
    ] {
        assert!(said.contains(typed), "{typed:?} is missing in {said}");
    }
    assert!(!said.contains('\x1b'), "escape codes outside of a terminal: {said}");
    demo.await_nothing_left();
}

#[test]
fn an_interrupted_demo_removes_its_hosts_before_it_ends() {
    require!(Root, Docker, Busybox, Nft, Vxlan, Ping);
    for (signal, moment) in [("INT", "one network"), ("TERM", "h2# hopsack join")] {
        let mut demo = Demo::start(&[]);
        demo.await_text(moment);
        demo.signal(signal);
        assert_eq!(demo.await_end().code(), Some(130), "{}", demo.said());
        assert_eq!(leftovers(&demo.name).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_killed_demo_is_cleaned_up_by_its_keeper() {
    require!(Root, Docker, Busybox, Nft, Vxlan, Ping);
    let mut demo = Demo::start(&[]);
    demo.await_text("h1# docker network create");
    demo.signal("KILL");
    demo.await_end();
    demo.await_nothing_left();
}

#[test]
fn a_demo_that_is_kept_says_how_to_enter_and_how_to_remove_it() {
    require!(Root, Docker, Busybox, Nft, Vxlan, Ping);
    let mut demo = Demo::start(&["--keep"]);
    let status = demo.await_end();
    let said = demo.said();
    assert!(status.success(), "{said}");
    let command = |what: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(what));
        line.unwrap_or_else(|| panic!("{what:?} is missing in {said}")).trim().to_owned()
    };
    let shell = |line: &str| Command::new("sh").args(["-c", line]).output().unwrap();
    let inside = shell(&format!("{} hopsack status", command("enter one")));
    assert!(String::from_utf8_lossy(&inside.stdout).contains("all is well"), "{inside:?}");
    let removed = shell(&command("remove them"));
    assert!(removed.status.success(), "{removed:?}");
    demo.await_nothing_left();
}
