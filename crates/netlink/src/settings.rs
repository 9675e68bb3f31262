//! Many settings at once. Each link has settings of its own, and with a thousand containers there are thousands: netlink
//! tells those of all links together, which takes a small part of the time that as many files below `/proc/sys` take.
//!
//! What must not live here: which settings matter.

use crate::error::NetlinkError;
use crate::link::LINK_HEADER;
use crate::socket::Socket;
use crate::sysctl;
use netlink_packet_core::{NetlinkBuffer, NlasIterator};
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
/// `IFLA_INET_CONF` and `IFLA_INET6_CONF` of `linux/if_link.h`.
const IPV4_SETTINGS: u16 = 1;
const IPV6_SETTINGS: u16 = 2;
/// `NDTA_PARMS`, and in it `NDTPA_IFINDEX` and `NDTPA_PROXY_DELAY`, of `linux/neighbour.h`.
const PARAMETERS: u16 = 6;
const PARAMETER_LINK: u16 = 1;
const PARAMETER_PROXY_DELAY: u16 = 13;

/// What netlink tells of one link.
#[derive(Default)]
struct LinkSettings {
    /// Numbers of 4 bytes, in the order of `linux/ip.h`, from 1 on.
    v4: Option<Vec<u8>>,
    /// The same in the order of `linux/ipv6.h`, from 0 on.
    v6: Option<Vec<u8>>,
    /// IPv4's `proxy_delay`, milliseconds.
    proxy_delay: Option<u64>,
}

impl LinkSettings {
    /// The value of `net/KIND/DEVICE/NAME` as the file shows it; None: the link has no such setting.
    fn value(&self, setting: LinkSetting) -> Option<String> {
        let number = |all: &Option<Vec<u8>>, at: usize| {
            let bytes = all.as_ref()?.get(at * 4..)?.first_chunk::<4>()?;
            Some(i32::from_ne_bytes(*bytes).to_string())
        };
        match setting {
            LinkSetting::V4(number_of) => number(&self.v4, number_of - 1),
            LinkSetting::V6(number_of) => number(&self.v6, number_of),
            LinkSetting::ProxyDelay => self.proxy_delay.map(|delay| (delay / TICK_MILLISECONDS).to_string()),
        }
    }
}

/// A setting of a link that netlink tells.
#[derive(Clone, Copy)]
enum LinkSetting {
    /// `IPV4_DEVCONF_...` of `linux/ip.h`.
    V4(usize),
    /// `DEVCONF_...` of `linux/ipv6.h`.
    V6(usize),
    ProxyDelay,
}

impl LinkSetting {
    /// Splits `net/KIND/DEVICE/NAME`. None: it has to be read from its file.
    fn parse(path: &str) -> Option<(&str, Self)> {
        let (kind, rest) = path.strip_prefix("net/").and_then(|path| {
            let mut kinds = ["ipv4/conf/", "ipv6/conf/", "ipv4/neigh/"].into_iter();
            kinds.find_map(|kind| Some((kind, path.strip_prefix(kind)?)))
        })?;
        let (device, name) = rest.split_once('/')?;
        let setting = match (kind, name) {
            ("ipv4/conf/", "proxy_arp") => Self::V4(3),
            ("ipv4/conf/", "accept_redirects") => Self::V4(4),
            ("ipv4/conf/", "send_redirects") => Self::V4(6),
            ("ipv4/conf/", "rp_filter") => Self::V4(8),
            ("ipv4/conf/", "route_localnet") => Self::V4(26),
            ("ipv4/neigh/", "proxy_delay") => Self::ProxyDelay,
            ("ipv6/conf/", "accept_ra") => Self::V6(3),
            ("ipv6/conf/", "accept_redirects") => Self::V6(4),
            ("ipv6/conf/", "accept_dad") => Self::V6(27),
            _ => return None,
        };
        // These stand for no link.
        (!["all", "default"].contains(&device)).then_some((device, setting))
    }
}

