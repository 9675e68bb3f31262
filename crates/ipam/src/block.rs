//! Sizes: how long a block is, how many addresses a host keeps ahead of need, and which addresses nobody gets.
//! What must not live here: who holds a block (see `grant`).

use crate::error::{IpamError, Unusable};
use crate::ranges::{Ranges, bounds, number};
use hopsack_types::{Cidr, Family, Network};
use std::net::IpAddr;

/// Most addresses that a host keeps ahead of need.
pub const MAX_RESERVE: u64 = 64;

/// Prefix length of a whole block of a subnet: 64 addresses or 1/32 of the subnet, whichever is less, and at least
/// one. So a /16 is cut into /26s, a /24 into 32 blocks of /29, a /28 into single addresses. A v6 subnet is cut into
/// 65,536 blocks (a /64 into /80s) as long as such a block has 64 addresses or more; below that v4's rule holds.
pub fn block_length(subnet: Cidr) -> u8 {
    let bits = subnet.family().bits();
    let length = subnet.length();
    if subnet.family() == Family::V6 && length + 16 <= bits - 6 {
        return length + 16;
    }
    (length + 5).max(bits - 6).min(bits)
}

/// Where addresses of a family come from that nobody asks for by number, in the order in which they are used: of each
/// subnet its range.
pub fn automatic(network: &Network, family: Family) -> Vec<Cidr> {
    network.subnets_of(family).map(|subnet| network.range_in(subnet)).collect()
}

/// How many free addresses of a family a host of a cluster of `hosts` tries to keep ahead of need, so that it can still
/// allocate when it is cut off: half of its fair half of all (`size / (4 * hosts)`), at most [`MAX_RESERVE`].
///
/// A quarter of the addresses at most is therefore bound in reserves, and a network with fewer addresses than four
/// times the hosts has none: there each address is worth more where it is needed than where it might be.
pub fn reserve_target(network: &Network, family: Family, hosts: usize) -> u64 {
    let sizes = automatic(network, family).into_iter().map(|range| Ranges::of(range).count());
    let size = sizes.fold(0_u128, u128::saturating_add);
    let share = size / (hosts.max(1) as u128).saturating_mul(4);
    u64::try_from(share).map_or(MAX_RESERVE, |share| share.min(MAX_RESERVE))
}

/// Why no container can have this address of the network, whoever holds it.
pub fn check_usable(network: &Network, address: IpAddr) -> Result<(), IpamError> {
    let refuse =
        |subnet, why| Err(IpamError::Unusable { network: network.name.clone(), address, subnet, why });
    let Some(subnet) = network.subnet_of(address) else {
        let subnets = network.subnets.clone();
        return Err(IpamError::OutsideSubnet { network: network.name.clone(), address, subnets });
    };
    if let Some(edge) = edge(subnet, address) {
        return refuse(subnet, edge);
    }
    match network.kept_for(address) {
        Some(what) => refuse(subnet, Unusable::Reserved(what.to_owned())),
        None => Ok(()),
    }
}

/// What an address is to its subnet as a whole, if no container can have it because of that.
pub(crate) fn edge(subnet: Cidr, address: IpAddr) -> Option<Unusable> {
    let v4 = subnet.family() == Family::V4;
    match address {
        _ if !has_edges(subnet) => None,
        first if first == subnet.first() => {
            Some(if v4 { Unusable::NetworkAddress } else { Unusable::RouterAnycast })
        }
        last if v4 && last == subnet.last() => Some(Unusable::Broadcast),
        _ => None,
    }
}

/// Whether a subnet's first address is nobody's, and in v4 its last: a v4 subnet of /30 or shorter (RFC 3021 frees
/// both addresses of a /31), a v6 subnet of /126 or shorter (RFC 4291 section 2.6.1 gives the first to the
/// subnet's routers, RFC 6164 frees both of a /127).
fn has_edges(subnet: Cidr) -> bool {
    subnet.length() + 2 <= subnet.family().bits()
}

