//! Views of a small cluster, for tests: h1 and h2 on one segment, h3 behind a router.

use hopsack_plan::view::{Attachment, Endpoint, NetworkView, Underlay};
use hopsack_plan::{Features, View};
use hopsack_types::path::{PathChoice, PathKind};
use hopsack_types::{
    Cidr, EndpointId, Host, HostId, HostName, IfName, Mac, Network, NetworkId, NetworkName, Pool, PoolName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub const ALL: Features = Features { vxlan: true, ipv6: true, fast_path: true };
pub const H1: HostId = HostId::from_bytes([0x11; 16]);
pub const H2: HostId = HostId::from_bytes([0x22; 16]);
pub const H3: HostId = HostId::from_bytes([0x33; 16]);
pub const WEB: NetworkId = NetworkId::from_bytes([0xaa; 16]);
pub const DB: NetworkId = NetworkId::from_bytes([0xbb; 16]);

pub fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn device(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

pub fn host(id: HostId, number: u8, underlay: &str) -> Host {
    Host {
        id,
        name: HostName::new(format!("h{number}")).unwrap(),
        underlay: ip(underlay),
        control_port: 4677,
        addresses: vec![ip(&format!("10.32.0.{number}")), ip(&format!("fd32::{number}"))],
        public_key: String::new(),
        voter: number == 1,
        labels: BTreeMap::new(),
    }
}

pub fn pool(name: &str, prefix: &str) -> (PoolName, Pool) {
    let name = PoolName::new(name).unwrap();
    (name.clone(), Pool::new(name, cidr(prefix)))
}

pub fn network(
    id: NetworkId,
    name: &str,
    subnets: [&str; 2],
    grants: &[(&str, HostId)],
) -> (NetworkId, NetworkView) {
    let network = Network::new(id, NetworkName::new(name).unwrap(), subnets.map(cidr).to_vec());
    let grants = grants.iter().map(|(prefix, host)| (cidr(prefix), *host)).collect();
    (id, NetworkView { network, grants })
}

pub fn endpoint(number: u8, network: NetworkId, addresses: &[&str]) -> (EndpointId, Endpoint) {
    let id = EndpointId::from_bytes([number; 16]);
    let endpoint = Endpoint {
        id,
        network,
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        mac: Mac::from_bytes([2, 0, 0, 0, 0, number]),
        attachment: Attachment::Docker,
        name: format!("c{number}"),
        labels: BTreeMap::new(),
        ports: Vec::new(),
        container: None,
    };
    (id, endpoint)
}

/// The cluster as h1 sees it: h2 over `direct`, h3 over `vxlan`.
pub fn view() -> View {
    let hosts = [host(H1, 1, "192.0.2.1"), host(H2, 2, "192.0.2.2"), host(H3, 3, "198.51.100.3")];
    let web = [("10.32.4.0/29", H1), ("10.32.4.8/29", H2), ("10.32.4.16/29", H3), ("fd32:0:0:1::/80", H1)];
    let db = [("10.32.5.0/29", H1), ("10.32.5.8/29", H2), ("fd32:0:0:2:1::/80", H2), ("10.32.5.77/32", H1)];
    View {
        me: H1,
        hosts: hosts.into_iter().map(|host| (host.id, host)).collect(),
        pools: BTreeMap::from([pool("default", "10.32.0.0/12"), pool("default6", "fd32::/48")]),
        networks: BTreeMap::from([
            network(WEB, "web", ["10.32.4.0/24", "fd32:0:0:1::/64"], &web),
            network(DB, "db", ["10.32.5.0/24", "fd32:0:0:2::/64"], &db),
        ]),
        endpoints: BTreeMap::from([
            endpoint(1, WEB, &["10.32.4.1", "fd32:0:0:1::1"]),
            endpoint(2, DB, &["10.32.5.77"]),
        ]),
        paths: BTreeMap::from([
            (H2, PathChoice { kind: PathKind::Direct, mtu: 1500 }),
            (H3, PathChoice { kind: PathKind::Vxlan, mtu: 1450 }),
        ]),
        underlay: Underlay {
            device: device("eth0"),
            address: ip("192.0.2.1"),
            on_link: cidr("192.0.2.0/24"),
            mtu: 1500,
            advertised: BTreeSet::new(),
        },
    }
}

/// The same cluster as another host sees it.
pub fn seen_by(me: HostId) -> View {
    let mut view = view();
    let direct = |peer: HostId| me != H3 && peer != H3;
    let address = view.hosts[&me].underlay;
    view.me = me;
    view.endpoints.clear();
    view.paths = [H1, H2, H3]
        .into_iter()
        .filter(|peer| *peer != me)
        .map(|peer| {
            let (kind, mtu) = if direct(peer) { (PathKind::Direct, 1500) } else { (PathKind::Vxlan, 1450) };
            (peer, PathChoice { kind, mtu })
        })
        .collect();
    view.underlay.address = address;
    view.underlay.on_link = Cidr::around(address, 24);
    view
}
