//! What is in a report: what the agent tells, what the doctor finds, what the kernel holds, what was logged.

use super::redaction;
use crate::cli::Places;
use crate::doctor;
use crate::program;
use hopsack_api::EventsRequest;
use hopsack_api::client::{Client, ClientError};
use serde::Serialize;
use std::fs;

/// One file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What other programs are asked, by the part that their words make. None of them shows an environment or a key.
const PROGRAMS: [(&str, &[&str]); 16] = [
    ("machine.txt", &["uname", "-a"]),
    ("system.txt", &["cat", "/etc/os-release"]),
    ("nft-version.txt", &["nft", "--version"]),
    ("nft-hopsack.txt", &["nft", "list", "table", "inet", "hopsack"]),
    ("nft-chains.txt", &["nft", "list", "chains"]),
    ("ip-link.txt", &["ip", "-d", "link"]),
    ("ip-address.txt", &["ip", "address"]),
    ("ip-route.txt", &["ip", "route", "show", "table", "all"]),
    ("ip-route6.txt", &["ip", "-6", "route", "show", "table", "all"]),
    ("ip-rule.txt", &["ip", "rule"]),
    ("ip-rule6.txt", &["ip", "-6", "rule"]),
    ("ip-neigh.txt", &["ip", "neigh"]),
    ("bridge-fdb.txt", &["bridge", "fdb"]),
    ("docker-version.txt", &["docker", "version"]),
    ("docker-network.txt", &["docker", "network", "ls", "--no-trunc"]),
    ("unit.txt", &["systemctl", "show", UNIT, "-p", UNIT_PROPERTIES]),
];
/// The agent's systemd unit.
const UNIT: &str = "hopsack";
/// What is told of it: not its environment.
const UNIT_PROPERTIES: &str =
    "ActiveState,SubState,Result,MainPID,NRestarts,ExecMainStartTimestamp,FragmentPath,DropInPaths";
/// The end of the agent's log.
const LOG: [&str; 7] = ["journalctl", "-u", UNIT, "-n", "5000", "--no-pager", "--output=short-iso-precise"];
/// Variables of the agent's environment that are told: how it logs.
const TOLD_VARIABLES: [&str; 2] = ["HOPSACK_LOG", "HOPSACK_LOG_FORMAT"];

/// Collects all of it.
pub fn collect(client: &Client, places: &Places) -> Vec<Part> {
    let examination = client.examine();
    let settings = examination.as_ref().map(|told| told.settings.clone()).unwrap_or_default();
    let mut parts = vec![
        Part { name: "version.txt".to_owned(), text: format!("hopsack {}\n", env!("CARGO_PKG_VERSION")) },
        json("doctor.json", Ok(doctor::diagnose(client, places))),
        json("status.json", client.status()),
        json("events.json", client.events(&EventsRequest { since: None })),
        json("hosts.json", client.hosts()),
        json("networks.json", client.networks()),
        json("endpoints.json", client.endpoints()),
        json("ipam.json", client.ipam()),
        json("examination.json", examination),
    ];
    let found = settings.keys().map(|name| {
        let value = fs::read_to_string(format!("/proc/sys/{name}"));
        format!(
            "{name} = {}\n",
            value.map_or_else(|error| error.to_string(), |value| value.trim().to_owned())
        )
    });
    parts.push(Part { name: "settings.txt".to_owned(), text: found.collect() });
    parts.push(Part { name: "agent-log-settings.txt".to_owned(), text: log_settings() });
    parts.extend(PROGRAMS.iter().map(|(name, words)| said(name, words)));
    parts.push(said("agent.log", &LOG));
    parts
}

fn json<T: Serialize>(name: &str, answer: Result<T, ClientError>) -> Part {
    let text = match answer {
        Ok(answer) => serde_json::to_value(answer)
            .map(|mut value| {
                redaction::json(&mut value);
                redaction::text(&format!("{value:#}\n"))
            })
            .unwrap_or_else(|error| format!("{error}\n")),
        Err(error) => format!("{error}\n"),
    };
    Part { name: name.to_owned(), text }
}

fn said(name: &str, words: &[&str]) -> Part {
    let text = match program::run(words) {
        Ok(said) => said.text,
        Err(error) => format!("cannot run `{}`: {error}\n", words.join(" ")),
    };
    Part { name: name.to_owned(), text: redaction::text(&text) }
}

/// How the agent was told to log, by the environment that its unit's process has.
fn log_settings() -> String {
    let process = program::read(&["systemctl", "show", UNIT, "-p", "MainPID", "--value"]);
    let environment = process.map(|id| fs::read(format!("/proc/{}/environ", id.trim())));
    let Some(Ok(environment)) = environment else { return "no unit runs\n".to_owned() };
    let variables =
        environment.split(|byte| *byte == 0).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let told = variables
        .filter(|variable| variable.split_once('=').is_some_and(|(name, _)| TOLD_VARIABLES.contains(&name)));
    told.map(|variable| format!("{variable}\n")).collect()
}
