//! Many settings at once. Each link has settings of its own, and with a thousand containers there are thousands: netlink
//! tells those of all links together, which takes a small part of the time that as many files below `/proc/sys` take.
//!
//! What must not live here: which settings matter.

use crate::error::NetlinkError;
use crate::link::LINK_HEADER;
use crate::socket::Socket;
use crate::sysctl;
use netlink_packet_core::{NLA_HEADER_SIZE, NetlinkBuffer, NlasIterator};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour_table::NeighbourTableMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc;
use std::collections::{BTreeMap, HashMap};

/// Milliseconds in a clock tick of user space (`USER_HZ`, 100 a second), in which `/proc/sys` tells a `proxy_delay`
/// (arp(7)) and netlink does not.
const TICK_MILLISECONDS: u64 = 10;
/// Bytes of `struct ndtmsg` of `linux/neighbour.h`.
const NEIGHBOUR_TABLE_HEADER: usize = 4;
/// `AF_INET` and `AF_INET6` as the attributes of `IFLA_AF_SPEC` are called.
const FAMILY_IPV4: u16 = libc::AF_INET as u16;
const FAMILY_IPV6: u16 = libc::AF_INET6 as u16;
/// `IFLA_INET_CONF` and `IFLA_INET6_CONF` of `linux/if_link.h`.
const IPV4_SETTINGS: u16 = 1;
const IPV6_SETTINGS: u16 = 2;
/// `NDTA_PARMS`, and in it `NDTPA_IFINDEX` and `NDTPA_PROXY_DELAY`, of `linux/neighbour.h`.
const PARAMETERS: u16 = 6;
const PARAMETER_LINK: u16 = 1;
const PARAMETER_PROXY_DELAY: u16 = 13;

/// A setting of a link that netlink tells.
#[derive(Clone, Copy)]
enum LinkSetting {
    /// `IPV4_DEVCONF_...` of `linux/ip.h`, the numbers of 4 bytes that are told from 1 on.
    V4(usize),
    /// `DEVCONF_...` of `linux/ipv6.h`, told from 0 on.
    V6(usize),
    ProxyDelay,
}

/// Those that are read of each link: where they are below `/proc/sys/net`, what they are called there, and in netlink.
const LINK_SETTINGS: [(&str, &str, LinkSetting); 9] = [
    ("ipv4/conf", "proxy_arp", LinkSetting::V4(3)),
    ("ipv4/conf", "accept_redirects", LinkSetting::V4(4)),
    ("ipv4/conf", "send_redirects", LinkSetting::V4(6)),
    ("ipv4/conf", "rp_filter", LinkSetting::V4(8)),
    ("ipv4/conf", "route_localnet", LinkSetting::V4(26)),
    ("ipv4/neigh", "proxy_delay", LinkSetting::ProxyDelay),
    ("ipv6/conf", "accept_ra", LinkSetting::V6(3)),
    ("ipv6/conf", "accept_redirects", LinkSetting::V6(4)),
    ("ipv6/conf", "accept_dad", LinkSetting::V6(27)),
];

/// The values of a link's [`LINK_SETTINGS`], as the files show them; None: the link has no such setting.
type LinkValues = [Option<i64>; LINK_SETTINGS.len()];

/// Splits `net/KIND/DEVICE/NAME` into the device and the place in [`LINK_SETTINGS`]. None: it has to be read from its
/// file.
fn parse(path: &str) -> Option<(&str, usize)> {
    let (rest, name) = path.strip_prefix("net/")?.rsplit_once('/')?;
    let (kind, device) = rest.rsplit_once('/')?;
    let place = LINK_SETTINGS.iter().position(|(of, setting, _)| *of == kind && *setting == name)?;
    // These stand for no link.
    (!["all", "default"].contains(&device)).then_some((device, place))
}