impl Socket {
    /// The values of the settings of these names, as [`sysctl::read`] gives them one by one; those that do not exist
    /// are left out, and those that cannot be read.
    pub fn settings<'a>(
        &mut self,
        names: impl Iterator<Item = &'a String>,
    ) -> Result<BTreeMap<String, String>, NetlinkError> {
        let links = self.link_settings()?;
        let value = |name: &String| match LinkSetting::parse(name) {
            Some((device, setting)) => links.get(device).and_then(|link| link.value(setting)),
            None => sysctl::read(name).unwrap_or_else(|error| {
                tracing::debug!(%error, "a setting cannot be read");
                None
            }),
        };
        Ok(names.filter_map(|name| Some((name.clone(), value(name)?))).collect())
    }

    fn link_settings(&mut self) -> Result<HashMap<String, LinkSettings>, NetlinkError> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request = RouteNetlinkMessage::GetLink(request);
        let found = self.visit("settings of links", &request, |links: &mut Vec<_>, message| {
            links.extend(settings_of(message));
        })?;
        let delays = self.proxy_delays()?;
        let with_delay = |(index, name, settings)| {
            let proxy_delay = delays.get(&index).copied();
            (name, LinkSettings { proxy_delay, ..settings })
        };
        Ok(found.into_iter().map(with_delay).collect())
    }

    /// IPv4's `proxy_delay` of each link by its number, milliseconds.
    fn proxy_delays(&mut self) -> Result<HashMap<u32, u64>, NetlinkError> {
        let mut request = NeighbourTableMessage::default();
        request.header.family = AddressFamily::Inet;
        let request = RouteNetlinkMessage::GetNeighbourTable(request);
        self.visit("neighbour settings", &request, |delays: &mut HashMap<_, _>, message| {
            delays.extend(proxy_delay_of(message));
        })
    }
}

/// What is read out of the value of an attribute among others.
fn attribute<T>(attributes: &[u8], kind: u16, read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut all = NlasIterator::new(attributes).filter_map(Result::ok);
    read(all.find(|attribute| attribute.kind() == kind)?.value())
}

/// Number, name and settings of a link.
fn settings_of(message: &NetlinkBuffer<&[u8]>) -> Option<(u32, String, LinkSettings)> {
    let payload = message.payload();
    // `ifi_index` of `struct ifinfomsg`.
    let index = u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?);
    let (mut name, mut settings) = (None, LinkSettings::default());
    for attribute in NlasIterator::new(payload.get(LINK_HEADER..)?).filter_map(Result::ok) {
        match attribute.kind() {
            libc::IFLA_IFNAME => {
                let text = attribute.value().strip_suffix(&[0]).unwrap_or(attribute.value());
                name = std::str::from_utf8(text).ok().map(str::to_owned);
            }
            libc::IFLA_AF_SPEC => settings.fill(attribute.value()),
            _ => {}
        }
    }
    Some((index, name?, settings))
}

impl LinkSettings {
    fn fill(&mut self, families: &[u8]) {
        let whole = |value: &[u8]| Some(value.to_vec());
        for family in NlasIterator::new(families).filter_map(Result::ok) {
            match i32::from(family.kind()) {
                libc::AF_INET => self.v4 = attribute(family.value(), IPV4_SETTINGS, whole),
                libc::AF_INET6 => self.v6 = attribute(family.value(), IPV6_SETTINGS, whole),
                _ => {}
            }
        }
    }
}

/// Number and `proxy_delay` of a link; none of a message about the whole table.
fn proxy_delay_of(message: &NetlinkBuffer<&[u8]>) -> Option<(u32, u64)> {
    attribute(message.payload().get(NEIGHBOUR_TABLE_HEADER..)?, PARAMETERS, |parameters| {
        let index = |value: &[u8]| value.first_chunk().copied().map(u32::from_ne_bytes);
        let delay = |value: &[u8]| value.first_chunk().copied().map(u64::from_ne_bytes);
        Some((
            attribute(parameters, PARAMETER_LINK, index)?,
            attribute(parameters, PARAMETER_PROXY_DELAY, delay)?,
        ))
    })
}
