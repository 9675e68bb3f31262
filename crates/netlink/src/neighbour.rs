//! Neighbours: IP address to MAC address (ARP and IPv6 neighbour discovery).

use crate::error::NetlinkError;
use crate::socket::{Socket, Task};
use hopsack_types::Mac;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// One neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Number of the link that it is behind.
    pub device: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its MAC address; none while it is being looked for.
    pub mac: Option<Mac>,
    /// Put there by somebody, not found by asking.
    pub permanent: bool,
}

impl Socket {
    /// All neighbours of the namespace, both families.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        let found =
            self.dump("neighbours", &RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))?;
        Ok(found.iter().filter_map(decode).collect())
    }

    /// Makes a permanent neighbour, in place of what is known of that address.
    pub fn set_neighbour(&mut self, device: u32, address: IpAddr, mac: Mac) -> Result<(), NetlinkError> {
        let mut message = message_of(device, address);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.bytes().to_vec()));
        let task = Task { operation: "set neighbour", object: &address };
        self.change(&task, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a neighbour.
    pub fn remove_neighbour(&mut self, device: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let task = Task { operation: "remove neighbour", object: &address };
        self.change(&task, RouteNetlinkMessage::DelNeighbour(message_of(device, address)), 0)
    }
}

fn message_of(device: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = device;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(address)));
    message
}

fn decode(message: &RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(*ip)),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac::from_bytes);
            }
            _ => {}
        }
    }
    Some(Neighbour {
        device: message.header.ifindex,
        address: address?,
        mac,
        permanent: message.header.state == NeighbourState::Permanent,
    })
}
