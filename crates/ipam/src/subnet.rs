//! Choice of ranges: default pools, subnets of networks, hosts' own addresses; and the check of given ones against
//! everything that they must not meet. What must not live here: where the facts about hosts come from.

use crate::error::IpamError;
use crate::ranges::{Ranges, address, bounds, number};
use hopsack_types::{Cidr, Family, HostName, Network, NetworkName, Pool, PoolName};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range that is taken, and by what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    /// The range.
    pub prefix: Cidr,
    /// What has it.
    pub occupant: Occupant,
}

/// What has a range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occupant {
    /// A network's subnet.
    Network(NetworkName),
    /// A pool.
    Pool(PoolName),
    /// The part of a pool that hosts' own addresses come from.
    HostAddresses(PoolName),
    /// The address that a host is reached by, or the segment that it is on.
    Underlay(HostName),
    /// A route of a host that is not ours.
    Route(HostName),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.prefix)?;
        match &self.occupant {
            Occupant::Network(name) => write!(f, "the subnet of network {name}"),
            Occupant::Pool(name) => write!(f, "pool {name}"),
            Occupant::HostAddresses(pool) => write!(f, "the hosts' own addresses in pool {pool}"),
            Occupant::Underlay(host) => write!(f, "the underlay of host {host}"),
            Occupant::Route(host) => write!(f, "a route of host {host}"),
        }
    }
}

impl Obstacle {
    /// What a network takes.
    pub fn of_network(network: &Network) -> impl Iterator<Item = Self> + '_ {
        let occupant = || Occupant::Network(network.name.clone());
        network.subnets.iter().map(move |prefix| Self { prefix: *prefix, occupant: occupant() })
    }

    /// What a pool takes from subnets: its hosts' own addresses.
    pub fn of_host_range(pool: &Pool) -> Self {
        Self { prefix: pool.host_range(), occupant: Occupant::HostAddresses(pool.name.clone()) }
    }

    /// A pool as a whole.
    pub fn of_pool(pool: &Pool) -> Self {
        Self { prefix: pool.cidr, occupant: Occupant::Pool(pool.name.clone()) }
    }

    /// A host's route. None for a default route, which leaves every range free; a /1 counts as half of a default
    /// route, which is how VPN clients install theirs.
    pub fn of_route(host: &HostName, prefix: Cidr) -> Option<Self> {
        (prefix.length() > 1).then(|| Self { prefix, occupant: Occupant::Route(host.clone()) })
    }

    /// The address that a host is reached by.
    pub fn of_underlay(host: &HostName, underlay: IpAddr) -> Self {
        Self { prefix: Cidr::host(underlay), occupant: Occupant::Underlay(host.clone()) }
    }
}

const fn v4(a: u8, b: u8, length: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), length)
}

const fn v6(first: u16, length: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)), length)
}

/// Ranges that containers cannot have (IANA special-purpose address registries, RFC 6890), and why.
const SPECIAL: [((IpAddr, u8), &str); 8] = [
    (v4(0, 0, 8), "which means \"this network\""),
    (v4(127, 0, 8), "the loopback range"),
    (v4(169, 254, 16), "the link-local range"),
    (v4(224, 0, 4), "the multicast range"),
    (v4(240, 0, 4), "the reserved range"),
    (v6(0, 8), "the range of loopback and mapped addresses"),
    (v6(0xfe80, 10), "the link-local range"),
    (v6(0xff00, 8), "the multicast range"),
];

/// Candidates for the default v4 pool, the first that meets nothing is taken. All are /14: a thousand subnets of
/// /24 after the hosts' own addresses.
///
/// 10.0.0.0/8 comes first, from places that other software leaves alone: not its beginning (routers, offices), nor
/// 10.96/12 and 10.244/16 (Kubernetes), 10.128/9's low half (Google's subnets), 10.42/15 (k3s). 172.16.0.0/12
/// follows, from its end, as Docker takes it from its beginning; then 100.64.0.0/10 (carriers' shared space,
/// RFC 6598), which a private network uses last because providers and Tailscale do.
const DEFAULT_POOLS: [(IpAddr, u8); 16] = [
    v4(10, 32, 14),
    v4(10, 64, 14),
    v4(10, 80, 14),
    v4(10, 112, 14),
    v4(10, 192, 14),
    v4(10, 208, 14),
    v4(10, 224, 14),
    v4(10, 248, 14),
    v4(10, 160, 14),
    v4(10, 16, 14),
    v4(172, 28, 14),
    v4(172, 24, 14),
    v4(172, 20, 14),
    v4(100, 112, 14),
    v4(100, 96, 14),
    v4(100, 80, 14),
];

/// Refuses a range that is for something else than containers.
fn check_unicast(prefix: Cidr) -> Result<(), IpamError> {
    for ((first, length), what) in SPECIAL {
        let special = Cidr::around(first, length);
        if special.overlaps(&prefix) {
            return Err(IpamError::NotUnicast { prefix, special, what });
        }
    }
    Ok(())
}

