//! Resources as documents: written together, listed, followed.
//!
//! What must not live here: what a document says (`hopsack_types::manifest`). Documents travel as they were written, so
//! that the agent judges them with the same words as the command line.

use hopsack_types::manifest::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What is to be done with the resources that documents name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// Make them; none may be there.
    Create,
    /// Make those that are not there; of the others, change what is said and leave the rest.
    Apply,
    /// Make them as is said, with defaults for the rest; all have to be there.
    Replace,
    /// Remove them; only their names count.
    Delete,
}

/// Writes resources, all or none of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WriteRequest {
    /// What is to be done.
    pub mode: WriteMode,
    /// Only look what would come of it.
    #[serde(default)]
    pub dry_run: bool,
    /// The documents.
    pub documents: Vec<Value>,
}

/// What came of one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Written {
    /// The resource's kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was made.
    Created,
    /// It was changed.
    Configured,
    /// It was so already.
    Unchanged,
    /// It was removed.
    Deleted,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        })
    }
}

/// Changes labels of one resource; the others stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequest {
    /// The resource's kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Labels to set, or to take away where there is no value.
    pub labels: BTreeMap<String, Option<String>>,
}

/// Asks for resources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListRequest {
    /// Of these kinds, in this order.
    pub kinds: Vec<Kind>,
    /// Only these; empty: all. Each has to be there.
    #[serde(default)]
    pub names: Vec<String>,
}

/// A change of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceChange {
    /// How it was changed.
    pub change: Change,
    /// As it is now; of a removed one, as it was.
    pub document: Value,
}

/// How a resource was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is there: when the following begins, or new.
    Added,
    /// It is another.
    Changed,
    /// It is gone.
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        })
    }
}
