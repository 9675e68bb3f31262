//! Packets of any IP protocol, to show that all pass.

use super::{Sent, is_timeout, say, say_ready};
use crate::error::{LabError, Result};
use clap::Args;
use hopsack_types::Family;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A raw socket for one protocol.
pub(super) fn open(family: Family, protocol: u8) -> Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))));
    socket.map_err(LabError::io("open a raw socket for protocol", protocol))
}

/// What a received packet carries: of IPv4 the kernel gives the header too, whose length is in words (RFC 791).
pub(super) fn payload(family: Family, packet: &[u8]) -> &[u8] {
    let header = match family {
        Family::V4 => packet.first().map_or(0, |byte| usize::from(byte & 15) * 4),
        Family::V6 => 0,
    };
    packet.get(header..).unwrap_or_default()
}

/// `raw-send`
#[derive(Debug, Args)]
pub(super) struct Send {
    /// Target address
    #[arg(long)]
    to: IpAddr,
    /// IP protocol number
    #[arg(long)]
    protocol: u8,
    /// How many
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Payload
    #[arg(long, default_value = "raw")]
    text: String,
}

impl Send {
    pub(super) fn run(self) -> Result<Sent> {
        let socket = open(Family::of(self.to), self.protocol)?;
        let to = SockAddr::from(SocketAddr::new(self.to, 0));
        let sent =
            (0..self.count).filter(|_| socket.send_to(self.text.as_bytes(), &to).is_ok()).count() as u64;
        Ok(Sent { sent, refused: self.count - sent })
    }
}

/// What came of raw packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawReport {
    /// How many came.
    pub received: u64,
    /// How many of each payload. Bytes that are not UTF-8 are replaced.
    pub texts: BTreeMap<String, u64>,
    /// How many from each source; v4 only, since the kernel gives no header of v6 packets.
    pub sources: BTreeMap<IpAddr, u64>,
}

/// `raw-receive`
#[derive(Debug, Args)]
pub(super) struct Receive {
    /// IP protocol number
    #[arg(long)]
    protocol: u8,
    /// IPv6 instead of IPv4
    #[arg(long)]
    v6: bool,
    /// End after this many packets
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Seconds without a packet that mean the end
    #[arg(long, default_value_t = 3.0)]
    quiet: f64,
}

impl Receive {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let family = if self.v6 { Family::V6 } else { Family::V4 };
        let mut socket = open(family, self.protocol)?;
        let any: IpAddr = if self.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let io = || LabError::io("receive protocol", self.protocol);
        let quiet = Duration::from_secs_f64(self.quiet.max(0.001));
        socket
            .bind(&SocketAddr::new(any, 0).into())
            .and_then(|()| socket.set_read_timeout(Some(quiet)))
            .map_err(io())?;
        say_ready(out, format!("protocol {}", self.protocol))?;
        let mut report = RawReport { received: 0, texts: BTreeMap::new(), sources: BTreeMap::new() };
        let mut buffer = vec![0; 1 << 16];
        while report.received < self.count {
            match socket.read(&mut buffer) {
                Ok(length) => report.add(family, &buffer[..length]),
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(io()(error)),
            }
        }
        say(out, &report)
    }
}

impl RawReport {
    fn add(&mut self, family: Family, packet: &[u8]) {
        if family == Family::V4
            && let Some(&[a, b, c, d]) = packet.get(12..16)
        {
            *self.sources.entry(Ipv4Addr::new(a, b, c, d).into()).or_default() += 1;
        }
        self.received += 1;
        *self.texts.entry(String::from_utf8_lossy(payload(family, packet)).into_owned()).or_default() += 1;
    }
}
