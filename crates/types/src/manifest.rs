//! Resources as people write and read them: documents with `apiVersion`, `kind`, `metadata`, `spec` and, written by
//! hosts only, `status`. The one judge of what a document says in itself, for the command line and for the agent.
//!
//! A kind is a file below `manifest/`: what the user says (`spec`), what is so (`status`), and how the first becomes
//! intent. What must not live here: YAML, and what a document means beside all others (the agent's `intent`).

pub mod endpoint;
pub mod fields;
pub mod host;
pub mod network;
pub mod pool;

pub use endpoint::{EndpointSpec, EndpointStatus};
pub use fields::FieldError;
pub use host::{HostSpec, HostStatus};
pub use network::{NetworkSpec, NetworkStatus};
pub use pool::{PoolSpec, PoolStatus};

use crate::id::EndpointId;
use crate::name::{HostName, Labels, NetworkName, PoolName};
use crate::nearest::hint;
use fields::Fields;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::{self, Display};
use std::str::FromStr;

/// The version that every document names.
pub const API_VERSION: &str = "hopsack/v1";

/// Where a resource's name stands in a document.
pub const NAME_FIELD: &str = "metadata.name";

const API_VERSION_FIELD: &str = "apiVersion";
const KIND: &str = "kind";
const METADATA: &str = "metadata";
const NAME: &str = "name";
const LABELS: &str = "labels";
const SPEC: &str = "spec";
const STATUS: &str = "status";

/// Kinds of resources, those first that others stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A CIDR that subnets and hosts' addresses come from.
    Pool,
    /// What containers attach to.
    Network,
    /// A machine with an agent.
    Host,
    /// One interface of one container.
    Endpoint,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 4] = [Self::Pool, Self::Network, Self::Host, Self::Endpoint];

    /// Those that a user can write.
    pub const WRITTEN: [Self; 3] = [Self::Pool, Self::Network, Self::Host];

    /// As documents have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pool => "Pool",
            Self::Network => "Network",
            Self::Host => "Host",
            Self::Endpoint => "Endpoint",
        }
    }

    /// As sentences and the command line have it.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Network => "network",
            Self::Host => "host",
            Self::Endpoint => "endpoint",
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.noun())
    }
}

/// One document, understood. `status` is left out: hosts say that, not users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `kind: Pool`.
    Pool(Document<PoolName, PoolSpec>),
    /// `kind: Network`.
    Network(Document<NetworkName, NetworkSpec>),
    /// `kind: Host`.
    Host(Document<HostName, HostSpec>),
    /// `kind: Endpoint`.
    Endpoint(Document<EndpointId, EndpointSpec>),
}

/// What a user says of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<N, S> {
    /// Unique among its kind.
    pub name: N,
    /// All its labels; none said: those that it has.
    pub labels: Option<Labels>,
    /// The rest.
    pub spec: S,
}

impl<N: FromStr, S> Document<N, S>
where
    N::Err: Display,
{
    fn read(
        top: &Fields<'_>,
        read: impl Fn(Option<&Value>) -> Result<S, FieldError>,
    ) -> Result<Self, FieldError> {
        let metadata = Fields::of(top.value(METADATA), METADATA, &[NAME, LABELS])?;
        let name = metadata.text(NAME, str::parse::<N>)?;
        let name = name.ok_or_else(|| metadata.refuse(NAME, "is missing: write the resource's name"))?;
        Ok(Self { name, labels: metadata.labels(LABELS)?, spec: read(top.value(SPEC))? })
    }
}

impl Resource {
    /// Understands a document, or says of the first field that is wrong what was found there and what would be right.
    pub fn read(document: &Value) -> Result<Self, FieldError> {
        let top = Fields::of(Some(document), "", &[API_VERSION_FIELD, KIND, METADATA, SPEC, STATUS])?;
        let version = top.text(API_VERSION_FIELD, |found| match found {
            API_VERSION => Ok(()),
            _ => Err(format!("{found:?} is not known: write {API_VERSION}")),
        })?;
        version.ok_or_else(|| top.refuse(API_VERSION_FIELD, format!("is missing: write {API_VERSION}")))?;
        let names = Kind::ALL.map(Kind::name);
        let kind = top.text(KIND, |found| {
            let known = Kind::ALL.into_iter().find(|kind| kind.name() == found);
            known.ok_or_else(|| format!("there is no kind {found:?}; {}", hint(found, &names)))
        })?;
        match kind {
            None => Err(top.refuse(KIND, format!("is missing: write one of {}", names.join(", ")))),
            Some(Kind::Pool) => Document::read(&top, PoolSpec::read).map(Self::Pool),
            Some(Kind::Network) => Document::read(&top, NetworkSpec::read).map(Self::Network),
            Some(Kind::Host) => Document::read(&top, HostSpec::read).map(Self::Host),
            Some(Kind::Endpoint) => Document::read(&top, EndpointSpec::read).map(Self::Endpoint),
        }
    }

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Pool(_) => Kind::Pool,
            Self::Network(_) => Kind::Network,
            Self::Host(_) => Kind::Host,
            Self::Endpoint(_) => Kind::Endpoint,
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Self::Pool(document) => document.name.to_string(),
            Self::Network(document) => document.name.to_string(),
            Self::Host(document) => document.name.to_string(),
            Self::Endpoint(document) => document.name.to_string(),
        }
    }
}

/// A document as it is shown: applied again, it changes nothing.
pub fn show(
    kind: Kind,
    name: impl Display,
    labels: &Labels,
    spec: &impl Serialize,
    status: &impl Serialize,
) -> Result<Value, serde_json::Error> {
    let mut metadata = json!({ NAME: name.to_string() });
    if !labels.is_empty() {
        metadata[LABELS] = serde_json::to_value(labels)?;
    }
    Ok(json!({
        API_VERSION_FIELD: API_VERSION,
        KIND: kind.name(),
        METADATA: metadata,
        SPEC: serde_json::to_value(spec)?,
        STATUS: serde_json::to_value(status)?,
    }))
}

/// A document that only names a resource: enough to delete it.
pub fn named(kind: Kind, name: impl Display) -> Value {
    json!({ API_VERSION_FIELD: API_VERSION, KIND: kind.name(), METADATA: { NAME: name.to_string() } })
}

#[cfg(test)]
mod tests;
