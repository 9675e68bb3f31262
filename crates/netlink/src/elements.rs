//! Elements of nftables' sets (`linux/netfilter/nf_tables.h`): added and removed in one transaction, as bytes that the
//! caller has laid out. A set may have thousands, and a change of one then costs no more than that one; `nft` reads them
//! all first.

use crate::error::NetlinkError;
use crate::generation::SUBSYSTEM;
use crate::netfilter::{at, attribute, message, nested, open, verdict};
use hopsack_types::firewall::SetChange;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkBuffer};

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BEGIN: u16 = 16;
const END: u16 = 17;
/// `NFNL_BATCH_GENID`.
const GENERATION: u16 = 1;
/// `NFT_MSG_NEWSETELEM` and `NFT_MSG_DELSETELEM`.
const ADD: u16 = SUBSYSTEM | 12;
const REMOVE: u16 = SUBSYSTEM | 14;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// `NFTA_SET_ELEM_LIST_TABLE`, `NFTA_SET_ELEM_LIST_SET`, `NFTA_SET_ELEM_LIST_ELEMENTS`.
const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
/// `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY`, `NFTA_SET_ELEM_DATA`, `NFTA_DATA_VALUE`.
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const DATA: u16 = 2;
const VALUE: u16 = 1;
/// Where `struct nfgenmsg` has its number.
const RESOURCE: std::ops::Range<usize> = 18..20;
/// An attribute has at most 64 KiB.
const ELEMENTS_BYTES: usize = 32 << 10;

/// A socket to change elements through. It belongs to the network namespace that its thread was in when it was opened.
pub struct Elements {
    socket: netlink_sys::Socket,
    port: u32,
    sequence: u32,
}

impl Elements {
    /// Opens a socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = open()?;
        let mut address = netlink_sys::SocketAddr::new(0, 0);
        socket.get_address(&mut address).map_err(at("look at"))?;
        Ok(Self { socket, port: address.port_number(), sequence: 0 })
    }

    /// The netlink port that notices of its transactions carry.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Changes sets in one transaction: all of it, or nothing. Fails with `ERESTART` if nftables is at another
    /// `generation` by now, because somebody else has written.
    pub fn change(
        &mut self,
        table: &str,
        generation: u32,
        changes: &[SetChange],
    ) -> Result<(), NetlinkError> {
        let refused = |errno| NetlinkError::Refused {
            operation: "change",
            object: format!("sets of table inet {table}"),
            errno,
            detail: None,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let begin = bound(BEGIN, &attribute(GENERATION, &generation.to_be_bytes()));
        let mut batch = numbered(self.sequence, begin);
        let mut parts = 0;
        for change in changes {
            let removed = change.removed.iter().map(|key| element(key, &[]));
            let added = change.added.iter().map(|(key, data)| element(key, data));
            for (kind, flags, elements) in
                [(REMOVE, 0, grouped(removed)), (ADD, NLM_F_CREATE, grouped(added))]
            {
                for elements in elements {
                    let names = [attribute(TABLE, &text(table)), attribute(SET, &text(&change.set))];
                    let body = [names.concat(), nested(ELEMENTS, &elements)].concat();
                    let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
                    batch.extend(numbered(self.sequence, message(kind, flags, INET, &body)));
                    parts += 1;
                }
            }
        }
        batch.extend(numbered(self.sequence, bound(END, &[])));
        self.socket.send(&batch, 0).map_err(at("send through"))?;
        let mut answer = Vec::with_capacity(64 << 10);
        while parts > 0 {
            answer.clear();
            self.socket.recv(&mut answer, 0).map_err(at("receive from"))?;
            let mut rest = answer.as_slice();
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let step = (message.length() as usize).next_multiple_of(4);
                rest = rest.get(step..).unwrap_or_default();
                // Of a transaction that failed before, more may be said than was listened to.
                if message.sequence_number() != self.sequence {
                    continue;
                }
                match verdict(&message) {
                    Some(Ok(())) => parts -= 1,
                    Some(Err(errno)) => return Err(refused(errno)),
                    None => {}
                }
            }
        }
        Ok(())
    }
}

/// The message that begins or ends a transaction: in place of a number it names the subsystem.
fn bound(kind: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = message(kind, NLM_F_REQUEST, 0, attributes);
    bytes[RESOURCE].copy_from_slice(&(SUBSYSTEM >> 8).to_be_bytes());
    bytes
}

fn numbered(sequence: u32, mut bytes: Vec<u8>) -> Vec<u8> {
    NetlinkBuffer::new(&mut bytes).set_sequence_number(sequence);
    bytes
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn element(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut parts = nested(KEY, &attribute(VALUE, key));
    if !data.is_empty() {
        parts.extend(nested(DATA, &attribute(VALUE, data)));
    }
    nested(ELEMENT, &parts)
}

/// Elements put together to lists that an attribute can hold.
fn grouped(elements: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut groups: Vec<Vec<u8>> = Vec::new();
    for element in elements {
        match groups.last_mut() {
            Some(group) if group.len() + element.len() <= ELEMENTS_BYTES => group.extend(element),
            _ => groups.push(element),
        }
    }
    groups
}
