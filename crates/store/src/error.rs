//! What can go wrong with a store, in words that say what to do.

use crate::state::Gap;
use crate::store::{MAX_KEY_BYTES, MAX_TXN_BYTES};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A write was sent and no answer came in time.
    #[error(
        "the write was not answered within 3 s and may or may not have happened: look at the state before trying again"
    )]
    OutcomeUnknown,
    /// The writer's host is in the cluster no more.
    #[error(
        "this host was removed from the cluster: stop its agent, remove its state directory, then join again"
    )]
    Removed,
    /// Nobody who can write was reached; nothing was written.
    #[error(
        "no host that can change the cluster's state is reachable; nothing was changed, running containers go on: check the network to the voters and try again"
    )]
    Unreachable {
        /// Why, as the transport saw it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The voter that was asked is not the leader, or there is none for want of a majority; nothing was written.
    #[error("{}", match .leader {
        Some(leader) => format!("voter {leader} takes the writes at present, not this one: send the write there"),
        None => "the voters have no majority, so nothing can be changed: bring back a voter".to_owned(),
    })]
    NotLeader {
        /// The leader's voter id, where known.
        leader: Option<u64>,
    },
    /// The host that was asked to write could not; nothing was written.
    #[error(
        "the host that takes the writes cannot use its own store: look for the cause in the log of its agent"
    )]
    WriterFailed,
    /// The store is shutting down, or stopped after an error of its disk.
    #[error(
        "this host's store has stopped: look for a disk error in the agent's log, then restart the agent"
    )]
    Stopped,
    /// A key is empty or too long.
    #[error("a key of {bytes} bytes cannot be stored: use 1 to {MAX_KEY_BYTES} bytes")]
    KeyLength {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A transaction is too large.
    #[error("a write of {bytes} bytes is larger than the limit of {MAX_TXN_BYTES}: split it")]
    TxnTooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// There is a file already where a new one was to be made.
    #[error("{} exists already: this host is in a cluster, so leave that first or use another state directory", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no file.
    #[error("{} does not exist: run `hopsack init` or `hopsack join` first, or correct the state directory", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file or its directory cannot be used.
    #[error("cannot use {}: give the agent a directory that exists and that it may write to", .path.display())]
    Access {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another process has the file open.
    #[error("{} is in use by another process: stop the other hopsack agent first", .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("{} is damaged: keep it for inspection, then restore it from a backup; a host that is no voter may move it away and fetches a new copy", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file is a database, but not the one that was expected here.
    #[error("{} is not the file that belongs there: correct the state directory", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote the file.
    #[error("{} has format {found} and this version reads up to {known}: upgrade this host's hopsack", .path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// Reading or writing an open file failed.
    #[error("cannot {operation} in {}: look for a full or failing disk, then restart the agent", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
    /// An upstream sent changes that do not join on to this copy; the copy asks again by itself.
    #[error("the followed host left changes out; asking again")]
    Gap(#[from] Gap),
    /// An upstream ended the stream, as a host does that shuts down.
    #[error("the followed host ended the stream; connecting again")]
    FollowEnded,
    /// An upstream said nothing for too long.
    #[error("the followed host is silent; connecting again")]
    FollowSilent,
    /// Bytes that were exported by [`crate::MemoryStore::to_bytes`] cannot be read back.
    #[error("the exported store cannot be read: it is damaged or from another version")]
    Import {
        /// What the decoder said.
        #[source]
        source: postcard::Error,
    },
    /// A state cannot be turned into bytes.
    #[error("the store's state cannot be encoded")]
    Export {
        /// What the encoder said.
        #[source]
        source: postcard::Error,
    },
}

/// The part of [`StoreError`] that a host tells another: what to answer when a remote write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// [`StoreError::OutcomeUnknown`].
    OutcomeUnknown,
    /// [`StoreError::NotLeader`].
    NotLeader {
        /// The leader's voter id, where known.
        leader: Option<u64>,
    },
    /// [`StoreError::KeyLength`].
    KeyLength {
        /// Its length in bytes.
        bytes: usize,
    },
    /// [`StoreError::TxnTooLarge`].
    TxnTooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// [`StoreError::Unreachable`]: the host that was asked only passes writes on, and reaches nobody.
    Unreachable,
    /// Any error of the answering host's own; its log has the cause. Nothing was written.
    Failed,
    /// [`StoreError::Removed`].
    Removed,
}

/// Why a host that passes writes on could not.
#[derive(Debug, thiserror::Error)]
#[error("the host that was asked reaches none either")]
struct Relayed;

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        match *error {
            StoreError::OutcomeUnknown => Self::OutcomeUnknown,
            StoreError::NotLeader { leader } => Self::NotLeader { leader },
            StoreError::KeyLength { bytes } => Self::KeyLength { bytes },
            StoreError::TxnTooLarge { bytes } => Self::TxnTooLarge { bytes },
            StoreError::Unreachable { .. } => Self::Unreachable,
            StoreError::Removed => Self::Removed,
            StoreError::WriterFailed
            | StoreError::Stopped
            | StoreError::Exists { .. }
            | StoreError::Missing { .. }
            | StoreError::Access { .. }
            | StoreError::Locked { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Foreign { .. }
            | StoreError::NewerFormat { .. }
            | StoreError::Disk { .. }
            | StoreError::Gap(_)
            | StoreError::FollowEnded
            | StoreError::FollowSilent
            | StoreError::Import { .. }
            | StoreError::Export { .. } => Self::Failed,
        }
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OutcomeUnknown => Self::OutcomeUnknown,
            Refusal::NotLeader { leader } => Self::NotLeader { leader },
            Refusal::KeyLength { bytes } => Self::KeyLength { bytes },
            Refusal::TxnTooLarge { bytes } => Self::TxnTooLarge { bytes },
            Refusal::Unreachable => Self::Unreachable { source: Box::new(Relayed) },
            Refusal::Failed => Self::WriterFailed,
            Refusal::Removed => Self::Removed,
        }
    }
}
