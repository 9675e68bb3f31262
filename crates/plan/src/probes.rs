//! How probes of each kind of path get to a peer, and answers back, whatever path is in use.
//!
//! The ICMP identifier names the kind, in an answer too. What makes the kernel route by it differs by family:
//!
//! - **IPv4** routes by type of service: the main table has, beside the route in use, one for the probes of each kind.
//!   An answer has the type of service of its request (RFC 1349, section 5.1). Rules would serve as well, but where
//!   there is any rule of somebody's the kernel walks all of them twice for every packet of the host.
//! - **IPv6** has no such routes: rules look into a table for each kind's mark.
//!
//! The firewall sees to it that either is there: `member_in`, `raw_output`.

use crate::state::{HostState, MAIN_TABLE, MarkRule, Route, RouteKey, RouteTarget};
use crate::survey::{Peer, Survey};
use hopsack_types::numbers::{
    PROBE_DIRECT_ICMP_ID, PROBE_DIRECT_MARK, PROBE_DIRECT_TABLE, PROBE_DIRECT_TOS, PROBE_RULE_PREFERENCE,
    PROBE_VXLAN_ICMP_ID, PROBE_VXLAN_MARK, PROBE_VXLAN_TABLE, PROBE_VXLAN_TOS,
};
use hopsack_types::path::PathKind;
use hopsack_types::{Cidr, Family};
use std::net::IpAddr;

/// What the probes of one kind are known and routed by.
pub(crate) struct Steering {
    kind: PathKind,
    /// ICMP identifier.
    pub id: u16,
    /// Type of service, in IPv4.
    pub tos: u8,
    /// Mark, in IPv6.
    pub mark: u32,
    /// The table that the mark selects.
    table: u32,
}

impl Steering {
    const fn of(kind: PathKind) -> Self {
        match kind {
            PathKind::Direct => Self {
                kind,
                id: PROBE_DIRECT_ICMP_ID,
                tos: PROBE_DIRECT_TOS,
                mark: PROBE_DIRECT_MARK,
                table: PROBE_DIRECT_TABLE,
            },
            PathKind::Vxlan => Self {
                kind,
                id: PROBE_VXLAN_ICMP_ID,
                tos: PROBE_VXLAN_TOS,
                mark: PROBE_VXLAN_MARK,
                table: PROBE_VXLAN_TABLE,
            },
        }
    }

    fn route(&self, address: IpAddr) -> RouteKey {
        let destination = Cidr::host(address);
        match Family::of(address) {
            Family::V4 => RouteKey { tos: self.tos, ..RouteKey::new(MAIN_TABLE, destination) },
            Family::V6 => RouteKey::new(self.table, destination),
        }
    }

    /// A probe must not be answered over another path than its own, so where there is none it goes nowhere. No wider
    /// prefix may be refused: the kernel looks up the outer packet of a tunnelled probe with the same mark.
    fn target(&self, survey: &Survey<'_>, peer: &Peer<'_>, family: Family) -> RouteTarget {
        let target = match self.kind {
            PathKind::Direct => survey.direct(peer, family),
            PathKind::Vxlan => survey.tunnel(peer, family),
        };
        target.unwrap_or(RouteTarget::Unreachable)
    }
}

/// Of every kind.
pub(crate) const STEERINGS: [Steering; 2] = [Steering::of(PathKind::Direct), Steering::of(PathKind::Vxlan)];

/// The route that probes of a kind take to a host address.
pub fn probe_route(kind: PathKind, address: IpAddr) -> RouteKey {
    Steering::of(kind).route(address)
}

/// Adds the rules and routes of probes.
pub fn fill(survey: &Survey<'_>, state: &mut HostState) {
    for steering in &STEERINGS {
        for family in survey.families.iter().copied() {
            if family == Family::V6 {
                let (mark, table) = (steering.mark, steering.table);
                state.rules.insert(MarkRule { family, preference: PROBE_RULE_PREFERENCE, mark, table });
            }
            for peer in &survey.peers {
                let Some(address) = peer.host.address(family) else { continue };
                let target = steering.target(survey, peer, family);
                let source = survey.own.address(family).filter(|_| target != RouteTarget::Unreachable);
                // No MTU: probes are what finds it.
                state.routes.insert(steering.route(address), Route { target, source, mtu: None });
            }
        }
    }
}
