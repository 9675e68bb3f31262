//! The generation number of nftables: a number that changes with each transaction of anybody in the namespace. Who
//! knows it need not read the rules again while it stays the same.

use crate::error::{NetlinkError, errno_of};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer, NlasIterator};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

/// `NFNL_SUBSYS_NFTABLES` of `linux/netfilter/nfnetlink.h`, in the upper byte of a message type.
pub(crate) const SUBSYSTEM: u16 = 10 << 8;
/// `NFT_MSG_NEWGEN` of `linux/netfilter/nf_tables.h`; a commit ends with one.
pub(crate) const NEW_GENERATION: u16 = SUBSYSTEM | 15;
/// `NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = SUBSYSTEM | 16;
/// `NFTA_GEN_ID`: the number, big-endian.
const ATTRIBUTE_NUMBER: u16 = 1;
/// Bytes of `nlmsghdr` and `nfgenmsg`.
const REQUEST_BYTES: usize = 20;
/// `struct nfgenmsg` before the attributes.
const FAMILY_HEADER_BYTES: usize = 4;
/// The kernel answers within the system call.
const ANSWER_TIMEOUT_SECONDS: i64 = 5;

/// The generation number of the calling thread's namespace. Fails with [`NetlinkError::is_unsupported`] on a kernel
/// without nftables.
pub fn generation() -> Result<u32, NetlinkError> {
    let at =
        |operation| move |error: std::io::Error| NetlinkError::Socket { operation, errno: errno_of(&error) };
    let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(at("open"))?;
    socket.bind_auto().map_err(at("bind"))?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(at("connect"))?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(ANSWER_TIMEOUT_SECONDS, 0))
        .map_err(|errno| NetlinkError::Socket { operation: "set up", errno })?;
    let mut request = [0; REQUEST_BYTES];
    let mut header = NetlinkBuffer::new(&mut request);
    header.set_length(REQUEST_BYTES as u32);
    header.set_message_type(GET_GENERATION);
    header.set_flags(NLM_F_REQUEST);
    socket.send(&request, 0).map_err(at("send through"))?;
    let mut answer = Vec::with_capacity(4096);
    socket.recv(&mut answer, 0).map_err(at("receive from"))?;
    let refused = |errno| NetlinkError::Refused {
        operation: "read",
        object: "the generation of nftables".to_owned(),
        errno,
        detail: None,
    };
    let message = NetlinkBuffer::new_checked(answer.as_slice()).map_err(|_| refused(Errno::EBADMSG))?;
    if i32::from(message.message_type()) == libc::NLMSG_ERROR {
        let code = message.payload().first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        // The subsystem is not there: the kernel says EINVAL for a message that nobody handles.
        let errno = Errno::from_raw(code.saturating_neg());
        return Err(refused(if errno == Errno::EINVAL { Errno::EOPNOTSUPP } else { errno }));
    }
    NlasIterator::new(message.payload().get(FAMILY_HEADER_BYTES..).unwrap_or_default())
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == ATTRIBUTE_NUMBER)
        .and_then(|attribute| attribute.value().first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)))
        .ok_or_else(|| refused(Errno::EBADMSG))
}
