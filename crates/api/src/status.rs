//! What an agent tells about itself.

use hopsack_types::{Cidr, ClusterId, Generation, HostId, HostName, IfName, PathKind, Revision, TokenId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// One screen about this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// None before `init` or `join`.
    pub cluster: Option<ClusterStatus>,
    /// This host's Docker engine, in words: whether it answers, or that it is left alone.
    pub docker: String,
    /// What is wrong, worst first.
    pub faults: Vec<Fault>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// What, in one line.
    pub text: String,
    /// What to type next, on this host unless it begins with another's name; none where the text alone says what to do.
    #[serde(default)]
    pub next: Option<String>,
}

impl Fault {
    /// A fault, and what to type next.
    pub fn new(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { text: text.into(), next: Some(next.into()) }
    }
}

impl fmt::Display for Fault {
    /// In one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.next {
            Some(next) => write!(f, "{}; next: {next}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// This host inside its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The cluster.
    pub id: ClusterId,
    /// This host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// How it reaches the others.
    pub underlay: UnderlayStatus,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Pools.
    pub pools: Vec<Cidr>,
    /// Intent as this host has it.
    pub store: StoreStatus,
    /// The reconciler.
    pub kernel: KernelStatus,
    /// Number of networks.
    pub networks: usize,
    /// Number of endpoints on this host.
    pub endpoints: usize,
    /// All hosts.
    pub hosts: Vec<HostStatus>,
}

/// The way to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnderlayStatus {
    /// Device.
    pub device: IfName,
    /// Address.
    pub address: IpAddr,
    /// MTU, bytes.
    pub mtu: u32,
    /// The rule by which it was found: `default route` or `--advertise`.
    pub found_by: String,
}

/// Intent's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// The newest revision that this host has.
    pub revision: Revision,
    /// `voter` or `copy`.
    pub role: String,
    /// Whether writes can be expected to work now.
    pub connected: bool,
}

/// The reconciler's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelStatus {
    /// The newest generation of what should be.
    pub wanted: Generation,
    /// The newest generation that was applied.
    pub applied: Generation,
    /// Objects that could not be changed, each with its reason.
    pub failures: Vec<String>,
    /// Objects that others had changed and that were put right, by kernel table.
    pub repaired: BTreeMap<String, u64>,
}

/// A host as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// Identity.
    pub id: HostId,
    /// Name.
    pub name: HostName,
    /// Underlay address.
    pub underlay: IpAddr,
    /// Host addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it votes.
    pub voter: bool,
    /// Whether its agent answers.
    pub alive: bool,
    /// The path in use; none for this host itself.
    pub path: Option<PathStatus>,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// Its public half: the third part of its text.
    pub id: TokenId,
    /// When it is refused, seconds since 1970.
    pub expires_at: u64,
    /// How long it is good yet by the agent's clock, seconds; 0: it has expired.
    pub expires_in: u64,
    /// How many hosts may still join with it; none: any number.
    pub uses_left: Option<u32>,
}

/// The path in use to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStatus {
    /// Kind.
    pub kind: PathKind,
    /// MTU, bytes.
    pub mtu: u32,
    /// Smoothed round trip, microseconds; none before the first answer.
    pub round_trip: Option<u64>,
    /// Whether its probes are answered.
    pub answered: bool,
    /// Why this one.
    pub reason: String,
}
