//! What goes past the host's IP stack: packets between endpoints of one network, to others on this host, through the tunnel,
//! and out to neighbours on the underlay. What comes from neighbours is routed, because the underlay's link is not ours.
//!
//! What must not live here: anything that the routes and the firewall would decide otherwise; what is left out here takes
//! them.

use crate::paths::Way;
use crate::state::{FastEntry, FastHook, HostState, LinkKind, RouteTarget};
use crate::survey::Survey;
use hopsack_types::fastpath::{FastNext, FastPort};
use hopsack_types::numbers::vtep_mac;
use hopsack_types::{Family, HostId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Adds the fast path, by the links and the published ports that are in the state.
pub fn fill(survey: &Survey<'_>, state: &mut HostState) {
    for (name, link) in &state.links {
        let hook = match link.kind {
            LinkKind::Veth { .. } => FastHook::Endpoint,
            LinkKind::Vxlan { .. } => FastHook::Tunnel,
            LinkKind::Holder => continue,
        };
        state.fast_path.hooks.insert(name.clone(), hook);
    }
    let published = state.published.iter().map(|(host, target)| FastPort {
        address: target.ip(),
        protocol: host.protocol,
        number: target.port(),
    });
    state.fast_path.published = published.collect();
    add_gateways(survey, state);
    add_endpoints(survey, state);
    add_remotes(survey, state);
}

/// Each host answers a network's gateway for its own containers, whoever holds the prefix that it lies in.
fn add_gateways(survey: &Survey<'_>, state: &mut HostState) {
    let gateways = survey.gateways();
    for (id, network) in &survey.view.networks {
        for gateway in network.network.gateways.keys().filter(|gateway| gateways.contains(*gateway)) {
            let entry = FastEntry {
                device: survey.host_device.clone(),
                mtu: 0,
                network: *id,
                next: FastNext::Hop(*gateway),
                has_ports: false,
            };
            state.fast_path.endpoints.insert(*gateway, entry);
        }
    }
}

fn add_endpoints(survey: &Survey<'_>, state: &mut HostState) {
    let with_ports: BTreeSet<IpAddr> = state.fast_path.published.iter().map(|port| port.address).collect();
    for (device, endpoint) in &survey.endpoints {
        // Of a network that is gone nothing passes to others of it.
        let (Some(link), Some(_)) = (state.links.get(device), survey.network(endpoint)) else { continue };
        for address in endpoint.addresses.iter().filter(|address| survey.uses(Family::of(**address))) {
            let entry = FastEntry {
                device: device.clone(),
                mtu: link.mtu,
                network: endpoint.network,
                next: FastNext::Mac(endpoint.mac),
                has_ports: with_ports.contains(address),
            };
            state.fast_path.endpoints.insert(*address, entry);
        }
    }
}

fn add_remotes(survey: &Survey<'_>, state: &mut HostState) {
    let peers: BTreeMap<HostId, _> = survey.peers.iter().map(|peer| (peer.host.id, peer)).collect();
    for (id, network) in &survey.view.networks {
        for (prefix, holder) in &network.grants {
            let Some(peer) = peers.get(holder) else { continue };
            let Some(Way { target: RouteTarget::Via { next_hop, device }, mtu }) =
                survey.way(peer, prefix.family()).filter(|_| survey.uses(prefix.family()))
            else {
                continue;
            };
            let next = if survey.vxlan_device.as_ref() == Some(&device) {
                FastNext::Mac(vtep_mac(*holder))
            } else {
                FastNext::Hop(next_hop)
            };
            let entry = FastEntry { device, mtu, network: *id, next, has_ports: false };
            state.fast_path.remotes.insert(*prefix, entry);
        }
    }
}
