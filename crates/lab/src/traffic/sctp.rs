//! SCTP associations made by hand over raw sockets, since many kernels have no SCTP sockets: INIT, INIT ACK, COOKIE ECHO
//! and COOKIE ACK (RFC 9260 section 5.1). That is enough to show that packets pass both ways with the right ports and
//! checksums, and it is what connection tracking calls established.
//!
//! A kernel that has SCTP answers by itself that nobody listens: these tools are for those that have none.

mod packet;

use super::raw::{open, payload};
use super::udp::{Caller, PingReport, any_port};
use super::{is_timeout, say, say_ready};
use crate::error::{LabError, Result};
use clap::Args;
use hopsack_types::{Family, Protocol};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use packet::{Chunk, Packet};
use socket2::Socket;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// More than any packet here.
const BUFFER: usize = 2048;
/// Verification tags that the two ends ask for; any number but 0 will do.
const ECHO_TAG: u32 = 0x6563_686f;
const PING_TAG: u32 = 0x7069_6e67;

/// A raw socket that sees the SCTP packets for an address, or for all of its family.
fn bind(address: IpAddr) -> Result<Socket> {
    let socket = open(Family::of(address), Protocol::Sctp.number())?;
    socket.bind(&SocketAddr::new(address, 0).into()).map_err(LabError::io("bind raw SCTP", address))?;
    Ok(socket)
}

/// Waits for a packet; none if what came cannot be read.
fn receive(socket: &Socket, family: Family) -> std::io::Result<Option<(Packet, SocketAddr)>> {
    let mut buffer = [0; BUFFER];
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer)?;
    let ip = from.and_then(|from| match family {
        Family::V4 => from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip())),
        Family::V6 => from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())),
    });
    let packet = Packet::read(payload(family, &buffer[..length]));
    Ok(packet.zip(ip).map(|(packet, ip)| (packet, SocketAddr::new(ip, packet.from))))
}

fn send(socket: &Socket, packet: Packet, to: IpAddr) -> std::io::Result<()> {
    socket.send_to(&packet.bytes(), &SocketAddr::new(to, 0).into()).map(|_| ())
}

/// `sctp-echo`
#[derive(Debug, Args)]
pub(super) struct Echo {
    /// Where to listen
    #[arg(long)]
    bind: SocketAddr,
}

impl Echo {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let socket = bind(self.bind.ip())?;
        say_ready(out, self.bind)?;
        loop {
            let (packet, peer) = match receive(&socket, Family::of(self.bind.ip())) {
                Ok(Some((packet, peer))) if packet.to == self.bind.port() => (packet, peer),
                // Others' packets, and errors, which are answers to earlier replies.
                Ok(_) | Err(_) => continue,
            };
            let (tag, chunk) = match packet.chunk {
                Chunk::Init { tag } => (tag, Chunk::InitAck { tag: ECHO_TAG, cookie: tag }),
                Chunk::CookieEcho { cookie } if packet.tag == ECHO_TAG => {
                    say(out, &Caller { peer })?;
                    (cookie, Chunk::CookieAck)
                }
                _ => continue,
            };
            // Who asked sees what it does not get.
            let _ = send(&socket, Packet { from: packet.to, to: packet.from, tag, chunk }, peer.ip());
        }
    }
}

/// `sctp-ping`
#[derive(Debug, Args)]
pub(super) struct Ping {
    /// The echo
    #[arg(long)]
    to: SocketAddr,
    /// How many associations, one after the other, each from a port of its own
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Seconds to wait for each
    #[arg(long, default_value_t = 1.0)]
    timeout: f64,
}

impl Ping {
    pub(super) fn run(self) -> Result<PingReport> {
        let any = any_port(self.to);
        let socket = bind(any.ip())?;
        let mut times = Vec::new();
        for _ in 0..self.count {
            // A number that no other client has: raw sockets have no ports.
            let reserved = UdpSocket::bind(any).map_err(LabError::io("bind UDP", any))?;
            let port = reserved.local_addr().map_err(LabError::io("name", any))?.port();
            let start = Instant::now();
            if self.associate(&socket, port, start)? {
                times.push(start.elapsed());
            }
        }
        Ok(PingReport::new(self.count, times))
    }

    /// Sets up an association; whether it stands.
    fn associate(&self, socket: &Socket, port: u16, start: Instant) -> Result<bool> {
        let packet = |tag, chunk| Packet { from: port, to: self.to.port(), tag, chunk };
        let mut next = packet(0, Chunk::Init { tag: PING_TAG });
        let timeout = Duration::from_secs_f64(self.timeout);
        while send(socket, next, self.to.ip()).is_ok() {
            next = match self.answer(socket, port, start + timeout)? {
                Some(Chunk::InitAck { tag, cookie }) => packet(tag, Chunk::CookieEcho { cookie }),
                Some(Chunk::CookieAck) => return Ok(true),
                _ => return Ok(false),
            };
        }
        Ok(false)
    }

    /// What comes back from where it was sent to; none if nothing does.
    fn answer(&self, socket: &Socket, port: u16, deadline: Instant) -> Result<Option<Chunk>> {
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let left = left.max(Duration::from_millis(1));
            socket.set_read_timeout(Some(left)).map_err(LabError::io("set a deadline for", "raw SCTP"))?;
            match receive(socket, Family::of(self.to.ip())) {
                Ok(Some((packet, peer)))
                    if peer == self.to && packet.to == port && packet.tag == PING_TAG =>
                {
                    return Ok(Some(packet.chunk));
                }
                // Others' packets, or an ICMP error; the deadline decides.
                Ok(_) => {}
                Err(error) if is_timeout(&error) => break,
                Err(_) => {}
            }
        }
        Ok(None)
    }
}
