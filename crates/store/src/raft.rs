//! The store of a voter: Raft by openraft over a log in a redb file.
//!
//! | task (of openraft unless marked) | cardinality | does |
//! |---|---|---|
//! | core | 1 | elects, appends to the log (one durable redb commit for each batch), commits |
//! | state machine | 1 | applies to the shared [`crate::KvState`], writes a snapshot every 1,000 entries |
//! | replication | one for each other voter | sends log and snapshots by [`Peers`] |
//! | proposer (ours) | 1 | gathers what concurrent writers want into one log entry |
//!
//! The log is durable before a write is answered. The state machine is in memory only: on start it is the last
//! snapshot and the log after it. The redb calls block, so they run on tokio's blocking threads.

mod log;
mod machine;
mod peers;
#[cfg(test)]
mod tests;

pub use peers::{NoPeers, PeerAnswer, PeerRequest, Peers};

use crate::disk::{Disk, Kind};
use crate::error::StoreError;
use crate::live::{Live, Watch};
use crate::store::{Entry, Snapshot, Store, TXN_DEADLINE, Txn, TxnOutcome};
use async_trait::async_trait;
use hopsack_types::Revision;
use log::Log;
use machine::Machine;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{Config, Raft, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Names a voter for the life of its disk. Drawn at random when its log is made: a voter that lost its disk has
/// forgotten how it voted and must come back under another id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VoterId(pub u64);

impl fmt::Display for VoterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<u64> for VoterId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

openraft::declare_raft_types!(
    /// What our Raft is made of: an entry is what several writers wanted at the same time, its result the answer to
    /// each.
    pub(crate) Types:
        D = Vec<Txn>,
        R = Vec<TxnOutcome>,
        NodeId = VoterId,
        Node = (),
        SnapshotData = Vec<u8>,
);

/// A snapshot is taken, and the log before it forgotten, every so many entries.
const SNAPSHOT_EVERY: u64 = 1_000;

/// Log entries kept behind a snapshot, for voters that are a little late.
const KEEP_BEHIND_SNAPSHOT: u64 = 200;

/// At most so many transactions wait for the disk.
const WAITING: usize = 256;

/// How long a stopped voter may take to close its file: a snapshot may still be on its way to the disk.
const CLOSE: Duration = Duration::from_secs(10);

/// At most so many transactions go into one log entry.
const BATCH: usize = 64;

/// A voter's store.
pub struct RaftStore {
    id: VoterId,
    live: Live,
    raft: Raft<Types>,
    proposals: mpsc::Sender<Proposal>,
    file_closed: watch::Receiver<()>,
}

/// A transaction and who waits for its answer.
struct Proposal {
    txn: Txn,
    answer: oneshot::Sender<Result<TxnOutcome, StoreError>>,
}

impl RaftStore {
    /// Makes the log of a new cluster (or of a new epoch of one) with this voter alone: once in a cluster's life.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is a log already, and those of a disk.
    pub async fn create(
        path: &Path,
        id: VoterId,
        epoch: u64,
        peers: Arc<dyn Peers>,
    ) -> Result<Self, StoreError> {
        let disk = Disk::create(path, Kind::Voter, &[("voter", id.0), ("epoch", epoch)])?;
        Self::start(disk, peers).await
    }

    /// Takes up the log that [`RaftStore::create`] made. A sole voter returns with all that was ever acknowledged;
    /// one of several with all that it knows to be committed.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::Access`], [`StoreError::Corrupt`],
    /// [`StoreError::NewerFormat`], [`StoreError::Foreign`].
    pub async fn open(path: &Path, peers: Arc<dyn Peers>) -> Result<Self, StoreError> {
        Self::start(Disk::open(path, Kind::Voter)?, peers).await
    }

    async fn start(disk: Disk, peers: Arc<dyn Peers>) -> Result<Self, StoreError> {
        let id = VoterId(disk.mark("voter")?.ok_or_else(|| disk.foreign())?);
        let epoch = disk.mark("epoch")?.ok_or_else(|| disk.foreign())?;
        let file_closed = disk.closed();
        let log = Log::open(disk.clone()).await?;
        let machine = Machine::open(disk, epoch).await?;
        let live = machine.live();
        let network = peers::Network::new(peers);
        let raft = Raft::new(id, Arc::new(config()), network, log, machine).await.map_err(stopped)?;
        // A crash may have come between making the file and its first entry; such a log holds nothing yet.
        if !raft.is_initialized().await.map_err(stopped)? {
            raft.initialize(BTreeSet::from([id])).await.map_err(stopped)?;
        }
        let (proposals, queue) = mpsc::channel(WAITING);
        tokio::spawn(propose(raft.clone(), queue));
        let store = Self { id, live, raft, proposals, file_closed };
        store.catch_up().await?;
        Ok(store)
    }

    /// Waits until a sole voter has applied its whole log, which takes no longer than its disk. One of several
    /// cannot know whether the end of its log was committed, and need not: its copy may be behind, as any may.
    async fn catch_up(&self) -> Result<(), StoreError> {
        // Not from the metrics, which may still be from before the first entry.
        let voters = self
            .raft
            .with_raft_state(|state| state.membership_state.effective().voter_ids().collect::<BTreeSet<_>>());
        if voters.await.map_err(stopped)? != BTreeSet::from([self.id]) {
            return Ok(());
        }
        let wait = self.raft.wait(Some(TXN_DEADLINE));
        wait.current_leader(self.id, "start of a sole voter").await.map_err(stopped)?;
        // An entry without writes: once it is applied, so is all before it.
        self.raft.client_write(Vec::new()).await.map_err(stopped)?;
        Ok(())
    }

    /// This voter's id, as its disk has it.
    pub fn id(&self) -> VoterId {
        self.id
    }

    /// Who takes the writes at present, as far as is known here.
    pub fn leader(&self) -> Option<VoterId> {
        self.raft.metrics().borrow().current_leader
    }

    /// Answers another voter.
    ///
    /// # Errors
    /// [`StoreError::Stopped`].
    pub async fn answer(&self, request: PeerRequest) -> Result<PeerAnswer, StoreError> {
        peers::answer(&self.raft, request).await
    }

    /// Stops writing and closes the file, so that it can be opened again. Reads go on, writes are
    /// [`StoreError::Stopped`].
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the voter did not stop in order");
        }
        // openraft does not wait for its state machine, which holds the file for a moment longer.
        let closed = timeout(CLOSE, self.file_closed.clone().changed()).await;
        if closed.is_err() {
            tracing::warn!("the voter's file is still in use after it stopped");
        }
    }
}

