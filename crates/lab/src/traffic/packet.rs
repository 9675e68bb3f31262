//! Packets byte by byte. Pure: what goes in decides what comes out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers (IANA).
pub(super) const ICMP: u8 = 1;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// The Internet checksum of some bytes (RFC 1071).
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// What transport checksums cover besides the transport (RFC 768, RFC 8200 section 8.1).
fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = (length as u16).to_be_bytes();
            [&from.octets()[..], &to.octets(), &[0, protocol], &length].concat()
        }
        (from, to) => {
            let length = (length as u32).to_be_bytes();
            [&v6(from).octets()[..], &v6(to).octets(), &length, &[0, 0, 0, protocol]].concat()
        }
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// An IP packet (RFC 791, RFC 8200) with TTL 64; both addresses must be of one family.
pub(super) fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, protocol, payload),
        (from, to) => {
            let length = (payload.len() as u16).to_be_bytes();
            let head = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            [&head[..], &v6(from).octets(), &v6(to).octets(), payload].concat()
        }
    }
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let mut head = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    head.extend(from.octets());
    head.extend(to.octets());
    let sum = checksum(&[&head]).to_be_bytes();
    head[10..12].copy_from_slice(&sum);
    head.extend_from_slice(payload);
    head
}

/// A UDP datagram (RFC 768).
pub(super) fn udp(from: IpAddr, to: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len();
    let mut datagram = Vec::with_capacity(length);
    for field in [ports.0, ports.1, length as u16, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    let sum = checksum(&[&pseudo_header(from, to, UDP, length), &datagram]);
    // Zero would mean "no checksum".
    let sum = if sum == 0 { 0xffff } else { sum };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// An ICMP or ICMPv6 echo request (RFC 792, RFC 4443).
pub(super) fn echo_request(from: IpAddr, to: IpAddr, id: u16, payload: &[u8]) -> Vec<u8> {
    let v4 = from.is_ipv4() && to.is_ipv4();
    let id = id.to_be_bytes();
    let mut message = vec![if v4 { 8 } else { 128 }, 0, 0, 0, id[0], id[1], 0, 1];
    message.extend_from_slice(payload);
    let pseudo = if v4 { Vec::new() } else { pseudo_header(from, to, ICMPV6, message.len()) };
    let sum = checksum(&[&pseudo, &message]).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// A VXLAN packet (RFC 7348): header, Ethernet frame, IP packet.
pub(super) fn vxlan(vni: u32, macs: ([u8; 6], [u8; 6]), packet: &[u8]) -> Vec<u8> {
    let vni = (vni << 8).to_be_bytes();
    let kind: [u8; 2] = if packet.first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
    [&[8, 0, 0, 0][..], &vni, &macs.1, &macs.0, &kind, packet].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn a_header_with_its_checksum_sums_to_zero() {
        let (from, to) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let packet = ip(from, to, UDP, &udp(from, to, (1, 2), b"odd"));
        assert_eq!(checksum(&[&packet[..20]]), 0);
        assert_eq!(checksum(&[&pseudo_header(from, to, UDP, 11), &packet[20..]]), 0);
        assert_eq!(packet.len(), 31);
    }

    #[test]
    fn a_vxlan_packet_names_target_before_source() {
        let packet = vxlan(0x010203, ([1; 6], [2; 6]), &[0x60]);
        assert_eq!(packet[..8], [8, 0, 0, 0, 1, 2, 3, 0]);
        assert_eq!(packet[8..22], [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 0x86, 0xdd]);
    }
}
