//! The generation number of nftables: a number that changes with each transaction of anybody in the namespace. Who
//! knows it need not read the rules again while it stays the same.

use crate::error::NetlinkError;
use crate::netfilter::{at, attributes, message, open, verdict};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer};
use nix::errno::Errno;

/// `NFNL_SUBSYS_NFTABLES` of `linux/netfilter/nfnetlink.h`, in the upper byte of a message type.
pub(crate) const SUBSYSTEM: u16 = 10 << 8;
/// `NFT_MSG_NEWGEN` of `linux/netfilter/nf_tables.h`; a commit ends with one.
pub(crate) const NEW_GENERATION: u16 = SUBSYSTEM | 15;
/// `NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = SUBSYSTEM | 16;
/// `NFTA_GEN_ID`: the number, big-endian.
const ATTRIBUTE_NUMBER: u16 = 1;

/// The generation number of the calling thread's namespace. Fails with [`NetlinkError::is_unsupported`] on a kernel
/// without nftables.
pub fn generation() -> Result<u32, NetlinkError> {
    let socket = open()?;
    socket.send(&message(GET_GENERATION, NLM_F_REQUEST, 0, &[]), 0).map_err(at("send through"))?;
    let mut answer = Vec::with_capacity(4096);
    socket.recv(&mut answer, 0).map_err(at("receive from"))?;
    let refused = |errno| NetlinkError::Refused {
        operation: "read",
        object: "the generation of nftables".to_owned(),
        errno,
        detail: None,
    };
    let message = NetlinkBuffer::new_checked(answer.as_slice()).map_err(|_| refused(Errno::EBADMSG))?;
    if let Some(Err(errno)) = verdict(&message) {
        return Err(refused(errno));
    }
    attributes(&message)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == ATTRIBUTE_NUMBER)
        .and_then(|attribute| attribute.value().first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)))
        .ok_or_else(|| refused(Errno::EBADMSG))
}
