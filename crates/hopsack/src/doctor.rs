//! `hopsack doctor`: looks at all that Hopsack needs of this host, and of the way to the others. Each finding says what is
//! so, whether that is well, and what to type next.
//!
//! Nothing is changed. Without an agent, what needs none is looked at.

mod agent;
mod docker;
mod finding;
mod firewalls;
mod forward;
mod kernel;
mod peers;
mod ports;
mod state;

use crate::cli::{Doctor, Places};
use crate::error::{CommandError, FAILURE};
use crate::output::{Colour, Format, Output, count};
use agent::Asked;
use finding::{Finding, Verdict};
use hopsack_api::client::Client;
use serde::Serialize;

/// All findings, also as JSON.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// The worst of them.
    verdict: Verdict,
    findings: Vec<Finding>,
}

/// Looks, tells, and gives the exit status.
pub fn run(client: &Client, arguments: &Doctor, out: &mut Output<'_>) -> Result<u8, CommandError> {
    let diagnosis = diagnose(client, &arguments.places);
    match arguments.listing.output {
        Format::Json => out.json(&diagnosis)?,
        Format::Text => show(&diagnosis, out)?,
    }
    Ok(if diagnosis.verdict == Verdict::Fail { FAILURE } else { 0 })
}

/// Looks.
pub fn diagnose(client: &Client, places: &Places) -> Diagnosis {
    let asked = Asked::ask(client);
    let state_dir = asked.examination.as_ref().map_or(&places.state_dir, |told| &told.state_dir);
    let control_port = asked.examination.as_ref().map_or(places.control_port, |told| told.control_port);
    let findings = [
        agent::check(client, &asked),
        kernel::check(&asked),
        docker::check(&asked, places),
        ports::check(control_port),
        firewalls::check(control_port, asked.in_cluster()),
        peers::check(&asked),
        state::check(state_dir),
    ]
    .concat();
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    Diagnosis { verdict, findings }
}

fn show(diagnosis: &Diagnosis, out: &mut Output<'_>) -> Result<(), CommandError> {
    for Finding { subject, verdict, found, next } in &diagnosis.findings {
        let line = format!("{:<4}  {:<10}  {found}", verdict.word(), subject.word());
        match verdict {
            Verdict::Ok => out.line(line)?,
            Verdict::Warn => out.coloured(Colour::Yellow, line)?,
            Verdict::Fail => out.coloured(Colour::Red, line)?,
        }
        if let Some(next) = next {
            out.line(format_args!("                  next: {next}"))?;
        }
    }
    let with = |verdict| diagnosis.findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (fails, warnings) = (with(Verdict::Fail), with(Verdict::Warn));
    out.line("")?;
    match (fails, warnings) {
        (0, 0) => out.coloured(Colour::Green, "all is well"),
        (0, _) => out.line(format_args!("{}, nothing fails", count(warnings, "warning"))),
        (_, _) => out.coloured(
            Colour::Red,
            format_args!(
                "{fails} of {} fail, {}",
                count(diagnosis.findings.len(), "check"),
                count(warnings, "warning")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text_of;
    use finding::Subject;

    #[test]
    fn each_finding_is_a_line_and_what_to_type_is_below() {
        let findings = vec![
            Finding::ok(Subject::Kernel, "Linux 6.18.0"),
            Finding::warn(Subject::Clocks, "h2 is 75 s ahead", "timedatectl status"),
            Finding::fail(Subject::Ports, "TCP 4677 is nginx's", "ss -lntp"),
        ];
        let text = text_of(|out| show(&Diagnosis { verdict: Verdict::Fail, findings }, out));
        let expected = "ok    kernel      Linux 6.18.0\n\
                        warn  clocks      h2 is 75 s ahead\n                  next: timedatectl status\n\
                        fail  ports       TCP 4677 is nginx's\n                  next: ss -lntp\n\n\
                        1 of 3 checks fail, 1 warning\n";
        assert_eq!(text, expected);
    }
}
