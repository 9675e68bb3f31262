//! Netlink sockets to netfilter's subsystems (`linux/netfilter/nfnetlink.h`): messages as bytes, since no library that we
//! use has them.

use crate::error::{NetlinkError, errno_of};
use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

/// Bytes of `nlmsghdr` and `nfgenmsg`.
const HEADER_BYTES: usize = 20;
/// `struct nfgenmsg` before the attributes: a family, a version, a number.
const FAMILY_HEADER_BYTES: usize = 4;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;
/// The kernel answers within the system call.
const ANSWER_TIMEOUT_SECONDS: i64 = 5;

/// Opens a socket in the calling thread's network namespace.
pub(crate) fn open() -> Result<netlink_sys::Socket, NetlinkError> {
    let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(at("open"))?;
    socket.bind_auto().map_err(at("bind"))?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(at("connect"))?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(ANSWER_TIMEOUT_SECONDS, 0))
        .map_err(|errno| NetlinkError::Socket { operation: "set up", errno })?;
    Ok(socket)
}

/// An error of the socket itself.
pub(crate) fn at(operation: &'static str) -> impl Fn(std::io::Error) -> NetlinkError {
    move |error| NetlinkError::Socket { operation, errno: errno_of(&error) }
}

/// A message; `family` is `AF_INET`, `AF_INET6` or 0 for both.
pub(crate) fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[HEADER_BYTES - FAMILY_HEADER_BYTES] = family;
    bytes.extend_from_slice(attributes);
    let length = bytes.len();
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length(length as u32);
    header.set_message_type(kind);
    header.set_flags(flags);
    bytes
}

/// An attribute with its header, filled up to whole words.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = [(length as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// An attribute that is made of others.
pub(crate) fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, attributes)
}

/// The attributes of an answer.
pub(crate) fn attributes<'a>(message: &NetlinkBuffer<&'a [u8]>) -> NlasIterator<&'a [u8]> {
    NlasIterator::new(message.payload().get(FAMILY_HEADER_BYTES..).unwrap_or_default())
}

/// What an acknowledgement, an error or the end of a list says; none of other messages.
pub(crate) fn verdict(message: &NetlinkBuffer<&[u8]>) -> Option<Result<(), Errno>> {
    if !matches!(i32::from(message.message_type()), libc::NLMSG_ERROR | libc::NLMSG_DONE) {
        return None;
    }
    let code = message.payload().first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    Some(match Errno::from_raw(code.saturating_neg()) {
        _ if code == 0 => Ok(()),
        // The subsystem is not there: the kernel says EINVAL for a message that nobody handles.
        Errno::EINVAL => Err(Errno::EOPNOTSUPP),
        errno => Err(errno),
    })
}
