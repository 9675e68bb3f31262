//! The log of one host as another host keeps it, and what the log shows.
//!
//! Two layers, so that what is exchanged does not depend on how far a reader's intent is:
//!
//! - The *log* is the set of batches that are not older than the newest full set of which all entries are here. It
//!   is a function of which batches ever arrived, not of their order, so equal logs are recognised by a hash.
//! - The *view* is what the batches say that the reader's intent is new enough for: per key the entry with the
//!   newest stamp, and nothing older than the newest full set that is visible in whole. Batches that the log needs no
//!   more and the view does are kept beside the log, for the disk only.
//!
//! Nothing leaves the view because it is missing somewhere: only a `Clear` or a complete `FullSet` removes, both of
//! them signed by the writer.
//!
//! Batches whose entries were all replaced stay until the writer's next full set (it writes one when half of its log
//! is dead, so a log is at most about twice as long as its set). That is what makes gaps visible: a reader counts
//! its own entries and need not believe a forwarder that claims that there were no more.

use crate::batch::{Batch, Entry, Fingerprint, Stamp};
use crate::records::RecordChange;
use crate::sync::Mark;
use hopsack_types::fact::{Fact, FactKey};
use hopsack_types::{HostId, Incarnation, Revision, Seq};
use std::collections::BTreeMap;

/// Orders batches by place; the fingerprint tells apart two that claim the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchId {
    first: Stamp,
    fingerprint: Fingerprint,
}

impl BatchId {
    pub(crate) const fn new(batch: &Batch, fingerprint: Fingerprint) -> Self {
        Self { first: Stamp { incarnation: batch.incarnation, seq: batch.first }, fingerprint }
    }
}

/// A batch in the log.
#[derive(Debug, Clone)]
struct Held {
    batch: Batch,
    /// Size of its signed bytes.
    bytes: usize,
    /// First and last place of the full sets that end in it: none, but for one batch in many.
    full_sets: Vec<(Stamp, Stamp)>,
    /// Whether its entries have gone into the view.
    shown: bool,
}

impl Held {
    fn new(batch: Batch, bytes: usize) -> Self {
        let full_sets = batch.stamped().filter_map(|(at, entry)| match entry {
            Entry::FullSet { from } => Some((Stamp { seq: *from, ..at }, at)),
            Entry::Set(..) | Entry::Clear(_) => None,
        });
        Self { full_sets: full_sets.collect(), batch, bytes, shown: false }
    }

    fn end(&self) -> Stamp {
        Stamp { incarnation: self.batch.incarnation, seq: self.batch.last() }
    }
}

/// The newest entry of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Newest wins; the fingerprint only breaks the tie between a machine and its clone.
    version: (Stamp, Fingerprint),
    /// The fact, or `None` after a `Clear`.
    pub(crate) fact: Option<Fact>,
}

impl Slot {
    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.version.0.incarnation
    }
}

/// The log of one host, and its view.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostLog {
    /// The log, and what only the view still stands on.
    batches: BTreeMap<BatchId, Held>,
    /// Begin of the newest full set whose entries are all in the log.
    floor: Stamp,
    view: BTreeMap<FactKey, Slot>,
    /// Begin of the newest full set whose entries are all in the view.
    shown_floor: Stamp,
    mark: Mark,
}

impl HostLog {
    /// Whether the batch ends before the log begins, so that it can add nothing.
    pub(crate) fn is_stale(&self, batch: &Batch) -> bool {
        Stamp { incarnation: batch.incarnation, seq: batch.last() } < self.floor
    }

    pub(crate) fn contains(&self, id: &BatchId) -> bool {
        self.batches.contains_key(id)
    }

    /// Takes a verified batch. It goes into the view if `intent` is at least the writer's.
    pub(crate) fn insert(
        &mut self,
        id: BatchId,
        batch: Batch,
        bytes: usize,
        intent: Revision,
    ) -> Vec<RecordChange> {
        let host = batch.host;
        self.batches.insert(id, Held::new(batch, bytes));
        let changes = self.show(host, intent);
        self.floor = self.floor.max(self.full_set_after(self.floor, |_| true));
        self.mark = self.compute_mark();
        self.trim();
        changes
    }

