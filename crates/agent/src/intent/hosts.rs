//! Hosts as intent: what a user may write of one are its labels. How hosts come and go lives in `trust`.

use crate::error::AgentError;
use crate::intent::changes::Draft;
use hopsack_api::{ApiError, ErrorCode, Outcome};
use hopsack_types::intent::{Intent, Key};
use hopsack_types::name::Labels;
use hopsack_types::{Host, HostName};

/// The host of a name.
pub fn find<'a>(intent: &'a Intent, name: &HostName) -> Result<&'a Host, ApiError> {
    intent.hosts.values().find(|host| host.name == *name).ok_or_else(|| {
        let message = format!(
            "there is no host {name}, and a document makes none: run `hopsack join` on that machine, with a token of \
             `hopsack token create`"
        );
        ApiError::new(ErrorCode::NotFound, message)
    })
}

/// Changes the labels of a host.
pub fn label(
    draft: &mut Draft,
    name: &HostName,
    change: impl Fn(&Labels) -> Labels,
) -> Result<Outcome, AgentError> {
    let known = find(draft.intent(), name)?;
    let host = Host { labels: change(&known.labels), ..known.clone() };
    if host == *known {
        return Ok(Outcome::Unchanged);
    }
    draft.put(Key::Host(host.id), &host)?;
    Ok(Outcome::Configured)
}
