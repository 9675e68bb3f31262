//! What a network's definition must be like before any address is given: the one judge of subnets, ranges, gateways
//! and reserved addresses, whichever front door they came in by.
//! What must not live here: what else has these addresses (see `subnet`).

use crate::block::{automatic, edge, never_given};
use crate::error::IpamError;
use crate::ranges::{Ranges, bounds};
use hopsack_types::option::LEAST_MTU_V6;
use hopsack_types::{ChosenBy, Cidr, Family, Network};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The gateways of a network's subnets: those that the user has chosen, and the default one of each other subnet.
pub fn gateways(subnets: &[Cidr], chosen: impl IntoIterator<Item = IpAddr>) -> BTreeMap<IpAddr, ChosenBy> {
    let chosen: BTreeMap<IpAddr, ChosenBy> =
        chosen.into_iter().map(|gateway| (gateway, ChosenBy::User)).collect();
    let without = subnets.iter().filter(|subnet| !chosen.keys().any(|gateway| subnet.contains(*gateway)));
    let default = without.filter_map(|subnet| Network::default_gateway(*subnet));
    let default: Vec<_> = default.map(|gateway| (gateway, ChosenBy::Default)).collect();
    chosen.into_iter().chain(default).collect()
}

/// Checks that a new network's parts fit together and leave room for containers.
pub fn check_definition(network: &Network) -> Result<(), IpamError> {
    check_subnets(network)?;
    check_ranges(network)?;
    check_gateways(network)?;
    check_reserved(network)?;
    let has_v6 = network.subnets_of(Family::V6).next().is_some();
    match network.mtu {
        Some(mtu) if has_v6 && mtu < LEAST_MTU_V6 => Err(IpamError::MtuTooSmall { mtu }),
        _ => check_room(network),
    }
}

fn check_subnets(network: &Network) -> Result<(), IpamError> {
    for (position, first) in network.subnets.iter().enumerate() {
        let mut later = network.subnets.iter().skip(position + 1);
        if let Some(second) = later.find(|second| second.overlaps(first)) {
            return Err(IpamError::SubnetsOverlap { first: *first, second: *second });
        }
    }
    Ok(())
}

fn check_ranges(network: &Network) -> Result<(), IpamError> {
    let mut taken: BTreeMap<Cidr, Cidr> = BTreeMap::new();
    for range in &network.ranges {
        let Some(subnet) = network.subnets.iter().find(|subnet| subnet.covers(range)) else {
            return Err(IpamError::RangeOutside { range: *range, subnets: network.subnets.clone() });
        };
        if let Some(first) = taken.insert(*subnet, *range) {
            return Err(IpamError::TwoRanges { first, second: *range, subnet: *subnet });
        }
    }
    Ok(())
}

fn check_gateways(network: &Network) -> Result<(), IpamError> {
    let mut taken: BTreeMap<Cidr, IpAddr> = BTreeMap::new();
    for gateway in network.gateways.keys() {
        let subnet = inside(network, "gateway", *gateway)?;
        if let Some(first) = taken.insert(subnet, *gateway) {
            return Err(IpamError::TwoGateways { first, second: *gateway, subnet });
        }
        if let Some(what) = network.reserved.get(gateway) {
            return Err(IpamError::GatewayReserved { gateway: *gateway, what: what.clone() });
        }
    }
    Ok(())
}

fn check_reserved(network: &Network) -> Result<(), IpamError> {
    network.reserved.keys().try_for_each(|address| inside(network, "aux-address", *address).map(drop))
}

/// The subnet of an address that is to be kept from containers; an error if it has none, or is nobody's anyway.
fn inside(network: &Network, what: &'static str, address: IpAddr) -> Result<Cidr, IpamError> {
    let Some(subnet) = network.subnet_of(address) else {
        return Err(IpamError::KeptOutside { what, address, subnets: network.subnets.clone() });
    };
    match edge(subnet, address) {
        Some(why) => Err(IpamError::KeptEdge { what, address, subnet, why }),
        None => Ok(subnet),
    }
}

