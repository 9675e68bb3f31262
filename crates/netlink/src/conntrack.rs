//! Connection tracking's table (`linux/netfilter/nfnetlink_conntrack.h`): which flows go to a port of this host, where
//! they were translated to, and the removal of one. A flow that is removed goes on with its next packet as a new one.

use crate::error::NetlinkError;
use crate::netfilter::{at, attribute, attributes, message, nested, open, verdict};
use hopsack_types::{Family, Protocol};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NlasIterator};
use nix::errno::Errno;
use nix::libc::{AF_INET, AF_INET6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of a message type.
const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

/// Attributes of a flow: `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_ZONE`, `CTA_FILTER`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// Of one direction: `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
/// Of `CTA_TUPLE_IP`: `CTA_IP_V4_SRC` and `CTA_IP_V6_SRC` or the two of the target.
const SOURCE_ADDRESS: [u16; 2] = [1, 3];
const TARGET_ADDRESS: [u16; 2] = [2, 4];
/// Of `CTA_TUPLE_PROTO`: `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT`, `CTA_PROTO_DST_PORT`.
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const TARGET_PORT: u16 = 3;
/// Of `CTA_FILTER`: `CTA_FILTER_ORIG_FLAGS`, with bits for `CTA_PROTO_NUM` and `CTA_PROTO_DST_PORT`.
const ORIGINAL_FLAGS: u16 = 1;
const BY_PROTOCOL_AND_TARGET_PORT: u32 = 1 << 3 | 1 << 5;

/// The kernel fills at most 32 KiB at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// One tracked flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where its first packet was sent to.
    pub target: SocketAddr,
    /// Where answers come from: another than `target` if the target was translated.
    pub answers: SocketAddr,
    family: Family,
    /// The attributes that name it.
    handle: Vec<u8>,
}

/// All flows of a family and protocol whose first packet was sent to a port, of whatever address. Fails with
/// [`NetlinkError::is_unsupported`] on a kernel that does not tell.
pub fn flows_to(family: Family, protocol: Protocol, port: u16) -> Result<Vec<Flow>, NetlinkError> {
    let transport =
        [attribute(NUMBER, &[protocol.number()]), attribute(TARGET_PORT, &port.to_be_bytes())].concat();
    let filter = attribute(ORIGINAL_FLAGS, &BY_PROTOCOL_AND_TARGET_PORT.to_ne_bytes());
    let asked = [nested(ORIGINAL, &nested(PROTOCOL, &transport)), nested(FILTER, &filter)].concat();
    let object = || format!("the flows to port {port}/{protocol}");
    let mut found = Vec::new();
    transact("read", object, &message(GET, NLM_F_REQUEST | NLM_F_DUMP, number(family), &asked), |message| {
        found.extend(flow(family, message));
    })?;
    Ok(found)
}

/// Removes a flow; one that is gone by now is [`NetlinkError::is_gone`].
pub fn remove(flow: &Flow) -> Result<(), NetlinkError> {
    let object = || format!("the flow to {}", flow.target);
    transact(
        "remove",
        object,
        &message(DELETE, NLM_F_REQUEST | NLM_F_ACK, number(flow.family), &flow.handle),
        |_| {},
    )
}

/// Sends a request and reads until its end.
fn transact(
    operation: &'static str,
    object: impl Fn() -> String,
    request: &[u8],
    mut take: impl FnMut(&NetlinkBuffer<&[u8]>),
) -> Result<(), NetlinkError> {
    let socket = open()?;
    socket.send(request, 0).map_err(at("send through"))?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0).map_err(at("receive from"))?;
        let mut rest = buffer.as_slice();
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            let step = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(step..).unwrap_or_default();
            match verdict(&message) {
                Some(result) => {
                    return result.map_err(|errno| refused(operation, object(), errno));
                }
                None => take(&message),
            }
        }
    }
}

const fn refused(operation: &'static str, object: String, errno: Errno) -> NetlinkError {
    NetlinkError::Refused { operation, object, errno, detail: None }
}

const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => AF_INET as u8,
        Family::V6 => AF_INET6 as u8,
    }
}

/// Reads a flow; none of what has no ports.
fn flow(family: Family, message: &NetlinkBuffer<&[u8]>) -> Option<Flow> {
    let (mut target, mut answers, mut handle) = (None, None, Vec::new());
    for found in attributes(message).filter_map(Result::ok) {
        match found.kind() {
            ORIGINAL => {
                target = end(found.value(), TARGET_ADDRESS, TARGET_PORT);
                handle.extend(nested(ORIGINAL, found.value()));
            }
            REPLY => answers = end(found.value(), SOURCE_ADDRESS, SOURCE_PORT),
            // With its number, so that a younger flow between the same ends is hardly taken for it.
            kind @ (ID | ZONE) => handle.extend(attribute(kind, found.value())),
            _ => {}
        }
    }
    Some(Flow { target: target?, answers: answers?, family, handle })
}

/// One end of one direction.
fn end(direction: &[u8], address: [u16; 2], port: u16) -> Option<SocketAddr> {
    let part = |kind| value(direction, kind);
    let (addresses, transport) = (part(ADDRESSES)?, part(PROTOCOL)?);
    let address = address.iter().find_map(|kind| match value(&addresses, *kind)? {
        v4 if v4.len() == 4 => Some(IpAddr::from(Ipv4Addr::from(*v4.first_chunk::<4>()?))),
        v6 => Some(Ipv6Addr::from(*v6.first_chunk::<16>()?).into()),
    })?;
    let port = u16::from_be_bytes(*value(&transport, port)?.first_chunk()?);
    Some(SocketAddr::new(address, port))
}

/// The value of the first attribute of a kind.
fn value(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let found = NlasIterator::new(attributes).filter_map(Result::ok).find(|found| found.kind() == kind)?;
    Some(found.value().to_vec())
}
