//! What the agent that notes its questions answers: everything, of each kind one.

use hopsack_api::*;
use hopsack_types::manifest::{Kind, named};
use hopsack_types::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

pub fn network() -> Network {
    let subnet: Cidr = "10.32.1.0/24".parse().unwrap();
    Network {
        ranges: BTreeSet::from(["10.32.1.128/25".parse().unwrap()]),
        gateways: BTreeMap::from([("10.32.1.1".parse().unwrap(), ChosenBy::User)]),
        reserved: BTreeMap::from([("10.32.1.9".parse().unwrap(), "router".to_owned())]),
        isolation: Isolation::None,
        internal: true,
        exit: Exit::Docker,
        mtu: Some(1400),
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..Network::new(NetworkId::from_bytes([7; 16]), NetworkName::new("web").unwrap(), vec![subnet])
    }
}

pub fn all_networks() -> Networks {
    Networks {
        me: Some(HostId::from_bytes([1; 16])),
        networks: BTreeMap::from([(network().id, network())]),
        pools: network().subnets,
    }
}

pub fn address() -> IpAddr {
    "10.32.1.5".parse().unwrap()
}

pub fn endpoint() -> EndpointStatus {
    EndpointStatus {
        id: EndpointId::from_bytes([9; 16]),
        network: network().id,
        network_name: network().name,
        addresses: vec![address()],
        mac: "02:42:0a:20:00:05".parse().unwrap(),
        next_hops: vec!["169.254.3.4".parse().unwrap()],
        link: IfName::new("hopc0909090909").unwrap(),
        peer: IfName::new("hope0909090909").unwrap(),
        mtu: 1450,
        name: "c1".to_owned(),
        docker: true,
        container: Some(container()),
        ports: vec![published()],
    }
}

pub fn container() -> ContainerRef {
    ContainerRef { id: "4f2a".repeat(16), name: "c1".to_owned() }
}

pub fn published() -> PublishedPort {
    let port = NonZeroU16::MIN;
    let host = HostPort { protocol: Protocol::Sctp, address: address(), port };
    PublishedPort { host, container_port: NonZeroU16::MAX }
}

pub fn port_request() -> PortRequest {
    let PublishedPort { host: HostPort { protocol, address, port }, container_port } = published();
    PortRequest { protocol, host_address: Some(address), host_ports: Some((port, port)), container_port }
}

pub fn init_answer() -> InitAnswer {
    InitAnswer {
        cluster: ClusterId::from_bytes([2; 16]),
        host: HostId::from_bytes([1; 16]),
        name: HostName::new("h1").unwrap(),
        advertise: address(),
        address: (address(), 4677).into(),
        pools: vec!["10.32.0.0/16".parse().unwrap()],
        token: "secret".to_owned(),
    }
}

pub fn join_answer() -> JoinAnswer {
    let InitAnswer { cluster, host, name, advertise, .. } = init_answer();
    JoinAnswer { cluster, host, name, advertise, hosts: 2 }
}

pub fn token_answer() -> TokenAnswer {
    TokenAnswer { token: "secret".to_owned(), address: "10.77.0.1:4677".parse().unwrap() }
}

pub fn token_status() -> TokenStatus {
    let id = TokenId::from_bytes([4; 16]);
    TokenStatus { id, expires_at: 1_800_000_060, expires_in: 60, uses_left: Some(1) }
}

pub fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        cluster: None,
        docker: "connected".to_owned(),
        faults: vec![Fault::new("the disk is full", "df -h")],
    }
}

pub fn examination() -> Examination {
    let answer = PeerAnswer { round_trip: 700, clock_ahead: -3, version: "0.1.0".to_owned() };
    let peer = PeerExamination {
        id: HostId::from_bytes([2; 16]),
        name: HostName::new("h2").unwrap(),
        underlay: address(),
        control_port: 4677,
        answer: Some(answer),
        error: Some("gone".to_owned()),
        alive: true,
        path: None,
        kinds: BTreeMap::from([(PathKind::Direct, false), (PathKind::Vxlan, true)]),
        last_heard: Some(2),
    };
    Examination {
        state_dir: "/var/lib/hopsack".into(),
        control_port: 4677,
        settings: BTreeMap::from([("net/ipv4/ip_forward".to_owned(), "1".to_owned())]),
        peers: vec![peer],
    }
}

pub fn ipam() -> IpamStatus {
    let Network { id, name, subnets, .. } = network();
    let host = HostId::from_bytes([1; 16]);
    let block = BlockIpam {
        prefix: "10.32.1.0/29".parse().unwrap(),
        host,
        host_name: None,
        quarantined: true,
        used: 0,
        reserve: 8,
        cooling: Some(1),
    };
    let subnet = SubnetIpam {
        prefix: subnets[0],
        range: None,
        pool: None,
        used: 1,
        reserve: 2,
        quarantined: 3,
        free: ipam::UNCOUNTED,
        kept: 4,
        cooling: 5,
        blocks: vec![block],
    };
    let held = HeldAddress {
        address: address(),
        host,
        host_name: Some(HostName::new("h1").unwrap()),
        holder: Some("docker:1".to_owned()),
        endpoint: Some(endpoint().id),
        name: Some("c1".to_owned()),
    };
    let networks = vec![NetworkIpam { id, name, closing: false, subnets: vec![subnet], held: vec![held] }];
    let pool = PoolStatus {
        name: "default".parse().unwrap(),
        prefix: subnets[0],
        disabled: false,
        subnets,
        host_range: "10.32.1.0/27".parse().unwrap(),
        hosts: 2,
    };
    IpamStatus { pools: vec![pool], networks }
}

pub fn host_status() -> HostStatus {
    HostStatus {
        id: HostId::from_bytes([1; 16]),
        name: HostName::new("h1").unwrap(),
        underlay: address(),
        addresses: vec![],
        voter: true,
        alive: true,
        path: None,
    }
}

pub fn host_removed() -> HostRemoved {
    HostRemoved { id: HostId::from_bytes([1; 16]), name: None, set_aside: vec![network().name] }
}

pub fn document() -> Value {
    named(Kind::Network, "web")
}

pub fn written() -> Written {
    Written { kind: Kind::Network, name: "web".to_owned(), outcome: Outcome::Configured }
}

pub fn change(change: Change) -> ResourceChange {
    ResourceChange { change, document: document() }
}
