//! Comparing two hosts' records, and finding what one of them lacks.
//!
//! An exchange between A and B over a stream:
//!
//! 1. A sends [`Records::hash`]. If B has the same they are done; an idle cluster costs 16 bytes per exchange.
//! 2. Otherwise B answers with [`Records::digest`], and A sends its own digest and all pages of
//!    [`Records::delta_for`] B's; B does the same for A's.
//!
//! When: every 10 s with a random partner, and after 1 s again if the last exchange moved anything or reached nobody;
//! so a hundred hosts that start together have all facts after 16 s in the simulation of the tests.
//!
//! Pages carry whole batches in log order, so a stream that breaks has still moved both forward. What must not
//! live here: streams and timers.

use crate::batch::{Batch, Stamp};
use crate::log::BatchId;
use crate::records::Records;
use hopsack_types::HostId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// How far a log goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last entry before the first gap, in the newest incarnation of which anything is known.
    pub end: Stamp,
    /// The fingerprints of all batches of the log, combined by XOR. Two logs with the same end and another hash lack
    /// something elsewhere (behind the gap, or of an earlier incarnation) and are sent whole.
    pub hash: u64,
}

/// Hash over all logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash(pub [u8; 16]);

/// What a host has: the mark of every log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// By writer.
    pub marks: BTreeMap<HostId, Mark>,
}

/// Where the next page of a delta begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(HostId, BatchId);

/// One page of what the other host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Whole batches, in log order.
    pub batches: Vec<Batch>,
    /// Where to go on; `None` after the last page.
    pub next: Option<Cursor>,
}

impl Records {
    /// Hash over all logs: equal on two hosts exactly if neither lacks anything that the other has.
    pub fn hash(&self) -> StateHash {
        let mut hasher = Sha256::new();
        for (host, log) in self.logs() {
            let Mark { end, hash } = log.mark();
            hasher.update(host.as_bytes());
            hasher.update(end.incarnation.0.to_be_bytes());
            hasher.update(end.seq.0.to_be_bytes());
            hasher.update(hash.to_be_bytes());
        }
        let full: [u8; 32] = hasher.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        StateHash(half)
    }

    /// The mark of every log.
    pub fn digest(&self) -> Digest {
        Digest { marks: self.logs().map(|(host, log)| (host, log.mark())).collect() }
    }

    /// What a host with digest `theirs` lacks, from `from` on, up to `max_bytes` (but at least one batch, so that a
    /// small limit cannot stall).
    pub fn delta_for(&self, theirs: &Digest, from: Option<&Cursor>, max_bytes: usize) -> Delta {
        let mut batches = Vec::new();
        let mut total = 0;
        for (host, log) in self.logs() {
            if from.is_some_and(|cursor| host < cursor.0) {
                continue;
            }
            let mine = log.mark();
            let known = match theirs.marks.get(&host) {
                Some(mark) if mark.hash == mine.hash => continue,
                // The same end and yet a difference: only all of it is sure to contain what is missing.
                Some(mark) if mark.end == mine.end => Stamp::default(),
                Some(mark) => mark.end,
                None => Stamp::default(),
            };
            for (id, batch, bytes) in log.batches() {
                let before_cursor = from.is_some_and(|cursor| host == cursor.0 && *id < cursor.1);
                let end = Stamp { incarnation: batch.incarnation, seq: batch.last() };
                if before_cursor || end <= known {
                    continue;
                }
                if !batches.is_empty() && total + bytes > max_bytes {
                    return Delta { batches, next: Some(Cursor(host, *id)) };
                }
                total += bytes;
                batches.push(batch.clone());
            }
        }
        Delta { batches, next: None }
    }
}
