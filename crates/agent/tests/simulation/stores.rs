//! Stores of intent that outlive a simulated crash: what was committed before it is there after it.

use async_trait::async_trait;
use hopsack_agent::entropy::Entropy;
use hopsack_agent::error::AgentError;
use hopsack_agent::parts::Stores;
use hopsack_agent::statedir::StateDir;
use hopsack_store::{Backing, Event, MemoryBacking, MemoryStore, Replica, Store, StoreError, Upstream};
use std::sync::{Arc, Mutex};

/// One host's stores.
#[derive(Default)]
pub struct SimStores {
    voter: Mutex<Option<MemoryStore>>,
    copy: Mutex<MemoryBacking>,
}

#[async_trait]
impl Stores for SimStores {
    async fn create_voter(&self, _: &StateDir, entropy: &Entropy) -> Result<Arc<dyn Store>, AgentError> {
        let store = MemoryStore::new(entropy.number());
        *self.voter.lock().unwrap() = Some(store.clone());
        Ok(Arc::new(store))
    }

    async fn open_voter(&self, _: &StateDir) -> Result<Arc<dyn Store>, AgentError> {
        let mut kept = self.voter.lock().unwrap();
        let Some(before) = kept.as_ref() else {
            return Err(StoreError::Missing { path: "voter".into() }.into());
        };
        // A copy, so that nothing that is left of the agent before this one can write into it.
        let store = MemoryStore::from_bytes(&before.to_bytes()?)?;
        *kept = Some(store.clone());
        Ok(Arc::new(store))
    }

    async fn begin_copy(&self, _: &StateDir, intent: Event) -> Result<(), AgentError> {
        let fresh = MemoryBacking::new();
        fresh.save(intent).await?;
        *self.copy.lock().unwrap() = fresh;
        Ok(())
    }

    async fn open_copy(&self, _: &StateDir, upstream: Arc<dyn Upstream>) -> Result<Replica, AgentError> {
        let backing = MemoryBacking::from(self.copy.lock().unwrap().state());
        *self.copy.lock().unwrap() = backing.clone();
        Ok(Replica::open(Arc::new(backing), upstream).await?)
    }
}
