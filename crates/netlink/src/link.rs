//! Links: make, change, remove, list.

use crate::error::NetlinkError;
use crate::socket::{Socket, Task};
use hopsack_types::{IfName, Mac};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NetlinkBuffer, NlasIterator, ParseableParametrized};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkInfo,
    LinkMessage, VxlanDf,
};
use nix::libc;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of `struct ifinfomsg` (rtnetlink(7)), after which a message has its attributes.
pub(crate) const LINK_HEADER: usize = 16;

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number in its namespace, unique among those alive.
    pub index: u32,
    /// Name.
    pub name: IfName,
    /// What it is.
    pub kind: Kind,
    /// `IFLA_IFALIAS`, empty if none.
    pub alias: String,
    /// MAC address; none for links without, like loopback over IP.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Its cable, or its other end, is up too.
    pub carrier: bool,
    /// The index of the other end of a pair (`IFLA_LINK`).
    pub peer: Option<u32>,
    /// The other end is in another namespace, so that `peer` counts there.
    pub peer_elsewhere: bool,
}

/// The kinds of link that we tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `veth`.
    Veth,
    /// `bridge`.
    Bridge,
    /// `vxlan`.
    Vxlan(Vxlan),
    /// Anything else.
    Other,
}

/// What defines a VXLAN device (RFC 7348); none of it can be changed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    /// Network id, 24 bits.
    pub vni: u32,
    /// UDP port to listen on and send to.
    pub port: u16,
    /// Outer source address.
    pub local: Option<IpAddr>,
    /// Learns where MAC addresses are from what it receives.
    pub learning: bool,
    /// Outer hop limit; 0: the kernel's default for unicast (64).
    pub ttl: u8,
    /// Outer UDP checksum, both ways; none: the kernel's choice, which is off over IPv4 and on over IPv6.
    pub checksum: Option<bool>,
    /// Outer IPv4 packets must stay whole when the inner ones must (of IPv6: always).
    pub inherit_df: bool,
}

/// What all links can be made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base<'a> {
    /// Name.
    pub name: &'a IfName,
    /// MAC address; none: the kernel draws one.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
}

/// What to change on a link; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkChange<'a> {
    /// New name. The link must be down on kernels below 6.
    pub name: Option<&'a IfName>,
    /// New alias.
    pub alias: Option<&'a str>,
    /// New MAC address. The kernel forgets the permanent neighbours of the link, too.
    pub mac: Option<Mac>,
    /// New MTU in bytes.
    pub mtu: Option<u32>,
    /// Administratively up or down.
    pub up: Option<bool>,
    /// The network namespace to move to. The link goes down and loses its addresses.
    pub namespace: Option<BorrowedFd<'a>>,
}

impl Socket {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let found = self.dump_as("links", &RouteNetlinkMessage::GetLink(message), decode_listed)?;
        Ok(found.iter().filter_map(link_of).collect())
    }

    /// The link of that name, if there is one.
    pub fn link(&mut self, name: &IfName) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let task = Task { operation: "read link", object: name };
        match self.get(&task, RouteNetlinkMessage::GetLink(message)) {
            Ok(found) => Ok(found.iter().find_map(decode)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a bridge without ports, down.
    pub fn create_bridge(&mut self, base: &Base<'_>) -> Result<(), NetlinkError> {
        self.create(base, "create bridge", vec![LinkInfo::Kind(InfoKind::Bridge)])
    }

    /// Makes a VXLAN device, down.
    pub fn create_vxlan(&mut self, base: &Base<'_>, vxlan: &Vxlan) -> Result<(), NetlinkError> {
        let mut data = vec![
            InfoVxlan::Id(vxlan.vni),
            InfoVxlan::Port(vxlan.port),
            InfoVxlan::Learning(vxlan.learning),
            InfoVxlan::Ttl(vxlan.ttl),
            InfoVxlan::Df(if vxlan.inherit_df { VxlanDf::Inherit } else { VxlanDf::Unset }),
        ];
        match vxlan.local {
            Some(IpAddr::V4(local)) => data.push(InfoVxlan::Local(local)),
            Some(IpAddr::V6(local)) => data.push(InfoVxlan::Local6(local)),
            None => {}
        }
        if let Some(on) = vxlan.checksum {
            data.push(InfoVxlan::UDPCsum(on));
            data.push(InfoVxlan::UDPZeroCsumTX(!on));
            data.push(InfoVxlan::UDPZeroCsumRX(!on));
        }
        let info = vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(data))];
        self.create(base, "create vxlan device", info)
    }

    /// Makes a pair, both ends down and in this namespace.
    pub fn create_veth(&mut self, base: &Base<'_>, peer: &Base<'_>) -> Result<(), NetlinkError> {
        let mut other = LinkMessage::default();
        other.attributes = base_attributes(peer);
        let data = InfoData::Veth(InfoVeth::Peer(other));
        self.create(base, "create veth pair", vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)])
    }

    /// Changes a link in place.
    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let attributes = &mut message.attributes;
        attributes.extend(change.name.map(|name| LinkAttribute::IfName(name.to_string())));
        attributes.extend(change.alias.map(|alias| LinkAttribute::IfAlias(alias.to_owned())));
        attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.bytes().to_vec())));
        attributes.extend(change.mtu.map(LinkAttribute::Mtu));
        attributes.extend(change.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        if let Some(up) = change.up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        }
        let number = format!("number {index}");
        let task = Task { operation: "change link", object: &number };
        self.change(&task, RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes a link, its other end, and all that is on either.
    pub fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let number = format!("number {index}");
        let task = Task { operation: "remove link", object: &number };
        self.change(&task, RouteNetlinkMessage::DelLink(message), 0)
    }

    fn create(
        &mut self,
        base: &Base<'_>,
        operation: &'static str,
        info: Vec<LinkInfo>,
    ) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes = base_attributes(base);
        message.attributes.push(LinkAttribute::LinkInfo(info));
        let task = Task { operation, object: base.name };
        self.change(&task, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }
}

