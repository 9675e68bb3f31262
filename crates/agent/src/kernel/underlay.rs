//! The underlay address by a rule that can be stated: what `--advertise` says, else the source address that the
//! default route uses, IPv4 before IPv6.

use async_trait::async_trait;
use hopsack_kernel::{KernelError, Surroundings};
use hopsack_plan::view::Underlay;
use hopsack_types::{Family, IfName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Looks at this host's network.
#[async_trait]
pub trait Scout: Send + Sync {
    /// A fresh look.
    async fn look(&self) -> Result<Surroundings, UnderlayError>;
}

/// Why no underlay address was found.
#[derive(Debug, thiserror::Error)]
pub enum UnderlayError {
    /// No default route, and none was given.
    #[error(
        "this host has no default route with an address: say where others reach it with --advertise ADDRESS"
    )]
    NoDefaultRoute,
    /// The given address is on no device.
    #[error("{0} is on no device of this host: give one of its own addresses with --advertise")]
    NotHere(IpAddr),
    /// An address that no other host can reach.
    #[error(
        "{0} is a loopback or link-local address that other hosts cannot reach: give another with --advertise"
    )]
    NotReachable(IpAddr),
    /// The look did not come to its end.
    #[error("cannot look at this host's network: report this, with the log")]
    Panicked(#[source] tokio::task::JoinError),
    /// The kernel's tables cannot be read.
    #[error("cannot read this host's addresses and routes")]
    Look {
        /// Cause.
        #[source]
        source: KernelError,
    },
}

/// The rule by which an underlay was found, for people.
pub const fn rule(advertise: Option<IpAddr>) -> &'static str {
    if advertise.is_some() { "--advertise" } else { "default route" }
}

/// Applies the rule.
pub fn find(surroundings: &Surroundings, advertise: Option<IpAddr>) -> Result<Underlay, UnderlayError> {
    let address = match advertise {
        Some(address) => address,
        None => by_default_route(surroundings).ok_or(UnderlayError::NoDefaultRoute)?,
    };
    if !reachable(address) {
        return Err(UnderlayError::NotReachable(address));
    }
    let on = surroundings
        .addresses
        .iter()
        .find(|candidate| candidate.address == address)
        .ok_or(UnderlayError::NotHere(address))?;
    Ok(Underlay {
        device: on.device.clone(),
        address,
        on_link: on.on_link,
        mtu: on.mtu,
        advertised: advertised(surroundings, &on.device),
    })
}

/// The devices on which advertisements must still be followed when this host forwards: those by which it reaches
/// anything. Bridges and pairs of others, of which there may be hundreds, are none of them. A device that gets its
/// first default route only after this host forwards has to be set up for that by its owner, as on any router.
fn advertised(surroundings: &Surroundings, underlay: &IfName) -> BTreeSet<IfName> {
    let by_default = surroundings.default_routes.iter().filter(|route| route.family == Family::V6);
    let ways: BTreeSet<&IfName> = by_default.map(|route| &route.device).chain([underlay]).collect();
    surroundings.advertised.iter().filter(|device| ways.contains(device)).cloned().collect()
}

fn by_default_route(surroundings: &Surroundings) -> Option<IpAddr> {
    Family::BOTH.into_iter().find_map(|family| {
        surroundings.default_routes.iter().filter(|route| route.family == family).find_map(|route| {
            let on_device = || {
                surroundings
                    .addresses
                    .iter()
                    .filter(|on| on.device == route.device && Family::of(on.address) == family)
                    .map(|on| on.address)
                    .find(|address| reachable(*address))
            };
            route.source.or_else(on_device)
        })
    })
}

fn reachable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast() && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsack_kernel::{DefaultRoute, DeviceAddress};
    use hopsack_types::Cidr;

    fn on(device: &str, address: &str, length: u8) -> DeviceAddress {
        let address = address.parse().unwrap();
        DeviceAddress {
            device: device.parse().unwrap(),
            address,
            on_link: Cidr::around(address, length),
            mtu: 1500,
        }
    }

    fn surroundings() -> Surroundings {
        Surroundings {
            addresses: vec![
                on("lo", "127.0.0.1", 8),
                on("eth0", "fe80::1", 64),
                on("eth0", "10.77.1.1", 24),
                on("eth1", "192.0.2.1", 24),
            ],
            default_routes: vec![DefaultRoute {
                family: Family::V4,
                device: "eth0".parse().unwrap(),
                source: None,
            }],
            routes: vec![],
            advertised: BTreeSet::new(),
        }
    }

    #[test]
    fn the_default_route_decides_and_advertise_overrules_it() {
        let found = find(&surroundings(), None).unwrap();
        assert_eq!((found.address.to_string().as_str(), found.device.as_str()), ("10.77.1.1", "eth0"));
        let given = find(&surroundings(), Some("192.0.2.1".parse().unwrap())).unwrap();
        assert_eq!(given.device.as_str(), "eth1");
    }

    #[test]
    fn addresses_that_cannot_work_are_refused() {
        let refused = |advertise: &str| {
            find(&surroundings(), Some(advertise.parse().unwrap())).unwrap_err().to_string()
        };
        assert!(refused("10.9.9.9").contains("on no device"));
        assert!(refused("127.0.0.1").contains("loopback"));
        let alone = Surroundings { default_routes: vec![], ..surroundings() };
        assert!(find(&alone, None).unwrap_err().to_string().contains("--advertise"));
    }

    #[test]
    fn advertisements_are_followed_further_by_the_underlay_and_where_default_routes_lead() {
        let devices =
            |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<BTreeSet<IfName>>();
        let mut seen = surroundings();
        seen.advertised = devices(&["docker0", "eth1"]);
        assert_eq!(find(&seen, None).unwrap().advertised, devices(&[]));
        let v6 = DefaultRoute { family: Family::V6, device: "eth1".parse().unwrap(), source: None };
        seen.default_routes.push(v6);
        assert_eq!(find(&seen, None).unwrap().advertised, devices(&["eth1"]));
        seen.advertised = devices(&["docker0", "eth0"]);
        assert_eq!(find(&seen, None).unwrap().advertised, devices(&["eth0"]));
    }
}
