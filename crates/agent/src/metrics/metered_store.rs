//! A store whose writes are measured.

use super::Meters;
use async_trait::async_trait;
use hopsack_store::{Entry, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};
use hopsack_types::Revision;
use std::sync::Arc;

/// Another store, and the meters.
pub struct MeteredStore {
    /// What does the work.
    pub store: Arc<dyn Store>,
    /// Where the time of each write goes.
    pub meters: Meters,
}

#[async_trait]
impl Store for MeteredStore {
    fn get(&self, key: &str) -> Option<Entry> {
        self.store.get(key)
    }

    fn list(&self, prefix: &str) -> Snapshot {
        self.store.list(prefix)
    }

    fn revision(&self) -> Revision {
        self.store.revision()
    }

    fn has_stopped(&self) -> bool {
        self.store.has_stopped()
    }

    fn watch(&self, from: Revision) -> Watch {
        self.store.watch(from)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.meters.store_write.timed_outcome(self.store.txn(txn)).await
    }
}
