//! Errors of the agent. A variant is an operation and its object; the text says what to do.

use hopsack_api::{ApiError, ErrorCode};
use std::io;
use std::path::PathBuf;

/// Why the agent could not do something.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory cannot be used.
    #[error("the state directory {} cannot be written: run as root, or give another with --state-dir", path.display())]
    StateDir {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file of the state directory cannot be read.
    #[error("cannot read {}", path.display())]
    ReadState {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file of the state directory cannot be written.
    #[error("cannot write {}: is the disk full, or read-only?", path.display())]
    WriteState {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file of the state directory does not hold what it should.
    #[error("{} is damaged: restore it from a backup, or remove the state directory and join again", path.display())]
    CorruptState {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// A binary file of the state directory does not hold what it should.
    #[error("{} is damaged ({reason}): restore it from a backup, or remove the state directory and join again", path.display())]
    DamagedState {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The journal of addresses cannot be read or written.
    #[error("{}: {source}", path.display())]
    Journal {
        /// File.
        path: PathBuf,
        /// Cause; says what to do.
        #[source]
        source: hopsack_ipam::IpamError,
    },
    /// The state directory was written by a newer version.
    #[error("{} was written by a newer hopsack (format {found}, this one knows {known}): upgrade this program", path.display())]
    NewerState {
        /// File.
        path: PathBuf,
        /// Format found.
        found: u32,
        /// Newest format that this program knows.
        known: u32,
    },
    /// A key or certificate could not be made or read.
    #[error("cannot {what}")]
    Certificate {
        /// Operation and object.
        what: &'static str,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The local socket cannot be opened.
    #[error("cannot listen on {}: does another agent run?", path.display())]
    ListenLocal {
        /// Socket.
        path: PathBuf,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another agent holds the state directory.
    #[error("another agent uses the state directory {}: stop it first", path.display())]
    StateInUse {
        /// Directory.
        path: PathBuf,
    },
    /// A folder that no agent has made.
    #[error("{} is no state directory of an agent: give the right one with --state-dir", path.display())]
    ForeignState {
        /// Directory.
        path: PathBuf,
    },
    /// Something of ours cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// No address to be reached at.
    #[error("{0}")]
    Underlay(#[from] crate::kernel::underlay::UnderlayError),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] hopsack_store::StoreError),
    /// Talk with another host failed.
    #[error("{0}")]
    Transport(#[from] crate::talk::transport::TransportError),
    /// Intent could not be read or written.
    #[error("{0}")]
    Intent(#[from] hopsack_types::intent::IntentError),
    /// The kernel lacks something.
    #[error("{0}")]
    Kernel(#[from] hopsack_kernel::KernelError),
    /// Docker's front door cannot be opened.
    #[error("{0}")]
    Docker(#[from] hopsack_docker::DockerError),
    /// The underlay address has changed.
    #[error("this host's underlay address has changed: the agent has to be started again")]
    Moved,
    /// Signals cannot be awaited.
    #[error("cannot wait for signals")]
    Signals {
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// What a caller asked for cannot be done.
    #[error("{0}")]
    Refused(#[from] ApiError),
}

impl AgentError {
    /// The text with all causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let part = error.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            cause = error.source();
        }
        text
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        let code = match &error {
            AgentError::Refused(inner) => return inner.clone(),
            AgentError::Store(hopsack_store::StoreError::OutcomeUnknown) => ErrorCode::OutcomeUnknown,
            AgentError::Store(_) | AgentError::Transport(_) => ErrorCode::Unavailable,
            AgentError::Underlay(_) => ErrorCode::Invalid,
            _ => ErrorCode::Host,
        };
        Self::new(code, error.chain())
    }
}