fn check_clear<'a>(prefix: Cidr, obstacles: impl IntoIterator<Item = &'a Obstacle>) -> Result<(), IpamError> {
    match obstacles.into_iter().find(|obstacle| obstacle.prefix.overlaps(&prefix)) {
        Some(with) => Err(IpamError::Overlap { prefix, with: with.clone() }),
        None => Ok(()),
    }
}

/// Checks a subnet that a user gave. It may lie inside or outside pools; it must meet nothing in `obstacles`: other
/// networks, host ranges of pools, every host's underlay and routes.
pub fn check_subnet(subnet: Cidr, obstacles: &[Obstacle]) -> Result<(), IpamError> {
    check_unicast(subnet)?;
    check_clear(subnet, obstacles)
}

/// Checks a pool that a user gave: large enough for hosts and subnets (v4 /26, v6 /96), and clear of `obstacles`:
/// other pools, every host's underlay and routes.
pub fn check_pool(prefix: Cidr, obstacles: &[Obstacle]) -> Result<(), IpamError> {
    check_unicast(prefix)?;
    let longest = match prefix.family() {
        Family::V4 => 26,
        Family::V6 => 96,
    };
    if prefix.length() > longest {
        return Err(IpamError::PoolTooSmall { prefix, longest });
    }
    check_clear(prefix, obstacles)
}

/// The default v4 pool: the first candidate that meets no obstacle.
pub fn default_pool_v4(obstacles: &[Obstacle]) -> Result<Cidr, IpamError> {
    let mut refused = None;
    for (first, length) in DEFAULT_POOLS {
        let candidate = Cidr::around(first, length);
        match check_clear(candidate, obstacles) {
            Ok(()) => return Ok(candidate),
            Err(IpamError::Overlap { prefix, with }) => {
                refused = Some(IpamError::NoDefaultPool { last: prefix, with });
            }
            Err(other) => return Err(other),
        }
    }
    Err(refused.unwrap_or(IpamError::NoPool(Family::V4)))
}

/// The default v6 pool: the unique local /48 of 40 random bits (RFC 4193 section 3.2).
pub fn default_pool_v6(random: [u8; 5]) -> Cidr {
    let [a, b, c, d, e] = random;
    let prefix =
        Ipv6Addr::from_bits(u128::from_be_bytes([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    Cidr::around(prefix.into(), 48)
}

/// Whether a host may join: nothing of its own (`theirs`: routes, underlay) may meet the cluster's pools or subnets.
pub fn check_join<'a>(
    theirs: &[Obstacle],
    pools: impl IntoIterator<Item = &'a Pool>,
    networks: impl IntoIterator<Item = &'a Network>,
) -> Result<(), IpamError> {
    let pools = pools.into_iter().map(Obstacle::of_pool);
    let subnets = networks.into_iter().flat_map(Obstacle::of_network);
    for ours in pools.chain(subnets) {
        if let Some(theirs) = theirs.iter().find(|theirs| theirs.prefix.overlaps(&ours.prefix)) {
            return Err(IpamError::HostOverlap { theirs: theirs.clone(), ours });
        }
    }
    Ok(())
}

/// The next free subnet of the enabled pools of a family, in the order given: a /24 or /64, or an eighth of a pool
/// that is smaller. `obstacles` as for [`check_subnet`].
pub fn next_subnet<'a>(
    pools: impl IntoIterator<Item = &'a Pool>,
    family: Family,
    obstacles: &[Obstacle],
) -> Result<Cidr, IpamError> {
    let mut full = Vec::new();
    for pool in pools.into_iter().filter(|pool| !pool.disabled && pool.cidr.family() == family) {
        let usual = match family {
            Family::V4 => 24,
            Family::V6 => 64,
        };
        let length = (pool.cidr.length() + 3).clamp(usual, family.bits());
        let mut free = Ranges::of(pool.cidr);
        free.remove_prefix(pool.host_range());
        for obstacle in obstacles.iter().filter(|obstacle| obstacle.prefix.family() == family) {
            free.remove_prefix(obstacle.prefix);
        }
        match free.piece_from(0, family.bits() - length) {
            Some(start) => return Ok(Cidr::around(address(family, start), length)),
            None => full.push(pool.name.clone()),
        }
    }
    if full.is_empty() {
        Err(IpamError::NoPool(family))
    } else {
        Err(IpamError::PoolsFull { family, pools: full })
    }
}

/// The next free address for a host out of a pool. The range's first address, and in v4 its last, are left alone:
/// some of what looks at them from outside takes them for network and broadcast addresses.
pub fn next_host_address<'a>(
    pool: &Pool,
    taken: impl IntoIterator<Item = &'a IpAddr>,
) -> Result<IpAddr, IpamError> {
    let range = pool.host_range();
    let family = range.family();
    let (first, last) = bounds(range);
    let mut free = Ranges::of(range);
    free.remove(first, first);
    if family == Family::V4 {
        free.remove(last, last);
    }
    for address in taken.into_iter().filter(|address| range.contains(**address)) {
        free.remove(number(*address), number(*address));
    }
    match free.first() {
        Some(found) => Ok(address(family, found)),
        None => Err(IpamError::HostAddressesFull { pool: pool.name.clone(), range }),
    }
}

#[cfg(test)]
mod tests;
