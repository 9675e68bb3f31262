//! Words of the fast path, by which packets between endpoints of one network go past the host's IP stack. What must not
//! live here: what goes there (the plan), and how its programs read it.

use crate::{Mac, Protocol};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What packets are addressed to on the link that they leave by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FastNext {
    /// The MAC address of the container's end, or of the other end of the tunnel.
    Mac(Mac),
    /// A neighbour, whose MAC address the kernel finds.
    Hop(IpAddr),
}

/// A port of an endpoint that its host publishes: what is said through it takes the routes, and is translated there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FastPort {
    /// The endpoint's address.
    pub address: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Number.
    pub number: u16,
}
