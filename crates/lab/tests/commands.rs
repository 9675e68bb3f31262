//! What stands behind `hopsack lab`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

use clap::Parser;
use hopsack_lab::cli::{self, Command};
use hopsack_lab::{Lab, LabError, Options, leftovers, require};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack-lab-probe");

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn run(words: &[&str]) -> Result<(u8, String), LabError> {
    let line = Line::try_parse_from(std::iter::once(&"lab").chain(words)).unwrap();
    let mut out = Vec::new();
    let status = cli::run(&line.command, PROGRAM.into(), &mut out)?;
    Ok((status, String::from_utf8(out).unwrap()))
}

#[test]
fn a_lab_goes_up_is_shown_is_entered_and_goes_down() {
    require!(Root);
    let name = Options::unique("cli", PROGRAM).name;
    let (_, said) = run(&["up", "--name", &name, "--hosts", "3", "--routed", "h3", "--no-agent"]).unwrap();
    assert!(said.contains(&format!("hopsack lab exec --name {name} h1")), "{said}");
    let (_, said) = run(&["status", "--name", &name]).unwrap();
    assert!(said.lines().any(|line| line.starts_with("h3 ") && line.contains("10.77.2.1")), "{said}");
    assert_eq!(run(&["exec", "--name", &name, "h1", "sh", "-c", "exit 7"]).unwrap().0, 7);
    assert_eq!(run(&["exec", "--name", &name, "h1", "sh", "-c", "kill -9 $$"]).unwrap().0, 137);
    assert_eq!(run(&["exec", "--name", &name, "h3", "test", "-d", "/sys/class/net/eth0"]).unwrap().0, 0);
    // Its own program is found by its name on every host; without arguments this one says how it is used.
    assert_eq!(run(&["exec", "--name", &name, "h1", "hopsack-lab-probe"]).unwrap().0, 2);
    run(&["down", "--name", &name]).unwrap();
    assert!(matches!(Lab::open(&name), Err(LabError::NotUp(_))));
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}

#[test]
fn a_lab_whose_agents_do_not_answer_does_not_come_up_and_says_why() {
    require!(Root);
    let name = Options::unique("mute", PROGRAM).name;
    // This program has no agent; it says how it is used instead.
    let error = run(&["up", "--name", &name, "--hosts", "1"]).unwrap_err().to_string();
    assert!(error.contains("the agent of h1") && error.contains("usage: hopsack-lab-probe"), "{error}");
    assert!(matches!(Lab::open(&name), Err(LabError::NotUp(_))));
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}

#[test]
fn wrong_arguments_change_nothing_and_say_what_is_right() {
    let routed =
        run(&["up", "--name", "cli-wrong", "--hosts", "2", "--routed", "h3"]).unwrap_err().to_string();
    assert!(routed.contains("--routed h3") && routed.contains("up to --hosts"), "{routed}");
    let down = run(&["down", "--name", "cli-wrong"]).unwrap_err().to_string();
    assert!(down.contains("there is no lab \"cli-wrong\""), "{down}");
    let name = run(&["up", "--name", "a/b"]).unwrap_err().to_string();
    assert!(name.contains("letters, digits and hyphens"), "{name}");
}
