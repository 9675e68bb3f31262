//! This host's endpoints, kept on disk: an agent that starts again serves them before anybody answers.

pub mod attachment;
pub mod ports;

use crate::error::AgentError;
use crate::statedir::StateDir;
use hopsack_plan::view::Endpoint;
use hopsack_types::EndpointId;
use std::collections::BTreeMap;
use tokio::sync::watch;

const FILE: &str = "endpoints.json";

/// The endpoints of this host.
#[derive(Debug)]
pub struct Endpoints {
    dir: StateDir,
    by_id: BTreeMap<EndpointId, Endpoint>,
    changes: watch::Sender<()>,
}

impl Endpoints {
    /// Reads them from disk.
    pub fn load(dir: &StateDir) -> Result<Self, AgentError> {
        let list: Vec<Endpoint> = dir.read_json(FILE)?.unwrap_or_default();
        let by_id = list.into_iter().map(|endpoint| (endpoint.id, endpoint)).collect();
        Ok(Self { dir: dir.clone(), by_id, changes: watch::Sender::new(()) })
    }

    /// All of them.
    pub const fn all(&self) -> &BTreeMap<EndpointId, Endpoint> {
        &self.by_id
    }

    /// Says when any of them has changed, in what the kernel does not hold as well: whose it is.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Adds or replaces one, durably.
    pub fn put(&mut self, endpoint: Endpoint) -> Result<(), AgentError> {
        let before = self.by_id.insert(endpoint.id, endpoint.clone());
        self.save().inspect_err(|_| match before {
            Some(before) => drop(self.by_id.insert(before.id, before)),
            None => drop(self.by_id.remove(&endpoint.id)),
        })
    }

    /// Removes one, durably. Returns it if it was there.
    pub fn remove(&mut self, id: EndpointId) -> Result<Option<Endpoint>, AgentError> {
        let Some(endpoint) = self.by_id.remove(&id) else { return Ok(None) };
        match self.save() {
            Ok(()) => Ok(Some(endpoint)),
            Err(error) => {
                self.by_id.insert(id, endpoint);
                Err(error)
            }
        }
    }

    fn save(&self) -> Result<(), AgentError> {
        self.dir.write_json(FILE, &self.by_id.values().collect::<Vec<_>>())?;
        self.changes.send_replace(());
        Ok(())
    }
}
