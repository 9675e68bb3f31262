//! `kind: Host`. A host says all about itself but its labels.

use crate::id::HostId;
use crate::manifest::fields::{FieldError, Fields};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

/// What the user says of a host beside its labels: nothing yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HostSpec {}

/// What is so about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// Identity.
    pub id: HostId,
    /// Where other hosts reach it.
    pub underlay: IpAddr,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// `voter` or `copy`.
    pub state: String,
    /// `up` or `silent`, as the host that was asked sees it.
    pub agent: String,
    /// The kind of the path that leads there from the host that was asked; none to itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl HostSpec {
    pub(super) fn read(spec: Option<&Value>) -> Result<Self, FieldError> {
        Fields::of(spec, "spec", &[]).map(|_| Self {})
    }
}
