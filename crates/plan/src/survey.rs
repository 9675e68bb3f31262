//! What all parts of a plan want to know of a view, worked out once: this host, its peers with what they hold, and
//! which prefixes are the cluster's.

use crate::view::{Endpoint, Features, Underlay, View};
use hopsack_types::numbers::{ENDPOINT_PREFIX, HOST_DEVICE, PEER_PREFIX, VXLAN_DEVICE};
use hopsack_types::path::PathChoice;
use hopsack_types::{Cidr, EndpointId, Family, Host, HostId, IfName, Network};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A view, looked at from this host.
#[derive(Debug)]
pub struct Survey<'a> {
    /// The view.
    pub view: &'a View,
    /// This host.
    pub own: &'a Host,
    /// All others.
    pub peers: Vec<Peer<'a>>,
    /// This host's endpoints, with the name of their device.
    pub endpoints: Vec<(IfName, &'a Endpoint)>,
    /// Prefixes that this host holds.
    pub own_grants: BTreeSet<Cidr>,
    /// What of the address space is the cluster's: pools, subnets, host addresses. Disjoint.
    pub territory: BTreeSet<Cidr>,
    /// Families that the cluster uses and this kernel has.
    pub families: Vec<Family>,
    /// The device of host addresses.
    pub host_device: IfName,
    /// The VXLAN device, if this kernel can have one.
    pub vxlan_device: Option<IfName>,
}

/// Another host.
#[derive(Debug)]
pub struct Peer<'a> {
    /// As intent knows it.
    pub host: &'a Host,
    /// The path in use to it.
    pub choice: Option<PathChoice>,
    /// Prefixes that it holds.
    pub grants: BTreeSet<Cidr>,
}

impl Peer<'_> {
    /// All source addresses that packets from it may have: what it holds and its own addresses. Disjoint.
    pub fn sources(&self, family: Family) -> BTreeSet<Cidr> {
        let own = self.host.addresses.iter().copied().map(Cidr::host);
        disjoint(self.grants.iter().copied().chain(own).filter(|prefix| prefix.family() == family))
    }
}

impl<'a> Survey<'a> {
    /// Looks at a view. None if this host is not in it.
    pub fn new(view: &'a View, features: &Features) -> Option<Self> {
        let own = view.hosts.get(&view.me)?;
        let mut grants: BTreeMap<HostId, BTreeSet<Cidr>> = BTreeMap::new();
        for (prefix, holder) in view.networks.values().flat_map(|network| &network.grants) {
            grants.entry(*holder).or_default().insert(*prefix);
        }
        let own_grants = grants.remove(&view.me).unwrap_or_default();
        let peers = view
            .hosts
            .values()
            .filter(|host| host.id != view.me)
            .map(|host| Peer {
                host,
                choice: view.paths.get(&host.id).copied(),
                grants: grants.remove(&host.id).unwrap_or_default(),
            })
            .collect();
        let endpoints =
            view.endpoints.values().filter_map(|endpoint| Some((host_end(endpoint.id)?, endpoint))).collect();
        let territory = territory(view);
        let used = |family: &Family| {
            let has = *family == Family::V4 || features.ipv6;
            has && territory.iter().any(|prefix| prefix.family() == *family)
        };
        Some(Self {
            view,
            own,
            peers,
            endpoints,
            own_grants,
            families: Family::BOTH.into_iter().filter(used).collect(),
            territory,
            host_device: IfName::new(HOST_DEVICE).ok()?,
            vxlan_device: features.vxlan.then(|| IfName::new(VXLAN_DEVICE).ok()).flatten(),
        })
    }

