//! Stores of intent on disk: the voter's log, the copy of everybody else.

use crate::entropy::Entropy;
use crate::error::AgentError;
use crate::parts::Stores;
use crate::statedir::StateDir;
use async_trait::async_trait;
use hopsack_store::{Backing, DiskBacking, Event, NoPeers, RaftStore, Replica, Store, Upstream, VoterId};
use std::sync::Arc;

const VOTER: &str = "intent.redb";
const COPY: &str = "intent-copy.redb";
/// A new cluster's epoch; a cluster that is rebuilt from a copy gets the next one.
const FIRST_EPOCH: u64 = 1;

/// Stores in the state directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskStores;

#[async_trait]
impl Stores for DiskStores {
    async fn create_voter(&self, dir: &StateDir, entropy: &Entropy) -> Result<Arc<dyn Store>, AgentError> {
        dir.remove(VOTER)?;
        let voter = VoterId(entropy.number());
        Ok(Arc::new(RaftStore::create(&dir.path(VOTER), voter, FIRST_EPOCH, Arc::new(NoPeers)).await?))
    }

    async fn open_voter(&self, dir: &StateDir) -> Result<Arc<dyn Store>, AgentError> {
        Ok(Arc::new(RaftStore::open(&dir.path(VOTER), Arc::new(NoPeers)).await?))
    }

    async fn begin_copy(&self, dir: &StateDir, intent: Event) -> Result<(), AgentError> {
        dir.remove(COPY)?;
        let backing = DiskBacking::open(&dir.path(COPY))?;
        backing.save(intent).await?;
        Ok(())
    }

    async fn open_copy(&self, dir: &StateDir, upstream: Arc<dyn Upstream>) -> Result<Replica, AgentError> {
        let backing = DiskBacking::open(&dir.path(COPY))?;
        Ok(Replica::open(Arc::new(backing), upstream).await?)
    }
}
