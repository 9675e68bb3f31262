//! One exchange between two hosts, as the head of the crate's `sync` module describes it.

use crate::keys::Keys;
use hopsack_gossip::{Batch, Digest, Records, Reject, Rejected, Source};
use hopsack_types::Incarnation;

/// What an exchange did.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Exchanged {
    /// Batches that went over.
    pub batches: usize,
    /// What `a` and `b` learned of their own future.
    pub own_newer: [Option<Incarnation>; 2],
}

/// `page` is the limit of a page in bytes.
pub fn exchange(a: &mut Records, b: &mut Records, page: usize, keys: &Keys) -> Exchanged {
    if a.hash() == b.hash() {
        return Exchanged::default();
    }
    let to_b = pages(a, &b.digest(), page);
    let to_a = pages(b, &a.digest(), page);
    let batches = to_a.len() + to_b.len();
    let own_newer = [(a, to_a), (b, to_b)].map(|(host, batches)| {
        let applied = host.apply(batches, Source::Sync, keys);
        let is_own = |rejected: &Rejected| rejected.reason == Reject::NotItsWriter;
        assert!(applied.rejected.iter().all(is_own), "{:?}", applied.rejected);
        applied.own_newer
    });
    Exchanged { batches, own_newer }
}

fn pages(from: &Records, digest: &Digest, page: usize) -> Vec<Batch> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let delta = from.delta_for(digest, cursor.as_ref(), page);
        all.extend(delta.batches);
        cursor = delta.next;
        if cursor.is_none() {
            return all;
        }
    }
}
