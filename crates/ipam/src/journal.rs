//! The journal of addresses in use: its records and their form on disk. Reading, writing and syncing are the agent's.
//!
//! ```text
//! header   "HOPSACKJ"  version u16
//! record   length u32  CRC-32 of length and payload u32  payload (postcard)     numbers little-endian; repeated
//! ```
//!
//! A crash can leave the last records torn. Everything before the tear is read; the tear itself is reported, since
//! what it hides may be an address in use: the caller then treats the journal as lost (see `book`).

use crate::error::IpamError;
use crate::handle::Handle;
use hopsack_types::{Cidr, Incarnation, NetworkId, Revision};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The newest version that this program reads, and the one it writes.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"HOPSACKJ";
const HEADER: usize = MAGIC.len() + 2;
const FRAME: usize = 8;

/// One change of a host's book, or one piece of its snapshot.
///
/// The order of variants and fields is the form on disk: add at the end only, and raise [`VERSION`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The agent started.
    Boot {
        /// Counts its starts.
        incarnation: Incarnation,
    },
    /// All that the host is granted of a network; replaces what was so before.
    Grants {
        /// The network.
        network: NetworkId,
        /// The ledger's revision.
        revision: Revision,
        /// Disjoint prefixes, in order.
        granted: Vec<Cidr>,
    },
    /// An address is in use; replaces its holder, if it has one.
    Allocate {
        /// The network.
        network: NetworkId,
        /// The address.
        address: IpAddr,
        /// Who holds it.
        handle: Handle,
    },
    /// An address is not in use any more.
    Release {
        /// The network.
        network: NetworkId,
        /// The address.
        address: IpAddr,
        /// Who held it; a release by another changes nothing.
        handle: Handle,
    },
    /// A prefix, or one address, is about to be handed back: it must not be given any more.
    Lend {
        /// The network.
        network: NetworkId,
        /// The prefix.
        prefix: Cidr,
    },
    /// The ledger has certainly refused to take a lent prefix back.
    Unlend {
        /// The network.
        network: NetworkId,
        /// The prefix.
        prefix: Cidr,
    },
    /// The network is gone, and all that was known of it.
    Forget {
        /// The network.
        network: NetworkId,
    },
    /// The journal before this was lost or torn: no ledger is to be believed before it is fenced.
    Lost,
    /// The network's ledger was fenced after the last loss.
    Fenced {
        /// The network.
        network: NetworkId,
    },
    /// A free address was released lately and cools down; only snapshots have it.
    Rest {
        /// The network.
        network: NetworkId,
        /// The address.
        address: IpAddr,
    },
}

/// The end of a journal that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tear {
    /// Where it begins, in bytes from the journal's beginning: cut the file here before writing on.
    pub offset: usize,
    /// How many bytes it has.
    pub length: usize,
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// The records before the tear, in order of writing.
    pub records: Vec<Record>,
    /// The unreadable rest, if there is one. An empty file is all tear: even its header did not get to the disk.
    pub tear: Option<Tear>,
}

/// The first bytes of every journal.
pub fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

/// One record as it is appended.
pub fn encode(record: &Record) -> Result<Vec<u8>, IpamError> {
    let mut bytes = vec![0; FRAME];
    bytes = postcard::to_extend(record, bytes).map_err(IpamError::Encode)?;
    let length = u32::try_from(bytes.len() - FRAME)
        .map_err(|_| IpamError::Encode(postcard::Error::SerializeBufferFull))?
        .to_le_bytes();
    let sum = checksum(length, &bytes[FRAME..]).to_le_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes[4..FRAME].copy_from_slice(&sum);
    Ok(bytes)
}

/// A whole journal: header and records.
pub fn encode_all<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Vec<u8>, IpamError> {
    let mut bytes = header();
    for record in records {
        bytes.extend(encode(record)?);
    }
    Ok(bytes)
}

/// Reads a journal up to its end or its tear. Errors when it is none, or one of a newer version: then it must be
/// left as it is.
pub fn decode(bytes: &[u8]) -> Result<Journal, IpamError> {
    let begins_right = bytes.iter().zip(MAGIC).all(|(found, wanted)| found == wanted);
    if !begins_right {
        return Err(IpamError::NotJournal);
    }
    let Some((head, _)) = bytes.split_at_checked(HEADER) else {
        return Ok(Journal { records: Vec::new(), tear: Some(Tear { offset: 0, length: bytes.len() }) });
    };
    let found = u16::from_le_bytes([head[MAGIC.len()], head[MAGIC.len() + 1]]);
    if found > VERSION {
        return Err(IpamError::NewerJournal { found, known: VERSION });
    }
    let mut records = Vec::new();
    let mut offset = HEADER;
    while let Some((record, length)) = bytes.get(offset..).and_then(decode_one) {
        records.push(record);
        offset += length;
    }
    let rest = bytes.len() - offset;
    Ok(Journal { records, tear: (rest > 0).then_some(Tear { offset, length: rest }) })
}

/// The record at the beginning of `bytes`, and how many bytes it takes.
fn decode_one(bytes: &[u8]) -> Option<(Record, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let payload = rest.get(..size)?;
    if checksum(*length, payload) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (record, unread) = postcard::take_from_bytes(payload).ok()?;
    unread.is_empty().then_some((record, FRAME + size))
}

/// The length is in the sum, so that a tail of zeroes, which file systems leave behind, is no row of empty records.
fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
