//! What of this host's own network matters for finding the underlay, for choosing pools and for leaving it alone:
//! addresses, default routes, where routes lead, who listens to routers. Ours are left out. What must not live here: the choice.

use crate::KernelError;
use crate::linux::is_ours;
use hopsack_netlink::link::Link;
use hopsack_netlink::route::{Kind, Route, RouteFilter};
use hopsack_netlink::{Socket, sysctl};
use hopsack_plan::state::MAIN_TABLE;
use hopsack_types::numbers::ROUTE_PROTOCOL;
use hopsack_types::{Cidr, Family, IfName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// This host's network as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Addresses on devices that are up.
    pub addresses: Vec<DeviceAddress>,
    /// Default routes, best first.
    pub default_routes: Vec<DefaultRoute>,
    /// All prefixes that this host has routes to, default routes left out.
    pub routes: Vec<Cidr>,
    /// Devices that are up and follow IPv6 routers' advertisements.
    pub advertised: BTreeSet<IfName>,
}

/// An address on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAddress {
    /// Device.
    pub device: IfName,
    /// Address.
    pub address: IpAddr,
    /// On-link prefix.
    pub on_link: Cidr,
    /// The device's MTU, bytes.
    pub mtu: u32,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Family.
    pub family: Family,
    /// Device.
    pub device: IfName,
    /// Preferred source, if the route names one.
    pub source: Option<IpAddr>,
}

/// Reads the surroundings in the calling thread's network namespace.
pub fn surroundings() -> Result<Surroundings, KernelError> {
    let mut socket = Socket::open()?;
    let links: BTreeMap<u32, Link> = socket
        .links()?
        .into_iter()
        .filter(|link| link.up && !is_ours(link))
        .map(|link| (link.index, link))
        .collect();
    let addresses = socket
        .addresses()?
        .into_iter()
        .filter(|address| !address.tentative)
        .filter_map(|address| {
            let link = links.get(&address.device)?;
            Some(DeviceAddress {
                device: link.name.clone(),
                address: address.net.addr(),
                on_link: Cidr::around(address.net.addr(), address.net.prefix_len()),
                mtu: link.mtu,
            })
        })
        .collect();
    let mut routes: Vec<Route> = Vec::new();
    for family in Family::BOTH {
        let main = RouteFilter { protocol: None, table: Some(MAIN_TABLE) };
        routes.extend(socket.routes(family, main)?.into_iter().filter(|route| {
            route.protocol != ROUTE_PROTOCOL && route.device.is_none_or(|device| links.contains_key(&device))
        }));
    }
    // The sort keeps the kernel's order among equals, which is the order in which it would use them.
    let mut defaults: Vec<&Route> =
        routes.iter().filter(|route| is_default(route) && route.kind == Kind::Unicast).collect();
    defaults.sort_by_key(|route| route.metric.unwrap_or(0));
    let default_routes = defaults
        .into_iter()
        .filter_map(|route| {
            let device = links.get(&route.device?)?.name.clone();
            Some(DefaultRoute { family: route.destination.family(), device, source: route.source })
        })
        .collect();
    let prefixes: BTreeSet<Cidr> = routes
        .iter()
        .filter(|route| !is_default(route) && !is_link_local(route.destination))
        .map(|route| route.destination)
        .collect();
    let mut advertised = BTreeSet::new();
    for link in links.values() {
        if is_advertised(&link.name)? {
            advertised.insert(link.name.clone());
        }
    }
    Ok(Surroundings { addresses, default_routes, routes: prefixes.into_iter().collect(), advertised })
}

/// Whether a device follows routers' advertisements (`ip-sysctl.rst`, `accept_ra`): with 2 it does, with 1 only while it
/// does not forward. No such setting: no IPv6.
fn is_advertised(device: &IfName) -> Result<bool, KernelError> {
    let setting = |name: &str| sysctl::read(&format!("net/ipv6/conf/{device}/{name}"));
    Ok(match setting("accept_ra")?.as_deref() {
        Some("2") => true,
        Some("1") => setting("forwarding")?.as_deref() == Some("0"),
        _ => false,
    })
}

fn is_default(route: &Route) -> bool {
    route.destination.length() == 0
}

/// The link-local and multicast prefixes that the kernel gives every link say nothing about this host.
fn is_link_local(destination: Cidr) -> bool {
    match destination.first() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    }
}
