//! IP addresses of links.

use crate::error::NetlinkError;
use crate::socket::{Socket, Task};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// One address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub device: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// Duplicate address detection (RFC 4862) was turned off for it. The kernel's own link-local addresses never
    /// have this.
    pub no_detection: bool,
    /// Not usable yet (or never): duplicate address detection is under way or has failed.
    pub tentative: bool,
}

impl Socket {
    /// All addresses of the namespace, both families.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let found = self.dump("addresses", &RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        Ok(found.iter().filter_map(decode).collect())
    }

    /// Adds an address; IPv6 without duplicate address detection, so that it is usable at once.
    pub fn add_address(&mut self, device: u32, net: IpNet) -> Result<(), NetlinkError> {
        let mut message = message_of(device, net);
        if net.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let task = Task { operation: "add address", object: &net };
        self.change(&task, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes an address.
    pub fn remove_address(&mut self, device: u32, net: IpNet) -> Result<(), NetlinkError> {
        let task = Task { operation: "remove address", object: &net };
        self.change(&task, RouteNetlinkMessage::DelAddress(message_of(device, net)), 0)
    }
}

fn message_of(device: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = device;
    message.header.prefix_len = net.prefix_len();
    // As a source for packets that leave the link, the kernel does not consider addresses of this scope.
    message.header.scope = match net {
        IpNet::V4(net) if net.addr().is_link_local() => AddressScope::Link,
        _ => AddressScope::Universe,
    };
    message.header.family = match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    message
}

fn decode(message: &RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let mut address: Option<IpAddr> = None;
    let mut local: Option<IpAddr> = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // On a point-to-point link `IFA_ADDRESS` is the other side; IPv6 shows only that attribute otherwise.
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some(Address {
        device: message.header.index,
        net,
        no_detection: flags.contains(AddressFlags::Nodad),
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
    })
}
