//! Which of our networks Docker's network ids stand for, where intent does not say it: on hosts that hold a copy of
//! a network, Docker has an id of its own for it. The mirror reads them from the engine, the driver learns new ones.

use hopsack_types::NetworkId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a call waits for the engine's list to be read after the agent's start. Docker retries no refused call,
/// and an engine that is starting itself cannot be asked yet, so neither forever nor not at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// The map.
#[derive(Debug)]
pub(crate) struct Links {
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    networks: BTreeMap<String, NetworkId>,
    /// Whether the engine's list was read since this process started.
    complete: bool,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { state: watch::Sender::default() }
    }

    /// Notes one copy.
    pub(crate) fn insert(&self, docker: &str, network: NetworkId) {
        self.state.send_modify(|state| {
            state.networks.insert(docker.to_owned(), network);
        });
    }

    /// Notes all copies that the engine lists. Docker never uses an id twice, so what is known stays true.
    pub(crate) fn complete(&self, networks: impl IntoIterator<Item = (String, NetworkId)>) {
        self.state.send_modify(|state| {
            state.networks.extend(networks);
            state.complete = true;
        });
    }

    /// Forgets one copy, so that its removal is not taken for the removal of the network itself.
    pub(crate) fn forget(&self, docker: &str) {
        self.state.send_modify(|state| {
            state.networks.remove(docker);
        });
    }

    /// The network, if known by now.
    pub(crate) fn get(&self, docker: &str) -> Option<NetworkId> {
        self.state.borrow().networks.get(docker).copied()
    }

    /// The network; waits a little for the engine's list.
    pub(crate) async fn wait(&self, docker: &str) -> Option<NetworkId> {
        let mut changes = self.state.subscribe();
        let known = changes.wait_for(|state| state.complete || state.networks.contains_key(docker));
        match timeout(PATIENCE, known).await {
            Ok(Ok(state)) => state.networks.get(docker).copied(),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const NETWORK: NetworkId = NetworkId::from_bytes([3; 16]);

    #[tokio::test(start_paused = true)]
    async fn a_call_that_comes_before_the_engines_list_waits_for_it() {
        let links = Arc::new(Links::new());
        let early = tokio::spawn({
            let links = links.clone();
            async move { links.wait("d1").await }
        });
        tokio::task::yield_now().await;
        links.complete([("d1".to_owned(), NETWORK)]);
        assert_eq!(early.await.unwrap(), Some(NETWORK));
        assert_eq!(links.wait("d2").await, None, "all is read, so an unknown id is unknown at once");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_forever_for_an_engine_that_does_not_answer() {
        assert_eq!(Links::new().wait("d1").await, None);
    }
}
