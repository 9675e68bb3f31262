//! Forwarding entries of VXLAN devices: inner MAC address to outer IP address.

use crate::error::NetlinkError;
use crate::socket::{Socket, Task};
use hopsack_types::Mac;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardingEntry {
    /// Number of the VXLAN device.
    pub device: u32,
    /// Inner destination.
    pub mac: Mac,
    /// Outer destination.
    pub remote: IpAddr,
}

impl Socket {
    /// The entries of one VXLAN device that name an outer address.
    pub fn forwarding_entries(&mut self, device: u32) -> Result<Vec<ForwardingEntry>, NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = device;
        let found = self.dump("forwarding entries", &RouteNetlinkMessage::GetNeighbour(message))?;
        Ok(found.iter().filter_map(decode).filter(|entry| entry.device == device).collect())
    }

    /// Makes a permanent entry, in place of the one for that MAC address.
    pub fn set_forwarding_entry(
        &mut self,
        device: u32,
        mac: Mac,
        remote: IpAddr,
    ) -> Result<(), NetlinkError> {
        let mut message = message_of(device, mac);
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(remote)));
        let task = Task { operation: "set forwarding entry", object: &mac };
        self.change(&task, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes the entry for a MAC address.
    pub fn remove_forwarding_entry(&mut self, device: u32, mac: Mac) -> Result<(), NetlinkError> {
        let task = Task { operation: "remove forwarding entry", object: &mac };
        self.change(&task, RouteNetlinkMessage::DelNeighbour(message_of(device, mac)), 0)
    }
}

fn message_of(device: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = device;
    message.header.state = NeighbourState::Permanent;
    // The entry belongs to the device itself and not to a bridge above it.
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.bytes().to_vec()));
    message
}

fn decode(message: &RouteNetlinkMessage) -> Option<ForwardingEntry> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let mut mac = None;
    let mut remote = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac::from_bytes);
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => remote = Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => remote = Some(IpAddr::V6(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => remote = ip_of(bytes),
            _ => {}
        }
    }
    Some(ForwardingEntry { device: message.header.ifindex, mac: mac?, remote: remote? })
}

/// The packet library reads the address by the message's family, which is the bridge's here.
fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}
