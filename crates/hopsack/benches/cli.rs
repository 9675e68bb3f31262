//! What somebody waits for who types a command: an answer of the agent. Beside it a program that starts and asks nobody.

use crate::planes::hopsack::form;
use crate::report::{Bar, Report, Row};
use crate::sample::Sample;
use crate::{Effort, PROGRAM};
use hopsack_lab::{AgentOptions, Host, HostKind, Inside, Lab, LabError, Options, Topology, wait};
use std::time::{Duration, Instant};

/// How long an agent may take to start.
const SOON: Duration = Duration::from_secs(30);
/// What a command may take, ms, but for one in a hundred.
const BAR: f64 = 50.0;
/// What is typed: what the agent knows at once, and what it counts first.
const COMMANDS: [&[&str]; 5] =
    [&["status"], &["network", "ls"], &["path", "ls"], &["ipam", "show"], &["events"]];

/// The row about commands.
pub fn measure(effort: Effort, report: &mut Report) -> Result<(), LabError> {
    eprintln!("cli: three hosts with an agent each");
    let mut options = Options::unique("bench", PROGRAM);
    options.agent = Some(AgentOptions::default());
    let lab = Lab::up(Topology::demo(HostKind::Plain)?, options)?;
    let hosts = lab.hosts()?;
    for host in &hosts {
        wait::until(&format!("the agent of {}", host.name()), SOON, || {
            host.run(&[PROGRAM, "status"]).is_ok()
        })?;
    }
    form(&hosts.iter().collect::<Vec<_>>())?;
    report.push(answers(&hosts[0], effort.starts)?);
    lab.down()
}

fn answers(host: &Host, rounds: usize) -> Result<Row, LabError> {
    let timed = |words: &[&str]| {
        let begin = Instant::now();
        host.run(&[&[PROGRAM], words].concat())?;
        Ok::<f64, LabError>(begin.elapsed().as_secs_f64() * 1e3)
    };
    let (mut asked, mut alone) = (Sample::default(), Sample::default());
    for round in 0..rounds {
        eprintln!("cli: round {} of {rounds}", round + 1);
        for words in COMMANDS {
            asked.push(timed(words)?);
            alone.push(timed(&["--version"])?);
        }
    }
    let row = Row::alone("cli", "ms", &asked).against("a command that asks nobody", &asked, &alone);
    Ok(Row { value: asked.quantile(0.99), ..row }.bar(Bar::ValueAtMost(BAR)))
}