fn config() -> Config {
    Config {
        cluster_name: "hopsack".to_owned(),
        // Voters may be far apart; a lost leader is replaced within some 2 s.
        heartbeat_interval: 250,
        election_timeout_min: 1_000,
        election_timeout_max: 2_000,
        install_snapshot_timeout: 10_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: KEEP_BEHIND_SNAPSHOT,
        ..Config::default()
    }
}

/// openraft's reasons are in the log already, where the failing disk call wrote them.
fn stopped(error: impl std::error::Error) -> StoreError {
    tracing::error!(%error, "the voter stopped");
    StoreError::Stopped
}

/// Puts what writers want into the log, all that wait at the time in one entry.
async fn propose(raft: Raft<Types>, mut queue: mpsc::Receiver<Proposal>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        // Who has given up was told that the outcome is unknown; let it be that nothing happened.
        batch.retain(|proposal| !proposal.answer.is_closed());
        let (txns, waiting): (Vec<_>, Vec<_>) = batch.drain(..).map(|p| (p.txn, p.answer)).unzip();
        if txns.is_empty() {
            continue;
        }
        if raft.metrics().borrow().running_state.is_err() {
            waiting.into_iter().for_each(|answer| drop(answer.send(Err(StoreError::Stopped))));
            continue;
        }
        match timeout(TXN_DEADLINE, raft.client_write(txns)).await {
            Ok(Ok(done)) => {
                for (answer, outcome) in waiting.into_iter().zip(done.data) {
                    drop(answer.send(Ok(outcome)));
                }
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                let refusal = || StoreError::NotLeader { leader: to.leader_id.map(|id| id.0) };
                waiting.into_iter().for_each(|answer| drop(answer.send(Err(refusal()))));
            }
            // It may have reached the log before the time was up or the disk failed: nobody can say.
            Ok(Err(_)) | Err(_) => {
                waiting.into_iter().for_each(|answer| drop(answer.send(Err(StoreError::OutcomeUnknown))));
            }
        }
    }
}

#[async_trait]
impl Store for RaftStore {
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
        self.raft.metrics().borrow().running_state.is_err()
    }

    fn watch(&self, from: Revision) -> Watch {
        self.live.watch(from)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        let (answer, outcome) = oneshot::channel();
        let decide = async {
            self.proposals.send(Proposal { txn, answer }).await.map_err(|_| StoreError::Stopped)?;
            // The proposer answers all that it takes; it is gone only when the runtime stops, perhaps half-way.
            outcome.await.unwrap_or(Err(StoreError::OutcomeUnknown))
        };
        timeout(TXN_DEADLINE, decide).await.unwrap_or(Err(StoreError::OutcomeUnknown))
    }
}
