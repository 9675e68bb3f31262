//! Whose endpoints are: the driver's calls name no container, so the engine is asked after each start. Never from
//! inside a call of Docker, which may hold locks meanwhile, and nothing waits for it.

use crate::burst::next_burst;
use crate::engine::Engine;
use crate::error::DockerError;
use hopsack_api::{Api, ContainerRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::debug;

/// How often an engine that does not answer, or does not list a container yet, is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// How often all is compared though nothing has told of a change.
const RESYNC: Duration = Duration::from_secs(30);
/// Containers start in bursts; the first waits this long for the others.
const BURST: Duration = Duration::from_millis(100);

/// Gives the endpoints of one engine the names, ids and labels of their containers.
pub(crate) struct ContainerNames {
    pub(crate) api: Arc<dyn Api>,
    pub(crate) engine: Arc<dyn Engine>,
}

impl ContainerNames {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        loop {
            if let Err(error) = self.follow().await {
                debug!(%error, "the containers of endpoints are not known");
            }
            sleep(RETRY).await;
        }
    }

    /// Follows the engine until it does not answer.
    async fn follow(&self) -> Result<(), DockerError> {
        let mut starts = self.engine.starts();
        loop {
            let pause = if self.compare().await? { RESYNC } else { RETRY };
            if !next_burst(&mut starts, BURST, sleep(pause)).await? {
                return Ok(());
            }
        }
    }

    /// Tells the agent what the engine knows; whether that is all that there is to know.
    async fn compare(&self) -> Result<bool, DockerError> {
        // An agent that is in no cluster has no endpoints.
        let endpoints = self.api.endpoints().await.unwrap_or_default();
        if !endpoints.iter().any(|endpoint| endpoint.docker) {
            return Ok(true);
        }
        let containers = self.engine.containers().await?;
        let mut complete = true;
        for endpoint in endpoints.into_iter().filter(|endpoint| endpoint.docker) {
            let Some(found) = containers.iter().find(|found| found.endpoints.contains(&endpoint.id)) else {
                complete &= endpoint.container.is_some();
                continue;
            };
            if endpoint.container.as_ref() != Some(&found.container) {
                let (container, labels) = (found.container.clone(), found.labels.clone());
                self.api.name_endpoint(ContainerRequest { endpoint: endpoint.id, container, labels }).await?;
            }
        }
        Ok(complete)
    }
}
