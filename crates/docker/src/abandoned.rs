//! Networks that this host's engine asked for and did not keep: it ended in between, or our answer was lost. Such a network never
//! gets its name, no engine has it, and its subnet would be in use for ever. Docker lists a network within moments of the
//! call that makes it, so one that it still does not list later is not coming.

use crate::engine::{DRIVER, EngineNetwork};
use crate::error::DockerError;
use crate::plan::{is_unnamed, network_of};
use hopsack_api::{Api, Networks};
use hopsack_types::NetworkId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// How long a network may be missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Those that were missing at the last look, since when.
#[derive(Debug, Default)]
pub(crate) struct AbandonedNetworks(BTreeMap<NetworkId, Instant>);

impl AbandonedNetworks {
    /// Removes those that are missing for long enough. `intent` was read after `listed`.
    pub(crate) async fn look(
        &mut self,
        api: &dyn Api,
        listed: &[EngineNetwork],
        intent: &Networks,
    ) -> Result<(), DockerError> {
        let ours = listed.iter().filter(|network| network.driver == DRIVER);
        let kept: BTreeSet<NetworkId> = ours.filter_map(|network| network_of(intent, network)).collect();
        let made_here = intent.networks.values().filter(|network| {
            let origin = network.docker.as_ref().map(|origin| origin.host);
            origin.is_some() && origin == intent.me && is_unnamed(intent, network.id)
        });
        let missing: Vec<_> = made_here.filter(|network| !kept.contains(&network.id)).collect();
        self.0.retain(|id, _| missing.iter().any(|network| network.id == *id));
        for network in missing {
            if self.0.entry(network.id).or_insert_with(Instant::now).elapsed() >= PATIENCE {
                info!(network = %network.name, "removing a network that Docker asked for and does not have");
                api.remove_network(network.id).await?;
            }
        }
        Ok(())
    }
}
