//! One exchange between two hosts, as the head of the crate's `sync` module describes it.

use crate::keys::Keys;
use hopsack_gossip::{Batch, Digest, Records, Source};

/// Returns how many batches went over. `page` is the limit of a page in bytes.
pub fn exchange(a: &mut Records, b: &mut Records, page: usize, keys: &Keys) -> usize {
    if a.hash() == b.hash() {
        return 0;
    }
    let to_b = pages(a, &b.digest(), page);
    let to_a = pages(b, &a.digest(), page);
    let count = to_a.len() + to_b.len();
    for (host, batches) in [(a, to_a), (b, to_b)] {
        let rejected = host.apply(batches, Source::Sync, keys).rejected;
        assert!(rejected.is_empty(), "{rejected:?}");
    }
    count
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