impl Socket {
    /// Of these settings those that do not have these values, with what they have. Values are as [`sysctl::read`] gives
    /// them one by one; None: the setting does not exist, or cannot be read.
    pub fn differing_settings(
        &mut self,
        expected: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Option<String>>, NetlinkError> {
        let links = self.link_settings()?;
        let value =
            |name: &String| match parse(name).and_then(|(device, place)| Some(links.get(device)?[place])) {
                Some(told) => told.map(|number| number.to_string()),
                None => sysctl::read(name).unwrap_or_else(|error| {
                    tracing::debug!(%error, "a setting cannot be read");
                    None
                }),
            };
        let differing = |(name, expected): (&String, &String)| {
            let value = value(name);
            (value.as_ref() != Some(expected)).then(|| (name.clone(), value))
        };
        Ok(expected.iter().filter_map(differing).collect())
    }

    /// What netlink tells, by link. Some may be left out while links come and go.
    fn link_settings(&mut self) -> Result<HashMap<String, LinkValues>, NetlinkError> {
        let delays = self.proxy_delays()?;
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request = RouteNetlinkMessage::GetLink(request);
        let take = |links: &mut HashMap<_, _>, message: &NetlinkBuffer<&[u8]>| {
            links.extend(settings_of(message, &delays));
        };
        Ok(self.visit("settings of links", &request, take)?.0)
    }

    /// IPv4's `proxy_delay` of each link by its number, milliseconds. Some may be left out while links come and go.
    fn proxy_delays(&mut self) -> Result<HashMap<u32, u64>, NetlinkError> {
        let mut request = NeighbourTableMessage::default();
        request.header.family = AddressFamily::Inet;
        let request = RouteNetlinkMessage::GetNeighbourTable(request);
        let take = |delays: &mut HashMap<_, _>, message: &NetlinkBuffer<&[u8]>| {
            delays.extend(proxy_delay_of(message));
        };
        Ok(self.visit("neighbour settings", &request, take)?.0)
    }
}

/// The value of an attribute among others.
fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = NlasIterator::new(attributes).filter_map(Result::ok);
    let found = all.find(|attribute| attribute.kind() == kind)?;
    let end = usize::from(found.length());
    found.into_inner().get(NLA_HEADER_SIZE..end)
}

/// Name and settings of a link. None: not all is told of it.
fn settings_of(message: &NetlinkBuffer<&[u8]>, delays: &HashMap<u32, u64>) -> Option<(String, LinkValues)> {
    let payload = message.payload();
    // `ifi_index` of `struct ifinfomsg`.
    let index = u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?);
    let delay = delays.get(&index)?;
    let attributes = payload.get(LINK_HEADER..)?;
    let name = std::str::from_utf8(attribute(attributes, libc::IFLA_IFNAME)?).ok()?;
    let families = attribute(attributes, libc::IFLA_AF_SPEC)?;
    let v4 = attribute(families, FAMILY_IPV4).and_then(|family| attribute(family, IPV4_SETTINGS));
    let v6 = attribute(families, FAMILY_IPV6).and_then(|family| attribute(family, IPV6_SETTINGS));
    let number = |all: Option<&[u8]>, at: usize| {
        Some(i64::from(i32::from_ne_bytes(*all?.get(at * 4..)?.first_chunk()?)))
    };
    let values = LINK_SETTINGS.map(|(_, _, setting)| match setting {
        LinkSetting::V4(number_of) => number(v4, number_of - 1),
        LinkSetting::V6(number_of) => number(v6, number_of),
        LinkSetting::ProxyDelay => i64::try_from(delay / TICK_MILLISECONDS).ok(),
    });
    Some((name.trim_end_matches('\0').to_owned(), values))
}

/// Number and `proxy_delay` of a link; none of a message about the whole table.
fn proxy_delay_of(message: &NetlinkBuffer<&[u8]>) -> Option<(u32, u64)> {
    let parameters = attribute(message.payload().get(NEIGHBOUR_TABLE_HEADER..)?, PARAMETERS)?;
    let index = attribute(parameters, PARAMETER_LINK)?.first_chunk()?;
    let delay = attribute(parameters, PARAMETER_PROXY_DELAY)?.first_chunk()?;
    Some((u32::from_ne_bytes(*index), u64::from_ne_bytes(*delay)))
}
