//! Where a replica keeps its copy: a file, or memory for simulations.

use crate::disk::{Disk, Kind};
use crate::error::StoreError;
use crate::state::KvState;
use crate::store::{Change, Entry, Event, Snapshot};
use async_trait::async_trait;
use hopsack_types::Revision;
use redb::{ReadableTable, Table, TableDefinition};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The place of a replica's copy.
#[async_trait]
pub trait Backing: Send + Sync {
    /// Everything that was saved.
    ///
    /// # Errors
    /// Those of a disk.
    async fn load(&self) -> Result<KvState, StoreError>;

    /// Keeps an event that follows on what was saved before. On return it survives a crash.
    ///
    /// # Errors
    /// Those of a disk; then nothing of the event is kept.
    async fn save(&self, event: Event) -> Result<(), StoreError>;
}

/// A copy in memory: no thread, no timer. A clone shares the content, so that a simulation can keep one over a
/// crash.
#[derive(Debug, Clone)]
pub struct MemoryBacking {
    state: Arc<Mutex<KvState>>,
}

impl MemoryBacking {
    /// An empty copy, of a host that has not heard anything.
    pub fn new() -> Self {
        KvState::new(0).into()
    }

    /// What is kept.
    pub fn state(&self) -> KvState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Default for MemoryBacking {
    fn default() -> Self {
        Self::new()
    }
}

impl From<KvState> for MemoryBacking {
    fn from(state: KvState) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

#[async_trait]
impl Backing for MemoryBacking {
    async fn load(&self) -> Result<KvState, StoreError> {
        Ok(self.state())
    }

    async fn save(&self, event: Event) -> Result<(), StoreError> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).absorb(event)?)
    }
}

/// Key to encoded [`Entry`].
const ENTRIES: TableDefinition<&str, &[u8]> = TableDefinition::new("entries");

/// The revision, under `epoch` and `index`.
const REVISION: TableDefinition<&str, u64> = TableDefinition::new("revision");

/// A copy in a file.
#[derive(Debug, Clone)]
pub struct DiskBacking {
    disk: Disk,
}

impl DiskBacking {
    /// Opens the copy, or makes an empty one where there is no file. Blocks for a moment.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Access`], [`StoreError::Corrupt`], [`StoreError::NewerFormat`],
    /// [`StoreError::Foreign`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let disk = match Disk::open(path, Kind::Copy) {
            Err(StoreError::Missing { .. }) => Disk::create(path, Kind::Copy, &[]),
            opened => opened,
        }?;
        Ok(Self { disk })
    }
}

#[async_trait]
impl Backing for DiskBacking {
    async fn load(&self) -> Result<KvState, StoreError> {
        let read = self.disk.read("read the copy", |txn| {
            let entries = match txn.open_table(ENTRIES) {
                Ok(entries) => entries,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let mut raw = Vec::new();
            for row in entries.iter()? {
                let (key, entry) = row?;
                raw.push((key.value().to_owned(), entry.value().to_owned()));
            }
            let revision = txn.open_table(REVISION)?;
            let part = |name| Ok::<_, redb::Error>(revision.get(name)?.map_or(0, |part| part.value()));
            Ok(Some((raw, Revision { epoch: part("epoch")?, index: part("index")? })))
        });
        let Some((raw, revision)) = read.await? else { return Ok(KvState::new(0)) };
        let mut entries = BTreeMap::new();
        for (key, bytes) in raw {
            let entry: Entry = postcard::from_bytes(&bytes).map_err(|source| self.disk.corrupt(source))?;
            entries.insert(key, entry);
        }
        Ok(Snapshot { revision, entries }.into())
    }

    async fn save(&self, event: Event) -> Result<(), StoreError> {
        let rows = rows(&event)?;
        let save = self.disk.write("save the copy", move |txn| {
            if matches!(event, Event::Snapshot(_)) {
                txn.delete_table(ENTRIES)?;
            }
            let mut entries = txn.open_table(ENTRIES)?;
            for (key, entry) in rows {
                put(&mut entries, &key, entry.as_deref())?;
            }
            let mut revision = txn.open_table(REVISION)?;
            revision.insert("epoch", event.revision().epoch)?;
            revision.insert("index", event.revision().index)?;
            Ok(())
        });
        save.await
    }
}

/// A key and its encoded entry; `None` removes it.
type Row = (String, Option<Vec<u8>>);

/// The rows that an event sets, in order.
fn rows(event: &Event) -> Result<Vec<Row>, StoreError> {
    let encode = |entry: &Entry| postcard::to_stdvec(entry).map_err(|source| StoreError::Export { source });
    match event {
        Event::Snapshot(snapshot) => {
            snapshot.entries.iter().map(|(key, entry)| Ok((key.clone(), Some(encode(entry)?)))).collect()
        }
        Event::Changes { changes, .. } => changes
            .iter()
            .map(|Change { revision, key, value }| {
                let entry = value.as_ref().map(|value| Entry { value: value.clone(), modified: *revision });
                Ok((key.clone(), entry.as_ref().map(encode).transpose()?))
            })
            .collect(),
    }
}

fn put(entries: &mut Table<&str, &[u8]>, key: &str, entry: Option<&[u8]>) -> Result<(), redb::Error> {
    match entry {
        Some(entry) => drop(entries.insert(key, entry)?),
        None => drop(entries.remove(key)?),
    }
    Ok(())
}
