//! Writes of intent: read, decide, compare and swap, and again if somebody was quicker. Decisions that follow from one
//! another are taken on a draft.
//!
//! What must not live here: the decisions. They come as closures that see intent as it would be replaced.

use crate::error::AgentError;
use crate::intent::copy::parse;
use hopsack_api::{ApiError, ErrorCode};
use hopsack_store::{Store, Txn, TxnOutcome};
use hopsack_types::Revision;
use hopsack_types::intent::{Intent, Key, encode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often a write is tried against others who write at the same time.
const TRIES: u32 = 30;
/// How long to wait for the own copy to show what another has written.
const CATCH_UP: Duration = Duration::from_secs(3);

/// What a decision writes.
#[derive(Debug, Default)]
pub struct Writes(BTreeMap<Key, Option<Vec<u8>>>);

impl Writes {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates or replaces.
    pub fn put<T: Serialize>(mut self, key: Key, value: &T) -> Result<Self, AgentError> {
        let bytes = encode(&key, value)?;
        self.0.insert(key, Some(bytes));
        Ok(self)
    }

    /// Removes.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.0.insert(key, None);
        self
    }
}

/// Intent as one decision after another leaves it, and all that they write.
#[derive(Debug)]
pub struct Draft {
    intent: Intent,
    writes: Writes,
}

impl Draft {
    /// A draft without a change.
    pub fn of(intent: &Intent) -> Self {
        Self { intent: intent.clone(), writes: Writes::new() }
    }

    /// Intent as it is after all decisions until now.
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Takes in what a decision writes; the next one sees it.
    pub fn take(&mut self, writes: Writes) -> Result<(), AgentError> {
        for (key, value) in writes.0 {
            self.intent.set(&key, value.as_deref())?;
            self.writes.0.insert(key, value);
        }
        Ok(())
    }

    /// Creates or replaces.
    pub fn put<T: Serialize>(&mut self, key: Key, value: &T) -> Result<(), AgentError> {
        self.take(Writes::new().put(key, value)?)
    }

    /// Removes.
    pub fn delete(&mut self, key: Key) -> Result<(), AgentError> {
        self.take(Writes::new().delete(key))
    }

    /// All that was written.
    pub fn into_writes(self) -> Writes {
        self.writes
    }
}

/// What [`change`] would give with the intent that this host knows; nothing is written.
pub fn rehearse<T>(
    store: &dyn Store,
    decide: impl FnOnce(&Intent) -> Result<T, AgentError>,
) -> Result<T, AgentError> {
    decide(&parse(&store.list(""))?)
}

/// Writes something whose rightness depends on all of intent: names, subnets, hosts, tokens. All such writes take the
/// directory key, so each sees the ones before it; and what they write must be as it was read, since hosts change
/// ledgers without the directory. `decide` may be called several times.
pub async fn change<T>(
    store: &dyn Store,
    mut decide: impl FnMut(&Intent) -> Result<(Writes, T), AgentError>,
) -> Result<T, AgentError> {
    let directory = Key::Directory.to_string();
    for attempt in 0..TRIES {
        let snapshot = store.list("");
        let (writes, result) = decide(&parse(&snapshot)?)?;
        let count = format!("{}", snapshot.revision.index);
        let mut txn = Txn::new()
            .unchanged(directory.clone(), snapshot.entries.get(&directory))
            .put(directory.clone(), count);
        for (key, value) in writes.0 {
            let key = key.to_string();
            txn = txn.unchanged(key.clone(), snapshot.entries.get(&key));
            txn = match value {
                Some(value) => txn.put(key, value),
                None => txn.delete(key),
            };
        }
        match store.txn(txn).await? {
            TxnOutcome::Committed(_) => return Ok(result),
            TxnOutcome::Conflict { at, .. } => caught_up(store, at, attempt).await,
        }
    }
    Err(busy())
}

fn busy() -> AgentError {
    let message = "too many others write at the same time: try again";
    ApiError::new(ErrorCode::Unavailable, message).into()
}

/// Waits until the own copy shows the write that was in the way, and a little longer with each attempt, so that many
/// writers come through one after another.
async fn caught_up(store: &dyn Store, at: Revision, attempt: u32) {
    let reached = async {
        while store.revision() < at {
            sleep(Duration::from_millis(2)).await;
        }
    };
    if timeout(CATCH_UP, reached).await.is_err() {
        tracing::debug!(%at, "the own copy of intent lags behind");
    }
    if attempt > 3 {
        sleep(Duration::from_millis(u64::from(attempt) * 2)).await;
    }
}
