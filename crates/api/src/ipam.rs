//! How addresses are spread: pools, the subnets that are cut from them, who holds which block, who has which address.

use hopsack_types::{Cidr, EndpointId, HostId, HostName, NetworkId, NetworkName, PoolName};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The largest count that is told: JSON readers count no further exactly (RFC 8259, section 6).
pub const UNCOUNTED: u64 = (1 << 53) - 1;

/// All addresses of a cluster, as one of its hosts knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamStatus {
    /// Pools, by name.
    pub pools: Vec<PoolStatus>,
    /// Networks, by name.
    pub networks: Vec<NetworkIpam>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// Name.
    pub name: PoolName,
    /// The addresses.
    pub prefix: Cidr,
    /// Whether it gives no new subnets.
    pub disabled: bool,
    /// The subnets of networks that lie in it.
    pub subnets: Vec<Cidr>,
    /// Where in it hosts' own addresses come from.
    pub host_range: Cidr,
    /// How many hosts have one of it.
    pub hosts: usize,
}

/// A network's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkIpam {
    /// The network.
    pub id: NetworkId,
    /// Its name.
    pub name: NetworkName,
    /// Whether it is being removed, and gives nothing more.
    pub closing: bool,
    /// Its subnets.
    pub subnets: Vec<SubnetIpam>,
    /// Who has which address, in the order of addresses. Of other hosts those that are of an endpoint.
    pub held: Vec<HeldAddress>,
}

/// A subnet. Each of its addresses is in exactly one of used, reserve, quarantined, free and kept; none of them is told as
/// more than [`UNCOUNTED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetIpam {
    /// The subnet.
    pub prefix: Cidr,
    /// The part of it that addresses come from which nobody asks for by number; none: all of it.
    pub range: Option<Cidr>,
    /// The pool that it lies in; none: the user brought it from elsewhere.
    pub pool: Option<PoolName>,
    /// In use by containers.
    pub used: u64,
    /// Free addresses that hosts hold ahead of need.
    pub reserve: u64,
    /// Held by removed hosts, which may still use them.
    pub quarantined: u64,
    /// Held by nobody.
    pub free: u64,
    /// What no container gets: the subnet's edges, gateways, addresses that the user keeps.
    pub kept: u64,
    /// Of the reserve, what containers of this host gave back less than a minute ago: given last.
    pub cooling: u64,
    /// Who holds what of it, in order.
    pub blocks: Vec<BlockIpam>,
}

/// A part of a subnet that a host gives addresses from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIpam {
    /// The part. Blocks of one host that form a larger prefix are one.
    pub prefix: Cidr,
    /// The host.
    pub host: HostId,
    /// Its name; none: it was removed.
    pub host_name: Option<HostName>,
    /// Whether nobody may use it, since its host was removed and may still do so.
    pub quarantined: bool,
    /// In use by containers.
    pub used: u64,
    /// Free in it.
    pub reserve: u64,
    /// Of the reserve, what cools down; none: another host's, which only that one knows.
    pub cooling: Option<u64>,
}

/// An address in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldAddress {
    /// The address.
    pub address: IpAddr,
    /// On which host.
    pub host: HostId,
    /// Its name; none: it was removed.
    pub host_name: Option<HostName>,
    /// Who holds it in the journal of addresses, a kind and an id; none: another host's.
    pub holder: Option<String>,
    /// The endpoint that has it; none while one is being made, and for what is kept for a container that is stopped.
    pub endpoint: Option<EndpointId>,
    /// The container's name, or what its front door gave.
    pub name: Option<String>,
}
