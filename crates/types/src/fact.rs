//! Facts: what is so. Each is written by one host only, about itself.

use crate::address::{Cidr, Mac};
use crate::id::{EndpointId, HostId, NetworkId};
use crate::path::PathKind;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a fact is about. Together with its writer it names one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FactKey {
    /// One endpoint on the writer.
    Endpoint(EndpointId),
    /// The writer's paths to one peer.
    Path(HostId),
    /// The writer's routes.
    Routes,
}

/// What is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// One interface of one container.
    Endpoint(EndpointFact),
    /// What the writer's probes saw of its paths to one peer.
    Path(PathFact),
    /// Prefixes that the writer has routes to besides the cluster's and the default ones: no subnet may meet them.
    Routes(Vec<Cidr>),
}

/// An endpoint as other hosts know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFact {
    /// Its network.
    pub network: NetworkId,
    /// Its addresses; they count only inside blocks that are granted to the writer.
    pub addresses: Vec<IpAddr>,
    /// Its MAC address.
    pub mac: Mac,
    /// For people: the container's name, or what the attacher gave.
    pub name: String,
}

/// The writer's sight of its paths to one peer. A path is used only when both ends see it pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathFact {
    /// Kinds whose probes were answered lately, with the largest packet that passed (bytes).
    pub usable: Vec<(PathKind, u32)>,
}
