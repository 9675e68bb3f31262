//! The trait and its vocabulary: what is read, what is written, what a watcher sees.
//!
//! The types travel between hosts and lie on disk, so a change of their shape is a change of format.

use crate::error::StoreError;
use crate::live::Watch;
use async_trait::async_trait;
use hopsack_types::Revision;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a write may go without an answer before it is [`StoreError::OutcomeUnknown`].
pub const TXN_DEADLINE: Duration = Duration::from_secs(3);

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// The largest transaction: all keys and values that it writes, in bytes.
pub const MAX_TXN_BYTES: usize = 1 << 20;

/// Agreed, versioned key-value state. Reads are from this host's own copy: they never wait and never fail, and may
/// be behind what was committed elsewhere. A writer guards against that by [`Guard`]s.
#[async_trait]
pub trait Store: Send + Sync {
    /// The entry under a key.
    fn get(&self, key: &str) -> Option<Entry>;

    /// All entries whose key starts with the prefix, and the revision that they are from. An empty prefix means all.
    fn list(&self, prefix: &str) -> Snapshot;

    /// The revision of this host's copy.
    fn revision(&self) -> Revision;

    /// Whether this host's store has stopped by itself, as a voter does on an error of its disk. Reads go on; until it is
    /// opened anew every write is [`StoreError::Stopped`].
    fn has_stopped(&self) -> bool;

    /// Everything that changes after `from`, in order, from now on. See [`Event`].
    fn watch(&self, from: Revision) -> Watch;

    /// Checks all guards and then does all writes, or nothing. After `Committed(r)` this store's reads are normally
    /// at `r` or later; a copy that could not catch up in time still answers `Committed`, because it is.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] when no answer came within [`TXN_DEADLINE`]: the write may have happened.
    /// After any other error it has not.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;
}

/// A value and the revision that last wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// When it was last written.
    pub modified: Revision,
}

/// Entries as they were at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The revision of the store, not of the newest entry in here.
    pub revision: Revision,
    /// Entries by key.
    pub entries: BTreeMap<String, Entry>,
}

/// Writes that happen all or not at all, and what must be true for that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// What must be true before the first write.
    pub guards: Vec<Guard>,
    /// The writes, in order; of several to one key the last one counts.
    pub writes: Vec<Write>,
}

/// One condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The key that is looked at.
    pub key: String,
    /// What must be found there.
    pub expected: Expected,
}

/// What a guard must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// No such key.
    Absent,
    /// The key, last written at exactly this revision: unchanged since it was read.
    ModifiedAt(Revision),
    /// The key, with any value.
    Exists,
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// Creates or replaces.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes; a key that is not there is not an error.
    Delete {
        /// The key.
        key: String,
    },
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOutcome {
    /// Done; all its writes have this revision. A transaction that changes nothing answers the current revision.
    Committed(Revision),
    /// A guard did not hold and nothing was written.
    Conflict {
        /// The first guard's key that did not hold.
        key: String,
        /// When that key was last written; `None` if it is not there.
        found: Option<Revision>,
        /// The revision at which this was found: who reads again at this revision sees the cause.
        at: Revision,
    },
}

/// One key's new value, or its removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The revision that made it.
    pub revision: Revision,
    /// The key.
    pub key: String,
    /// The new value; `None` when removed.
    pub value: Option<Vec<u8>>,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Everything, in place of whatever the watcher knew: it asked for a revision of another epoch, or one whose
    /// history is no longer kept.
    Snapshot(Snapshot),
    /// All that changed after `since`, up to and with `revision`: whole transactions, in order. With no changes it
    /// only says that the sender lives and is at `revision`.
    Changes {
        /// The revision that the changes start after.
        since: Revision,
        /// The revision that they lead to.
        revision: Revision,
        /// The changes.
        changes: Vec<Change>,
    },
}

impl Event {
    /// The revision that a watcher is at after it took this in.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Snapshot(snapshot) => snapshot.revision,
            Self::Changes { revision, .. } => *revision,
        }
    }
}

impl Write {
    /// The key that it writes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

impl Txn {
    /// A transaction that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn guard(mut self, key: impl Into<String>, expected: Expected) -> Self {
        self.guards.push(Guard { key: key.into(), expected });
        self
    }

    /// Adds the condition that a key is still as it was read: its entry, or its absence.
    #[must_use]
    pub fn unchanged(self, key: impl Into<String>, read: Option<&Entry>) -> Self {
        self.guard(key, read.map_or(Expected::Absent, |entry| Expected::ModifiedAt(entry.modified)))
    }

    /// Adds a write.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into() });
        self
    }

    /// Adds a removal.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }

    /// Whether its size is within bounds; every store asks before it writes.
    ///
    /// # Errors
    /// [`StoreError::KeyLength`] or [`StoreError::TxnTooLarge`].
    pub fn check(&self) -> Result<(), StoreError> {
        let mut bytes = 0;
        for write in &self.writes {
            let key = write.key();
            if key.is_empty() || key.len() > MAX_KEY_BYTES {
                return Err(StoreError::KeyLength { bytes: key.len() });
            }
            bytes += key.len();
            if let Write::Put { value, .. } = write {
                bytes += value.len();
            }
        }
        if bytes > MAX_TXN_BYTES {
            return Err(StoreError::TxnTooLarge { bytes });
        }
        Ok(())
    }
}