fn base_attributes(base: &Base<'_>) -> Vec<LinkAttribute> {
    let mut attributes = vec![LinkAttribute::IfName(base.name.to_string()), LinkAttribute::Mtu(base.mtu)];
    attributes.extend(base.mac.map(|mac| LinkAttribute::Address(mac.bytes().to_vec())));
    attributes
}

/// Links whose names we would not accept are strangers' for sure and left out.
pub(crate) fn decode(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    link_of(message)
}

/// What a [`Link`] is made from. Of a thousand links, the rest takes most of the time.
const TOLD: [u16; 7] = [
    libc::IFLA_IFNAME,
    libc::IFLA_IFALIAS,
    libc::IFLA_ADDRESS,
    libc::IFLA_MTU,
    libc::IFLA_LINK,
    libc::IFLA_LINK_NETNSID,
    libc::IFLA_LINKINFO,
];

/// A link of a list, without the attributes that nobody here reads.
fn decode_listed(message: &NetlinkBuffer<&[u8]>) -> Option<LinkMessage> {
    let payload = message.payload();
    let mut link = LinkMessage::default();
    link.header = LinkHeader::parse(payload).ok()?;
    for attribute in NlasIterator::new(payload.get(LINK_HEADER..)?) {
        let attribute = attribute.ok()?;
        if TOLD.contains(&attribute.kind()) {
            link.attributes
                .push(LinkAttribute::parse_with_param(&attribute, link.header.interface_family).ok()?);
        }
    }
    Some(link)
}

fn link_of(message: &LinkMessage) -> Option<Link> {
    let mut name = None;
    let mut link = Link {
        index: message.header.index,
        name: IfName::new("?").ok()?,
        kind: Kind::Other,
        alias: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        peer: None,
        peer_elsewhere: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = IfName::new(text.as_str()).ok(),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac::from_bytes);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(index) => link.peer = Some(*index).filter(|index| *index != 0),
            LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
            LinkAttribute::LinkInfo(info) => link.kind = kind_of(info),
            _ => {}
        }
    }
    link.name = name?;
    Some(link)
}

fn kind_of(info: &[LinkInfo]) -> Kind {
    let data = info.iter().find_map(|part| match part {
        LinkInfo::Data(InfoData::Vxlan(data)) => Some(data.as_slice()),
        _ => None,
    });
    info.iter()
        .find_map(|part| match part {
            LinkInfo::Kind(InfoKind::Veth) => Some(Kind::Veth),
            LinkInfo::Kind(InfoKind::Bridge) => Some(Kind::Bridge),
            LinkInfo::Kind(InfoKind::Vxlan) => Some(Kind::Vxlan(vxlan_of(data.unwrap_or_default()))),
            _ => None,
        })
        .unwrap_or(Kind::Other)
}

fn vxlan_of(data: &[InfoVxlan]) -> Vxlan {
    let mut vxlan =
        Vxlan { vni: 0, port: 0, local: None, learning: false, ttl: 0, checksum: None, inherit_df: false };
    for part in data {
        match part {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::Local(local) => vxlan.local = Some(IpAddr::V4(*local)),
            InfoVxlan::Local6(local) => vxlan.local = Some(IpAddr::V6(*local)),
            InfoVxlan::Learning(learning) => vxlan.learning = *learning,
            InfoVxlan::Ttl(ttl) => vxlan.ttl = *ttl,
            InfoVxlan::UDPCsum(on) => vxlan.checksum = Some(*on),
            InfoVxlan::Df(df) => vxlan.inherit_df = *df == VxlanDf::Inherit,
            _ => {}
        }
    }
    vxlan
}
