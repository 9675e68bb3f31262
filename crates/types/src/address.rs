//! Addresses: MAC, CIDR without host bits, address families.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, v4 first.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Length of a single address's prefix: 32 or 128.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Why a text is not an address of the wanted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a CIDR at all.
    #[error("{0:?} is not a CIDR: write an address and a prefix length, like 10.32.0.0/24")]
    NotCidr(String),
    /// A CIDR whose address has bits behind the prefix.
    #[error("{found} has host bits set: did you mean {meant}?")]
    HostBits {
        /// What was found.
        found: IpNet,
        /// The same prefix without the bits.
        meant: IpNet,
    },
    /// Not an address.
    #[error("{0:?} is not an address: write one without a prefix length, like 10.32.0.5 or fd00::5")]
    NotAddress(String),
    /// Not a MAC address.
    #[error("{0:?} is not a MAC address: write six hex bytes, like 02:42:0a:20:00:05")]
    NotMac(String),
}

/// Reads an address as the user wrote it.
pub fn parse_address(text: &str) -> Result<IpAddr, AddressError> {
    text.parse().map_err(|_| AddressError::NotAddress(text.to_owned()))
}

/// A prefix without host bits. Orders by address, then by length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

impl Cidr {
    /// Checks that no host bit is set.
    pub fn new(net: IpNet) -> Result<Self, AddressError> {
        let meant = net.trunc();
        if net == meant { Ok(Self(net)) } else { Err(AddressError::HostBits { found: net, meant }) }
    }

    /// The prefix that holds `address` and is `length` long. Lengths over the family's are cut to it.
    pub fn around(address: IpAddr, length: u8) -> Self {
        let length = length.min(Family::of(address).bits());
        IpNet::new(address, length).map_or_else(|_| Self::host(address), |net| Self(net.trunc()))
    }

    /// The prefix of one single address.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The prefix as `ipnet` has it.
    pub const fn net(&self) -> IpNet {
        self.0
    }

    /// The first address of the prefix.
    pub fn first(&self) -> IpAddr {
        match self.0 {
            IpNet::V4(net) => IpAddr::V4(net.addr()),
            IpNet::V6(net) => IpAddr::V6(net.addr()),
        }
    }

    /// The last address of the prefix (v4: the broadcast address of a classic subnet).
    pub fn last(&self) -> IpAddr {
        self.0.broadcast()
    }

    /// Prefix length in bits.
    pub fn length(&self) -> u8 {
        self.0.prefix_len()
    }

    /// The family.
    pub const fn family(&self) -> Family {
        match self.0 {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }

    /// Whether the address lies inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether the other prefix lies wholly inside (or is the same).
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether the two share any address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let not_cidr = || AddressError::NotCidr(text.to_owned());
        // `IpNet` takes 010.0.0.0 for 10.0.0.0, which others read as 8.0.0.0 (octal).
        let address = text.split('/').next().and_then(|address| address.parse::<IpAddr>().ok());
        address.ok_or_else(not_cidr)?;
        let net: IpNet = text.parse().map_err(|_| not_cidr())?;
        Self::new(net)
    }
}

impl TryFrom<String> for Cidr {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.0.to_string()
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// Makes the address from its six bytes.
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// A unicast, locally administered address out of 48 bits that are unique to something (IEEE 802 bit 0 cleared
    /// and bit 1 set in the first byte).
    pub const fn local(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        Self(bytes)
    }

    /// The six bytes.
    pub const fn bytes(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::NotMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_with_the_prefix_that_was_meant() {
        let error = "10.32.0.1/24".parse::<Cidr>().unwrap_err().to_string();
        assert_eq!(error, "10.32.0.1/24 has host bits set: did you mean 10.32.0.0/24?");
    }

    #[test]
    fn numbers_that_may_be_octal_are_refused() {
        for text in
            ["010.32.0.0/14", "10.032.0.0/14", "10.32.0.0/014", "10.32.0.0", "10.32.0/14", "10.32.0.0/33"]
        {
            assert_eq!(text.parse::<Cidr>().unwrap_err(), AddressError::NotCidr(text.to_owned()));
        }
    }

    #[test]
    fn overlap_is_symmetric_and_never_crosses_families() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        assert!(cidr("10.0.0.0/8").overlaps(&cidr("10.1.0.0/16")));
        assert!(cidr("10.1.0.0/16").overlaps(&cidr("10.0.0.0/8")));
        assert!(!cidr("10.0.0.0/16").overlaps(&cidr("10.1.0.0/16")));
        assert!(!cidr("0.0.0.0/0").overlaps(&cidr("::/0")));
    }

    #[test]
    fn a_mac_reads_back_as_it_was_written() {
        let mac: Mac = "02:42:0a:20:00:05".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:0a:20:00:05");
        assert!("02:42:0a:20:00".parse::<Mac>().is_err());
        assert!("02:42:0a:20:00:05:06".parse::<Mac>().is_err());
    }
}