fn check_room(network: &Network) -> Result<(), IpamError> {
    for family in Family::BOTH {
        let never = never_given(network, family);
        for range in automatic(network, family) {
            let (first, last) = bounds(range);
            let lost = never.iter().filter(|number| (first..=last).contains(number)).count();
            if Ranges::of(range).count() <= lost as u128 {
                return Err(IpamError::NoRoom { range });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cidr, ip, network, with_ranges};

    /// A network as a user might ask for it.
    fn asked(subnets: &[&str], ranges: &[&str], chosen: &[&str], reserved: &[&str]) -> Network {
        let plain = with_ranges(network(subnets, reserved), ranges);
        let gateways = gateways(&plain.subnets, chosen.iter().map(|gateway| ip(gateway)));
        Network { gateways, ..plain }
    }

    fn refusal(subnets: &[&str], ranges: &[&str], chosen: &[&str], reserved: &[&str]) -> String {
        let told = check_definition(&asked(subnets, ranges, chosen, reserved)).unwrap_err().to_string();
        assert_eq!(told.lines().count(), 1);
        told
    }

    #[test]
    fn each_subnet_has_the_gateway_that_was_chosen_or_its_first_address() {
        let subnets = ["10.1.0.0/24", "fd01::/64", "10.2.0.0/16", "10.3.0.0/31", "fd02::/127"].map(cidr);
        let gateways = gateways(&subnets, [ip("10.2.7.7")]);
        let told: Vec<String> = gateways.iter().map(|(gateway, by)| format!("{gateway} {by:?}")).collect();
        assert_eq!(told, ["10.1.0.1 Default", "10.2.7.7 User", "fd01::1 Default"]);
    }

    #[test]
    fn what_fits_together_is_accepted() {
        for (subnets, ranges, gateways, reserved) in [
            (&["10.1.0.0/24"][..], &[][..], &[][..], &[][..]),
            (&["10.1.0.0/31", "10.2.0.0/32"], &[], &[], &[]),
            (&["10.1.0.0/24"], &["10.1.0.0/24"], &["10.1.0.254"], &["10.1.0.1"]),
            (
                &["10.1.0.0/24", "10.2.0.0/24", "fd01::/64", "fd02::/64"],
                &["10.1.0.128/25", "10.2.0.64/26", "fd02::8:0/112"],
                &["10.2.0.99", "fd01::99"],
                &["10.1.0.200", "fd02::7"],
            ),
        ] {
            let asked = asked(subnets, ranges, gateways, reserved);
            assert_eq!(check_definition(&asked), Ok(()), "{asked:?}");
        }
    }

    #[test]
    fn what_does_not_is_refused_in_one_line_that_says_what_to_do() {
        let net = &["10.1.0.0/24", "fd01::/64"][..];
        for (told, words) in [
            (refusal(&["10.1.0.0/16", "10.1.7.0/24"], &[], &[], &[]), "10.1.0.0/16 and 10.1.7.0/24 overlap"),
            (refusal(&["fd01::/64", "fd01::/64"], &[], &[], &[]), "overlap"),
            (refusal(net, &["10.2.0.0/25"], &[], &[]), "ip-range 10.2.0.0/25 is in none"),
            (refusal(net, &["10.0.0.0/8"], &[], &[]), "ip-range 10.0.0.0/8 is in none"),
            (refusal(net, &["10.1.0.0/25", "10.1.0.128/25"], &[], &[]), "both in subnet 10.1.0.0/24"),
            (refusal(net, &["10.1.0.0/32"], &[], &[]), "10.1.0.0/32 leaves no address"),
            (refusal(net, &["10.1.0.0/31"], &[], &[]), "10.1.0.0/31 leaves no address"),
            (refusal(&["10.1.0.0/30"], &[], &[], &["10.1.0.2"]), "10.1.0.0/30 leaves no address"),
            (refusal(net, &[], &["10.2.0.1"], &[]), "gateway 10.2.0.1 is in none"),
            (refusal(net, &[], &["10.1.0.5", "10.1.0.6"], &[]), "10.1.0.5 and 10.1.0.6 are both in subnet"),
            (refusal(net, &[], &["10.1.0.0"], &[]), "gateway 10.1.0.0 is the network address"),
            (refusal(net, &[], &["10.1.0.255"], &[]), "gateway 10.1.0.255 is the broadcast address"),
            (refusal(net, &[], &["fd01::"], &[]), "gateway fd01:: is the subnet-router anycast address"),
            (refusal(net, &[], &["10.1.0.9"], &["10.1.0.9"]), "10.1.0.9 is the gateway and an aux-address"),
            (refusal(net, &[], &[], &["10.1.0.1"]), "10.1.0.1 is the gateway and an aux-address"),
            (refusal(net, &[], &[], &["10.2.0.9"]), "aux-address 10.2.0.9 is in none"),
            (refusal(net, &[], &[], &["10.1.0.0"]), "aux-address 10.1.0.0 is the network address"),
        ] {
            assert!(told.contains(words), "{told}");
        }
        let narrow = Network { mtu: Some(1000), ..asked(net, &[], &[], &[]) };
        assert!(check_definition(&narrow).unwrap_err().to_string().contains("at least 1280"));
        let narrow = Network { mtu: Some(1000), ..asked(&["10.1.0.0/24"], &[], &[], &[]) };
        assert_eq!(check_definition(&narrow), Ok(()));
    }
}
