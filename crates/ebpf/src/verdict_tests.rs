//! The programs' verdicts on single packets, by the kernel itself (`BPF_PROG_TEST_RUN`). Needs root.

use crate::{Entry, FastPath, Program};
use aya::programs::{TestRun, TestRunOptions};
use hopsack_types::fastpath::{FastNext, FastPort};
use hopsack_types::{Mac, NetworkId, Protocol};
use std::net::{IpAddr, Ipv6Addr};

/// `TC_ACT_UNSPEC` and `TC_ACT_REDIRECT` of `linux/pkt_cls.h`.
const LEFT_TO_THE_KERNEL: u32 = u32::MAX;
const FORWARDED: u32 = 7;

/// Where a test packet comes in: `lo`, whose MAC address is all zeros.
const HERE: u32 = 1;
const ELSEWHERE: u32 = 9;
const WEB: NetworkId = NetworkId::from_bytes([1; 16]);
const SHOP: NetworkId = NetworkId::from_bytes([2; 16]);
/// Bytes of `struct __sk_buff`, and where in it the kernel takes a test's `ifindex` and `gso_size`.
const CONTEXT: usize = 192;
const IFINDEX_AT: usize = 40;
const GSO_SIZE_AT: usize = 176;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
/// Types of ICMP, where a port's upper half stands.
const ECHO: u16 = 8 << 8;
const UNREACHABLE: u16 = 3 << 8;
const ECHO_V6: u16 = 128 << 8;
const TOO_BIG_V6: u16 = 2 << 8;
const SOLICITATION_V6: u16 = 135 << 8;
const MORE_FRAGMENTS: u16 = 0x2000;
const SYN: u8 = 2;
const ACK: u8 = 16;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn entry(device: u32, network: NetworkId, last: u8) -> Entry {
    let mac = Mac::from_bytes([2, 0, 0, 0, 0, last]);
    Entry { device, mtu: 1450, network, next: FastNext::Mac(mac), has_ports: false }
}

/// Two endpoints of `web` and one of `shop` here, and both networks on another host.
fn fast_path() -> FastPath {
    let mut fast = FastPath::load().unwrap();
    for (address, device, network) in [
        ("10.32.4.1", HERE, WEB),
        ("10.32.4.2", ELSEWHERE, WEB),
        ("10.32.5.1", HERE, SHOP),
        ("fd32::4:1", HERE, WEB),
    ] {
        fast.set_endpoint(ip(address), &entry(device, network, 0xe1)).unwrap();
    }
    // The network's gateway: in a prefix of another host, and yet each host's own.
    fast.set_endpoint(ip("10.32.4.14"), &Entry { mtu: 0, ..entry(HERE, WEB, 0) }).unwrap();
    for (prefix, device, network) in [
        ("10.32.4.8/29", HERE, WEB),
        ("10.32.4.12/32", ELSEWHERE, WEB),
        ("10.32.5.8/29", HERE, SHOP),
        ("fd32::8:0/112", HERE, WEB),
    ] {
        fast.set_remote(prefix.parse().unwrap(), &entry(device, network, 0xe2)).unwrap();
    }
    fast
}

/// A packet as it comes in. The kernel's own traffic never looks like some of these.
#[derive(Clone)]
struct Packet {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    ports: [u16; 2],
    fragment: u16,
    flags: u8,
    ttl: u8,
    /// Words of the IPv4 header.
    words: u8,
    payload: usize,
    segment: u32,
    to_mac: [u8; 6],
}

