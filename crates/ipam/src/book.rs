//! All that one host's journal says: its allocators of all networks and its boot counter.
//!
//! When the journal is missing or torn, the agent [applies](Book::apply) [`Record::Lost`], [observes](Allocator::observe)
//! every address that the runtime and the kernel show in use, and writes the [snapshot](Book::snapshot). From then on no
//! network's ledger is believed before the steward has fenced it, which is to write it once more: a release that the
//! lost journal spoke of, and that is still on its way, then finds another revision and is refused. Since the next crash
//! may come before that, the loss is in the new journal.

use crate::allocator::Allocator;
use crate::journal::Record;
use hopsack_types::{Incarnation, NetworkId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A host's allocators.
#[derive(Debug, Clone)]
pub struct Book {
    cool_down: Duration,
    incarnation: Incarnation,
    /// Whether a journal was ever lost: networks that are new to this book must be fenced.
    lost: bool,
    networks: BTreeMap<NetworkId, Allocator>,
}

impl Book {
    /// An empty book.
    pub const fn new(cool_down: Duration) -> Self {
        Self { cool_down, incarnation: Incarnation(0), lost: false, networks: BTreeMap::new() }
    }

    /// The book that a journal's records lead to. Addresses released in it cool down from `now` on, as the time since
    /// is not known.
    pub fn replay<'a>(
        records: impl IntoIterator<Item = &'a Record>,
        now: Duration,
        cool_down: Duration,
    ) -> Self {
        let mut book = Self::new(cool_down);
        for record in records {
            book.apply(now, record);
        }
        book
    }

    /// How often the agent has started.
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The book of a network, if there is one.
    pub fn network(&self, id: NetworkId) -> Option<&Allocator> {
        self.networks.get(&id)
    }

    /// The book of a network; a new one is empty.
    pub fn network_mut(&mut self, id: NetworkId) -> &mut Allocator {
        self.networks.entry(id).or_insert_with(|| {
            let mut allocator = Allocator::new(id, self.cool_down);
            if self.lost {
                allocator.unfence();
            }
            allocator
        })
    }

    /// All networks' books, by id.
    pub fn networks(&self) -> impl Iterator<Item = &Allocator> + '_ {
        self.networks.values()
    }

    /// Takes in one record of the journal.
    pub fn apply(&mut self, now: Duration, record: &Record) {
        match record {
            Record::Boot { incarnation } => self.incarnation = *incarnation,
            Record::Grants { network, revision, granted } => {
                self.network_mut(*network).replay_grants(*revision, granted.iter().copied().collect());
            }
            Record::Allocate { network, address, handle } => {
                self.network_mut(*network).replay_allocation(*address, handle);
            }
            Record::Release { network, address, handle } => {
                self.network_mut(*network).release(now, *address, handle);
            }
            Record::Lend { network, prefix } => self.network_mut(*network).mark_lent(*prefix),
            Record::Unlend { network, prefix } => self.network_mut(*network).unlend(now, *prefix),
            Record::Forget { network } => drop(self.networks.remove(network)),
            Record::Lost => {
                self.lost = true;
                self.networks.values_mut().for_each(Allocator::unfence);
            }
            Record::Fenced { network } => self.network_mut(*network).fence(),
            Record::Rest { network, address } => self.network_mut(*network).shelve(now, *address),
        }
    }

    /// The fewest records that lead to this book: what a journal is replaced by when it has grown too long. Of
    /// released addresses only the last few thousand are in it, and only if they still cool down.
    pub fn snapshot(&self, now: Duration) -> Vec<Record> {
        let mut records = vec![Record::Boot { incarnation: self.incarnation }];
        records.extend(self.lost.then_some(Record::Lost));
        for allocator in self.networks.values() {
            if self.lost && allocator.is_fenced() {
                records.push(Record::Fenced { network: allocator.network() });
            }
            records.extend(allocator.snapshot(now));
        }
        records
    }
}

#[cfg(test)]
mod tests;
