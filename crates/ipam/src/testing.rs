//! Short ways for unit tests to make values.

use crate::handle::Handle;
use hopsack_types::{Cidr, HostId, Isolation, Network, NetworkId};
use std::net::IpAddr;

pub fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[expect(dead_code)]
pub fn host(n: u8) -> HostId {
    HostId::from_bytes([n; 16])
}

#[expect(dead_code)]
pub fn handle(n: usize) -> Handle {
    Handle::new("test", &n.to_string()).unwrap()
}

pub fn network(subnets: &[&str], reserved: &[&str]) -> Network {
    Network {
        id: NetworkId::from_bytes([7; 16]),
        name: "web".parse().unwrap(),
        subnets: subnets.iter().map(|subnet| cidr(subnet)).collect(),
        reserved: reserved.iter().map(|address| (ip(address), "gateway".to_owned())).collect(),
        isolation: Isolation::Full,
        labels: Default::default(),
        docker: None,
    }
}
