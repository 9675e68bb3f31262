//! Errors as callers see them: a stable code for programs, one line for people that says what to do.

use serde::{Deserialize, Serialize};

/// An error of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: one line, what is wrong and what to do.
    pub message: String,
}

/// Stable error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request is wrong in itself.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// It meets something that exists.
    Conflict,
    /// No address or subnet is left.
    Exhausted,
    /// This host is not in a cluster, or not yet ready.
    NotReady,
    /// The other side refused: token, identity.
    Denied,
    /// Somebody who is needed cannot be reached; the same call may work later.
    Unavailable,
    /// The write was sent but its answer did not come: it may or may not have happened.
    OutcomeUnknown,
    /// A fault of this host: kernel, disk.
    Host,
    /// The agent that runs is of another version than who asks.
    Version,
}

impl ApiError {
    /// An error of its parts.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
