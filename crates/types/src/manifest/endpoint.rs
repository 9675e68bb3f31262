//! `kind: Endpoint`. It is made by its container; nothing of it can be written.

use crate::address::Mac;
use crate::manifest::fields::{FieldError, Fields};
use crate::name::{HostName, NetworkName};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

/// What the user says of an endpoint: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EndpointSpec {}

/// What is so about an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// What people call it: its container's name, or what the attacher gave.
    pub name: String,
    /// Its host.
    pub host: HostName,
    /// Its network.
    pub network: NetworkName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its MAC address.
    pub mac: Mac,
}

impl EndpointSpec {
    pub(super) fn read(spec: Option<&Value>) -> Result<Self, FieldError> {
        Fields::of(spec, "spec", &[]).map(|_| Self {})
    }
}
