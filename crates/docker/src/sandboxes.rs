//! Which containers have routes to the cluster's pools beside those to their networks. Docker's routes have no metric, so a
//! container can have them from one of its networks only.
//!
//! What is known is forgotten with the agent; Docker refuses the second route then by itself, in words of its own.

use hopsack_api::EndpointStatus;
use hopsack_types::EndpointId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Docker's keys of sandboxes (its word for a container's namespace), by the endpoint that brought the routes.
#[derive(Debug, Default)]
pub(crate) struct WideSandboxes(Mutex<BTreeMap<EndpointId, String>>);

impl WideSandboxes {
    /// Notes that an endpoint brings the routes to a sandbox; answers of the other endpoint that does already.
    pub(crate) fn enter<'a>(
        &self,
        sandbox: &str,
        endpoint: EndpointId,
        endpoints: &'a [EndpointStatus],
    ) -> Result<(), &'a EndpointStatus> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| *id != endpoint && endpoints.iter().any(|other| other.id == *id));
        let brings = |other: &&EndpointStatus| known.get(&other.id).is_some_and(|key| key == sandbox);
        match endpoints.iter().find(brings) {
            Some(other) => Err(other),
            None => {
                known.insert(endpoint, sandbox.to_owned());
                Ok(())
            }
        }
    }
}
