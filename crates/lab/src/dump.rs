//! What a person would ask for when a test has failed.

use crate::engine::SOCKET;
use crate::host::Host;
use crate::lab::Lab;
use crate::place::Inside;
use std::fmt::Write;
use std::time::Duration;

/// How long each question may take: a dump of a broken lab must not hang.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many of its last lines a log contributes.
const TAIL: usize = 60;

/// What is asked on each host.
const QUESTIONS: [&[&str]; 8] = [
    &["ip", "-d", "address"],
    &["ip", "route", "show", "table", "all"],
    &["ip", "rule"],
    &["ip", "-6", "rule"],
    &["ip", "neighbour"],
    &["bridge", "fdb"],
    &["nft", "list", "ruleset"],
    &["ss", "-tulnp"],
];

impl Lab {
    /// Addresses, routes, rules, neighbours, nftables, sockets, the agent's status and the ends of all logs of every
    /// host, the rules of every switch, and what is broken on purpose, as text.
    pub fn dump(&self, reason: &str) -> String {
        let state = self.state().clone();
        let mut text = format!("==== lab {}: {reason}\nfaults: {:?}\n", state.name, state.faults);
        for segment in state.topology.segments() {
            for argv in [&["ip", "-d", "address"] as &[&str], &["bridge", "fdb"], &["nft", "list", "ruleset"]]
            {
                let said = self.run_in_network(segment.name.as_str(), argv);
                let said = said.unwrap_or_else(|error| error.chain());
                let _ = writeln!(text, "==== switch {}: {}\n{said}", segment.name, argv.join(" "));
            }
        }
        for member in state.topology.hosts() {
            match Host::new(&state, member) {
                Ok(host) => text.push_str(&dump_host(&host)),
                Err(error) => {
                    let _ = writeln!(text, "==== {}: {}", member.name, error.chain());
                }
            }
        }
        text
    }
}

fn dump_host(host: &Host) -> String {
    let program = host.place().program.display().to_string();
    let mut questions: Vec<Vec<&str>> = QUESTIONS.iter().map(|argv| argv.to_vec()).collect();
    questions.push(vec![&program, "status"]);
    let socket = format!("unix://{}/{SOCKET}", crate::HOST_FOLDER);
    if host.has_engine() {
        questions.push(vec!["docker", "-H", &socket, "ps", "-a"]);
        questions.push(vec!["docker", "-H", &socket, "network", "ls"]);
    }
    let mut text = String::new();
    let services = host.services().map(|services| format!("{services:#?}"));
    let _ = writeln!(text, "==== {}: services\n{}", host.name(), services.unwrap_or_else(|e| e.chain()));
    for argv in questions {
        let said = match host.program(&argv).patience(PATIENCE).output() {
            Ok(output) => format!("{}{}", output.stdout, output.stderr),
            Err(error) => error.chain(),
        };
        let _ = writeln!(text, "==== {}: {}\n{said}", host.name(), argv.join(" "));
    }
    for log in logs(host) {
        let _ = writeln!(text, "==== {}: end of {log}.log\n{}", host.name(), host.log_tail(&log, TAIL));
    }
    text
}

fn logs(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.folder()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut logs: Vec<_> = names.filter_map(|name| Some(name.strip_suffix(".log")?.to_owned())).collect();
    logs.sort();
    logs
}
