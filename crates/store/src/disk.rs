//! A redb file of ours: opened with a bounded cache, marked with what it is, written off the async threads.
//!
//! What the tables hold is the business of who opens it.

use crate::error::StoreError;
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction,
};
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// The layout of our tables. Grows with any change that an older program would read wrongly.
pub(crate) const FORMAT: u64 = 1;

/// redb's default cache is 1 GiB; all that is read often is in memory already.
const CACHE_BYTES: usize = 4 << 20;

/// What the file is: `format` and `kind`.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");

/// What a file is for. A copy must never be taken for a voter's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The log of a voter.
    Voter = 1,
    /// The copy of a host that is not a voter.
    Copy = 2,
}

/// One open file. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    db: Arc<Database>,
    path: PathBuf,
    /// Writers in the order in which they came, also when one of them has gone away in between.
    turn: Arc<Mutex<()>>,
    /// Dropped after `db`, so who waits for its end knows that the file is closed.
    closed: watch::Sender<()>,
}

impl Disk {
    /// Makes a new file with marks of the caller's beside our own: it appears under its name with all of them, or not
    /// at all. Blocks.
    pub(crate) fn create(path: &Path, kind: Kind, marks: &[(&'static str, u64)]) -> Result<Self, StoreError> {
        let access = |source| StoreError::Access { path: path.to_owned(), source };
        if path.try_exists().map_err(access)? {
            return Err(StoreError::Exists { path: path.to_owned() });
        }
        let unfinished = path.with_extension("new");
        match std::fs::remove_file(&unfinished) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(access(source)),
            _ => {}
        }
        let disk = Self::with(path, || builder().create(&unfinished))?;
        disk.write_now("mark", |txn| {
            let mut about = txn.open_table(ABOUT)?;
            for (name, value) in [("format", FORMAT), ("kind", kind as u64)].iter().chain(marks) {
                about.insert(name, value)?;
            }
            Ok(())
        })?;
        std::fs::rename(&unfinished, path).map_err(access)?;
        sync_directory(path).map_err(access)?;
        Ok(disk)
    }

    /// Opens a file that [`Disk::create`] made. Blocks.
    pub(crate) fn open(path: &Path, kind: Kind) -> Result<Self, StoreError> {
        if path.parent().is_some_and(Path::is_dir) && path.try_exists().is_ok_and(|exists| !exists) {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        let disk = Self::with(path, || builder().open(path))?;
        match disk.mark("format")? {
            Some(format) if format > FORMAT => {
                Err(StoreError::NewerFormat { path: path.to_owned(), found: format, known: FORMAT })
            }
            Some(FORMAT) if disk.mark("kind")? == Some(kind as u64) => Ok(disk),
            _ => Err(disk.foreign()),
        }
    }

    /// A mark that was set when the file was made. Blocks for a moment.
    pub(crate) fn mark(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.read_now("identify", |txn| Ok(txn.open_table(ABOUT)?.get(name)?.map(|value| value.value())))
    }

    /// Ends when the last clone of this is gone and the file closed.
    pub(crate) fn closed(&self) -> watch::Receiver<()> {
        self.closed.subscribe()
    }

    /// What a file with an unexpected content is called.
    pub(crate) fn foreign(&self) -> StoreError {
        StoreError::Foreign { path: self.path.clone() }
    }

    fn with(path: &Path, open: impl FnOnce() -> Result<Database, DatabaseError>) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let opened = contain(open)
            .map_err(|source| StoreError::Corrupt { path: path.clone(), source: Box::new(source) })?;
        match opened {
            Ok(db) => {
                Ok(Self { db: Arc::new(db), path, turn: Arc::default(), closed: watch::Sender::new(()) })
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::Locked { path }),
            Err(DatabaseError::Storage(redb::StorageError::Io(source)))
                if !matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Err(StoreError::Access { path, source })
            }
            Err(source) => Err(StoreError::Corrupt { path, source: Box::new(source) }),
        }
    }

    /// Reads, off the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = self.clone();
        blocking(move || disk.read_now(operation, work)).await
    }

    /// Writes durably, off the async threads: on return it is on the disk, or nothing of it is; `work` may lower the
    /// durability. Goes on to its end when the caller goes away.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = self.clone();
        let turn = Arc::clone(&self.turn).lock_owned().await;
        blocking(move || {
            let _turn = turn;
            disk.write_now(operation, work)
        })
        .await
    }

    fn read_now<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let result = contain(|| self.db.begin_read().map_err(redb::Error::from).and_then(|txn| work(&txn)));
        result.unwrap_or_else(Err).map_err(|source| self.error(operation, source))
    }

    fn write_now<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let result = contain(|| {
            self.db.begin_write().map_err(redb::Error::from).and_then(|mut txn| {
                let value = work(&mut txn)?;
                txn.commit()?;
                Ok(value)
            })
        });
        result.unwrap_or_else(Err).map_err(|source| self.error(operation, source))
    }

    /// What an undecodable value in the file is called.
    pub(crate) fn corrupt(&self, source: impl Error + Send + Sync + 'static) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), source: Box::new(source) }
    }

    fn error(&self, operation: &'static str, source: redb::Error) -> StoreError {
        let path = self.path.clone();
        match source {
            redb::Error::Corrupted(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. } => {
                StoreError::Corrupt { path, source: Box::new(source) }
            }
            redb::Error::TableDoesNotExist(_) => StoreError::Foreign { path },
            source => StoreError::Disk { path, operation, source: Box::new(source) },
        }
    }
}

/// Runs a call of redb, which takes many kinds of damage in a file for a bug of its own and panics.
fn contain<T>(call: impl FnOnce() -> T) -> Result<T, redb::Error> {
    // What a panic leaves behind is redb's, which poisons its own locks; nothing of ours is half-changed.
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|_| redb::Error::Corrupted("a page holds what no page may".to_owned()))
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes a new file's name durable as well.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(parent)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // It fails only while the runtime shuts down.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Stopped))
}
