//! How packets get to a peer: next hop, device and MTU for each kind of path, and the VXLAN device with its neighbours.

use crate::state::{HostState, Link, LinkKind, RouteTarget};
use crate::survey::{Peer, Survey};
use crate::view::{Features, Underlay};
use hopsack_types::numbers::{ALIAS_PREFIX, ROUTED_VNI, VXLAN_PORT, vtep_mac};
use hopsack_types::path::PathKind;
use hopsack_types::{Family, Host, HostId};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

/// What IPv6 must be able to pass (RFC 8200, section 5); a route's MTU below it would be refused.
const SMALLEST_V6: u32 = 1280;

/// How one family's packets get to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Next hop and device.
    pub target: RouteTarget,
    /// Largest packet in bytes.
    pub mtu: u32,
}

impl Survey<'_> {
    /// The way of one family over the path in use.
    pub fn way(&self, peer: &Peer<'_>, family: Family) -> Option<Way> {
        let choice = peer.choice?;
        let (target, mtu) = match choice.kind {
            PathKind::Direct => match self.direct(peer, family) {
                Some(target) => (target, choice.mtu),
                // Over a v4 underlay there is no next hop for v6 that the peer would answer for.
                None => (self.tunnel(peer, family)?, choice.mtu.min(self.underlay().vxlan_mtu())),
            },
            PathKind::Vxlan => (self.tunnel(peer, family)?, choice.mtu),
        };
        let smallest = if family == Family::V6 { SMALLEST_V6 } else { 0 };
        Some(Way { target, mtu: mtu.max(smallest) })
    }

    /// Straight over the underlay: to a peer on the same segment, for packets of the underlay's own family.
    pub fn direct(&self, peer: &Peer<'_>, family: Family) -> Option<RouteTarget> {
        let underlay = self.underlay();
        (is_near(underlay, peer.host) && family == self.outer_family())
            .then(|| RouteTarget::Via { next_hop: peer.host.underlay, device: underlay.device.clone() })
    }

    /// Through the VXLAN device.
    pub fn tunnel(&self, peer: &Peer<'_>, family: Family) -> Option<RouteTarget> {
        let device = self.vxlan_device.clone()?;
        let next_hop = self.tunnel_next_hop(peer, family)?;
        Some(RouteTarget::Via { next_hop, device })
    }

    /// An address that stands for the peer's VXLAN device. Never resolved: it has a permanent neighbour. For v6 a
    /// link-local one, which the kernel accepts as a next hop whatever other routes say.
    fn tunnel_next_hop(&self, peer: &Peer<'_>, family: Family) -> Option<IpAddr> {
        let outer = peer.host.underlay;
        if Family::of(outer) != self.outer_family() {
            return None;
        }
        match family {
            Family::V4 => peer.host.address(Family::V4).or_else(|| outer.is_ipv4().then_some(outer)),
            Family::V6 => Some(link_local(peer.host.id).into()),
        }
    }
}

/// The link-local address of a host's VXLAN device, out of its MAC address (RFC 4291, appendix A).
fn link_local(host: HostId) -> Ipv6Addr {
    let [a, b, c, d, e, f] = vtep_mac(host).bytes();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Whether `direct` could lead to a peer: it is on the same segment, and both have a host address of the underlay's
/// family, between which that can be proven.
pub fn may_be_direct(underlay: &Underlay, own: &Host, peer: &Host) -> bool {
    let outer = Family::of(underlay.address);
    is_near(underlay, peer) && own.address(outer).is_some() && peer.address(outer).is_some()
}

fn is_near(underlay: &Underlay, peer: &Host) -> bool {
    underlay.on_link.contains(peer.underlay) && peer.underlay != underlay.address
}

/// Whether `vxlan` could lead to a peer: outer packets are of one family on both ends.
pub fn may_be_tunnelled(underlay: &Underlay, features: &Features, peer: &Host) -> bool {
    features.vxlan && Family::of(peer.underlay) == Family::of(underlay.address)
}

/// The addresses that probes to a peer go from and to: of the underlay's family if both hosts have one, so that
/// `direct` is probed by what it would carry, else of a family that both have.
pub fn probe_addresses(underlay: &Underlay, own: &Host, peer: &Host) -> Option<(IpAddr, IpAddr)> {
    let outer = Family::of(underlay.address);
    [outer, Family::V4, Family::V6]
        .into_iter()
        .find_map(|family| Some((own.address(family)?, peer.address(family)?)))
}

/// Adds the VXLAN device and its neighbours.
pub fn fill(survey: &Survey<'_>, state: &mut HostState) {
    let Some(device) = &survey.vxlan_device else { return };
    let link = Link {
        kind: LinkKind::Vxlan { vni: ROUTED_VNI, port: VXLAN_PORT, local: survey.underlay().address },
        alias: format!("{ALIAS_PREFIX}vxlan"),
        mtu: survey.underlay().vxlan_mtu(),
        mac: Some(vtep_mac(survey.own.id)),
        up: true,
    };
    state.links.insert(device.clone(), link);
    // A device without an IPv4 address is held to strict reverse path filtering whatever its setting says
    // (`no_addr` in the kernel's `__fib_validate_source`), so it has the host address too.
    for address in survey.own_addresses().filter(IpAddr::is_ipv4) {
        state.addresses.insert((device.clone(), IpNet::from(address)));
    }
    for peer in &survey.peers {
        let mac = vtep_mac(peer.host.id);
        for family in &survey.families {
            if let Some(next_hop) = survey.tunnel_next_hop(peer, *family) {
                state.neighbours.insert((device.clone(), next_hop), mac);
                state.fdb.insert((device.clone(), mac), peer.host.underlay);
            }
        }
    }
}
