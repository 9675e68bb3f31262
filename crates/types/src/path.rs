//! How packets get from this host to a peer.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of path, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// Plain routes over the underlay; needs a segment in common and an underlay that passes foreign sources.
    Direct,
    /// Kernel VXLAN (RFC 7348), unicast, no learning.
    Vxlan,
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Vxlan => "vxlan",
        })
    }
}

/// The path in use to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathChoice {
    /// Its kind.
    pub kind: PathKind,
    /// The largest IP packet that passes, in bytes.
    pub mtu: u32,
}
