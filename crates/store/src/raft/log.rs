//! The log of a voter and its vote, in redb.

use super::{Types, VoterId};
use crate::disk::Disk;
use crate::error::StoreError;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, Entry, LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote,
};
use redb::{Durability, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

type Failure = StorageError<VoterId>;

/// Index to encoded entry, without holes.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// `vote`, `purged` and `committed`, encoded.
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");

/// The log. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Log {
    disk: Disk,
}

impl Log {
    /// Takes up the log in a file and reads all of it once, because openraft takes a damaged log for a bug and
    /// panics.
    pub(super) async fn open(disk: Disk) -> Result<Self, StoreError> {
        // Tables come into being when they are first written to; from here on reading finds them.
        let make = disk.write("prepare the log", |txn| {
            txn.open_table(LOG)?;
            txn.open_table(MARKS)?;
            Ok(())
        });
        make.await?;
        let log = Self { disk };
        log.mark::<Vote<VoterId>>("vote").await?;
        log.mark::<LogId<VoterId>>("committed").await?;
        let purged = log.mark::<LogId<VoterId>>("purged").await?;
        let mut next = purged.map(|purged| purged.index + 1);
        for entry in log.entries((Bound::Unbounded, Bound::Unbounded)).await? {
            if entry.log_id.index != next.unwrap_or(0) {
                return Err(log.disk.corrupt(Hole { missing: next.unwrap_or(0) }));
            }
            next = Some(entry.log_id.index + 1);
        }
        Ok(log)
    }

    async fn mark<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        let read = self.disk.read("read the log's marks", move |txn| {
            Ok(txn.open_table(MARKS)?.get(name)?.map(|value| value.value().to_owned()))
        });
        let bytes = read.await?;
        bytes
            .map(|bytes| postcard::from_bytes(&bytes).map_err(|source| self.disk.corrupt(source)))
            .transpose()
    }

    async fn set_mark<T: Serialize>(
        &self,
        name: &'static str,
        value: &T,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let bytes = encode(value)?;
        let write = self.disk.write("write the log's marks", move |txn| {
            txn.set_durability(durability)?;
            txn.open_table(MARKS)?.insert(name, bytes.as_slice())?;
            Ok(())
        });
        write.await
    }

    async fn entries(&self, range: (Bound<u64>, Bound<u64>)) -> Result<Vec<Entry<Types>>, StoreError> {
        let read = self.disk.read("read the log", move |txn| {
            let mut raw = Vec::new();
            for row in txn.open_table(LOG)?.range(range)? {
                raw.push(row?.1.value().to_owned());
            }
            Ok(raw)
        });
        let decode =
            |bytes: Vec<u8>| postcard::from_bytes(&bytes).map_err(|source| self.disk.corrupt(source));
        read.await?.into_iter().map(decode).collect()
    }

    async fn last(&self) -> Result<Option<LogId<VoterId>>, StoreError> {
        let read = self.disk.read("read the log's end", |txn| {
            Ok(txn.open_table(LOG)?.last()?.map(|(_, entry)| entry.value().to_owned()))
        });
        let Some(bytes) = read.await? else { return Ok(None) };
        let entry: Entry<Types> = postcard::from_bytes(&bytes).map_err(|source| self.disk.corrupt(source))?;
        Ok(Some(entry.log_id))
    }
}

/// An entry of the log is not there.
#[derive(Debug, thiserror::Error)]
#[error("entry {missing} of the log is missing")]
struct Hole {
    missing: u64,
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(value).map_err(|source| StoreError::Export { source })
}

/// What openraft is told; it keeps text only, so the error goes to our own log first.
pub(super) fn failure(error: &StoreError) -> AnyError {
    tracing::error!(error = error as &dyn std::error::Error, "the voter's file failed");
    AnyError::new(error)
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Types>>, Failure> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        self.entries(range).await.map_err(|error| StorageIOError::read_logs(failure(&error)).into())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failure> {
        let state = async {
            let last_purged_log_id = self.mark("purged").await?;
            let last_log_id = self.last().await?.or(last_purged_log_id);
            Ok(LogState { last_purged_log_id, last_log_id })
        };
        state.await.map_err(|error| StorageIOError::read_logs(failure(&error)).into())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<VoterId>) -> Result<(), Failure> {
        let saved = self.set_mark("vote", vote, Durability::Immediate).await;
        saved.map_err(|error| StorageIOError::write_vote(failure(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<VoterId>>, Failure> {
        self.mark("vote").await.map_err(|error| StorageIOError::read_vote(failure(&error)).into())
    }

    /// Without an fsync of its own: it reaches the disk with the next append. A voter that lost it applies a little
    /// less on start, until it hears from the others.
    async fn save_committed(&mut self, committed: Option<LogId<VoterId>>) -> Result<(), Failure> {
        let Some(committed) = committed else { return Ok(()) };
        let saved = self.set_mark("committed", &committed, Durability::None).await;
        saved.map_err(|error| StorageIOError::write(failure(&error)).into())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<VoterId>>, Failure> {
        self.mark("committed").await.map_err(|error| StorageIOError::read(failure(&error)).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let row = |entry: Entry<Types>| Ok((entry.log_id.index, encode(&entry)?));
        let rows: Result<Vec<_>, StoreError> = entries.into_iter().map(row).collect();
        let appended = async {
            let rows = rows?;
            let write = self.disk.write("append to the log", move |txn| {
                let mut log = txn.open_table(LOG)?;
                for (index, entry) in rows {
                    log.insert(index, entry.as_slice())?;
                }
                Ok(())
            });
            write.await
        };
        appended.await.map_err(|error| StorageIOError::write_logs(failure(&error)))?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId<VoterId>) -> Result<(), Failure> {
        let write = self.disk.write("truncate the log", move |txn| {
            txn.open_table(LOG)?.retain_in(since.index.., |_, _| false)?;
            Ok(())
        });
        write.await.map_err(|error| StorageIOError::write_logs(failure(&error)).into())
    }

    async fn purge(&mut self, until: LogId<VoterId>) -> Result<(), Failure> {
        let purged = async {
            let mark = encode(&until)?;
            let write = self.disk.write("shorten the log", move |txn| {
                txn.open_table(MARKS)?.insert("purged", mark.as_slice())?;
                txn.open_table(LOG)?.retain_in(..=until.index, |_, _| false)?;
                Ok(())
            });
            write.await
        };
        purged.await.map_err(|error| StorageIOError::write_logs(failure(&error)).into())
    }
}
