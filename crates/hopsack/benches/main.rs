//! `make bench`: what Hopsack costs, beside what does the same without it, measured in turn in one run. Prints a table
//! for people, which is in `target/bench/report.md` too, and writes `target/bench/report.json`, one object a row.
//!
//! What must not live here: tests. A figure that falls short of its bar is printed as such and fails nothing, since the
//! machine may be busy; a container that does not start, or a byte that is lost, ends the run.

mod alloc;
mod cells;
mod cli;
mod docker;
mod endpoints;
mod idle;
mod planes;
mod report;
mod sample;
mod table;

use hopsack_lab::LabError;
use report::Report;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;
use table::Occasion;

/// The program that is measured.
const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack");
/// Where the rows go, for programs.
const ROWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench/report.json");
/// Where the table goes, for people.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench/report.md");

/// How often things are repeated.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Measurements of each data plane by each metric.
    rounds: usize,
    /// How long each of them takes, s.
    seconds: f64,
    /// Pairs of container starts.
    starts: usize,
    /// Containers that start at once on each host.
    burst: usize,
    /// Networks made until they are in use.
    networks: usize,
    /// How long agents have run when their memory is looked at.
    age: Duration,
    /// How long their processor time is watched.
    idle: Duration,
    /// Endpoints of a host that has many.
    endpoints: usize,
}

const FULL: Effort = Effort {
    rounds: 9,
    seconds: 1.0,
    starts: 60,
    burst: 50,
    networks: 20,
    age: Duration::from_secs(600),
    idle: Duration::from_secs(60),
    endpoints: 1000,
};
/// For everyday use (`QUICK=1`): the same shape, wider spread.
const QUICK: Effort = Effort {
    rounds: 3,
    seconds: 0.1,
    starts: 7,
    burst: 8,
    networks: 4,
    age: Duration::ZERO,
    idle: Duration::from_secs(8),
    endpoints: 100,
};

/// A part of the measurements.
type Part = fn(Effort, &mut Report) -> Result<(), LabError>;
/// The parts by name. `cargo bench --bench bench -- planes` measures one of them alone.
const PARTS: [(&str, Part); 5] = [
    ("planes", planes::measure),
    ("docker", docker::measure),
    ("cli", cli::measure),
    ("alloc", alloc::measure),
    ("endpoints", endpoints::measure),
];

fn main() -> ExitCode {
    let quick = std::env::var("QUICK").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    match measure(quick) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(quick: bool) -> Result<(), Box<dyn Error>> {
    let effort = if quick { QUICK } else { FULL };
    let mut report = Report::default();
    // Cargo adds options of its own.
    let named: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, part) in PARTS {
        if named.is_empty() || named.iter().any(|word| word == name) {
            part(effort, &mut report)?;
            // What comes next may fail, after minutes.
            report.save(Path::new(ROWS))?;
        }
    }
    if quick {
        report.note("Few and short rounds (QUICK=1): a rough look.");
    }
    let occasion = Occasion { machine: machine(), date: say(&["date", "--utc", "+%F"]) };
    let table = table::markdown(&report, &occasion);
    writeln!(std::io::stdout().lock(), "\n{table}")?;
    std::fs::write(TABLE, table)?;
    Ok(())
}

/// What a reader has to know of this machine.
fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor = processor.map_or("an unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {processor}, {}", say(&["uname", "-sr"]))
}

/// What a program says, in one line; nothing if it is not there.
fn say(argv: &[&str]) -> String {
    let output = Command::new(argv[0]).args(&argv[1..]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
