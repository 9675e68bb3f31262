//! Packets that no honest host sends: any source, anything inside a tunnel.

use super::Sent;
use super::packet::{ICMP, ICMPV6, UDP, echo_request, ip, udp, vxlan};
use crate::error::{LabError, Result};
use clap::Args;
use hopsack_types::{Family, Mac, numbers};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr};

/// `IPPROTO_RAW`: the sender writes the IP header (raw(7)).
const WITH_HEADER: i32 = 255;
/// ICMP echo identifier of forged requests.
const ECHO_ID: u16 = 0x6c61;

/// What a forged packet carries.
#[derive(Debug, Args)]
struct Content {
    /// A UDP datagram to this port instead of an ICMP echo request
    #[arg(long)]
    udp: Option<u16>,
    /// The UDP datagram's source port
    #[arg(long, default_value_t = 40_000)]
    udp_from: u16,
    /// Any other IP protocol with the text as its payload
    #[arg(long, conflicts_with = "udp")]
    protocol: Option<u8>,
    /// Payload
    #[arg(long, default_value = "forged")]
    text: String,
}

impl Content {
    fn packet(&self, from: IpAddr, to: IpAddr) -> Result<Vec<u8>> {
        if from.is_ipv4() != to.is_ipv4() {
            let argument = format!("{from} to {to}");
            return Err(LabError::Argument { argument, rule: "both addresses must be of one family" });
        }
        let text = self.text.as_bytes();
        let (protocol, payload) = match (self.udp, self.protocol) {
            (Some(port), _) => (UDP, udp(from, to, (self.udp_from, port), text)),
            (None, Some(protocol)) => (protocol, text.to_vec()),
            (None, None) => {
                let protocol = if from.is_ipv4() { ICMP } else { ICMPV6 };
                (protocol, echo_request(from, to, ECHO_ID, text))
            }
        };
        Ok(ip(from, to, protocol, &payload))
    }
}

fn send_packet(to: IpAddr, packet: &[u8], count: u64) -> Result<Sent> {
    let domain = match Family::of(to) {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(WITH_HEADER)));
    let socket = socket.map_err(LabError::io("open", "a raw socket"))?;
    Ok(send_all(count, || socket.send_to(packet, &SocketAddr::new(to, 0).into()).is_ok()))
}

fn send_all(count: u64, mut send: impl FnMut() -> bool) -> Sent {
    let sent = (0..count).filter(|_| send()).count() as u64;
    Sent { sent, refused: count - sent }
}

/// `forge-ip`
#[derive(Debug, Args)]
pub(super) struct Ip {
    /// Source address
    #[arg(long)]
    from: IpAddr,
    /// Target address
    #[arg(long)]
    to: IpAddr,
    /// How many
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[command(flatten)]
    content: Content,
}

impl Ip {
    pub(super) fn run(self) -> Result<Sent> {
        send_packet(self.to, &self.content.packet(self.from, self.to)?, self.count)
    }
}

/// `forge-vxlan`
#[derive(Debug, Args)]
pub(super) struct Vxlan {
    /// Outer target
    #[arg(long)]
    to: IpAddr,
    /// Outer source, instead of the one that the route gives
    #[arg(long)]
    from: Option<IpAddr>,
    /// Outer target port
    #[arg(long, default_value_t = numbers::VXLAN_PORT)]
    port: u16,
    /// VXLAN network identifier
    #[arg(long, default_value_t = numbers::ROUTED_VNI)]
    vni: u32,
    /// Inner source MAC address
    #[arg(long, default_value = "02:00:00:00:00:01")]
    inner_from_mac: Mac,
    /// Inner target MAC address
    #[arg(long)]
    inner_to_mac: Mac,
    /// Inner source address
    #[arg(long)]
    inner_from: IpAddr,
    /// Inner target address
    #[arg(long)]
    inner_to: IpAddr,
    /// How many
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[command(flatten)]
    content: Content,
}

impl Vxlan {
    pub(super) fn run(self) -> Result<Sent> {
        let inner = self.content.packet(self.inner_from, self.inner_to)?;
        let macs = (self.inner_from_mac.bytes(), self.inner_to_mac.bytes());
        let payload = vxlan(self.vni, macs, &inner);
        if let Some(from) = self.from {
            let outer = udp(from, self.to, (self.content.udp_from, self.port), &payload);
            return send_packet(self.to, &ip(from, self.to, UDP, &outer), self.count);
        }
        let any: SocketAddr = match Family::of(self.to) {
            Family::V4 => ([0; 4], 0).into(),
            Family::V6 => ([0; 16], 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any).map_err(LabError::io("bind UDP", any))?;
        let to = SocketAddr::new(self.to, self.port);
        Ok(send_all(self.count, || socket.send_to(&payload, to).is_ok()))
    }
}