    /// Drops what is neither in the log nor shown.
    fn trim(&mut self) {
        let (floor, shown_floor) = (self.floor, self.shown_floor);
        self.batches.retain(|_, held| held.end() >= floor || (held.shown && held.end() >= shown_floor));
    }

    /// Brings what `intent` is new enough for into the view.
    pub(crate) fn show(&mut self, host: HostId, intent: Revision) -> Vec<RecordChange> {
        let mut changes = Vec::new();
        let mut shown_any = false;
        for (id, held) in &mut self.batches {
            if held.shown || held.batch.intent > intent {
                continue;
            }
            held.shown = true;
            shown_any = true;
            for (stamp, entry) in held.batch.stamped() {
                let (key, fact) = match entry {
                    Entry::Set(key, fact) => (*key, Some(fact)),
                    Entry::Clear(key) => (*key, None),
                    Entry::FullSet { .. } => continue,
                };
                let version = (stamp, id.fingerprint);
                let known = self.view.get(&key);
                if stamp < self.shown_floor || known.is_some_and(|slot| slot.version >= version) {
                    continue;
                }
                let old = known.and_then(|slot| slot.fact.clone());
                if old.as_ref() != fact {
                    changes.push(RecordChange { host, key, old, new: fact.cloned() });
                }
                self.view.insert(key, Slot { version, fact: fact.cloned() });
            }
        }
        if shown_any {
            self.shown_floor = self.shown_floor.max(self.full_set_after(self.shown_floor, |held| held.shown));
            let floor = self.shown_floor;
            let gone = self.view.extract_if(.., |_, slot| slot.version.0 < floor);
            changes.extend(gone.filter_map(|(key, slot)| {
                let old = Some(slot.fact?);
                Some(RecordChange { host, key, old, new: None })
            }));
            self.trim();
        }
        changes
    }

    /// The newest begin above `floor` of a full set whose entries are all in batches that `counts` accepts.
    fn full_set_after(&self, floor: Stamp, counts: impl Fn(&Held) -> bool) -> Stamp {
        let mut newest = floor;
        for (begin, at) in self.batches.values().filter(|held| counts(held)).flat_map(|held| &held.full_sets)
        {
            if *begin > newest && self.reach(*begin, &counts) > at.seq {
                newest = *begin;
            }
        }
        newest
    }

    /// The first sequence number at or after `begin` that is in no batch that `counts` accepts.
    fn reach(&self, begin: Stamp, counts: impl Fn(&Held) -> bool) -> Seq {
        let mut next = begin.seq;
        for held in self.batches.values() {
            if held.batch.incarnation != begin.incarnation || !counts(held) || held.batch.last() < next {
                continue;
            }
            if held.batch.first > next {
                break;
            }
            next = held.batch.last().next();
        }
        next
    }

    fn compute_mark(&self) -> Mark {
        let incarnation =
            self.batches.keys().next_back().map_or(self.floor.incarnation, |id| id.first.incarnation);
        let seq = if self.floor.incarnation == incarnation { self.floor.seq.max(Seq(1)) } else { Seq(1) };
        let next = self.reach(Stamp { incarnation, seq }, |_| true);
        Mark {
            end: Stamp { incarnation, seq: Seq(next.0.saturating_sub(1)) },
            hash: self.batches().fold(0, |hash, (id, ..)| hash ^ id.fingerprint.0),
        }
    }

    /// How far the log goes without a gap, and the hash of all of it.
    pub(crate) const fn mark(&self) -> Mark {
        self.mark
    }

    /// The batches of the log with their size, oldest first.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (&BatchId, &Batch, usize)> {
        let in_log = self.batches.iter().filter(|(_, held)| held.end() >= self.floor);
        in_log.map(|(id, held)| (id, &held.batch, held.bytes))
    }

    /// The batches of the log and those that only the view still stands on, oldest first.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values().map(|held| &held.batch)
    }

    /// The newest entry of each key, `Clear`s as well.
    pub(crate) const fn view(&self) -> &BTreeMap<FactKey, Slot> {
        &self.view
    }

    /// Begin of the newest full set of which everything is here.
    pub(crate) const fn floor(&self) -> Stamp {
        self.floor
    }
}
