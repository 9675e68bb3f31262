//! The address journal on disk: appended to, synced, replaced when it has grown. Callers that append at the same time
//! share one sync.
//!
//! What must not live here: what records mean (the `ipam` crate).

use crate::error::AgentError;
use crate::kernel::access::Blocking;
use crate::statedir::StateDir;
use hopsack_ipam::journal::{self, Record, Tear};
use hopsack_ipam::{Book, COOL_DOWN};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

const FILE: &str = "addresses.journal";
/// A journal that is longer is replaced by its snapshot at the next start, bytes.
const LONG: u64 = 4 << 20;

/// Records in the order in which they happened, until they are on disk: also those whose writing has failed, since a
/// journal that left some out would tell another story than the book in memory.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// How many appends were ever put here.
    taken: u64,
    /// Whether the last write has failed.
    stuck: bool,
    /// How many writes were synced.
    syncs: u64,
}

/// What a journal has taken since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalCount {
    /// Appends put in line.
    pub appends: u64,
    /// Writes to disk, each synced: fewer than appends where callers shared them.
    pub syncs: u64,
}

struct Written {
    file: File,
    /// Length of what is known to be whole.
    length: u64,
    /// How many appends are durable.
    durable: u64,
}

/// The journal, open for appending.
pub struct JournalFile {
    path: PathBuf,
    blocking: Blocking,
    queue: Arc<Mutex<Queue>>,
    /// None once a failed write could not be undone.
    written: Arc<tokio::sync::Mutex<Option<Written>>>,
}

/// What the disk says at start.
pub struct Opened {
    /// The journal.
    pub file: JournalFile,
    /// Its records; [`Record::Lost`] among them where others may be missing: there was no journal, or its end was torn.
    pub records: Vec<Record>,
}

impl JournalFile {
    /// Opens the journal, or begins one. A torn end is cut off, and told.
    pub fn open(dir: &StateDir, blocking: Blocking) -> Result<Opened, AgentError> {
        let path = dir.path(FILE);
        let (mut records, whole) = match dir.read(FILE)? {
            None => (vec![Record::Lost], None),
            Some(bytes) => {
                let mut read = journal::decode(&bytes).map_err(|error| unusable(&path, error))?;
                if let Some(Tear { offset, length }) = read.tear {
                    tracing::warn!(offset, length, "the address journal's end is torn and was cut off");
                }
                // In the same write that makes the journal whole again: after a crash before the fence it must not
                // look as if nothing had been lost.
                read.records.extend(read.tear.map(|_| Record::Lost));
                let whole =
                    (read.tear.is_none() && (bytes.len() as u64) < LONG).then_some(bytes.len() as u64);
                (read.records, whole)
            }
        };
        let length = match whole {
            Some(length) => length,
            None => {
                records = Book::replay(&records, Duration::ZERO, COOL_DOWN).snapshot(Duration::ZERO);
                let bytes = journal::encode_all(&records).map_err(|error| unusable(&path, error))?;
                dir.write(FILE, &bytes)?;
                bytes.len() as u64
            }
        };
        let file =
            open_at(&path, length).map_err(|source| AgentError::WriteState { path: path.clone(), source })?;
        let written = Arc::new(tokio::sync::Mutex::new(Some(Written { file, length, durable: 0 })));
        let file = Self { path, blocking, queue: Arc::default(), written };
        Ok(Opened { file, records })
    }

