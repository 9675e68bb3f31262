//! What an agent finds out for `hopsack doctor`: what only it knows, and what the other hosts answer when they are asked.

use crate::PathStatus;
use hopsack_types::{HostId, HostName, PathKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Examination {
    /// Where the agent keeps its state.
    pub state_dir: PathBuf,
    /// Where other hosts reach it, TCP and UDP; outside of a cluster, where they would.
    pub control_port: u16,
    /// Kernel settings as they should be, by their path below `/proc/sys`.
    pub settings: BTreeMap<String, String>,
    /// The other hosts, by name.
    pub peers: Vec<PeerExamination>,
}

/// Another host, as it answers now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerExamination {
    /// The host.
    pub id: HostId,
    /// Its name.
    pub name: HostName,
    /// Its underlay address.
    pub underlay: IpAddr,
    /// Its control port.
    pub control_port: u16,
    /// What it answered on that port over TCP; none: nothing.
    pub answer: Option<PeerAnswer>,
    /// Why it did not answer.
    pub error: Option<String>,
    /// Whether datagrams to and from that port pass, on the way there or over other hosts.
    pub alive: bool,
    /// The path in use.
    pub path: Option<PathStatus>,
    /// The kinds of path that there could be, and whether the last probes of each were answered.
    pub kinds: BTreeMap<PathKind, bool>,
    /// When a probe was last answered, seconds ago; none: never since this agent's start.
    pub last_heard: Option<u64>,
}

/// What a host says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAnswer {
    /// How long the answer took, microseconds; a new connection's handshake included.
    pub round_trip: u64,
    /// By how much its clock is ahead of this host's, seconds; one either way means nothing.
    pub clock_ahead: i64,
    /// The version of its agent.
    pub version: String,
}
