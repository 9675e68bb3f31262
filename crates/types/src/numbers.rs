//! Every number that Hopsack claims in a shared space, with its reason. Nowhere else may such a number stand.

use crate::address::Mac;
use crate::id::{EndpointId, HostId, NetworkId};
use sha2::{Digest, Sha256};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Control connections (TCP, TLS) and membership datagrams (UDP).
pub const CONTROL_PORT: u16 = 4677;
/// Metrics and probes of health (TCP, HTTP), on loopback.
pub const METRICS_PORT: u16 = 4680;
/// VXLAN; 4789 and 8472 belong to others on the same host.
pub const VXLAN_PORT: u16 = 4678;
/// VXLAN network id of the routed plane; Docker's and Calico's start at 4096.
pub const ROUTED_VNI: u32 = 4_677_000;
/// `rtm_protocol` of our routes and `FRA_PROTOCOL` of our rules (72 is unassigned in the kernel's `rtnetlink.h` and
/// in iproute2's `rt_protos`).
pub const ROUTE_PROTOCOL: u8 = 72;
/// Firewall mark that our table puts on what it has accepted, so that one labelled rule in Docker's chain can let it
/// pass. One high bit, away from Kubernetes (0x4000, 0x8000), Weave (0x20000), Calico and Tailscale (0xff0000).
pub const ACCEPT_MARK: u32 = 0x0800_0000;
/// Type of service of IPv4 probes over `direct`: selects the routes that have it. DSCP 3, one of those for local use
/// (RFC 2474, section 6); no standard DSCP is taken for it by kernels that route by three of its bits only (0x1c).
pub const PROBE_DIRECT_TOS: u8 = 0x0c;
/// Type of service of IPv4 probes over `vxlan`: DSCP 7, likewise.
pub const PROBE_VXLAN_TOS: u8 = 0x1c;
/// Mark of IPv6 probes over `direct`: selects [`PROBE_DIRECT_TABLE`].
pub const PROBE_DIRECT_MARK: u32 = 0x1000_0000;
/// Mark of IPv6 probes over `vxlan`: selects [`PROBE_VXLAN_TABLE`].
pub const PROBE_VXLAN_MARK: u32 = 0x2000_0000;
/// Routing table with each on-link peer's IPv6 host address over the underlay.
pub const PROBE_DIRECT_TABLE: u32 = 46_771;
/// Routing table with each peer's IPv6 host address over VXLAN.
pub const PROBE_VXLAN_TABLE: u32 = 46_772;
/// Preference of our two `ip rule`s: before the main table (32766), after what people usually add by hand.
pub const PROBE_RULE_PREFERENCE: u32 = 4_677;
/// Block of traffic filters that the host's ends of all endpoints share (`TCA_INGRESS_BLOCK`).
pub const ENDPOINT_BLOCK: u32 = 46_771;
/// Block of traffic filters of the VXLAN device.
pub const TUNNEL_BLOCK: u32 = 46_772;
/// ICMP echo identifier of probes over `direct`; the answer carries it too, which steers it back the same way.
pub const PROBE_DIRECT_ICMP_ID: u16 = 0x4801;
/// ICMP echo identifier of probes over `vxlan`.
pub const PROBE_VXLAN_ICMP_ID: u16 = 0x4802;
/// The device that holds the host addresses and the containers' next hops.
pub const HOST_DEVICE: &str = "hop0";
/// The routed plane's VXLAN device.
pub const VXLAN_DEVICE: &str = "hopvxlan";
/// Host ends of endpoints' veth pairs: this and ten hex digits of the endpoint id.
pub const ENDPOINT_PREFIX: &str = "hopc";
/// Container ends before they move into the container: this and ten hex digits of the endpoint id.
pub const PEER_PREFIX: &str = "hope";
/// Begins the alias of each of our links; the endpoint's id or the device's role follows.
pub const ALIAS_PREFIX: &str = "hopsack:";
/// Ports of a host that are published where no number was asked for: what Linux and Docker take by default
/// (`ip_local_port_range`).
pub const FREE_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// Our nftables table, of family `inet`.
pub const NFT_TABLE: &str = "hopsack";
/// What VXLAN over an IPv4 underlay costs: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14 bytes (RFC 7348).
pub const VXLAN_OVERHEAD_V4: u32 = 50;
/// What VXLAN over an IPv6 underlay costs.
pub const VXLAN_OVERHEAD_V6: u32 = 70;

fn hash(purpose: &str, id: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(purpose.as_bytes());
    hasher.update(id);
    hasher.finalize().into()
}

fn mac_of(purpose: &str, id: &[u8]) -> Mac {
    let h = hash(purpose, id);
    Mac::local([h[0], h[1], h[2], h[3], h[4], h[5]])
}

/// The inner MAC of a host's VXLAN device. Derived, so that peers know it without a message.
pub fn vtep_mac(host: HostId) -> Mac {
    mac_of("vtep", host.as_bytes())
}

/// The IPv4 next hop of a network's containers: 169.254.x.y by hash, so that one container can be in several
/// networks. Leaves out the first and last /24 (RFC 3927) and 169.254.169.x (cloud metadata).
pub fn next_hop_v4(network: NetworkId) -> Ipv4Addr {
    let h = hash("next-hop", network.as_bytes());
    let x = 1 + h[0] % 253;
    let x = if x >= 169 { x + 1 } else { x };
    Ipv4Addr::new(169, 254, x, 1 + h[1] % 254)
}

/// Metric of an endpoint's route to `::1`: each endpoint's another, by its random id, and all above that of `lo`, 0.
pub const fn loopback_metric(endpoint: EndpointId) -> u32 {
    let [a, b, c, d, ..] = *endpoint.as_bytes();
    u32::from_be_bytes([a | 0x80, b, c, d])
}

/// The IPv6 next hop of a network's containers: a link-local address by hash. One per network and not `fe80::1`
/// for all, because Docker finds the interface of a next hop by asking for the route to it.
pub fn next_hop_v6(network: NetworkId) -> Ipv6Addr {
    let h = hash("next-hop", network.as_bytes());
    let word = |i: usize| u16::from_be_bytes([h[i], h[i + 1]]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x4677, word(0), word(2), word(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_stay_link_local_and_away_from_reserved_ranges() {
        for i in 0..2000u16 {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&i.to_be_bytes());
            let network = NetworkId::from_bytes(bytes);
            let [_, _, x, y] = next_hop_v4(network).octets();
            assert!((1..=254).contains(&x) && x != 169 && (1..=254).contains(&y), "{x}.{y}");
            assert!(next_hop_v6(network).is_unicast_link_local());
        }
    }

    #[test]
    fn vtep_macs_are_local_unicast_and_differ() {
        let a = vtep_mac(HostId::from_bytes([1; 16]));
        let b = vtep_mac(HostId::from_bytes([2; 16]));
        assert_ne!(a, b);
        assert_eq!(a.bytes()[0] & 3, 2);
    }
}