    /// Puts records in line. To be called in the order in which they happened, under the lock of what they change;
    /// [`JournalFile::sync`] with the answer makes them durable.
    pub fn put(&self, records: &[Record]) -> Result<u64, AgentError> {
        let mut encoded = Vec::new();
        for record in records {
            encoded.extend(journal::encode(record).map_err(|error| unusable(&self.path, error))?);
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.bytes.extend(encoded);
        queue.taken += 1;
        Ok(queue.taken)
    }

    /// How much it has taken.
    pub fn count(&self) -> JournalCount {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        JournalCount { appends: queue.taken, syncs: queue.syncs }
    }

    /// Writes what an earlier write has failed at; nothing, where none has. To be called before new records are made, so
    /// that a full disk lets the line grow only by what was being done when it became full.
    pub async fn retry(&self) -> Result<(), AgentError> {
        let stuck = {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.stuck.then_some(queue.taken)
        };
        match stuck {
            Some(ticket) => self.sync(ticket).await,
            None => Ok(()),
        }
    }

    /// Returns once the records that [`JournalFile::put`] answered `ticket` for are on disk. After an error they may
    /// still get there with a later sync, so whoever undoes what they tell of puts that in line too.
    pub async fn sync(&self, ticket: u64) -> Result<(), AgentError> {
        let slot = self.written.clone().lock_owned().await;
        if slot.as_ref().is_some_and(|written| written.durable >= ticket) {
            return Ok(());
        }
        let queue = self.queue.clone();
        let write = move || append(slot, &queue);
        let outcome = match self.blocking {
            Blocking::Inline => write(),
            Blocking::Thread => {
                tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        outcome.map_err(|source| AgentError::WriteState { path: self.path.clone(), source })
    }
}

/// Writes all that is in line. It has the lock itself, so that a caller that goes away lets nobody else write meanwhile.
fn append(mut slot: OwnedMutexGuard<Option<Written>>, queue: &Mutex<Queue>) -> io::Result<()> {
    let Some(mut written) = slot.take() else {
        return Err(io::Error::other("an earlier write failed and could not be undone: restart the agent"));
    };
    let (mut bytes, upto) = {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.stuck = false;
        (std::mem::take(&mut queue.bytes), queue.taken)
    };
    if let Err(cause) = written.file.write_all(&bytes).and_then(|()| written.file.sync_data()) {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.append(&mut queue.bytes);
        queue.bytes = bytes;
        queue.stuck = true;
        let length = written.length;
        let undone = written.file.set_len(length).and_then(|()| written.file.seek(SeekFrom::Start(length)));
        if undone.is_ok() {
            *slot = Some(written);
        }
        return Err(cause);
    }
    queue.lock().unwrap_or_else(PoisonError::into_inner).syncs += 1;
    written.length += bytes.len() as u64;
    written.durable = upto;
    *slot = Some(written);
    Ok(())
}

fn open_at(path: &PathBuf, length: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    file.sync_all()?;
    Ok(file)
}

fn unusable(path: &std::path::Path, source: hopsack_ipam::IpamError) -> AgentError {
    AgentError::Journal { path: path.to_owned(), source }
}

#[cfg(test)]
impl JournalFile {
    /// Lets the disk be full; what it answers makes room again.
    pub async fn fill_disk(&self) -> Room {
        use nix::fcntl::{FcntlArg, SealFlag, fcntl};
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let full = memfd_create(c"journal", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        fcntl(&full, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
        self.put_file(Room(full.into(), 0)).await
    }

    /// Lets the disk take writes and fail at each sync, as a pipe does while somebody has its other end.
    pub async fn refuse_to_sync(&self) -> io::PipeReader {
        let (reader, writer) = io::pipe().unwrap();
        let writer = std::os::fd::OwnedFd::from(writer);
        self.put_file(Room(writer.into(), 0)).await;
        reader
    }

    /// Holds up all writes until it is dropped, as a slow disk does.
    pub async fn under_way(&self) -> impl Sized + use<> {
        self.written.clone().lock_owned().await
    }

    /// Lets the disk have room again.
    pub async fn make_room(&self, room: Room) {
        drop(self.put_file(room).await);
    }

    async fn put_file(&self, Room(file, length): Room) -> Room {
        let mut slot = self.written.lock().await;
        let written = slot.as_mut().unwrap();
        Room(std::mem::replace(&mut written.file, file), std::mem::replace(&mut written.length, length))
    }

    /// Bytes in line.
    pub fn waiting(&self) -> usize {
        self.queue.lock().unwrap().bytes.len()
    }
}

/// The journal's file and its length, while the disk is full.
#[cfg(test)]
pub struct Room(File, u64);

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use hopsack_types::Incarnation;

    fn boot(count: u64) -> Record {
        Record::Boot { incarnation: Incarnation(count) }
    }

    #[tokio::test]
    async fn what_was_synced_is_read_back_and_a_torn_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let first = JournalFile::open(&dir, Blocking::Thread).unwrap();
        assert_eq!(first.records, vec![boot(0), Record::Lost]);
        let one = first.file.put(&[boot(1)]).unwrap();
        let two = first.file.put(&[boot(2)]).unwrap();
        first.file.sync(two).await.unwrap();
        first.file.sync(one).await.unwrap();
        let again = JournalFile::open(&dir, Blocking::Thread).unwrap();
        assert_eq!(again.records, vec![boot(0), Record::Lost, boot(1), boot(2)]);
        let path = dir.path(FILE);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let torn = JournalFile::open(&dir, Blocking::Thread).unwrap();
        assert_eq!(torn.records, vec![boot(1), Record::Lost]);
        let ticket = torn.file.put(&[boot(3)]).unwrap();
        torn.file.sync(ticket).await.unwrap();
        assert_eq!(
            JournalFile::open(&dir, Blocking::Thread).unwrap().records,
            vec![boot(1), Record::Lost, boot(3)]
        );
    }

    #[tokio::test]
    async fn while_the_disk_is_full_nothing_is_called_durable_and_afterwards_nothing_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let journal = JournalFile::open(&dir, Blocking::Thread).unwrap().file;
        let ticket = journal.put(&[boot(1)]).unwrap();
        journal.sync(ticket).await.unwrap();
        let room = journal.fill_disk().await;
        let two = journal.put(&[boot(2)]).unwrap();
        let three = journal.put(&[boot(3)]).unwrap();
        assert!(journal.sync(two).await.is_err());
        assert!(journal.sync(three).await.is_err());
        assert!(journal.sync(two).await.is_err());
        journal.make_room(room).await;
        let four = journal.put(&[boot(4)]).unwrap();
        journal.sync(four).await.unwrap();
        journal.sync(two).await.unwrap();
        assert_eq!(
            JournalFile::open(&dir, Blocking::Thread).unwrap().records,
            vec![boot(0), Record::Lost, boot(1), boot(2), boot(3), boot(4)]
        );
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_lets_the_next_one_wait_for_its_write() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let journal = JournalFile::open(&dir, Blocking::Thread).unwrap().file;
        let one = journal.put(&[boot(1)]).unwrap();
        {
            // What the write takes its records from, so it can only wait.
            let _queue = journal.queue.lock().unwrap();
            assert_eq!(journal.sync(one).now_or_never().map(|synced| synced.is_ok()), None);
            assert!(journal.written.try_lock().is_err());
        }
        journal.sync(one).await.unwrap();
        assert_eq!(
            JournalFile::open(&dir, Blocking::Thread).unwrap().records,
            vec![boot(0), Record::Lost, boot(1)]
        );
    }
}
