//! `make bench`: what Hopsack costs, beside what does the same without it, measured in turn in one run. Prints a table
//! for people and writes `target/bench/report.json`, one object a row.
//!
//! What must not live here: tests. A figure that falls short of its bar is printed as such and fails nothing, since the
//! machine may be busy; a container that does not start, or a byte that is lost, ends the run.

mod docker;
mod report;
mod sample;

use report::Report;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

/// Where the rows go, for programs.
const REPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench/report.json");

/// How often things are repeated.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Pairs of container starts.
    starts: usize,
    /// Containers that start at once on each host.
    burst: usize,
    /// Networks made until they are in use.
    networks: usize,
}

const FULL: Effort = Effort { starts: 30, burst: 50, networks: 20 };
/// For everyday use (`QUICK=1`): the same shape, wider spread.
const QUICK: Effort = Effort { starts: 10, burst: 10, networks: 5 };

fn main() -> ExitCode {
    let quick = std::env::var("QUICK").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    match measure(if quick { QUICK } else { FULL }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(effort: Effort) -> Result<(), Box<dyn Error>> {
    let mut report = Report::default();
    docker::measure(effort, &mut report)?;
    report.print(&mut std::io::stdout().lock())?;
    report.save(Path::new(REPORT))?;
    Ok(())
}
