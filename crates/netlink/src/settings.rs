//! Many settings at once. Each link has settings of its own, and with a thousand containers there are thousands: netlink
//! tells those of all links together, which takes a small part of the time that as many files below `/proc/sys` take.
//!
//! What must not live here: which settings matter.

use crate::error::NetlinkError;
use crate::socket::Socket;
use crate::sysctl;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, Inet6DevConf, InetDevConf, LinkAttribute, LinkExtentMask,
    LinkMessage,
};
use netlink_packet_route::neighbour_table::{
    NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{BTreeMap, HashMap};

/// Milliseconds in a clock tick of user space (`USER_HZ`, 100 a second), in which `/proc/sys` tells a `proxy_delay`
/// (arp(7)) and netlink does not.
const TICK_MILLISECONDS: u64 = 10;

/// What netlink tells of one link.
#[derive(Default)]
struct LinkSettings {
    v4: Option<InetDevConf>,
    v6: Option<Inet6DevConf>,
    /// IPv4's `proxy_delay`, milliseconds.
    proxy_delay: Option<u64>,
}

impl LinkSettings {
    /// The value of `net/KIND/DEVICE/NAME` as the file shows it; None: the link has no such setting.
    fn value(&self, setting: LinkSetting) -> Option<String> {
        match setting {
            LinkSetting::V4(value) => self.v4.as_ref().map(|all| value(all).to_string()),
            LinkSetting::V6(value) => self.v6.as_ref().map(|all| value(all).to_string()),
            LinkSetting::ProxyDelay => self.proxy_delay.map(|delay| (delay / TICK_MILLISECONDS).to_string()),
        }
    }
}

/// A setting of a link that netlink tells.
#[derive(Clone, Copy)]
enum LinkSetting {
    V4(fn(&InetDevConf) -> i32),
    V6(fn(&Inet6DevConf) -> i32),
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
            ("ipv4/conf/", "accept_redirects") => Self::V4(|all| all.accept_redirects),
            ("ipv4/conf/", "proxy_arp") => Self::V4(|all| all.proxy_arp),
            ("ipv4/conf/", "route_localnet") => Self::V4(|all| all.route_localnet),
            ("ipv4/conf/", "rp_filter") => Self::V4(|all| all.rp_filter),
            ("ipv4/conf/", "send_redirects") => Self::V4(|all| all.send_redirects),
            ("ipv4/neigh/", "proxy_delay") => Self::ProxyDelay,
            ("ipv6/conf/", "accept_dad") => Self::V6(|all| all.accept_dad),
            ("ipv6/conf/", "accept_ra") => Self::V6(|all| all.accept_ra),
            ("ipv6/conf/", "accept_redirects") => Self::V6(|all| all.accept_redirects),
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
        let mut names = HashMap::new();
        let mut links: HashMap<String, LinkSettings> = HashMap::new();
        for message in self.dump("settings of links", &RouteNetlinkMessage::GetLink(request))? {
            let RouteNetlinkMessage::NewLink(link) = message else { continue };
            let (mut name, mut settings) = (None, LinkSettings::default());
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = Some(text),
                    LinkAttribute::AfSpecUnspec(families) => settings.fill(families),
                    _ => {}
                }
            }
            let Some(name) = name else { continue };
            names.insert(link.header.index, name.clone());
            links.insert(name, settings);
        }
        for (index, delay) in self.proxy_delays()? {
            if let Some(link) = names.get(&index).and_then(|name| links.get_mut(name)) {
                link.proxy_delay = Some(delay);
            }
        }
        Ok(links)
    }

    /// IPv4's `proxy_delay` of each link by its number, milliseconds.
    fn proxy_delays(&mut self) -> Result<Vec<(u32, u64)>, NetlinkError> {
        let mut request = NeighbourTableMessage::default();
        request.header.family = AddressFamily::Inet;
        let tables = self.dump("neighbour settings", &RouteNetlinkMessage::GetNeighbourTable(request))?;
        let tables = tables.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewNeighbourTable(table) => Some(table.attributes),
            _ => None,
        });
        Ok(tables
            .flatten()
            .filter_map(|attribute| {
                let NeighbourTableAttribute::Parms(parameters) = attribute else { return None };
                let index = parameters.iter().find_map(|parameter| match parameter {
                    NeighbourTableParameter::Ifindex(index) => Some(*index),
                    _ => None,
                })?;
                let delay = parameters.iter().find_map(|parameter| match parameter {
                    NeighbourTableParameter::ProxyDelay(delay) => Some(*delay),
                    _ => None,
                })?;
                Some((index, delay))
            })
            .collect())
    }
}

impl LinkSettings {
    fn fill(&mut self, families: Vec<AfSpecUnspec>) {
        for family in families {
            match family {
                AfSpecUnspec::Inet(parts) => {
                    self.v4 = parts.into_iter().find_map(|part| match part {
                        AfSpecInet::DevConf(all) => Some(all),
                        _ => None,
                    });
                }
                AfSpecUnspec::Inet6(parts) => {
                    self.v6 = parts.into_iter().find_map(|part| match part {
                        AfSpecInet6::DevConf(all) => Some(all),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
    }
}
