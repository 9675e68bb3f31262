//! Ports of a host that lead to its containers.

use crate::address::Family;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

/// A protocol that has ports, and has them where TCP has them: in the first four bytes of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

/// Why something is not a protocol with ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a protocol with ports: use tcp, udp or sctp")]
pub struct ProtocolError(pub String);

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its name as people and nft write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Its number in IP headers (IANA).
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol with a number.
    pub fn of_number(number: u8) -> Result<Self, ProtocolError> {
        let found = Self::ALL.into_iter().find(|known| known.number() == number);
        found.ok_or_else(|| ProtocolError(number.to_string()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = ProtocolError;
    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| ProtocolError(text.to_owned()))
    }
}

/// A port of a host, as a listening program has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPort {
    /// Protocol.
    pub protocol: Protocol,
    /// The host's address; `0.0.0.0` and `::` are all of its addresses of that family.
    pub address: IpAddr,
    /// Number.
    pub port: NonZeroU16,
}

impl HostPort {
    /// Whether a packet could be for both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let any = self.address.is_unspecified() || other.address.is_unspecified();
        self.protocol == other.protocol
            && self.port == other.port
            && Family::of(self.address) == Family::of(other.address)
            && (any || self.address == other.address)
    }

    /// The address and the number.
    pub const fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.get())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.socket_address(), self.protocol)
    }
}

/// A port of a host that leads to a port of a container, whose address is of the same family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishedPort {
    /// Where clients come in.
    pub host: HostPort,
    /// Where the container listens.
    pub container_port: NonZeroU16,
}

impl fmt::Display for PublishedPort {
    /// As `docker port` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} -> {}", self.container_port, self.host.protocol, self.host.socket_address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: &str, protocol: Protocol, port: u16) -> HostPort {
        HostPort { protocol, address: address.parse().unwrap(), port: NonZeroU16::new(port).unwrap() }
    }

    #[test]
    fn ports_overlap_where_one_packet_could_be_for_both() {
        let all = port("0.0.0.0", Protocol::Tcp, 80);
        assert!(all.overlaps(&port("192.0.2.1", Protocol::Tcp, 80)));
        assert!(port("192.0.2.1", Protocol::Tcp, 80).overlaps(&all));
        assert!(!all.overlaps(&port("::", Protocol::Tcp, 80)));
        assert!(!all.overlaps(&port("0.0.0.0", Protocol::Udp, 80)));
        assert!(!all.overlaps(&port("0.0.0.0", Protocol::Tcp, 81)));
        assert!(!port("192.0.2.1", Protocol::Tcp, 80).overlaps(&port("192.0.2.2", Protocol::Tcp, 80)));
    }

    #[test]
    fn ports_are_written_as_docker_writes_them() {
        let published = PublishedPort {
            host: port("::", Protocol::Sctp, 8080),
            container_port: NonZeroU16::new(80).unwrap(),
        };
        assert_eq!(published.to_string(), "80/sctp -> [::]:8080");
        assert_eq!(published.host.to_string(), "[::]:8080/sctp");
    }

    #[test]
    fn protocols_go_by_name_and_by_number() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
            assert_eq!(Protocol::of_number(protocol.number()), Ok(protocol));
        }
        assert!(Protocol::of_number(1).unwrap_err().to_string().contains("tcp, udp or sctp"));
    }
}
