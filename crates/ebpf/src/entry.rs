//! What the tables hold, as `bpf/fastpath.c` reads it.

use hopsack_types::fastpath::{FastNext, FastPort};
use hopsack_types::{Cidr, Family, Mac, NetworkId, Protocol};
use std::net::{IpAddr, Ipv6Addr};

/// Where packets for an endpoint, or a prefix of another host, leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Number of the link: the host's end of the endpoint's pair, the tunnel, or the underlay.
    pub device: u32,
    /// Largest IP packet, bytes; 0: none, since this host answers it itself.
    pub mtu: u32,
    /// Packets pass between entries of one network only.
    pub network: NetworkId,
    /// What it is addressed to on that link.
    pub next: FastNext,
    /// Whether some of its ports are published by this host: only then they are looked for.
    pub has_ports: bool,
}

/// Bytes of `struct port`.
pub(crate) const PORT_BYTES: usize = 20;

pub(crate) fn port_bytes(port: FastPort) -> [u8; PORT_BYTES] {
    let mut bytes = [0; PORT_BYTES];
    bytes[..16].copy_from_slice(&address_bytes(port.address));
    bytes[16..18].copy_from_slice(&port.number.to_be_bytes());
    bytes[18] = port.protocol.number();
    bytes
}

/// None of a protocol that nobody publishes.
pub(crate) fn port_of(bytes: &[u8; PORT_BYTES]) -> Option<FastPort> {
    let mut address = [0; 16];
    address.copy_from_slice(&bytes[..16]);
    Some(FastPort {
        address: address_of(address),
        protocol: Protocol::ALL.into_iter().find(|protocol| protocol.number() == bytes[18])?,
        number: u16::from_be_bytes([bytes[16], bytes[17]]),
    })
}

/// Bytes of `struct entry`.
pub(crate) const ENTRY_BYTES: usize = 48;

impl Entry {
    pub(crate) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&self.device.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.mtu.to_ne_bytes());
        bytes[8..24].copy_from_slice(self.network.as_bytes());
        bytes[30] = u8::from(self.has_ports);
        match self.next {
            FastNext::Mac(mac) => bytes[24..30].copy_from_slice(&mac.bytes()),
            FastNext::Hop(address) => {
                bytes[31] = 1;
                bytes[32..].copy_from_slice(&address_bytes(address));
            }
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut network = [0; 16];
        network.copy_from_slice(&bytes[8..24]);
        let (mut mac, mut next_hop) = ([0; 6], [0; 16]);
        mac.copy_from_slice(&bytes[24..30]);
        next_hop.copy_from_slice(&bytes[32..]);
        let next = match bytes[31] {
            0 => FastNext::Mac(Mac::from_bytes(mac)),
            _ => FastNext::Hop(address_of(next_hop)),
        };
        let network = NetworkId::from_bytes(network);
        Self { device: word(0), mtu: word(4), network, next, has_ports: bytes[30] != 0 }
    }
}

/// Bits before an IPv4 address that is mapped into IPv6 (RFC 4291, section 2.5.5.2).
const MAPPED: u8 = 96;

pub(crate) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

pub(crate) fn address_of(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// The length of a prefix among mapped addresses.
pub(crate) fn length(prefix: &Cidr) -> u32 {
    let before = if prefix.family() == Family::V4 { MAPPED } else { 0 };
    u32::from(before + prefix.length())
}

pub(crate) fn prefix_of(length: u32, bytes: [u8; 16]) -> Cidr {
    let address = address_of(bytes);
    let before = if address.is_ipv4() { MAPPED } else { 0 };
    let length = u8::try_from(length).unwrap_or(u8::MAX).saturating_sub(before);
    Cidr::around(address, length)
}
