//! The state machine that every store runs: entries, a revision, and the recent changes for watchers. Pure.

use crate::error::StoreError;
use crate::store::{Change, Entry, Event, Expected, Snapshot, Txn, TxnOutcome, Write};
use hopsack_types::Revision;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// How many changes are kept for watchers; who is further behind gets a snapshot.
const HISTORY_CHANGES: usize = 4096;

/// How many bytes of keys and values the history may hold.
const HISTORY_BYTES: usize = 4 << 20;

/// Entries, revision and recent history. Two states are equal when a reader cannot tell them apart; how much
/// history they keep does not count.
#[derive(Debug, Clone)]
pub struct KvState {
    now: Snapshot,
    /// Oldest first, whole revisions only.
    history: VecDeque<Change>,
    history_bytes: usize,
    history_limit: usize,
    /// `history` holds everything after this revision.
    floor: Revision,
}

impl PartialEq for KvState {
    fn eq(&self, other: &Self) -> bool {
        self.now == other.now
    }
}

impl Eq for KvState {}

impl From<Snapshot> for KvState {
    fn from(now: Snapshot) -> Self {
        Self {
            floor: now.revision,
            now,
            history: VecDeque::new(),
            history_bytes: 0,
            history_limit: HISTORY_CHANGES,
        }
    }
}

/// An event does not join on to the state: something between them is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("changes from {since} to {until} do not follow on a copy at {own}")]
pub struct Gap {
    /// Where the copy is.
    pub own: Revision,
    /// Where the event starts.
    pub since: Revision,
    /// Where the event ends.
    pub until: Revision,
}

impl KvState {
    /// An empty state, before the first write of an epoch. A copy that has not heard anything yet is at epoch 0.
    pub fn new(epoch: u64) -> Self {
        Snapshot { revision: Revision { epoch, index: 0 }, entries: BTreeMap::new() }.into()
    }

    /// Keeps at most so many changes for watchers.
    #[must_use]
    pub fn with_history_limit(mut self, changes: usize) -> Self {
        self.history_limit = changes;
        self.trim();
        self
    }

    /// The revision of the last write.
    pub fn revision(&self) -> Revision {
        self.now.revision
    }

    /// The entry under a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.now.entries.get(key)
    }

    /// Everything.
    pub fn snapshot(&self) -> &Snapshot {
        &self.now
    }

    /// The entries whose key starts with the prefix.
    pub fn list(&self, prefix: &str) -> Snapshot {
        let entries = self
            .now
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        Snapshot { revision: self.now.revision, entries }
    }

    /// Does a transaction, or says which guard does not hold and changes nothing. A transaction that changes nothing
    /// takes no revision.
    pub fn apply(&mut self, txn: Txn) -> TxnOutcome {
        for guard in txn.guards {
            let found = self.get(&guard.key).map(|entry| entry.modified);
            let holds = match guard.expected {
                Expected::Absent => found.is_none(),
                Expected::Exists => found.is_some(),
                Expected::ModifiedAt(revision) => found == Some(revision),
            };
            if !holds {
                return TxnOutcome::Conflict { key: guard.key, found, at: self.now.revision };
            }
        }
        let mut last = BTreeMap::new();
        for write in txn.writes {
            match write {
                Write::Put { key, value } => last.insert(key, Some(value)),
                Write::Delete { key } => last.insert(key, None),
            };
        }
        last.retain(|key, value| value.is_some() || self.now.entries.contains_key(key));
        if !last.is_empty() {
            let Revision { epoch, index } = self.now.revision;
            let revision = Revision { epoch, index: index + 1 };
            self.advance(revision, last.into_iter().map(|(key, value)| Change { revision, key, value }));
        }
        TxnOutcome::Committed(self.now.revision)
    }

    /// What a watcher that knows `from` has to be told; `None` when it knows everything (or more than this copy
    /// does, which then has to catch up first).
    pub fn changes_since(&self, from: Revision) -> Option<Event> {
        let revision = self.now.revision;
        if from >= revision {
            return None;
        }
        if from < self.floor {
            return Some(Event::Snapshot(self.now.clone()));
        }
        let start = self.history.partition_point(|change| change.revision <= from);
        let changes = self.history.range(start..).cloned().collect();
        Some(Event::Changes { since: from, revision, changes })
    }

    /// The part of an event that is new to this copy; `None` when nothing is. Old news is not an error: a copy may
    /// follow another that is behind it.
    ///
    /// # Errors
    /// [`Gap`] when the event does not start where this copy is, so the copy must ask again.
    pub fn news(&self, event: Event) -> Result<Option<Event>, Gap> {
        let own = self.now.revision;
        if event.revision() <= own {
            return Ok(None);
        }
        match event {
            Event::Snapshot(_) => Ok(Some(event)),
            Event::Changes { since, revision, mut changes } => {
                let ordered = changes.is_sorted_by_key(|change| change.revision);
                let ends = changes.last().is_some_and(|change| change.revision == revision);
                if since > own || revision.epoch != own.epoch || !ordered || !ends {
                    return Err(Gap { own, since, until: revision });
                }
                changes.retain(|change| change.revision > own);
                Ok(Some(Event::Changes { since: own, revision, changes }))
            }
        }
    }

    /// Takes in what another copy sent.
    ///
    /// # Errors
    /// [`Gap`], and nothing has changed.
    pub fn absorb(&mut self, event: Event) -> Result<(), Gap> {
        match self.news(event)? {
            None => {}
            Some(Event::Snapshot(snapshot)) => {
                *self = Self::from(snapshot).with_history_limit(self.history_limit);
            }
            Some(Event::Changes { revision, changes, .. }) => self.advance(revision, changes.into_iter()),
        }
        Ok(())
    }

    /// Everything but the history, as bytes.
    ///
    /// # Errors
    /// [`StoreError::Export`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        postcard::to_stdvec(&self.now).map_err(|source| StoreError::Export { source })
    }

    /// The state that [`KvState::to_bytes`] wrote, with an empty history.
    ///
    /// # Errors
    /// [`StoreError::Import`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        postcard::from_bytes::<Snapshot>(bytes)
            .map(Self::from)
            .map_err(|source| StoreError::Import { source })
    }

    fn advance(&mut self, revision: Revision, changes: impl Iterator<Item = Change>) {
        for change in changes {
            match &change.value {
                Some(value) => {
                    let entry = Entry { value: value.clone(), modified: change.revision };
                    self.now.entries.insert(change.key.clone(), entry);
                }
                None => drop(self.now.entries.remove(&change.key)),
            }
            self.history_bytes += size(&change);
            self.history.push_back(change);
        }
        self.now.revision = revision;
        self.trim();
    }

    /// Forgets the oldest revisions until the history is within bounds. A revision goes whole, or a watcher would
    /// see half a transaction.
    fn trim(&mut self) {
        while let Some(oldest) = self.history.front().map(|change| change.revision) {
            let within = self.history.len() <= self.history_limit && self.history_bytes <= HISTORY_BYTES;
            if within && oldest > self.floor {
                return;
            }
            self.floor = self.floor.max(oldest);
            if let Some(gone) = self.history.pop_front() {
                self.history_bytes -= size(&gone);
            }
        }
    }
}

fn size(change: &Change) -> usize {
    change.key.len() + change.value.as_ref().map_or(0, Vec::len)
}
