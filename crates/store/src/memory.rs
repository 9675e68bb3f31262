//! A store in memory, for tests and for whole agents in a simulation: no task, no timer, no thread, so that the same
//! calls in the same order give the same results.

use crate::error::StoreError;
use crate::live::{Live, Watch};
use crate::state::KvState;
use crate::store::{Entry, Snapshot, Store, Txn, TxnOutcome};
use async_trait::async_trait;
use hopsack_types::Revision;

/// A store in memory. Cloning shares it.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    live: Live,
}

impl MemoryStore {
    /// An empty store of an epoch.
    pub fn new(epoch: u64) -> Self {
        KvState::new(epoch).into()
    }

    /// Its content, to survive a simulated crash.
    ///
    /// # Errors
    /// [`StoreError::Export`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        self.live.read(KvState::to_bytes)
    }

    /// A store with the content that [`MemoryStore::to_bytes`] gave. Its history is empty, as after a restart.
    ///
    /// # Errors
    /// [`StoreError::Import`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        KvState::from_bytes(bytes).map(Self::from)
    }
}

impl From<KvState> for MemoryStore {
    fn from(state: KvState) -> Self {
        Self { live: Live::new(state) }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn get(&self, key: &str) -> Option<Entry> {
        self.live.get(key)
    }

    fn list(&self, prefix: &str) -> Snapshot {
        self.live.list(prefix)
    }

    fn revision(&self) -> Revision {
        self.live.revision()
    }

    fn has_stopped(&self) -> bool {
        false
    }

    fn watch(&self, from: Revision) -> Watch {
        self.live.watch(from)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        Ok(self.live.change(|state| state.apply(txn)))
    }
}
