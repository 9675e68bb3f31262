//! One measurement of one pair.

use super::pairs::Pair;
use crate::PROGRAM;
use crate::cells::Metric;
use hopsack_lab::traffic::load::LoadReport;
use hopsack_lab::{Inside, LabError, Place, Running};
use std::time::Duration;

/// Where loads are counted.
const PORT: u16 = 5201;
/// How long a server may take to listen.
const READY: Duration = Duration::from_secs(10);

/// A command for the core of measurements, before everything else that wants to run there.
fn pinned<'a>(core: &'a str, argv: &[&'a str]) -> Vec<&'a str> {
    [&["chrt", "--rr", "1", "taskset", "--cpu-list", core][..], argv].concat()
}

/// The core that both ends run on: the last, since the first has most of the machine's interrupts.
pub fn core() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores - 1).to_string()
}

/// Starts what answers a pair's client, until it is dropped.
pub fn serve(server: &Place, core: &str) -> Result<Running, LabError> {
    let at = format!("0.0.0.0:{PORT}");
    let mut running = server.spawn(&pinned(core, &[PROGRAM, "lab-traffic", "load-serve", "--bind", &at]))?;
    running.await_line("ready", READY)?;
    Ok(running)
}

/// Measures a pair for so many seconds, in the metric's unit.
pub fn measure(pair: &Pair, metric: Metric, seconds: f64) -> Result<f64, LabError> {
    let load = |what: &str, more: &[&str]| {
        let (to, seconds) = (format!("{}:{PORT}", pair.address), seconds.to_string());
        let words = [PROGRAM, "lab-traffic", "load", what, "--to", &to, "--seconds", &seconds];
        let output = pair.client.exec(&pinned(&pair.core, &[&words[..], more].concat()))?.checked()?;
        output.report::<LoadReport>().map(|report| report.per_second)
    };
    let gigabits = |bytes_per_second: f64| bytes_per_second * 8.0 / 1e9;
    match metric {
        Metric::Tcp1 => load("bytes", &[]).map(gigabits),
        Metric::Tcp8 => load("bytes", &["--streams", "8"]).map(gigabits),
        Metric::RoundTrips => load("round-trips", &[]),
        Metric::Connections => load("connections", &[]),
        Metric::Udp64 => load("datagrams", &["--size", "64"]),
        Metric::Udp1400 => load("datagrams", &["--size", "1400"]),
        Metric::Ping => ping(pair, seconds),
    }
}

/// The median time of echo requests in microseconds, each sent when the one before was answered.
fn ping(pair: &Pair, seconds: f64) -> Result<f64, LabError> {
    /// A pause as short as there is between two.
    const PAUSE: f64 = 0.002;
    let (count, address) = (((seconds / PAUSE) as usize).max(20).to_string(), pair.address.to_string());
    let pause = PAUSE.to_string();
    let argv = pinned(&pair.core, &["ping", "-n", "-i", &pause, "-c", &count, &address]);
    let said = pair.client.run(&argv)?;
    let times = said.lines().filter_map(|line| {
        let (_, time) = line.split_once("time=")?;
        time.split(' ').next()?.parse::<f64>().ok()
    });
    Ok(times.collect::<crate::sample::Sample>().median() * 1e3)
}