    /// This host's way to the others.
    pub const fn underlay(&self) -> &'a Underlay {
        &self.view.underlay
    }

    /// The family of the underlay, and so of outer packets.
    pub const fn outer_family(&self) -> Family {
        Family::of(self.view.underlay.address)
    }

    /// Whether the cluster uses a family and this kernel has it.
    pub fn uses(&self, family: Family) -> bool {
        self.families.contains(&family)
    }

    /// The host addresses on this host's own device.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.own.addresses.iter().copied().filter(|address| self.uses(Family::of(*address)))
    }

    /// The IPv4 next hops of the networks that this host has containers in. IPv6 ones are on the containers' own
    /// links, since link-local addresses count there only.
    pub fn next_hops_v4(&self) -> BTreeSet<IpAddr> {
        self.endpoints
            .iter()
            .filter(|(_, endpoint)| endpoint.addresses.iter().any(IpAddr::is_ipv4))
            .map(|(_, endpoint)| hopsack_types::numbers::next_hop_v4(endpoint.network).into())
            .collect()
    }

    /// The gateways of the networks that this host has containers in: each host answers them for its own.
    pub fn gateways(&self) -> BTreeSet<IpAddr> {
        let networks = self.endpoints.iter().filter_map(|(_, endpoint)| self.network(endpoint));
        let gateways = networks.flat_map(|network| network.gateways.keys().copied());
        gateways.filter(|gateway| self.uses(Family::of(*gateway))).collect()
    }

    /// The network of an endpoint, unless it is gone.
    pub fn network(&self, endpoint: &Endpoint) -> Option<&'a Network> {
        self.view.networks.get(&endpoint.network).map(|network| &network.network)
    }

    /// Every subnet of every network.
    pub fn subnets(&self) -> impl Iterator<Item = Cidr> {
        self.view.networks.values().flat_map(|network| network.network.subnets.iter().copied())
    }

    /// The pools that are wholly ours.
    pub fn pools(&self) -> impl Iterator<Item = &'a hopsack_types::Pool> {
        pools(self.view)
    }
}

/// Pools, but not one that hosts' underlay addresses lie in: no such pool is accepted, and if there were one, treating
/// it as ours would cut the hosts off from each other.
fn pools(view: &View) -> impl Iterator<Item = &hopsack_types::Pool> {
    let on_underlay = |cidr: &Cidr| view.hosts.values().any(|host| cidr.contains(host.underlay));
    view.pools.values().filter(move |pool| !on_underlay(&pool.cidr))
}

fn territory(view: &View) -> BTreeSet<Cidr> {
    let subnets = view.networks.values().flat_map(|network| network.network.subnets.iter().copied());
    let hosts = view.hosts.values().flat_map(|host| host.addresses.iter().copied().map(Cidr::host));
    disjoint(pools(view).map(|pool| pool.cidr).chain(subnets).chain(hosts))
}

/// The same addresses without prefixes that others cover.
pub fn disjoint(prefixes: impl Iterator<Item = Cidr>) -> BTreeSet<Cidr> {
    let mut kept: BTreeSet<Cidr> = BTreeSet::new();
    // In this order a prefix comes right after those that cover it.
    for prefix in prefixes.collect::<BTreeSet<_>>() {
        if !kept.last().is_some_and(|last| last.covers(&prefix)) {
            kept.insert(prefix);
        }
    }
    kept
}

/// The host's end of an endpoint's veth pair.
pub fn host_end(endpoint: EndpointId) -> Option<IfName> {
    IfName::new(format!("{ENDPOINT_PREFIX}{}", endpoint.short())).ok()
}

/// The container's end of an endpoint's veth pair, while it is in the host's namespace.
pub fn container_end(endpoint: EndpointId) -> Option<IfName> {
    IfName::new(format!("{PEER_PREFIX}{}", endpoint.short())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn disjoint_prefixes_hold_the_same_addresses(drawn in proptest::collection::vec((0..256u32, 22..33u8), 0..12)) {
            let all: Vec<_> = drawn
                .into_iter()
                .map(|(low, length)| Cidr::around(IpAddr::from((0x0a20_0000 | low << 4).to_be_bytes()), length))
                .collect();
            let kept = disjoint(all.iter().copied());
            for prefix in &all {
                prop_assert_eq!(kept.iter().filter(|other| other.covers(prefix)).count(), 1);
            }
            for one in &kept {
                prop_assert!(all.contains(one));
                prop_assert!(kept.iter().all(|other| other == one || !other.overlaps(one)));
            }
        }
    }
}
