//! The firewall's intermediate form: sets, chains and rules of our one nftables table, as data. `plan` writes it,
//! `nft` renders it and reads it back. What must not live here: decisions, and syntax of `nft` beyond the one
//! expression that both sides share.
//!
//! Read-back never parses rules: each rule carries a digest of its rendered text in its comment, and two rules are
//! the same if their digests are.

use crate::address::{Cidr, Family, Mac};
use crate::name::IfName;
use crate::port::Protocol;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The table's whole content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// Sets by name.
    pub sets: BTreeMap<String, Set>,
}

/// One chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Where the kernel calls it; none for a chain that only rules jump to.
    pub hook: Option<Hook>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// Where a base chain is called. The default verdict is always accept: what is refused is refused by a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// `filter`, `nat` or `route`.
    pub kind: ChainKind,
    /// The netfilter hook.
    pub point: HookPoint,
    /// Numeric priority: names are specific to hooks.
    pub priority: i32,
}

/// The kind of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// Verdicts.
    Filter,
    /// Address translation.
    Nat,
    /// Routes again when the mark has changed.
    Route,
}

/// A netfilter hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookPoint {
    /// Before routing.
    Prerouting,
    /// For this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
}

/// One rule: what it matches, then what it does. Equal when the digests are equal.
#[derive(Debug, Clone, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// For people; shown in `nft list` before the digest. Letters, digits, spaces and `-`.
    pub comment: String,
    /// The body in nft's syntax, without comment; empty in a rule that was read back.
    pub body: String,
    /// First 64 bits of the SHA-256 of body and comment.
    pub digest: u64,
}

impl Rule {
    /// A rule out of its comment and its body.
    pub fn new(comment: impl Into<String>, body: impl Into<String>) -> Self {
        use sha2::{Digest, Sha256};
        let (comment, body) = (comment.into(), body.into());
        let hash = Sha256::new().chain_update(&comment).chain_update([0]).chain_update(&body).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        Self { comment, body, digest: u64::from_be_bytes(first) }
    }

    /// A rule as it was read back: only its digest is known.
    pub const fn observed(digest: u64) -> Self {
        Self { comment: String::new(), body: String::new(), digest }
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// A set of tuples, or a map from tuples to tuples. Elements of an interval set are disjoint, and every address in one
/// is written as a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Types of the tuple's fields, in order.
    pub fields: Vec<FieldKind>,
    /// Of a map, types of the fields that it leads to; empty in a set.
    pub data: Vec<FieldKind>,
    /// Whether prefixes are elements (nft's `flags interval`).
    pub interval: bool,
    /// The tuples. A map's go on with what they lead to; what is before that is in one of them only.
    pub elements: BTreeSet<Vec<Field>>,
}

/// What leaves and enters one set, laid out as the kernel keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChange {
    /// The set's name.
    pub set: String,
    /// Elements that leave it; each a key.
    pub removed: Vec<Vec<u8>>,
    /// Elements that enter it; each a key, and what a map leads to, empty in a set.
    pub added: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Type of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// `ipv4_addr` or `ipv6_addr`.
    Address(Family),
    /// `ether_addr`.
    Mac,
    /// `ifname`.
    Interface,
    /// `inet_proto`.
    Protocol,
    /// `inet_service`.
    Port,
    /// The source address of the IP packet inside a VXLAN packet (RFC 7348), read out of the outer UDP payload.
    InnerSource(Family),
}

/// The place that [`FieldKind::InnerSource`] is read from, as nft writes it: bits from the UDP header's start. UDP
/// has 8, VXLAN 8 and Ethernet 14 bytes; the source comes 12 (IPv4, RFC 791) or 8 bytes later (IPv6, RFC 8200).
pub const fn inner_source(family: Family) -> &'static str {
    match family {
        Family::V4 => "@th,336,32",
        Family::V6 => "@th,304,128",
    }
}

/// One field of an element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// One address.
    Address(IpAddr),
    /// A prefix; only in interval sets.
    Prefix(Cidr),
    /// A MAC address.
    Mac(Mac),
    /// An interface.
    Interface(IfName),
    /// A protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
}
