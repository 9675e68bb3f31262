//! A batch: a run of entries that one host wrote and signed together; the unit that is stored and forwarded.
//!
//! What must not live here: which batches are kept, and keys. Signing and verifying are the caller's.

use crate::error::GossipError;
use hopsack_types::fact::{Fact, FactKey};
use hopsack_types::{HostId, Incarnation, Revision, Seq};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Keeps a signature over facts from being valid for anything else that the same key signs.
const SIGNING_DOMAIN: &[u8] = b"hopsack facts 1\0";

/// Where in a host's log something stands: first the writer's start, then the place within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Which start of the writer.
    pub incarnation: Incarnation,
    /// The place in that incarnation's log; the first entry is 1.
    pub seq: Seq,
}

/// One line of a host's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// This is so.
    Set(FactKey, Fact),
    /// This is no longer so.
    Clear(FactKey),
    /// The writer's whole set stands from `from` up to this entry: what is older and was not repeated there is gone.
    /// It is what lets others forget: the facts of an earlier incarnation, and old entries after a rewrite.
    FullSet {
        /// Where the set begins, in the same incarnation.
        from: Seq,
    },
}

impl Entry {
    /// Whether the key and the fact are of one kind.
    fn is_well_formed(&self, seq: Seq) -> bool {
        match self {
            Self::Set(key, fact) => same_kind(key, fact),
            Self::Clear(_) => true,
            Self::FullSet { from } => (Seq(1)..=seq).contains(from),
        }
    }
}

/// Whether a fact may stand under a key.
pub(crate) const fn same_kind(key: &FactKey, fact: &Fact) -> bool {
    matches!(
        (key, fact),
        (FactKey::Endpoint(_), Fact::Endpoint(_))
            | (FactKey::Path(_), Fact::Path(_))
            | (FactKey::Routes, Fact::Routes(_))
    )
}

/// 64 bytes that prove who wrote a batch (the size of Ed25519 and of fixed-size P-256 signatures).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "([u8; 32], [u8; 32])", into = "([u8; 32], [u8; 32])")]
pub struct Signature(pub [u8; 64]);

impl From<([u8; 32], [u8; 32])> for Signature {
    fn from((head, tail): ([u8; 32], [u8; 32])) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&head);
        bytes[32..].copy_from_slice(&tail);
        Self(bytes)
    }
}

impl From<Signature> for ([u8; 32], [u8; 32]) {
    fn from(signature: Signature) -> Self {
        let (mut head, mut tail) = ([0; 32], [0; 32]);
        head.copy_from_slice(&signature.0[..32]);
        tail.copy_from_slice(&signature.0[32..]);
        (head, tail)
    }
}

/// Signs with this host's key.
pub trait Signer {
    /// The signature over exactly these bytes.
    fn sign(&self, bytes: &[u8]) -> Signature;
}

/// Knows the hosts of the cluster and their keys.
pub trait Verifier {
    /// Whether intent knows the host.
    fn knows(&self, host: HostId) -> bool;
    /// Whether `host` signed exactly these bytes; false for a host that is not known.
    fn verify(&self, host: HostId, bytes: &[u8], signature: &Signature) -> bool;
}

/// A signed run of entries of one host's log. The entry at position `i` has the sequence number `first + i`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The writer, and the only host that the entries are about.
    pub host: HostId,
    /// Which start of the writer.
    pub incarnation: Incarnation,
    /// The intent that the writer had: who has less cannot judge the entries yet.
    pub intent: Revision,
    /// Sequence number of the first entry; 1 or more.
    pub first: Seq,
    /// The entries, at least one.
    pub entries: Vec<Entry>,
    /// The writer's signature over [`Batch::signed_bytes`].
    pub signature: Signature,
}

impl Batch {
    /// What the signature covers: all other fields in `postcard` form behind a fixed prefix. Two equal batches have
    /// equal bytes, whatever bytes they were read from.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, GossipError> {
        let fields = (self.host, self.incarnation, self.intent, self.first, &self.entries);
        postcard::to_extend(&fields, SIGNING_DOMAIN.to_vec())
            .map_err(|source| GossipError::EncodeBatch { host: self.host, source })
    }

    /// The sequence number of the last entry. Saturates on a batch that is not well formed.
    pub fn last(&self) -> Seq {
        Seq(self.first.0.saturating_add((self.entries.len() as u64).saturating_sub(1)))
    }

    /// Every entry with its place in the log.
    pub fn stamped(&self) -> impl Iterator<Item = (Stamp, &Entry)> {
        (self.first.0..)
            .zip(&self.entries)
            .map(|(seq, entry)| (Stamp { incarnation: self.incarnation, seq: Seq(seq) }, entry))
    }

    /// Whether numbers and kinds make sense.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.first.0 >= 1
            && !self.entries.is_empty()
            && self.first.0.checked_add(self.entries.len() as u64).is_some()
            && self.stamped().all(|(stamp, entry)| entry.is_well_formed(stamp.seq))
    }
}

/// Eight bytes of the SHA-256 of a batch's signed bytes: tells batches apart that claim the same place in a log, as a
/// cloned machine would make them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint(pub u64);

impl Fingerprint {
    pub(crate) fn of(signed_bytes: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::digest(signed_bytes).into();
        let mut head = [0; 8];
        head.copy_from_slice(&hash[..8]);
        Self(u64::from_be_bytes(head))
    }
}