impl Packet {
    fn new(from: &str, to: &str) -> Self {
        Self {
            from: ip(from),
            to: ip(to),
            protocol: TCP,
            ports: [40000, 80],
            fragment: 0,
            flags: ACK,
            ttl: 64,
            words: 5,
            payload: 100,
            segment: 0,
            to_mac: [0; 6],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = |before: usize| u16::try_from(before + 20 + self.payload).unwrap().to_be_bytes();
        let mut bytes = self.to_mac.to_vec();
        bytes.extend([2, 0, 0, 0, 0, 0x55]);
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let [high, low] = length(20);
                let mut header = vec![0x40 | self.words, 0, high, low, 0, 1];
                header.extend(self.fragment.to_be_bytes());
                header.extend([self.ttl, self.protocol, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                let sum = checksum(&header).to_be_bytes();
                header[10..12].copy_from_slice(&sum);
                bytes.extend([8, 0]);
                bytes.extend(header);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let [high, low] = length(0);
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, self.protocol, self.ttl]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            _ => panic!("{} and {} are of two families", self.from, self.to),
        }
        let mut tcp = [0; 20];
        tcp[..2].copy_from_slice(&self.ports[0].to_be_bytes());
        tcp[2..4].copy_from_slice(&self.ports[1].to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = self.flags;
        bytes.extend(tcp);
        bytes.extend(std::iter::repeat_n(0, self.payload));
        bytes
    }
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// Runs a program on a packet: its verdict, and what became of the packet.
fn run(fast: &FastPath, program: Program, packet: &Packet) -> (u32, Vec<u8>) {
    let mut context = [0; CONTEXT];
    context[IFINDEX_AT..][..4].copy_from_slice(&HERE.to_ne_bytes());
    context[GSO_SIZE_AT..][..4].copy_from_slice(&packet.segment.to_ne_bytes());
    let (bytes, mut out) = (packet.bytes(), vec![0; 4096]);
    let options = TestRunOptions {
        data_in: Some(&bytes),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let result = fast.classifier(program).unwrap().test_run(options).unwrap();
    out.truncate(bytes.len());
    (result.return_value, out)
}

#[test]
fn only_what_the_firewall_would_let_pass_untracked_is_forwarded() {
    let fast = fast_path();
    let good = Packet::new("10.32.4.1", "10.32.4.9");
    let to = |to: &str| Packet { to: ip(to), ..good.clone() };
    let v6 = Packet::new("fd32::4:1", "fd32::8:9");
    let out = Program::FromEndpoint;
    for (what, packet, forwarded) in [
        ("to another host", good.clone(), true),
        ("to another endpoint here", to("10.32.4.2"), true),
        ("by IPv6", v6.clone(), true),
        ("a datagram", Packet { protocol: UDP, ..good.clone() }, true),
        ("with somebody else's source", Packet { from: ip("10.32.4.2"), ..good.clone() }, false),
        ("with a source that nobody has", Packet { from: ip("10.32.4.3"), ..good.clone() }, false),
        ("to another network, elsewhere", to("10.32.5.9"), false),
        ("to another network, here", to("10.32.5.1"), false),
        ("to nobody", to("10.32.4.3"), false),
        ("to a host", to("10.32.0.2"), false),
        ("to outside", to("192.0.2.7"), false),
        ("too old", Packet { ttl: 1, ..good.clone() }, false),
        ("too old, by IPv6", Packet { ttl: 1, ..v6.clone() }, false),
        ("with options", Packet { words: 6, ..good.clone() }, false),
        ("the first of a connection", Packet { flags: SYN, ..good.clone() }, false),
        ("its answer", Packet { flags: SYN | ACK, ..good.clone() }, false),
        ("the first, by IPv6", Packet { flags: SYN, ..v6.clone() }, false),
        ("behind an extension header", Packet { protocol: 0, ..v6.clone() }, false),
        ("that just fits", Packet { payload: 1450 - 40, ..good.clone() }, true),
        ("that is too long", Packet { payload: 1450 - 39, ..good.clone() }, false),
        ("in segments that fit", Packet { payload: 3000, segment: 1410, ..good.clone() }, true),
        ("in segments that are too long", Packet { payload: 3000, segment: 1411, ..good.clone() }, false),
        ("in segments that fit, by IPv6", Packet { payload: 3000, segment: 1390, ..v6.clone() }, true),
        ("in too long ones, by IPv6", Packet { payload: 3000, segment: 1391, ..v6.clone() }, false),
        (
            "datagrams in segments",
            Packet { protocol: UDP, payload: 3000, segment: 1000, ..good.clone() },
            false,
        ),
        ("by IPv6 from an address of IPv4", Packet { from: ip("::ffff:10.32.4.1"), ..v6.clone() }, false),
        ("by IPv6 to an address of IPv4", Packet { to: ip("::ffff:10.32.4.9"), ..v6.clone() }, false),
        ("by IPv6 to one here", Packet { to: ip("::ffff:10.32.4.2"), ..v6.clone() }, false),
        ("an echo", Packet { protocol: ICMP, ports: [ECHO, 0], ..good.clone() }, true),
        ("an error", Packet { protocol: ICMP, ports: [UNREACHABLE, 0], ..good.clone() }, false),
        ("an echo by IPv6", Packet { protocol: ICMP_V6, ports: [ECHO_V6, 0], ..v6.clone() }, true),
        ("an error by IPv6", Packet { protocol: ICMP_V6, ports: [TOO_BIG_V6, 0], ..v6.clone() }, false),
        (
            "a question on the link",
            Packet { protocol: ICMP_V6, ports: [SOLICITATION_V6, 0], ..v6.clone() },
            false,
        ),
        ("of another protocol", Packet { protocol: GRE, ..good.clone() }, false),
        ("the first fragment", Packet { fragment: MORE_FRAGMENTS, ..good.clone() }, false),
        ("the last fragment", Packet { fragment: 5, ..good.clone() }, false),
        ("to what this host answers itself", to("10.32.4.14"), false),
        ("for another MAC address", Packet { to_mac: [2, 9, 9, 9, 9, 9], ..good.clone() }, false),
        ("for all", Packet { to_mac: [0xff; 6], ..good }, false),
    ] {
        let wanted = if forwarded { FORWARDED } else { LEFT_TO_THE_KERNEL };
        let (verdict, after) = run(&fast, out, &packet);
        assert_eq!(verdict, wanted, "a packet from an endpoint, {what}");
        assert!(forwarded || after == packet.bytes(), "{what}: changed, and left to the kernel all the same");
    }
}

#[test]
fn out_of_the_tunnel_comes_only_what_its_network_may_have_from_there() {
    let fast = fast_path();
    let good = Packet::new("10.32.4.9", "10.32.4.1");
    let from = |from: &str| Packet { from: ip(from), ..good.clone() };
    for (what, packet, forwarded) in [
        ("to an endpoint", good.clone(), true),
        ("by IPv6", Packet::new("fd32::8:9", "fd32::4:1"), true),
        ("from a prefix that is reached by another device", from("10.32.4.12"), false),
        ("from another network", from("10.32.5.9"), false),
        ("from an endpoint here", from("10.32.4.2"), false),
        ("from a host", from("10.32.0.2"), false),
        ("to nobody", Packet { to: ip("10.32.4.7"), ..good.clone() }, false),
        ("to what another host holds", Packet { to: ip("10.32.4.10"), ..good.clone() }, false),
        ("the first of a connection", Packet { flags: SYN, ..good.clone() }, false),
        ("that is too long", Packet { payload: 1450 - 39, ..good }, false),
    ] {
        let wanted = if forwarded { FORWARDED } else { LEFT_TO_THE_KERNEL };
        assert_eq!(run(&fast, Program::FromTunnel, &packet).0, wanted, "a packet out of the tunnel, {what}");
    }
}

#[test]
fn what_is_said_through_a_published_port_takes_the_routes_both_ways() {
    let mut fast = fast_path();
    let (here, far) = (ip("10.32.4.1"), ip("10.32.4.9"));
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        fast.set_published(FastPort { address: here, protocol, number: 80 }).unwrap();
    }
    let to = Packet { from: far, to: here, ports: [40000, 80], ..Packet::new("10.32.4.9", "10.32.4.1") };
    let back = Packet { from: here, to: far, ports: [80, 40000], ..to.clone() };
    let verdict = |fast: &FastPath, packet: &Packet| {
        let program = if packet.from == here { Program::FromEndpoint } else { Program::FromTunnel };
        run(fast, program, packet).0 == FORWARDED
    };
    assert!(verdict(&fast, &to) && verdict(&fast, &back), "the endpoint does not say that it has any");
    fast.set_endpoint(here, &Entry { has_ports: true, ..entry(HERE, WEB, 0xe1) }).unwrap();
    for (what, packet, forwarded) in [
        ("to it", to.clone(), false),
        ("its answer", back.clone(), false),
        ("to another port", Packet { ports: [40000, 81], ..to.clone() }, true),
        ("from another port", Packet { ports: [81, 40000], ..back.clone() }, true),
        ("by another protocol", Packet { protocol: UDP, ..to.clone() }, true),
        ("by SCTP", Packet { protocol: 132, ..to.clone() }, false),
        ("an echo", Packet { protocol: ICMP, ports: [ECHO, 0], ..to.clone() }, true),
    ] {
        assert_eq!(verdict(&fast, &packet), forwarded, "a packet {what}");
    }
    // Between two endpoints of one host likewise.
    let near = Packet { from: ip("10.32.4.2"), to: here, ..to };
    fast.set_endpoint(near.from, &entry(HERE, WEB, 0xe1)).unwrap();
    assert_eq!(run(&fast, Program::FromEndpoint, &near).0, LEFT_TO_THE_KERNEL);
    fast.remove_published(FastPort { address: here, protocol: Protocol::Tcp, number: 80 }).unwrap();
    assert_eq!(run(&fast, Program::FromEndpoint, &near).0, FORWARDED);
    let left = FastPort { address: here, protocol: Protocol::Sctp, number: 80 };
    assert_eq!(fast.published().unwrap().into_iter().collect::<Vec<_>>(), [left]);
}

#[test]
fn what_is_forwarded_is_one_hop_older_and_addressed_to_the_next_link() {
    let fast = fast_path();
    // Sums of all kinds, also those that carry over.
    for payload in 0..=255 {
        for ttl in [2, 64, 255] {
            let packet = Packet { ttl, payload, ..Packet::new("10.32.4.1", "10.32.4.9") };
            let (verdict, after) = run(&fast, Program::FromEndpoint, &packet);
            assert_eq!(verdict, FORWARDED);
            let mut wanted = packet.bytes();
            wanted[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0xe2]);
            wanted[14 + 8] = ttl - 1;
            wanted[14 + 10..14 + 12].copy_from_slice(&[0, 0]);
            let sum = checksum(&wanted[14..34]).to_be_bytes();
            wanted[14 + 10..14 + 12].copy_from_slice(&sum);
            assert_eq!(after, wanted, "a payload of {payload} bytes, time to live {ttl}");
        }
    }
    // Of a next hop the kernel finds out the MAC address later.
    let mut direct = fast_path();
    for (prefix, next_hop) in [("10.32.4.8/29", "192.0.2.2"), ("fd32::8:0/112", "2001:db8::2")] {
        let entry = Entry { next: FastNext::Hop(ip(next_hop)), ..entry(HERE, WEB, 0) };
        direct.set_remote(prefix.parse().unwrap(), &entry).unwrap();
        assert_eq!(direct.remotes().unwrap()[&prefix.parse().unwrap()], entry);
    }
    for (from, to) in [("10.32.4.1", "10.32.4.9"), ("fd32::4:1", "fd32::8:9")] {
        let packet = Packet::new(from, to);
        let (verdict, after) = run(&direct, Program::FromEndpoint, &packet);
        assert_eq!((verdict, &after[..14]), (FORWARDED, &packet.bytes()[..14]));
        assert_ne!(after, packet.bytes());
    }
    let packet = Packet::new("fd32::8:9", "fd32::4:1");
    let mut wanted = packet.bytes();
    wanted[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0xe1]);
    wanted[14 + 7] = 63;
    assert_eq!(run(&fast, Program::FromTunnel, &packet), (FORWARDED, wanted));
}

#[test]
fn tables_read_back_as_they_were_written() {
    let mut fast = fast_path();
    let (endpoints, remotes) = (fast.endpoints().unwrap(), fast.remotes().unwrap());
    assert_eq!((endpoints.len(), remotes.len()), (5, 4));
    assert_eq!(endpoints[&ip("10.32.4.2")], entry(ELSEWHERE, WEB, 0xe1));
    assert_eq!(endpoints[&IpAddr::V6(Ipv6Addr::new(0xfd32, 0, 0, 0, 0, 0, 4, 1))], entry(HERE, WEB, 0xe1));
    assert_eq!(remotes[&"10.32.5.8/29".parse().unwrap()], entry(HERE, SHOP, 0xe2));
    assert_eq!(remotes[&"fd32::8:0/112".parse().unwrap()], entry(HERE, WEB, 0xe2));
    fast.set_endpoint(ip("10.32.4.2"), &entry(3, SHOP, 7)).unwrap();
    fast.remove_endpoint(ip("10.32.4.1")).unwrap();
    fast.remove_remote("10.32.4.12/32".parse().unwrap()).unwrap();
    assert_eq!(fast.endpoints().unwrap().len(), 4);
    assert_eq!(fast.endpoints().unwrap()[&ip("10.32.4.2")], entry(3, SHOP, 7));
    assert_eq!(fast.remotes().unwrap().len(), 3);
    // What is not there may be removed.
    fast.remove_endpoint(ip("10.32.4.1")).unwrap();
    fast.remove_remote("10.32.4.12/32".parse().unwrap()).unwrap();
}
