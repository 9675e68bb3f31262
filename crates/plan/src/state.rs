//! What of this host's kernel is ours, as maps: what a plan says it should be, and what an observation says it is.
//! One shape for both, so that the difference of two is all there is to do.

use hopsack_types::fastpath::{FastNext, FastPort};
use hopsack_types::firewall::Firewall;
use hopsack_types::{Cidr, HostPort, IfName, Mac, NetworkId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// All kernel objects that we own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Links by name.
    pub links: BTreeMap<IfName, Link>,
    /// Addresses on our links: (link, address with its prefix length).
    pub addresses: BTreeSet<(IfName, ipnet::IpNet)>,
    /// Routes with our protocol number.
    pub routes: BTreeMap<RouteKey, Route>,
    /// Routing rules with our protocol number.
    pub rules: BTreeSet<MarkRule>,
    /// Permanent neighbours on our links.
    pub neighbours: BTreeMap<(IfName, IpAddr), Mac>,
    /// Forwarding entries of our VXLAN device: inner MAC to outer address.
    pub fdb: BTreeMap<(IfName, Mac), IpAddr>,
    /// Kernel settings by path below `/proc/sys`, like `net/ipv4/ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// Our nftables table.
    pub firewall: Firewall,
    /// Whether Docker's (or the host's) forward chain lets our accept mark pass, per family; a plan asks for it, an
    /// observation is true also where nothing stands in the way.
    pub forward_accept: BTreeSet<hopsack_types::Family>,
    /// Where published ports lead. The firewall translates by it; tracked flows are held against it, which is no more
    /// looked at than it changes: an observation says what they were held against last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub published: BTreeMap<HostPort, SocketAddr>,
    /// What goes past the host's IP stack.
    #[serde(default, skip_serializing_if = "FastPath::is_empty")]
    pub fast_path: FastPath,
}

impl HostState {
    /// Takes in what settings are instead; none: there is no such setting.
    pub fn set_sysctls(&mut self, differing: BTreeMap<String, Option<String>>) {
        for (name, value) in differing {
            match value {
                Some(value) => self.sysctls.insert(name, value),
                None => self.sysctls.remove(&name),
            };
        }
    }
}

/// What goes from link to link without the host's IP stack: packets between endpoints of one network. All others, and all
/// packets where this is empty, take the routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FastPath {
    /// Links where each packet that comes in is looked at.
    pub hooks: BTreeMap<IfName, FastHook>,
    /// What leads to this host's endpoints, by address.
    pub endpoints: BTreeMap<IpAddr, FastEntry>,
    /// What leads to other hosts, by prefix.
    pub remotes: BTreeMap<Cidr, FastEntry>,
    /// Endpoints' ports that this host publishes: what is said through them is translated, so it takes the routes.
    pub published: BTreeSet<FastPort>,
}

impl FastPath {
    /// Whether all packets take the routes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who looks at packets that come in by a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FastHook {
    /// The program for the host's ends of endpoints' pairs.
    Endpoint,
    /// The program for the tunnel.
    Tunnel,
    /// Only observed, never planned: one of ours that an agent before this one has left, with tables of its own.
    Left,
}

/// Where packets of one endpoint, or prefix, leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FastEntry {
    /// The link: the host's end of a pair, the tunnel, or the underlay.
    pub device: IfName,
    /// Largest IP packet, bytes; 0: none, since this host answers it itself.
    pub mtu: u32,
    /// Packets pass between entries of one network only.
    pub network: NetworkId,
    /// What they are addressed to on that link.
    pub next: FastNext,
    /// Whether some of its ports are published.
    pub has_ports: bool,
}

/// One of our links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// `IFLA_IFALIAS`: marks it as ours.
    pub alias: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// MAC address, where it matters.
    pub mac: Option<Mac>,
    /// Administratively up.
    pub up: bool,
}

/// The kinds of link that we make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkKind {
    /// A bridge without ports: carries addresses (many kernels have no dummy device).
    Holder,
    /// The routed plane's VXLAN device, no learning.
    Vxlan {
        /// Network id.
        vni: u32,
        /// UDP port, both ways.
        port: u16,
        /// Outer source address.
        local: IpAddr,
    },
    /// The host's end of an endpoint's pair.
    Veth {
        /// Name of the other end while it is in the host's namespace.
        peer: IfName,
        /// MAC address of the other end.
        peer_mac: Mac,
        /// What becomes of the other end.
        container: Container,
    },
}

/// The container's end of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Container {
    /// Somebody else moves and configures it. An observation cannot see it once it has moved.
    External,
    /// We move it into a namespace and configure it there.
    Namespace {
        /// The namespace.
        path: PathBuf,
        /// Interface name inside.
        interface: IfName,
        /// Addresses inside, each as /32 or /128.
        addresses: BTreeSet<IpAddr>,
        /// The next hop to each destination. Next hops are on the link.
        routes: BTreeMap<Cidr, IpAddr>,
        /// MTU inside, bytes.
        mtu: u32,
    },
}

/// What names a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteKey {
    /// Routing table; 254 is the main one.
    pub table: u32,
    /// Destination.
    pub destination: Cidr,
    /// Tells routes of one table and destination apart, of which the least counts; none: there is one.
    pub metric: Option<u32>,
    /// Only for IPv4 packets of this type of service, before routes for any; 0: for any.
    pub tos: u8,
}

impl RouteKey {
    /// The one route of a table to a destination.
    pub const fn new(table: u32, destination: Cidr) -> Self {
        Self { table, destination, metric: None, tos: 0 }
    }
}

/// The routing table of this host's own addresses.
pub const LOCAL_TABLE: u32 = 255;

/// The main routing table's number.
pub const MAIN_TABLE: u32 = 254;

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads.
    pub target: RouteTarget,
    /// Preferred source of the host's own packets.
    pub source: Option<IpAddr>,
    /// Largest packet, bytes; none: the device's.
    pub mtu: Option<u32>,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteTarget {
    /// To a neighbour of a device, which need not lie in a prefix of it (`onlink`).
    Via {
        /// Next hop.
        next_hop: IpAddr,
        /// Device.
        device: IfName,
    },
    /// Straight out of a device.
    Device(IfName),
    /// To this host itself, where a packet comes in by a device.
    Local(IfName),
    /// Answered with ICMP unreachable.
    Unreachable,
    /// Dropped in silence.
    Blackhole,
}

/// `ip rule`: packets with a mark look into a table first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MarkRule {
    /// Family.
    pub family: hopsack_types::Family,
    /// Order among rules.
    pub preference: u32,
    /// Mark; the mask is the same.
    pub mark: u32,
    /// Table.
    pub table: u32,
}
