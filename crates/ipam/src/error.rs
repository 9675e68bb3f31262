//! Everything that can go wrong with addresses, each as one line that says what to do.

use crate::grant::Holdings;
use crate::handle::{Handle, MAX_HANDLE};
use crate::subnet::Obstacle;
use hopsack_types::option::LEAST_MTU_V6;
use hopsack_types::{Cidr, Family, HostId, NetworkId, NetworkName, PoolName};
use std::fmt;
use std::net::IpAddr;

/// Why addresses could not be had, or not be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// A handle that is not `kind:id`.
    #[error("handle {0:?} must be kind:id without blanks, at most {MAX_HANDLE} bytes")]
    BadHandle(String),

    /// A given subnet or pool that meets something else.
    #[error("{prefix} overlaps {with}: choose another range")]
    Overlap {
        /// What was asked for.
        prefix: Cidr,
        /// What it meets.
        with: Obstacle,
    },
    /// A host that wants to join has something where the cluster's addresses are.
    #[error(
        "{theirs} overlaps {ours} of the cluster: remove it from this host, or use a cluster with another pool"
    )]
    HostOverlap {
        /// The host's route or underlay.
        theirs: Obstacle,
        /// The cluster's pool or network.
        ours: Obstacle,
    },
    /// Addresses that no container may have, like multicast.
    #[error(
        "{prefix} lies in or covers {special}, {what}: choose a private range, like 10.32.0.0/24 or fd00::/64"
    )]
    NotUnicast {
        /// What was asked for.
        prefix: Cidr,
        /// The special range.
        special: Cidr,
        /// What that range is for.
        what: &'static str,
    },
    /// A pool in which no subnets would fit.
    #[error("pool {prefix} is too small: give at least a /{longest}")]
    PoolTooSmall {
        /// What was asked for.
        prefix: Cidr,
        /// The longest prefix length that is accepted.
        longest: u8,
    },
    /// There is no enabled pool of the family.
    #[error("no enabled {0} pool: add one, or give the network's subnet")]
    NoPool(Family),
    /// No pool has room for one more subnet.
    #[error("no free {family} subnet in pool {}: add a pool, or give the network's subnet", Commas(pools))]
    PoolsFull {
        /// The family.
        family: Family,
        /// The pools that were searched.
        pools: Vec<PoolName>,
    },
    /// Every candidate of the default pool meets something on a host.
    #[error(
        "every default pool meets a route of a host (the last: {last} meets {with}): give one, like --pool 10.32.0.0/14"
    )]
    NoDefaultPool {
        /// The last candidate.
        last: Cidr,
        /// What it meets.
        with: Obstacle,
    },
    /// All host addresses of a pool are taken.
    #[error(
        "pool {pool} has no free host address left in {range}: remove hosts that are gone, or add hosts' addresses from a larger pool"
    )]
    HostAddressesFull {
        /// The pool.
        pool: PoolName,
        /// Its part for hosts.
        range: Cidr,
    },

    /// Two subnets of one network.
    #[error("subnets {first} and {second} overlap: give one of them, or two that are apart")]
    SubnetsOverlap {
        /// One.
        first: Cidr,
        /// The other.
        second: Cidr,
    },
    /// A range that is not a part of a subnet.
    #[error("ip-range {range} is in none of the network's subnets: give a part of {}", Commas(subnets))]
    RangeOutside {
        /// The range.
        range: Cidr,
        /// The network's subnets.
        subnets: Vec<Cidr>,
    },
    /// Two ranges in one subnet.
    #[error("ip-ranges {first} and {second} are both in subnet {subnet}: give one")]
    TwoRanges {
        /// One.
        first: Cidr,
        /// The other.
        second: Cidr,
        /// The subnet.
        subnet: Cidr,
    },
    /// Two gateways in one subnet.
    #[error("gateways {first} and {second} are both in subnet {subnet}: give one")]
    TwoGateways {
        /// One.
        first: IpAddr,
        /// The other.
        second: IpAddr,
        /// The subnet.
        subnet: Cidr,
    },
    /// A gateway that is reserved for something else.
    #[error("{gateway} is the gateway and an aux-address ({what}): choose another for one of them")]
    GatewayReserved {
        /// The address.
        gateway: IpAddr,
        /// What else it is for.
        what: String,
    },
    /// An address that is to be kept from containers and belongs to no subnet.
    #[error("{what} {address} is in none of the network's subnets: give one of {}", Commas(subnets))]
    KeptOutside {
        /// What it would be.
        what: &'static str,
        /// The address.
        address: IpAddr,
        /// The network's subnets.
        subnets: Vec<Cidr>,
    },
    /// An address that is to be kept from containers and is nobody's anyway.
    #[error("{what} {address} is {why} of {subnet}: give another")]
    KeptEdge {
        /// What it would be.
        what: &'static str,
        /// The address.
        address: IpAddr,
        /// Its subnet.
        subnet: Cidr,
        /// What it is.
        why: Unusable,
    },
    /// A subnet or range of which containers get nothing.
    #[error("{range} leaves no address for containers: give a larger one")]
    NoRoom {
        /// The subnet, or the range in it.
        range: Cidr,
    },
    /// A packet size that IPv6 does not allow.
    #[error("MTU {mtu} is too small for IPv6: give at least {LEAST_MTU_V6}")]
    MtuTooSmall {
        /// Bytes.
        mtu: u32,
    },

    /// The network has no subnet of the family.
    #[error("network {network} has no {family} subnet")]
    NoSubnet {
        /// The network.
        network: NetworkName,
        /// The family.
        family: Family,
    },
    /// An address outside the network's subnets.
    #[error("{address} is not in network {network}: its subnet is {}", Commas(subnets))]
    OutsideSubnet {
        /// The network.
        network: NetworkName,
        /// What was asked for.
        address: IpAddr,
        /// The network's subnets.
        subnets: Vec<Cidr>,
    },
    /// An address that no container may have.
    #[error("{address} of network {network} is {why}: choose another address of {subnet}")]
    Unusable {
        /// The network.
        network: NetworkName,
        /// What was asked for.
        address: IpAddr,
        /// Its subnet.
        subnet: Cidr,
        /// What it is.
        why: Unusable,
    },
    /// An address that is in use on this host.
    #[error("{address} is in use on this host by {holder}: release it first, or choose another")]
    InUse {
        /// The address.
        address: IpAddr,
        /// Who holds it.
        holder: Handle,
    },
    /// An address that another host has in use.
    #[error("{address} is in use on host {}: release it there, or choose another", Name(name, host))]
    InUseElsewhere {
        /// The address.
        address: IpAddr,
        /// The host.
        host: HostId,
        /// Its name, where known.
        name: Option<String>,
    },
    /// An address of a removed host that may still run.
    #[error(
        "{address} belonged to the removed host {}, which may still use it: start that host, or say that it is destroyed",
        Name(name, host)
    )]
    Quarantined {
        /// The address.
        address: IpAddr,
        /// The removed host.
        host: HostId,
        /// Its name, where known.
        name: Option<String>,
    },
    /// An address that this host has not been granted (yet).
    #[error("{address} is not granted to this host: it must be asked for")]
    NotGranted {
        /// The address.
        address: IpAddr,
    },
    /// A prefix or address that cannot be handed back, since part of it is in use.
    #[error("{prefix} cannot be handed back: {address} in it is in use by {holder}")]
    LendInUse {
        /// What was to be handed back.
        prefix: Cidr,
        /// The address in use.
        address: IpAddr,
        /// Who holds it.
        holder: Handle,
    },
    /// A prefix of which a part is on its way back already.
    #[error("{prefix} is being handed back already: wait until the ledger shows it")]
    AlreadyLent {
        /// What was to be handed back.
        prefix: Cidr,
    },
    /// This host's own granted addresses are all in use; more may be had from the ledger.
    #[error("all {in_use} {family} addresses of network {network} that this host was granted are in use")]
    NoneGranted {
        /// The network.
        network: NetworkName,
        /// The family.
        family: Family,
        /// Addresses in use on this host.
        in_use: u64,
    },
    /// The whole subnet is in use.
    #[error(
        "network {network} has no free {family} address: {holdings}; stop containers there, or use a larger subnet"
    )]
    Exhausted {
        /// The network.
        network: NetworkName,
        /// The family.
        family: Family,
        /// Who holds what.
        holdings: Holdings,
    },
    /// The network's definition or ledger has not arrived yet.
    #[error("this host does not know network {0} yet: try again when it has caught up with the cluster")]
    NotReady(NetworkId),

    /// A ledger that grants an address twice, or one outside the subnets.
    #[error("the ledger of network {network} grants {prefix} wrongly ({why}): please report this")]
    BrokenLedger {
        /// The network.
        network: NetworkName,
        /// The grant.
        prefix: Cidr,
        /// What is wrong.
        why: &'static str,
    },

    /// A journal that is not one.
    #[error(
        "the address journal does not begin like one: move it away; the agent rebuilds it from what runs"
    )]
    NotJournal,
    /// A journal of a newer version.
    #[error(
        "the address journal has version {found}, this program reads up to {known}: upgrade hopsack on this host"
    )]
    NewerJournal {
        /// The journal's version.
        found: u16,
        /// The newest that this program reads.
        known: u16,
    },
    /// A record that could not be written in the journal's form.
    #[error("an address record could not be encoded ({0}): please report this")]
    Encode(postcard::Error),
}

/// What makes an address unusable for containers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The first address of a v4 subnet.
    #[error("the network address")]
    NetworkAddress,
    /// The last address of a v4 subnet.
    #[error("the broadcast address")]
    Broadcast,
    /// The first address of a v6 subnet.
    #[error("the subnet-router anycast address")]
    RouterAnycast,
    /// Reserved at the network's creation.
    #[error("reserved ({0})")]
    Reserved(String),
}

/// Shows a list with commas between.
struct Commas<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Commas<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{item}")?;
        }
        Ok(())
    }
}

/// Shows a host by name, or by the beginning of its id.
struct Name<'a>(&'a Option<String>, &'a HostId);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => f.write_str(name),
            None => f.write_str(&self.1.short()),
        }
    }
}
