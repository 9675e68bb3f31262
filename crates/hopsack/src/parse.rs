//! Values of the command line that no other crate has a type for: durations, labels, namespaces, control addresses.

use crate::error::CommandError;
use hopsack_types::numbers::{CONTROL_PORT, METRICS_PORT};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf, absolute};
use std::process::Command;

/// Where `ip netns` keeps the namespaces that have names.
const NAMED_NAMESPACES: &str = "/run/netns";

/// A value that does not parse, with what would be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a duration.
    #[error("write a number and a unit, s, m, h or d, like 24h")]
    Duration,
    /// Not a label.
    #[error("write a key, '=' and a value, like role=web")]
    Label,
    /// Not an address.
    #[error("write an IP address, like 10.32.4.9 or fd00::9")]
    Address,
    /// Not a number of something.
    #[error("write a number from 1 to 4294967295")]
    Count,
    /// Not a port.
    #[error("write a port, a number from 1 to 65535")]
    Port,
    /// Not an address with a name.
    #[error("write a name, '=' and an address, like router=10.32.4.9")]
    NamedAddress,
    /// Not a process id.
    #[error("write a process id after pid:, like pid:1234")]
    Pid,
    /// Neither a name nor a path.
    #[error("write the name of a namespace as `ip netns` lists it, a path, or pid:1234")]
    Namespace,
    /// Not an address with or without a port.
    #[error(
        "write an address, with a port if it is not 4677, like 192.0.2.1, 192.0.2.1:4677 or [2001:db8::1]:4677"
    )]
    ControlAddress,
    /// Not an address with a port.
    #[error("write an address and a port, like 127.0.0.1:4680 or [::1]:4680, or off")]
    MetricsAddress,
}

/// Seconds from text like `90s`, `30m`, `24h` or `7d`.
pub fn duration(text: &str) -> Result<u64, ParseError> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(ParseError::Duration),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| ParseError::Duration)?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or(ParseError::Duration)
}

/// A label from `key=value`.
pub fn label(text: &str) -> Result<(String, String), ParseError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(ParseError::Label),
    }
}

/// An address.
pub fn address(text: &str) -> Result<IpAddr, ParseError> {
    text.parse().map_err(|_| ParseError::Address)
}

/// How many: at least one.
pub fn count(text: &str) -> Result<u32, ParseError> {
    text.parse().ok().filter(|number| *number > 0).ok_or(ParseError::Count)
}

/// A port of TCP and UDP.
pub fn port(text: &str) -> Result<u16, ParseError> {
    text.parse().ok().filter(|port| *port > 0).ok_or(ParseError::Port)
}

/// An address and what it is for, from `name=address`.
pub fn named_address(text: &str) -> Result<(String, IpAddr), ParseError> {
    let (name, address) = label(text).map_err(|_| ParseError::NamedAddress)?;
    Ok((name, address.parse().map_err(|_| ParseError::NamedAddress)?))
}

/// A network namespace as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// As `ip netns` lists it.
    Named(String),
    /// A file.
    Path(PathBuf),
    /// That of a process.
    Process(u32),
}

impl Namespace {
    /// Reads a name, a path (it has a slash) or `pid:` and a number.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        match text.strip_prefix("pid:") {
            Some(pid) => match pid.parse() {
                Ok(0) | Err(_) => Err(ParseError::Pid),
                Ok(pid) => Ok(Self::Process(pid)),
            },
            None if text.contains('/') => Ok(Self::Path(text.into())),
            None if matches!(text, "" | "." | "..") => Err(ParseError::Namespace),
            None => Ok(Self::Named(text.to_owned())),
        }
    }

    /// The file, for the agent, whose working directory is another.
    pub fn path(&self) -> Result<PathBuf, CommandError> {
        match self {
            Self::Named(name) => Ok(Path::new(NAMED_NAMESPACES).join(name)),
            Self::Path(path) => {
                absolute(path).map_err(|source| CommandError::Namespace { path: path.clone(), source })
            }
            Self::Process(pid) => Ok(PathBuf::from(format!("/proc/{pid}/ns/net"))),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Path(path) => path.display().fmt(f),
            Self::Process(pid) => write!(f, "pid:{pid}"),
        }
    }
}

/// Where another host's agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlAddress {
    /// An address.
    Ip(SocketAddr),
    /// A name to be looked up.
    Name(String, u16),
}

impl ControlAddress {
    /// Reads an address or a name, with or without a port.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Ip(address));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Ip(SocketAddr::new(address, CONTROL_PORT)));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| ParseError::ControlAddress)?),
            None => (text, CONTROL_PORT),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        // A last label of digits alone is a mistyped address, never a name (RFC 3696, section 2).
        let digits = name.rsplit('.').next().is_none_or(|last| last.chars().all(|c| c.is_ascii_digit()));
        if name.is_empty() || digits || !name.chars().all(fits) {
            return Err(ParseError::ControlAddress);
        }
        Ok(Self::Name(name.to_owned(), port))
    }

    /// The address; a name is looked up.
    pub fn resolve(&self) -> Result<SocketAddr, CommandError> {
        match self {
            Self::Ip(address) => Ok(*address),
            Self::Name(name, port) => Ok(SocketAddr::new(look_up(name)?, *port)),
        }
    }
}

