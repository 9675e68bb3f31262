//! A topology as its user writes it, in code or as JSON, before anything is checked but names.

use super::Topology;
use crate::error::{LabError, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// MTU of a segment that names none, in bytes (Ethernet's).
pub const DEFAULT_MTU: u32 = 1500;

/// Name of a host, segment or router: at most 13 lower-case letters, digits and hyphens, a letter first, so that
/// it can also be the name of a switch's port. Hosts, segments and routers of a lab share one set of names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// Checks the name.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        const RULE: &str =
            "use 1 to 13 lower-case letters, digits and hyphens, a letter first, and neither lo nor br0";
        let text = text.into();
        let good = (1..=13).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && text != "lo"
            && text != "br0";
        if good { Ok(Self(text)) } else { Err(LabError::Name { text, rule: RULE }) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for NodeName {
    type Error = LabError;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

/// What runs containers on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKind {
    /// Nothing; containers are named network namespaces.
    #[default]
    Plain,
    /// A Docker engine of its own.
    Docker,
}

/// A host as its user describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// Its name, which is its hostname too.
    pub name: String,
    /// What runs its containers.
    #[serde(default)]
    pub kind: HostKind,
    /// The segments that it has a link on: `eth0`, `eth1`, ... in this order. The default route goes by the first.
    pub segments: Vec<String>,
}

impl HostSpec {
    /// A host without a container engine.
    pub fn plain(name: &str, segments: &[&str]) -> Self {
        Self { name: name.into(), kind: HostKind::Plain, segments: owned(segments) }
    }

    /// A host with a Docker engine.
    pub fn docker(name: &str, segments: &[&str]) -> Self {
        Self { kind: HostKind::Docker, ..Self::plain(name, segments) }
    }
}

/// A segment (one switch) as its user describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentSpec {
    /// Its name.
    pub name: String,
    /// At most one prefix per family. The n-th host gets the n-th address, routers count down from the end.
    pub prefixes: Vec<String>,
    /// MTU of all its links in bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u32,
    /// Whether the switch drops what a host sends with a source address (IP or ARP) that is not the host's own, as
    /// clouds do. What routers send passes.
    #[serde(default)]
    pub anti_spoofing: bool,
}

const fn default_mtu() -> u32 {
    DEFAULT_MTU
}

impl SegmentSpec {
    /// A segment with Ethernet's MTU and no source check.
    pub fn new(name: &str, prefixes: &[&str]) -> Self {
        Self { name: name.into(), prefixes: owned(prefixes), mtu: DEFAULT_MTU, anti_spoofing: false }
    }

    /// Sets the MTU in bytes.
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Drops frames with foreign source addresses.
    pub fn anti_spoofing(mut self) -> Self {
        self.anti_spoofing = true;
        self
    }
}

/// A router as its user describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterSpec {
    /// Its name.
    pub name: String,
    /// The segments that it joins; its interfaces are named after them.
    pub segments: Vec<String>,
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A topology before it is checked: what a JSON file holds, and what code adds to piece by piece.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyBuilder {
    pub(super) segments: Vec<SegmentSpec>,
    pub(super) hosts: Vec<HostSpec>,
    #[serde(default)]
    pub(super) routers: Vec<RouterSpec>,
}

impl TopologyBuilder {
    /// Adds a segment.
    pub fn segment(mut self, segment: SegmentSpec) -> Self {
        self.segments.push(segment);
        self
    }

    /// Adds a host.
    pub fn host(mut self, host: HostSpec) -> Self {
        self.hosts.push(host);
        self
    }

    /// Adds a router between segments.
    pub fn router(mut self, name: &str, segments: &[&str]) -> Self {
        self.routers.push(RouterSpec { name: name.into(), segments: owned(segments) });
        self
    }

    /// Checks everything against everything.
    pub fn build(self) -> Result<Topology> {
        Topology::try_from(self)
    }
}
