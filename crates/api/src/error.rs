//! Errors as callers see them: a stable code for programs, one line for people that says what to do.

use hopsack_types::manifest::FieldError;
use serde::{Deserialize, Serialize};

/// An error of the agent. Hosts tell it to each other in a form without field names, so no field may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: one line, what is wrong and what to do.
    pub message: String,
    /// Where documents were sent: the one that is wrong, counted from 0.
    #[serde(default)]
    pub document: Option<usize>,
    /// The field of it that is wrong, if it is one: `spec.subnets[1]`.
    #[serde(default)]
    pub field: Option<String>,
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

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::new(ErrorCode::Invalid, error.problem).at_field(error.field)
    }
}

impl ApiError {
    /// An error of its parts.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), document: None, field: None }
    }

    /// The same about one of the documents that were sent.
    #[must_use]
    pub fn in_document(self, document: usize) -> Self {
        Self { document: Some(document), ..self }
    }

    /// The same about a field.
    #[must_use]
    pub fn at_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }
}
