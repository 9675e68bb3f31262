//! ICMP echo over raw sockets, one for each family and kind of path. The socket's type of service (IPv4) or mark (IPv6)
//! makes the kernel look for that kind's way; the plan's module `probes` has the routes.

use crate::kernel::paths::{Echo, EchoReply, Prober};
use async_trait::async_trait;
use hopsack_types::{Family, numbers};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Answers that wait to be read; more are as good as lost.
const QUEUE: usize = 256;
/// The largest packet that is read whole; of larger ones the beginning is enough.
const BUFFER: usize = 2048;

/// RFC 792.
const V4_ECHO_REQUEST: u8 = 8;
const V4_ECHO_REPLY: u8 = 0;
/// RFC 4443.
const V6_ECHO_REQUEST: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;
const ICMP_HEADER: usize = 8;

struct Open {
    /// A raw socket; tokio's type for datagrams serves it as well.
    socket: Arc<UdpSocket>,
    from: IpAddr,
    reader: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Sends and receives real echo packets.
pub struct RawProber {
    open: Mutex<BTreeMap<(Family, u16), Open>>,
    heard: mpsc::Sender<EchoReply>,
    replies: tokio::sync::Mutex<mpsc::Receiver<EchoReply>>,
}

impl Default for RawProber {
    fn default() -> Self {
        let (heard, replies) = mpsc::channel(QUEUE);
        Self { open: Mutex::default(), heard, replies: tokio::sync::Mutex::new(replies) }
    }
}

impl RawProber {
    /// The socket for an echo; opened when its source address is there, opened anew when that has changed.
    fn socket(&self, echo: Echo) -> io::Result<Arc<UdpSocket>> {
        let key = (Family::of(echo.from), echo.id);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&key).filter(|known| known.from == echo.from) {
            return Ok(known.socket.clone());
        }
        let socket = Arc::new(UdpSocket::from_std(make(echo)?.into())?);
        let reader = tokio::spawn(read(socket.clone(), key.0, echo.id, self.heard.clone())).abort_handle();
        open.insert(key, Open { socket: socket.clone(), from: echo.from, reader });
        Ok(socket)
    }
}

fn make(echo: Echo) -> io::Result<Socket> {
    let direct = echo.id == numbers::PROBE_DIRECT_ICMP_ID;
    let socket = match echo.from {
        IpAddr::V4(_) => {
            let socket = Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::ICMPV4))?;
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
            let tos = if direct { numbers::PROBE_DIRECT_TOS } else { numbers::PROBE_VXLAN_TOS };
            socket.set_tos_v4(tos.into())?;
            socket
        }
        IpAddr::V6(_) => {
            let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6))?;
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
            let mark = if direct { numbers::PROBE_DIRECT_MARK } else { numbers::PROBE_VXLAN_MARK };
            socket.set_mark(mark)?;
            socket
        }
    };
    socket.bind(&SocketAddr::new(echo.from, 0).into())?;
    Ok(socket)
}

async fn read(socket: Arc<UdpSocket>, family: Family, id: u16, heard: mpsc::Sender<EchoReply>) {
    let mut buffer = [0; BUFFER];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::trace!(%error, "no echo reply was read");
                continue;
            }
        };
        if let Some(sequence) = answered(&buffer[..length], family, id) {
            // A full queue is a loss like any other.
            let _ = heard.try_send(EchoReply { from: from.ip(), id, sequence });
        }
    }
}

/// The sequence number of an echo reply with our identifier. IPv4 packets come with their IP header, IPv6 ones without
/// (raw(7), RFC 3542 section 3).
fn answered(packet: &[u8], family: Family, id: u16) -> Option<u16> {
    let (icmp, reply) = match family {
        Family::V4 => (packet.get(usize::from(packet.first()? & 0x0f) * 4..)?, V4_ECHO_REPLY),
        Family::V6 => (packet, V6_ECHO_REPLY),
    };
    let [kind, _, _, _, id_high, id_low, sequence_high, sequence_low] = *icmp.first_chunk::<ICMP_HEADER>()?;
    let ours = kind == reply && u16::from_be_bytes([id_high, id_low]) == id;
    ours.then(|| u16::from_be_bytes([sequence_high, sequence_low]))
}

/// An echo request of a size. The kernel fills in the checksum of ICMPv6.
fn request(echo: Echo) -> Vec<u8> {
    let (ip_header, kind) = match echo.to {
        IpAddr::V4(_) => (20, V4_ECHO_REQUEST),
        IpAddr::V6(_) => (40, V6_ECHO_REQUEST),
    };
    let length = (echo.size as usize).saturating_sub(ip_header).max(ICMP_HEADER);
    let mut packet = vec![0; length];
    packet[0] = kind;
    packet[4..6].copy_from_slice(&echo.id.to_be_bytes());
    packet[6..8].copy_from_slice(&echo.sequence.to_be_bytes());
    if echo.to.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The sum has just been folded into 16 bits.
    !(sum as u16)
}

#[async_trait]
impl Prober for RawProber {
    async fn send(&self, echo: Echo) -> io::Result<()> {
        let socket = self.socket(echo)?;
        let packet = request(echo);
        socket.send_to(&packet, SocketAddr::new(echo.to, 0)).await.map(drop)
    }

    async fn receive(&self) -> EchoReply {
        match self.replies.lock().await.recv().await {
            Some(reply) => reply,
            // The sending half lives in `self`, so the channel does not close.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(from: &str, to: &str, size: u32) -> Echo {
        Echo { from: from.parse().unwrap(), to: to.parse().unwrap(), id: 0x4801, sequence: 7, size }
    }

    #[test]
    fn a_request_has_the_size_that_was_asked_for_and_a_right_checksum() {
        let packet = request(echo("10.32.0.1", "10.32.0.2", 1500));
        assert_eq!(packet.len(), 1480);
        assert_eq!(checksum(&packet), 0, "a packet with its checksum sums up to nothing");
        assert_eq!(request(echo("fd00::1", "fd00::2", 1280)).len(), 1240);
    }

    #[test]
    fn only_replies_with_our_identifier_count() {
        let mut packet = vec![0x45; 20];
        packet.extend(request(echo("10.32.0.1", "10.32.0.2", 100)));
        assert_eq!(answered(&packet, Family::V4, 0x4801), None, "a request is no reply");
        packet[20] = V4_ECHO_REPLY;
        assert_eq!(answered(&packet, Family::V4, 0x4801), Some(7));
        assert_eq!(answered(&packet, Family::V4, 0x4802), None);
        assert_eq!(answered(&packet[..24], Family::V4, 0x4801), None);
    }
}
