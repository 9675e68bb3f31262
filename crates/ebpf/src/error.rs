//! The crate's error: what was tried with which object, and why it failed.

use std::fmt::Display;

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {operation} {object}: {cause}")]
pub struct EbpfError {
    /// What was tried, like `load`.
    pub operation: &'static str,
    /// On what, like `from_tunnel` or `10.32.4.0/29`.
    pub object: String,
    /// What the kernel or the loader said, down to the first cause.
    pub cause: String,
}

impl EbpfError {
    pub(crate) fn new(
        operation: &'static str,
        object: impl Display,
        cause: &(dyn std::error::Error + 'static),
    ) -> Self {
        let mut text = cause.to_string();
        let mut below = cause.source();
        while let Some(error) = below {
            let error_text = error.to_string();
            // Some of the loader's errors say their cause already.
            if !text.contains(&error_text) {
                text = format!("{text}: {error_text}");
            }
            below = error.source();
        }
        // A verifier's log has many lines, the last of which tells least.
        let cause = text.lines().next().unwrap_or_default().to_owned();
        Self { operation, object: object.to_string(), cause }
    }

    pub(crate) fn missing(object: &'static str) -> Self {
        Self { operation: "find", object: object.to_owned(), cause: "the object does not have it".to_owned() }
    }
}
