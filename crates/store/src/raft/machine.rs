//! The state machine that Raft drives: the shared state in memory, its snapshots in redb.

use super::log::failure;
use super::{Types, VoterId};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::live::Live;
use crate::state::KvState;
use crate::store::TxnOutcome;
use openraft::storage::RaftStateMachine;
use openraft::{
    Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use redb::TableDefinition;

type Failure = StorageError<VoterId>;
type Meta = SnapshotMeta<VoterId, ()>;

/// The last snapshot: `meta`, and `state` as [`KvState::to_bytes`] gives it.
const SNAPSHOT: TableDefinition<&str, &[u8]> = TableDefinition::new("snapshot");

/// The state machine. A clone shares the state, and takes along what was applied at the time.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    disk: Disk,
    live: Live,
    applied: Option<LogId<VoterId>>,
    membership: StoredMembership<VoterId, ()>,
}

impl Machine {
    /// Takes up the last snapshot, or an empty state of the epoch.
    pub(super) async fn open(disk: Disk, epoch: u64) -> Result<Self, StoreError> {
        let make = disk.write("prepare the snapshot", |txn| {
            txn.open_table(SNAPSHOT)?;
            Ok(())
        });
        make.await?;
        let empty = Live::new(KvState::new(epoch));
        let mut machine = Self { disk, live: empty, applied: None, membership: StoredMembership::default() };
        if let Some((meta, bytes)) = machine.stored().await? {
            let state = KvState::from_bytes(&bytes).map_err(|source| machine.disk.corrupt(source))?;
            machine.live = Live::new(state);
            machine.applied = meta.last_log_id;
            machine.membership = meta.last_membership;
        }
        Ok(machine)
    }

    /// The state, shared with readers.
    pub(super) fn live(&self) -> Live {
        self.live.clone()
    }

    async fn stored(&self) -> Result<Option<(Meta, Vec<u8>)>, StoreError> {
        let read = self.disk.read("read the snapshot", |txn| {
            let table = txn.open_table(SNAPSHOT)?;
            let part = |name| Ok::<_, redb::Error>(table.get(name)?.map(|part| part.value().to_owned()));
            Ok(part("meta")?.zip(part("state")?))
        });
        let Some((meta, state)) = read.await? else { return Ok(None) };
        Ok(Some((postcard::from_bytes(&meta).map_err(|source| self.disk.corrupt(source))?, state)))
    }

    async fn store(&self, meta: &Meta, state: Vec<u8>) -> Result<(), StoreError> {
        let meta = postcard::to_stdvec(meta).map_err(|source| StoreError::Export { source })?;
        let write = self.disk.write("write the snapshot", move |txn| {
            let mut table = txn.open_table(SNAPSHOT)?;
            table.insert("meta", meta.as_slice())?;
            table.insert("state", state.as_slice())?;
            Ok(())
        });
        write.await
    }
}

/// A consistent view of the machine at one log id, to be written while the machine goes on.
#[derive(Debug)]
pub(super) struct View {
    machine: Machine,
    state: Result<Vec<u8>, StoreError>,
}

impl RaftSnapshotBuilder<Types> for View {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failure> {
        let Machine { applied, membership, .. } = &self.machine;
        let meta = Meta {
            last_log_id: *applied,
            last_membership: membership.clone(),
            snapshot_id: applied.map_or_else(|| "0".to_owned(), |at| at.to_string()),
        };
        // A view is built once.
        let state = std::mem::replace(&mut self.state, Err(StoreError::Stopped));
        let built = async {
            let state = state?;
            self.machine.store(&meta, state.clone()).await?;
            Ok(state)
        };
        let state = built.await.map_err(|error| StorageIOError::write_snapshot(None, failure(&error)))?;
        Ok(Snapshot { meta, snapshot: Box::new(state) })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = View;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<VoterId>>, StoredMembership<VoterId, ()>), Failure> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<TxnOutcome>>, Failure>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            self.applied = Some(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(txns) => {
                    self.live.change(|state| txns.into_iter().map(|txn| state.apply(txn)).collect())
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
            });
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> View {
        View { machine: self.clone(), state: self.live.read(KvState::to_bytes) }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, Failure> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Box<Vec<u8>>) -> Result<(), Failure> {
        let installed = async {
            let state = KvState::from_bytes(&snapshot)?;
            self.store(meta, *snapshot).await?;
            self.applied = meta.last_log_id;
            self.membership = meta.last_membership.clone();
            self.live.change(|live| *live = state);
            Ok(())
        };
        installed
            .await
            .map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), failure(&error)).into())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failure> {
        match self.stored().await {
            Ok(stored) => Ok(stored.map(|(meta, state)| Snapshot { meta, snapshot: Box::new(state) })),
            Err(error) => Err(StorageIOError::read_snapshot(None, failure(&error)).into()),
        }
    }
}
