//! Which of our networks Docker's network ids stand for, where intent does not say it: on hosts that hold a copy of
//! a network, Docker has an id of its own for it. The mirror reads them from the engine, the driver learns new ones.

use hopsack_types::NetworkId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long Docker's first calls wait for the engine's list to be read. An engine that is starting calls us and
/// answers nothing itself, so they cannot wait until it does.
const PATIENCE: Duration = Duration::from_secs(3);

/// The map.
#[derive(Debug, Default)]
pub(crate) struct Links {
    networks: Mutex<BTreeMap<String, NetworkId>>,
    /// Networks that Docker's user removed and that stay, and why.
    kept: Mutex<BTreeMap<NetworkId, String>>,
    /// Ids that the mirror removes to put a copy in their place: the network itself stays.
    replaced: Mutex<BTreeSet<String>>,
    /// Whether the engine was asked for its list since this process started, with success or without.
    asked: watch::Sender<bool>,
}

impl Links {
    fn networks(&self) -> MutexGuard<'_, BTreeMap<String, NetworkId>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes copies. Docker never uses an id twice, so what is known stays true.
    pub(crate) fn extend(&self, copies: impl IntoIterator<Item = (String, NetworkId)>) {
        self.networks().extend(copies);
    }

    /// Forgets one copy, so that its removal is not taken for the removal of the network itself. Answers of which
    /// network it was.
    pub(crate) fn forget(&self, docker: &str) -> Option<NetworkId> {
        self.networks().remove(docker)
    }

    /// The network, if known by now.
    pub(crate) fn get(&self, docker: &str) -> Option<NetworkId> {
        self.networks().get(docker).copied()
    }

    /// Whether some id of Docker's stands for a network.
    pub(crate) fn holds(&self, network: NetworkId) -> bool {
        self.networks().values().any(|known| *known == network)
    }

    /// Notes why a network stays that Docker's user has removed.
    pub(crate) fn keep(&self, network: NetworkId, reason: String) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(network, reason);
    }

    /// Why a network stayed, once.
    pub(crate) fn why_kept(&self, network: NetworkId) -> Option<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&network)
    }

    /// Says that an id goes and its network does not.
    pub(crate) fn replace(&self, docker: &str) {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).insert(docker.to_owned());
    }

    /// Ends [`Links::replace`]; whether it was said.
    pub(crate) fn is_replaced(&self, docker: &str) -> bool {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).remove(docker)
    }

    /// Says that the engine was asked.
    pub(crate) fn asked(&self) {
        self.asked.send_replace(true);
    }

    /// Waits a little until the engine was asked. The first call may be the removal of a copy, and Docker no longer
    /// lists what it is removing.
    pub(crate) async fn ready(&self) {
        let mut asked = self.asked.subscribe();
        // Ready or not, Docker is answered then, and the calls after this one at once.
        if timeout(PATIENCE, asked.wait_for(|asked| *asked)).await.is_err() {
            self.asked();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test(start_paused = true)]
    async fn the_first_calls_wait_for_the_engines_list_but_not_for_long() {
        let links = Links::default();
        assert_eq!(links.ready().now_or_never(), None);
        timeout(2 * PATIENCE, links.ready()).await.unwrap();
        links.asked();
        assert_eq!(links.ready().now_or_never(), Some(()));
    }
}
