//! What can go wrong in this crate.

use hopsack_types::HostId;
use hopsack_types::fact::FactKey;

/// Why an operation of this crate failed.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// A fact was set under the key of another kind of fact.
    #[error("the fact for {0:?} is of another kind than its key: pass the fact that belongs to the key")]
    WrongKind(FactKey),
    /// A batch has no byte form.
    #[error("cannot encode a batch of host {host}")]
    EncodeBatch {
        /// Its writer.
        host: HostId,
        /// What the encoder says.
        #[source]
        source: postcard::Error,
    },
    /// `foca` refused or failed a step.
    #[error("membership cannot {doing}")]
    Membership {
        /// The step.
        doing: &'static str,
        /// What `foca` says.
        #[source]
        source: foca::Error,
    },
}
