//! Endpoints that Docker has forgotten: it was killed while it removed them. Docker stores an endpoint before it asks
//! us to make it and lists what it stores, so an endpoint that we had before the list was read and that is not in it
//! is gone. Removal waits for a second look, and never happens while the engine does not answer.

use crate::engine::{DRIVER, Engine, EngineNetwork};
use crate::error::DockerError;
use crate::mirror::RESYNC;
use crate::plan::network_of;
use hopsack_api::{Api, EndpointStatus, Networks, ReleaseRequest};
use hopsack_types::{EndpointId, NetworkId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// How long an endpoint must be missing: Docker may be about to remove it itself, and to release its address.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the looks since Docker's engine was reached have found.
#[derive(Debug, Default)]
pub(crate) struct StaleEndpoints {
    last_look: Option<Instant>,
    /// Endpoints that were missing at the last look, since when.
    missing: BTreeMap<EndpointId, Instant>,
}

impl StaleEndpoints {
    /// Looks for endpoints that the engine does not have and removes those that are missing for long enough.
    /// `endpoints` was read before `listed`. Looks are rare: each asks the engine about each network in use here.
    pub(crate) async fn look(
        &mut self,
        api: &dyn Api,
        engine: &dyn Engine,
        endpoints: &[EndpointStatus],
        listed: &[EngineNetwork],
        intent: &Networks,
    ) -> Result<(), DockerError> {
        if self.last_look.is_some_and(|last| last.elapsed() < RESYNC) {
            return Ok(());
        }
        self.last_look = Some(Instant::now());
        let ours: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.docker).collect();
        let networks: BTreeSet<NetworkId> = ours.iter().map(|endpoint| endpoint.network).collect();
        let mut known = BTreeSet::new();
        for network in listed.iter().filter(|network| network.driver == DRIVER) {
            if network_of(intent, network).is_some_and(|id| networks.contains(&id)) {
                known.extend(engine.endpoints(&network.id).await?);
            }
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
