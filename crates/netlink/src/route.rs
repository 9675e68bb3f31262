//! Routes of any table.

use crate::error::NetlinkError;
use crate::socket::{Socket, Task};
use hopsack_types::{Cidr, Family};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One route. A route over several next hops shows none here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Routing table; 254 is the main one.
    pub table: u32,
    /// Destination; length 0 for the default route.
    pub destination: Cidr,
    /// What happens to a packet.
    pub kind: Kind,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// The gateway need not lie in a prefix of the device.
    pub on_link: bool,
    /// Number of the device.
    pub device: Option<u32>,
    /// Preferred source of the host's own packets.
    pub source: Option<IpAddr>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// The least wins; none means 0 for IPv4 and 1024 for IPv6.
    pub metric: Option<u32>,
    /// Only for IPv4 packets of this type of service; 0: for any.
    pub tos: u8,
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sends it on.
    Unicast,
    /// Answers with ICMP unreachable.
    Unreachable,
    /// Drops it in silence.
    Blackhole,
    /// Takes it for this host.
    Local,
    /// Broadcast, multicast and others that we never make.
    Other,
}

/// Which routes to list; `None` means all.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteFilter {
    /// Only of this protocol.
    pub protocol: Option<u8>,
    /// Only of this table.
    pub table: Option<u32>,
}

impl Socket {
    /// The routes of one family. The kernel does the filtering.
    pub fn routes(&mut self, family: Family, filter: RouteFilter) -> Result<Vec<Route>, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(family);
        message.header.protocol = RouteProtocol::from(filter.protocol.unwrap_or(0));
        if let Some(table) = filter.table {
            message.attributes.push(RouteAttribute::Table(table));
        }
        let found = match self.dump("routes", &RouteNetlinkMessage::GetRoute(message)) {
            // A table that nobody has used yet does not exist.
            Err(error) if filter.table.is_some() && error.is_gone() => Vec::new(),
            other => other?,
        };
        // A kernel without IPv6 answers with the routes of the families that it has.
        Ok(found.iter().filter_map(decode).filter(|route| route.destination.family() == family).collect())
    }

    /// Adds a route; fails if one of the same table, destination, metric and type of service is there, whoever made it.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let task = Task { operation: "add route", object: &route.destination };
        let message = RouteNetlinkMessage::NewRoute(message_of(route));
        self.change(&task, message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Puts a route in place of the one of the same table, destination, metric and type of service, without a gap; adds
    /// it if there is none.
    pub fn replace_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let task = Task { operation: "replace route", object: &route.destination };
        let message = RouteNetlinkMessage::NewRoute(message_of(route));
        self.change(&task, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes the route of that table, destination, type of service and protocol, and of that metric if one is given.
    pub fn remove_route(
        &mut self,
        table: u32,
        destination: Cidr,
        metric: Option<u32>,
        tos: u8,
        protocol: u8,
    ) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader { tos, ..header_of(table, destination, protocol) };
        // Matches a route of any scope.
        message.header.scope = RouteScope::NoWhere;
        message.attributes = key_of(table, destination);
        message.attributes.extend(metric.map(RouteAttribute::Priority));
        let task = Task { operation: "remove route", object: &destination };
        self.change(&task, RouteNetlinkMessage::DelRoute(message), 0)
    }
}

const fn family_of(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn header_of(table: u32, destination: Cidr, protocol: u8) -> RouteHeader {
    RouteHeader {
        address_family: family_of(destination.family()),
        destination_prefix_length: destination.length(),
        table: u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        protocol: RouteProtocol::from(protocol),
        ..RouteHeader::default()
    }
}

fn key_of(table: u32, destination: Cidr) -> Vec<RouteAttribute> {
    let mut attributes = vec![RouteAttribute::Table(table)];
    if destination.length() > 0 {
        attributes.push(RouteAttribute::Destination(RouteAddress::from(destination.first())));
    }
    attributes
}

fn message_of(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = header_of(route.table, route.destination, route.protocol);
    message.header.tos = route.tos;
    message.header.kind = match route.kind {
        Kind::Unicast => RouteType::Unicast,
        Kind::Unreachable => RouteType::Unreachable,
        Kind::Blackhole => RouteType::BlackHole,
        Kind::Local => RouteType::Local,
        Kind::Other => RouteType::Unspec,
    };
    // IPv4 wants to know that a destination without a gateway is on the link; IPv6 has no scopes of routes.
    let direct = route.kind == Kind::Unicast && route.gateway.is_none();
    if direct && route.destination.family() == Family::V4 {
        message.header.scope = RouteScope::Link;
    }
    if route.on_link {
        message.header.flags = RouteFlags::Onlink;
    }
    let attributes = &mut message.attributes;
    *attributes = key_of(route.table, route.destination);
    attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(RouteAddress::from(ip))));
    attributes.extend(route.device.map(RouteAttribute::Oif));
    attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(RouteAddress::from(ip))));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    message
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn decode(message: &RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let any = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    // The cache of exceptions (ICMP "too big") is listed beside IPv6 routes.
    if message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut route = Route {
        table: u32::from(message.header.table),
        destination: Cidr::around(any, message.header.destination_prefix_length),
        kind: match message.header.kind {
            RouteType::Unicast => Kind::Unicast,
            RouteType::Unreachable => Kind::Unreachable,
            RouteType::BlackHole => Kind::Blackhole,
            RouteType::Local => Kind::Local,
            _ => Kind::Other,
        },
        gateway: None,
        on_link: message.header.flags.contains(RouteFlags::Onlink),
        device: None,
        source: None,
        mtu: None,
        protocol: u8::from(message.header.protocol),
        metric: None,
        tos: message.header.tos,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(address) => {
                route.destination = Cidr::around(ip_of(address)?, message.header.destination_prefix_length);
            }
            RouteAttribute::Gateway(address) => route.gateway = ip_of(address),
            RouteAttribute::Oif(index) => route.device = Some(*index),
            RouteAttribute::PrefSource(address) => route.source = ip_of(address),
            RouteAttribute::Priority(metric) => route.metric = Some(*metric),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(route)
}
