//! Intent as people and hosts write it: pools, networks, hosts, ledgers of block grants, tokens.

use crate::address::{Cidr, Family};
use crate::id::{ClusterId, HostId, NetworkId, TokenId};
use crate::name::{HostName, Labels, NetworkName, PoolName};
use crate::numbers;
use crate::option::OptionKey;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The cluster itself; written once by `init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Drawn by `init`.
    pub id: ClusterId,
    /// SHA-256 of the CA certificate (DER), hex: what tokens carry.
    pub ca_hash: String,
}

/// A CIDR that networks' subnets and hosts' own addresses come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// Unique name.
    pub name: PoolName,
    /// The addresses.
    pub cidr: Cidr,
    /// Masquerade what leaves the cluster from this pool.
    #[serde(default = "yes")]
    pub nat_outgoing: bool,
    /// No new subnets from this pool.
    #[serde(default)]
    pub disabled: bool,
    /// The user's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

const fn yes() -> bool {
    true
}

impl Pool {
    /// A pool of which nothing else was said.
    pub const fn new(name: PoolName, cidr: Cidr) -> Self {
        Self { name, cidr, nat_outgoing: true, disabled: false, labels: Labels::new() }
    }

    /// The part at the pool's beginning that hosts' own addresses come from: room for 1,022 hosts in a large v4 pool
    /// (a /22), an eighth of a small one; a /112 in v6.
    pub fn host_range(&self) -> Cidr {
        let length = match self.cidr.family() {
            Family::V4 => (self.cidr.length() + 3).clamp(22, 32),
            Family::V6 => (self.cidr.length() + 3).clamp(112, 128),
        };
        Cidr::around(self.cidr.first(), length)
    }
}

/// Whether containers of other networks may reach a network's containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Only containers of the same network.
    #[default]
    Full,
    /// Containers of all networks that say `none` too (what Flannel and Weave do by default).
    None,
}

/// Whose interface has the default route of a network's containers in Docker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// The network's own: Hopsack is the gateway.
    #[default]
    Hopsack,
    /// A second one on Docker's gateway bridge, with Docker's translation and published ports.
    Docker,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hopsack => "hopsack",
            Self::Docker => "docker",
        })
    }
}

/// Who chose a gateway's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChosenBy {
    /// The user, or Docker: its engines show it.
    User,
    /// Hopsack, because nobody said anything.
    Default,
}

/// What a container attaches to: routed, with subnets of one or both families.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// Drawn at creation.
    pub id: NetworkId,
    /// Unique name.
    pub name: NetworkName,
    /// At least one; disjoint. Of several of a family, the first that has room gives the next address.
    pub subnets: Vec<Cidr>,
    /// At most one inside each subnet: addresses that nobody asked for by number come out of it only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ranges: BTreeSet<Cidr>,
    /// At most one in each subnet. No container gets it; the host of a container answers it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gateways: BTreeMap<IpAddr, ChosenBy>,
    /// Addresses that no container gets, and what for: Docker's auxiliary addresses.
    #[serde(default)]
    pub reserved: BTreeMap<IpAddr, String>,
    /// Reachability from other networks.
    #[serde(default)]
    pub isolation: Isolation,
    /// Its containers reach each other and nothing else, and nothing else reaches them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// Where its containers' default route goes in Docker.
    #[serde(default)]
    pub exit: Exit,
    /// The largest packet that its containers send, bytes; none: as large as the underlay takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Options that the user said, also those that say what is so anyway.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub said: BTreeSet<OptionKey>,
    /// The user's labels.
    #[serde(default)]
    pub labels: Labels,
    /// Where Docker made it, if Docker did; its engine's id for it is known on that host only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerOrigin>,
}

/// The Docker engine that a network was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DockerOrigin {
    /// The host of the engine.
    pub host: HostId,
    /// The engine's own id of the network.
    pub network: String,
    /// False until the engine's event has told the network's name and labels: the driver's calls carry neither.
    pub named: bool,
}

impl Network {
    /// A network of which nothing else was said.
    pub fn new(id: NetworkId, name: NetworkName, subnets: Vec<Cidr>) -> Self {
        Self {
            id,
            name,
            subnets,
            ranges: BTreeSet::new(),
            gateways: BTreeMap::new(),
            reserved: BTreeMap::new(),
            isolation: Isolation::default(),
            internal: false,
            exit: Exit::default(),
            mtu: None,
            said: BTreeSet::new(),
            labels: Labels::new(),
            docker: None,
        }
    }

    /// The subnets of a family, in their order.
    pub fn subnets_of(&self, family: Family) -> impl Iterator<Item = Cidr> + '_ {
        self.subnets.iter().copied().filter(move |subnet| subnet.family() == family)
    }

    /// The subnet that an address lies in.
    pub fn subnet_of(&self, address: IpAddr) -> Option<Cidr> {
        self.subnets.iter().copied().find(|subnet| subnet.contains(address))
    }

    /// The part of a subnet that addresses come from which nobody asked for by number: all of it, unless there is a
    /// range in it.
    pub fn range_in(&self, subnet: Cidr) -> Cidr {
        self.ranges.iter().copied().find(|range| subnet.covers(range)).unwrap_or(subnet)
    }

    /// The gateway in a subnet.
    pub fn gateway_in(&self, subnet: Cidr) -> Option<IpAddr> {
        self.gateways.keys().copied().find(|gateway| subnet.contains(*gateway))
    }

    /// Of some gateways those that are not the default ones of their subnets: what somebody must have said.
    pub fn unusual_gateways<'a>(
        subnets: &[Cidr],
        gateways: impl IntoIterator<Item = &'a IpAddr>,
    ) -> BTreeSet<IpAddr> {
        let usual: BTreeSet<IpAddr> = subnets.iter().copied().filter_map(Self::default_gateway).collect();
        gateways.into_iter().copied().filter(|gateway| !usual.contains(gateway)).collect()
    }

    /// The gateway of a subnet for which nobody has chosen one: its first address behind the network's own. None in a
    /// subnet that is too small to have an address of its own (RFC 3021, RFC 6164).
    pub fn default_gateway(subnet: Cidr) -> Option<IpAddr> {
        let roomy = subnet.length() + 2 <= subnet.family().bits();
        roomy.then(|| match subnet.first() {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + 1).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + 1).into(),
        })
    }

    /// Why no container may have an address, though it is of the network.
    pub fn kept_for(&self, address: IpAddr) -> Option<&str> {
        let gateway = self.gateways.get(&address).map(|_| "the gateway");
        gateway.or_else(|| self.reserved.get(&address).map(String::as_str))
    }

    /// The containers' next hop of a family.
    pub fn next_hop(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => numbers::next_hop_v4(self.id).into(),
            Family::V6 => numbers::next_hop_v6(self.id).into(),
        }
    }
}

/// A machine with an agent, as all others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Identity.
    pub id: HostId,
    /// Unique name.
    pub name: HostName,
    /// Where other hosts reach it: the outer address of its tunnels and its control port.
    pub underlay: IpAddr,
    /// Control port (TCP and UDP).
    pub control_port: u16,
    /// Its own address of each family that the cluster has a pool of.
    pub addresses: Vec<IpAddr>,
    /// Ed25519 public key, hex: verifies its facts.
    pub public_key: String,
    /// Whether it votes on intent and holds the CA's key.
    pub voter: bool,
    /// The user's labels.
    #[serde(default)]
    pub labels: Labels,
}

impl Host {
    /// The host address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }
}

/// Who holds which part of a network's subnets. One document per network, changed by compare-and-swap only, so
/// that no two hosts can ever be granted the same address. The meaning is in the `ipam` crate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ledger {
    /// Disjoint prefixes and their holders.
    #[serde(default)]
    pub grants: BTreeMap<Cidr, Grant>,
    /// What hosts could not find free and ask others to release, in the order of asking.
    #[serde(default)]
    pub wants: Vec<Want>,
    /// The network is being removed: nothing more is granted, and every host hands back what it holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closing: bool,
}

/// One prefix's holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The host.
    pub host: HostId,
    /// Set when the host was removed and has not yet acknowledged: nobody may use the prefix.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantined: bool,
}

/// A request for addresses that only other hosts' reserves can satisfy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Want {
    /// Who asks.
    pub host: HostId,
    /// One certain address, or any of the family.
    pub wanted: Wanted,
    /// Hosts that have looked and released nothing.
    #[serde(default)]
    pub declined: Vec<HostId>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    /// Exactly this address.
    Address(IpAddr),
    /// Any address of the family.
    Any(Family),
}

/// A join token as it is stored: never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Token {
    /// Public half.
    pub id: TokenId,
    /// SHA-256 of the secret half, hex.
    pub secret_hash: String,
    /// Seconds since 1970 after which it is refused.
    pub expires_at: u64,
    /// How many hosts may still join with it; none means any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
}
