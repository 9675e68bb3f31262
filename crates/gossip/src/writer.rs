//! Writing own facts: gathering changes, signing them in batches, rewriting the log when half of it is dead.
//!
//! What must not live here: other hosts' logs.

use crate::batch::{Batch, Entry, Fingerprint, Signature, Signer, same_kind};
use crate::error::GossipError;
use crate::log::BatchId;
use crate::records::Records;
use hopsack_types::fact::{Fact, FactKey};
use hopsack_types::{Incarnation, Revision, Seq};
use std::collections::{BTreeMap, BTreeSet};

/// Entries in one batch: some 40 kB of endpoints, so that a change is a small message and a large set a few.
const BATCH_ENTRIES: usize = 128;
/// Dead entries that a log may have beyond one for each live one, so that a small set is not rewritten all the time.
const DEAD_ALLOWED: u64 = 64;

/// A full set that is being written.
#[derive(Debug, Clone)]
struct FullSet {
    from: Seq,
    /// What has to be repeated still.
    todo: BTreeSet<FactKey>,
    /// Whether nothing but `todo` and the pending changes is missing.
    closed: bool,
}

/// What this host has yet to write.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    incarnation: Incarnation,
    next: Seq,
    pending: BTreeMap<FactKey, Option<Fact>>,
    full_set: Option<FullSet>,
}

impl Writer {
    pub(crate) const fn new(incarnation: Incarnation) -> Self {
        let full_set = Some(FullSet { from: Seq(1), todo: BTreeSet::new(), closed: false });
        Self { incarnation, next: Seq(1), pending: BTreeMap::new(), full_set }
    }

    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
}

impl Records {
    /// States or (with `None`) withdraws a fact about this host. Takes effect with [`Records::flush`]. False if that
    /// changes nothing. Fails if key and fact are of different kinds.
    pub fn set_local(&mut self, key: FactKey, fact: Option<Fact>) -> Result<bool, GossipError> {
        if fact.as_ref().is_some_and(|fact| !same_kind(&key, fact)) {
            return Err(GossipError::WrongKind(key));
        }
        let written = self.own_log().and_then(|log| log.view().get(&key));
        let is_written = match (&fact, written) {
            // What an earlier incarnation said has to be said again: this one's full set would remove it.
            (Some(_), Some(slot)) => slot.fact == fact && slot.incarnation() == self.writer.incarnation,
            (Some(_), None) => false,
            (None, slot) => slot.is_none_or(|slot| slot.fact.is_none()),
        };
        if is_written {
            return Ok(self.writer.pending.remove(&key).is_some());
        }
        Ok(self.writer.pending.get(&key) != Some(&fact) && {
            self.writer.pending.insert(key, fact);
            true
        })
    }

    /// Everything that is so about this host has been set since its start: what earlier incarnations said and this
    /// one did not repeat is gone. To be called once, after the state was rebuilt from disk, runtime and kernel.
    pub fn complete_local(&mut self) {
        if let Some(full_set) = &mut self.writer.full_set {
            full_set.closed = true;
        }
    }

    /// Signs the next batch of changes, keeps it, queues it for the push and returns it; `None` if there is nothing to
    /// write. To be called until it returns `None`. `intent` is the revision that this host has.
    pub fn flush(&mut self, signer: &dyn Signer, intent: Revision) -> Result<Option<Batch>, GossipError> {
        self.start_rewrite_if_due();
        // Work on a copy: a batch that cannot be encoded must not lose the changes in it.
        let mut writer = self.writer.clone();
        let entries = self.take_entries(&mut writer);
        if entries.is_empty() {
            return Ok(None);
        }
        let mut batch = Batch {
            host: self.me,
            incarnation: writer.incarnation,
            intent,
            first: writer.next,
            entries,
            signature: Signature([0; 64]),
        };
        let bytes = batch.signed_bytes()?;
        batch.signature = signer.sign(&bytes);
        writer.next = batch.last().next();
        self.writer = writer;
        let id = BatchId::new(&batch, Fingerprint::of(&bytes));
        self.insert(id, batch.clone(), bytes.len());
        self.enqueue_push(batch.clone());
        Ok(Some(batch))
    }

    fn take_entries(&self, writer: &mut Writer) -> Vec<Entry> {
        let mut entries = Vec::new();
        while entries.len() < BATCH_ENTRIES
            && let Some((key, fact)) = writer.pending.pop_first()
        {
            if let Some(full_set) = &mut writer.full_set {
                full_set.todo.remove(&key);
            }
            entries.push(fact.map_or(Entry::Clear(key), |fact| Entry::Set(key, fact)));
        }
        let Some(full_set) = &mut writer.full_set else { return entries };
        while entries.len() < BATCH_ENTRIES
            && let Some(key) = full_set.todo.pop_first()
        {
            let slot = self.own_log().and_then(|log| log.view().get(&key));
            entries.extend(slot.and_then(|slot| Some(Entry::Set(key, slot.fact.clone()?))));
        }
        if full_set.closed
            && full_set.todo.is_empty()
            && writer.pending.is_empty()
            && entries.len() < BATCH_ENTRIES
        {
            entries.push(Entry::FullSet { from: full_set.from });
            writer.full_set = None;
        }
        entries
    }

    /// Repeats what is live when most of the log is not, so that everybody can drop the rest, `Clear`s as well.
    fn start_rewrite_if_due(&mut self) {
        let (Some(log), None) = (self.own_log(), &self.writer.full_set) else { return };
        let length = self.writer.next.0.saturating_sub(log.floor().seq.0);
        let live: BTreeSet<_> =
            log.view().iter().filter(|(_, slot)| slot.fact.is_some()).map(|(key, _)| *key).collect();
        if length > 2 * live.len() as u64 + DEAD_ALLOWED {
            self.writer.full_set = Some(FullSet { from: self.writer.next, todo: live, closed: true });
        }
    }

    /// Goes on under a higher incarnation and repeats everything; see [`Applied::own_newer`](crate::Applied). One that
    /// is not higher changes nothing.
    pub fn restart(&mut self, incarnation: Incarnation) {
        if incarnation <= self.writer.incarnation {
            return;
        }
        let mut next = Writer::new(incarnation);
        let closed = self.writer.full_set.as_ref().is_none_or(|full_set| full_set.closed);
        let said = self.own_log().into_iter().flat_map(|log| log.view());
        next.pending = said
            .filter(|(_, slot)| slot.incarnation() == self.writer.incarnation)
            .filter_map(|(key, slot)| Some((*key, Some(slot.fact.clone()?))))
            .collect();
        next.pending.append(&mut self.writer.pending);
        next.full_set.iter_mut().for_each(|full_set| full_set.closed = closed);
        self.writer = next;
    }

    /// This host's incarnation.
    pub const fn incarnation(&self) -> Incarnation {
        self.writer.incarnation
    }
}