/// The address of a name, by the machine's own program: one that is linked statically, as ours is, cannot load the
/// services that the machine's nsswitch.conf(5) names.
fn look_up(name: &str) -> Result<IpAddr, CommandError> {
    let failed = |reason: String| CommandError::Resolve { name: name.to_owned(), reason };
    let output = Command::new("getent")
        .args(["ahosts", "--", name])
        .output()
        .map_err(|error| failed(format!("getent cannot be run: {error}")))?;
    // A line is like `192.0.2.1  STREAM h1.example.org`.
    let found = String::from_utf8_lossy(&output.stdout);
    let first = found.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).ok_or_else(|| failed("no service knows the name".to_owned()))
}

/// A control address as `hopsack join` takes it, in its shortest form.
pub fn shortest(address: SocketAddr) -> String {
    if address.port() == CONTROL_PORT { address.ip().to_string() } else { address.to_string() }
}

/// Where the agent serves metrics; none: nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsAddress(pub Option<SocketAddr>);

impl MetricsAddress {
    /// Reads an address with a port, or `off`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        match text {
            "off" => Ok(Self(None)),
            _ => match text.parse::<SocketAddr>() {
                Ok(address) if address.port() > 0 => Ok(Self(Some(address))),
                _ => Err(ParseError::MetricsAddress),
            },
        }
    }
}

impl Default for MetricsAddress {
    /// On loopback: who has no account on this host learns nothing.
    fn default() -> Self {
        Self(Some((Ipv4Addr::LOCALHOST, METRICS_PORT).into()))
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_number_and_a_unit_and_is_not_nothing() {
        assert_eq!(duration("90s"), Ok(90));
        assert_eq!(duration("30m"), Ok(1800));
        assert_eq!(duration("24h"), Ok(86_400));
        assert_eq!(duration("7d"), Ok(604_800));
        for bad in ["", "24", "h", "-1h", "1.5h", "0s", "1w", "1 h", "99999999999999999d", "5µ"] {
            assert_eq!(duration(bad), Err(ParseError::Duration), "{bad:?}");
        }
    }

    #[test]
    fn a_label_has_a_key_and_keeps_what_follows_the_first_equals_sign() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(label("a="), Ok(("a".to_owned(), String::new())));
        assert_eq!(label("=b"), Err(ParseError::Label));
        assert_eq!(label("a"), Err(ParseError::Label));
    }

    #[test]
    fn an_address_has_a_name_before_it() {
        let router = ("router".to_owned(), "10.32.4.9".parse().unwrap());
        assert_eq!(named_address("router=10.32.4.9"), Ok(router));
        for bad in ["", "10.32.4.9", "router=", "=10.32.4.9", "router=10.32.4.9/24"] {
            assert_eq!(named_address(bad), Err(ParseError::NamedAddress), "{bad:?}");
        }
    }

    #[test]
    fn a_namespace_is_a_name_a_path_or_a_process() {
        let path = |text: &str| Namespace::parse(text).unwrap().path().unwrap();
        assert_eq!(path("blue"), Path::new("/run/netns/blue"));
        assert_eq!(path("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
        assert_eq!(path("pid:1234"), Path::new("/proc/1234/ns/net"));
        assert!(path("./blue").is_absolute());
        for bad in ["pid:", "pid:x", "pid:0", "pid:-1", "", ".", ".."] {
            assert!(Namespace::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_of_this_machine_is_looked_up() {
        let address = ControlAddress::parse("localhost:99").unwrap().resolve().unwrap();
        assert!(address.ip().is_loopback() && address.port() == 99, "{address}");
    }

    #[test]
    fn a_control_address_has_the_usual_port_unless_it_says_another() {
        let ip = |text: &str| match ControlAddress::parse(text) {
            Ok(ControlAddress::Ip(address)) => address.to_string(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(ip("10.0.0.1"), "10.0.0.1:4677");
        assert_eq!(ip("10.0.0.1:99"), "10.0.0.1:99");
        assert_eq!(ip("fd00::1"), "[fd00::1]:4677");
        assert_eq!(ip("[fd00::1]"), "[fd00::1]:4677");
        assert_eq!(ip("[fd00::1]:99"), "[fd00::1]:99");
        assert_eq!(ControlAddress::parse("h1.lan:99"), Ok(ControlAddress::Name("h1.lan".to_owned(), 99)));
        assert_eq!(ControlAddress::parse("h1"), Ok(ControlAddress::Name("h1".to_owned(), CONTROL_PORT)));
        for bad in ["", ":4677", "h1:", "h1:x", "h1:70000", "10.0.0", "10.0.0.256", "h 1", "[fd00::1"] {
            assert_eq!(ControlAddress::parse(bad), Err(ParseError::ControlAddress), "{bad:?}");
        }
    }

    #[test]
    fn metrics_have_an_address_with_a_port_or_none_and_are_read_back() {
        for text in ["127.0.0.1:4680", "[::1]:9100", "off"] {
            assert_eq!(MetricsAddress::parse(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(MetricsAddress::parse("127.0.0.1:4680"), Ok(MetricsAddress::default()));
        for bad in
            ["", "on", "127.0.0.1", ":4680", "4680", "127.0.0.1:0", "localhost:4680", "127.0.0.1:70000"]
        {
            assert_eq!(MetricsAddress::parse(bad), Err(ParseError::MetricsAddress), "{bad:?}");
        }
    }

    #[test]
    fn the_shortest_form_is_read_back() {
        for text in ["10.0.0.1:4677", "10.0.0.1:99", "[fd00::1]:4677", "[fd00::1]:99"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(ControlAddress::parse(&shortest(address)), Ok(ControlAddress::Ip(address)));
        }
    }
}