/// All addresses of a family that no container can have, as [`check_usable`] tells them.
pub(crate) fn never_given(network: &Network, family: Family) -> Vec<u128> {
    let kept = network.reserved.keys().chain(network.gateways.keys()).copied();
    let kept = kept.filter(|address| Family::of(*address) == family).map(number);
    let edges = network.subnets_of(family).filter(|subnet| has_edges(*subnet)).flat_map(|subnet| {
        let (first, last) = bounds(subnet);
        std::iter::once(first).chain((family == Family::V4).then_some(last))
    });
    let mut never: Vec<u128> = kept.chain(edges).collect();
    never.sort_unstable();
    never.dedup();
    never
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cidr, ip, network, with_ranges};
    use hopsack_types::ChosenBy;
    use std::collections::BTreeMap;

    #[test]
    fn blocks_fit_their_subnet() {
        for (subnet, length) in [
            ("10.0.0.0/8", 26),
            ("10.32.0.0/16", 26),
            ("10.32.0.0/21", 26),
            ("10.32.0.0/22", 27),
            ("10.32.0.0/24", 29),
            ("10.32.0.0/28", 32),
            ("10.32.0.0/31", 32),
            ("fd00::/48", 64),
            ("fd00::/64", 80),
            ("fd00::/106", 122),
            ("fd00::/112", 122),
            ("fd00::/120", 125),
            ("fd00::/126", 128),
        ] {
            assert_eq!(block_length(cidr(subnet)), length, "{subnet}");
        }
    }

    #[test]
    fn reserves_bind_at_most_a_quarter_of_the_subnet() {
        let target = |subnets: &[&str], ranges: &[&str], hosts| {
            let net = with_ranges(network(subnets, &[]), ranges);
            reserve_target(&net, net.subnets[0].family(), hosts)
        };
        assert_eq!(target(&["10.32.0.0/24"], &[], 3), 21);
        assert_eq!(target(&["10.32.0.0/24"], &[], 20), 3);
        assert_eq!(target(&["10.32.0.0/24"], &[], 65), 0);
        assert_eq!(target(&["10.32.0.0/16"], &[], 20), MAX_RESERVE);
        assert_eq!(target(&["fd00::/64"], &[], 1000), MAX_RESERVE);
        assert_eq!(target(&["10.32.0.0/24"], &[], 0), 64);
        assert_eq!(target(&["10.32.0.0/25", "fd00::/64", "10.33.0.0/25"], &[], 3), 21);
        assert_eq!(target(&["10.32.0.0/16"], &["10.32.7.0/24"], 3), 21);
    }

    #[test]
    fn edges_and_reserved_addresses_are_nobodys() {
        let net = network(&["10.32.0.0/24", "fd00::/64"], &["10.32.0.1"]);
        let gateway = ip("fd00::5");
        let net = Network { gateways: BTreeMap::from([(gateway, ChosenBy::User)]), ..net };
        assert_eq!(never_given(&net, Family::V6), [number(ip("fd00::")), number(gateway)]);
        for address in ["10.32.0.0", "10.32.0.255", "10.32.0.1", "fd00::", "fd00::5"] {
            assert!(check_usable(&net, ip(address)).is_err(), "{address}");
        }
        for address in ["10.32.0.2", "10.32.0.254", "fd00::1", "fd00::ffff:ffff:ffff:ffff"] {
            assert!(check_usable(&net, ip(address)).is_ok(), "{address}");
        }
        let outside = check_usable(&net, ip("10.33.0.1")).unwrap_err().to_string();
        assert!(outside.contains("10.32.0.0/24"), "{outside}");
    }

    #[test]
    fn a_point_to_point_subnet_gives_both_its_addresses() {
        let net = network(&["10.32.0.0/31", "fd00::/127"], &[]);
        assert!(never_given(&net, Family::V4).is_empty() && never_given(&net, Family::V6).is_empty());
    }
}
