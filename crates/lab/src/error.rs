//! What can go wrong in a lab: the operation, the object and the cause, with what a person can do about it.

use hopsack_types::address::AddressError;
use std::io;
use std::time::Duration;

/// Result of everything here that touches the machine.
pub type Result<T> = std::result::Result<T, LabError>;

/// Every failure of the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A text is not a name for a lab or a node of one.
    #[error("{text:?} is not a name in a lab: {rule}")]
    Name {
        /// What was found.
        text: String,
        /// What would be right.
        rule: &'static str,
    },
    /// A topology contradicts itself.
    #[error("the topology cannot be built: {object:?} {problem}")]
    Topology {
        /// Which host, segment or router.
        object: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A segment's prefix is not a prefix.
    #[error("the prefix of segment {segment:?} is wrong")]
    Prefix {
        /// Which segment.
        segment: String,
        /// Why.
        source: AddressError,
    },
    /// A name that nothing in the lab has.
    #[error("there is no {kind} {name:?} in this lab; there is: {known}")]
    Unknown {
        /// "host", "segment", "service" ...
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A lab of that name stands already.
    #[error(
        "lab {0:?} is up already: take it down with `hopsack lab down --name {0}` or choose another name"
    )]
    AlreadyUp(String),
    /// No lab of that name.
    #[error("there is no lab {0:?}: `hopsack lab status` lists the ones that are up")]
    NotUp(String),
    /// A host or switch of the lab has died, or its process id belongs to another process by now.
    #[error("{node:?} of this lab is not running (its process {pid} is gone)")]
    Dead {
        /// Which node.
        node: String,
        /// The process that was its first.
        pid: i32,
    },
    /// A system call failed.
    #[error("could not {operation} {object}")]
    Io {
        /// What was tried, a verb.
        operation: &'static str,
        /// On what.
        object: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// Text that is not the JSON it should be.
    #[error("{object} is not what a lab writes there")]
    Json {
        /// Which file or message.
        object: String,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// A condition did not come true in time.
    #[error("waited {after:?} for {what}, in vain: {detail}")]
    Timeout {
        /// The condition.
        what: String,
        /// The deadline.
        after: Duration,
        /// What was seen last.
        detail: String,
    },
    /// A host's supervisor refused a request.
    #[error("the supervisor of {host:?} refused: {reason}")]
    Refused {
        /// Which host.
        host: String,
        /// What it said.
        reason: String,
    },
    /// An argument of a command is missing or wrong.
    #[error("{argument} is wrong: {rule}")]
    Argument {
        /// Which argument, with its value.
        argument: String,
        /// What would be right.
        rule: &'static str,
    },
    /// A traffic tool was called wrongly.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Something was left behind that should be gone.
    #[error("the lab is down, but this is left: {}", .0.join("; "))]
    Leftovers(Vec<String>),
}

impl LabError {
    /// Wraps a failed system call or file operation.
    pub(crate) fn io(operation: &'static str, object: impl ToString) -> impl FnOnce(io::Error) -> Self {
        let object = object.to_string();
        move |source| Self::Io { operation, object, source }
    }

    /// The same for `nix`, whose errors are bare error numbers.
    pub(crate) fn errno(
        operation: &'static str,
        object: impl ToString,
    ) -> impl FnOnce(nix::errno::Errno) -> Self {
        let object = object.to_string();
        move |errno| Self::Io { operation, object, source: errno.into() }
    }

    /// The error with its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}
