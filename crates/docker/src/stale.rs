//! Endpoints that Docker has forgotten: it was killed while it removed them. Docker stores an endpoint before it asks
//! us to make it and lists what it stores, so an endpoint that we had before the list was read and that is not in it
//! is gone. Removal waits for a second look, and never happens while the engine does not answer.

use crate::engine::{DRIVER, Engine, EngineNetwork};
use crate::error::DockerError;
use crate::network::endpoint_name;
use hopsack_api::{Api, EndpointStatus, ReleaseRequest};
use hopsack_types::EndpointId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// How long an endpoint must be missing: Docker may be about to remove it itself, and to release its address.
const PATIENCE: Duration = Duration::from_secs(20);

/// Endpoints that were missing at the last look, since when.
#[derive(Debug, Default)]
pub(crate) struct StaleEndpoints {
    missing: BTreeMap<EndpointId, Instant>,
}

impl StaleEndpoints {
    /// Removes endpoints that are missing for long enough. `endpoints` was read before `listed`.
    pub(crate) async fn remove(
        &mut self,
        api: &dyn Api,
        engine: &dyn Engine,
        endpoints: &[EndpointStatus],
        listed: &[EngineNetwork],
    ) -> Result<(), DockerError> {
        let ours: Vec<_> = endpoints.iter().filter(|e| e.name == endpoint_name(e.id)).collect();
        if ours.is_empty() {
            self.missing.clear();
            return Ok(());
        }
        let mut known = std::collections::BTreeSet::new();
        for network in listed.iter().filter(|network| network.driver == DRIVER) {
            known.extend(engine.endpoints(&network.id).await?);
        }
        self.missing.retain(|id, _| !known.contains(id) && ours.iter().any(|e| e.id == *id));
        for endpoint in ours.into_iter().filter(|e| !known.contains(&e.id)) {
            let since = *self.missing.entry(endpoint.id).or_insert_with(Instant::now);
            if since.elapsed() < PATIENCE {
                continue;
            }
            info!(endpoint = endpoint.name, "removing an endpoint that Docker no longer has");
            api.remove_endpoint(endpoint.id).await?;
            for &address in &endpoint.addresses {
                api.release(ReleaseRequest { network: endpoint.network, address }).await?;
            }
            self.missing.remove(&endpoint.id);
        }
        Ok(())
    }
}
