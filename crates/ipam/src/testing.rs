//! Short ways for unit tests to make values.

use crate::handle::Handle;
use hopsack_types::resource::{Grant, Ledger};
use hopsack_types::{Cidr, HostId, Network, NetworkId, Revision};
use std::net::IpAddr;

pub fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn host(n: u8) -> HostId {
    HostId::from_bytes([n; 16])
}

pub fn handle(n: usize) -> Handle {
    Handle::new("test", &n.to_string()).unwrap()
}

pub fn revision(index: u64) -> Revision {
    Revision { epoch: 1, index }
}

pub fn network(subnets: &[&str], reserved: &[&str]) -> Network {
    let subnets = subnets.iter().map(|subnet| cidr(subnet)).collect();
    let network = Network::new(NetworkId::from_bytes([7; 16]), "web".parse().unwrap(), subnets);
    let reserved = reserved.iter().map(|address| (ip(address), "gateway".to_owned())).collect();
    Network { reserved, ..network }
}

pub fn with_ranges(network: Network, ranges: &[&str]) -> Network {
    Network { ranges: ranges.iter().map(|range| cidr(range)).collect(), ..network }
}

/// A ledger of what each host holds.
pub fn ledger(grants: &[(u8, &[&str])]) -> Ledger {
    let held = |(of, prefixes): &(u8, &[&str])| {
        let grant = Grant { host: host(*of), quarantined: false };
        prefixes.iter().map(|prefix| (cidr(prefix), grant)).collect::<Vec<_>>()
    };
    Ledger { grants: grants.iter().flat_map(held).collect(), wants: Vec::new(), closing: false }
}
