//! What a cluster costs while nobody asks it for anything: memory and processor time of all our processes on a host,
//! which is the agent and what it starts. Of several hosts the worst counts.

use crate::Effort;
use crate::report::{Bar, Report, Row};
use crate::sample::Sample;
use hopsack_lab::{AGENT, Host, Inside, LabError, wait};
use std::thread;
use std::time::{Duration, Instant};

/// What is resident, at most, MB.
const MEMORY_BAR: f64 = 40.0;
/// What an idle host's agent may take of one core, %.
const PROCESSOR_BAR: f64 = 1.0;
/// Ticks of `/proc/PID/stat` in a second, on every architecture that Linux has (`USER_HZ`, time(7)).
const TICKS: f64 = 100.0;
/// How often a long wait says that it goes on.
const NEWS: Duration = Duration::from_secs(60);

/// All rows about idle hosts whose agents started at a time.
pub fn measure(
    hosts: &[Host],
    started: Instant,
    effort: Effort,
    report: &mut Report,
) -> Result<(), LabError> {
    let quiet = effort.age.saturating_sub(started.elapsed()).saturating_sub(effort.idle);
    pass(quiet);
    let seconds = effort.idle.as_secs_f64();
    eprintln!("cpu-idle: over {seconds} s");
    let before = all(hosts, processor_time)?;
    let begin = Instant::now();
    thread::sleep(effort.idle);
    let (after, took) = (all(hosts, processor_time)?, begin.elapsed().as_secs_f64());
    let used = after.paired(&before, |after, before| (after - before) / took * 100.0);
    report.push(worst("cpu-idle", "%", &used).bar(Bar::ValueAtMost(PROCESSOR_BAR)));
    let resident = all(hosts, memory)?;
    report.push(worst("rss", "MB", &resident).bar(Bar::ValueAtMost(MEMORY_BAR)));
    report.note(format!("rss is that of agents that have run for {} s.", started.elapsed().as_secs()));
    Ok(())
}

/// Lets time pass, and says so.
fn pass(mut time: Duration) {
    while !time.is_zero() {
        eprintln!("rss: the agents run on, {} s more", time.as_secs());
        let step = time.min(NEWS);
        thread::sleep(step);
        time -= step;
    }
}

/// The figures of all hosts.
fn all(hosts: &[Host], figure: fn(&Host) -> Result<f64, LabError>) -> Result<Sample, LabError> {
    hosts.iter().map(figure).collect()
}

fn worst(name: &str, unit: &'static str, hosts: &Sample) -> Row {
    Row { value: hosts.quantile(1.0), ..Row::alone(name, unit, hosts) }
}

/// What `/proc/PID/FILE` of a host's agent says.
fn of_agent(host: &Host, file: &str) -> Result<String, LabError> {
    let pid = host.service(AGENT)?.pid;
    let pid = wait::value("the agent's number", Duration::ZERO, || {
        pid.ok_or_else(|| "it does not run".to_owned())
    })?;
    host.run(&["cat", &format!("/proc/{pid}/{file}")])
}

/// What it holds in memory, MB.
pub fn memory(host: &Host) -> Result<f64, LabError> {
    let status = of_agent(host, "status")?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    Ok(kilobytes.map_or(f64::NAN, |kilobytes: f64| kilobytes * 1024.0 / 1e6))
}

/// What it has taken of a processor so far, with the programs that it has run, s.
pub fn processor_time(host: &Host) -> Result<f64, LabError> {
    let stat = of_agent(host, "stat")?;
    // The second field is the command in parentheses and may hold anything, so count from its end: then fields 14 to
    // 17 are user and system time, of itself and of its children (proc(5)).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    Ok(fields.skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS)
}
