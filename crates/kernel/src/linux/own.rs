//! How a watch tells our changes from those of others. Most notices carry the netlink port of who made a change. Of links the
//! kernel tells nearly all as its own doing, so the links that we make, change and remove are noted here by name.
//!
//! What must not live here: what follows from a notice (`watch.rs`).

use hopsack_nft::LastCommit;
use hopsack_types::IfName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the notices of a change may be on their way.
const NOTICED: Duration = Duration::from_secs(1);

/// What we change.
#[derive(Debug, Clone)]
pub struct OwnChanges {
    socket: u32,
    elements: u32,
    nft: LastCommit,
    links: Arc<Mutex<BTreeMap<IfName, Instant>>>,
}

impl OwnChanges {
    /// Changes through these netlink ports, of which the second is for sets of the firewall, and by this `nft`.
    pub fn new(socket: u32, elements: u32, nft: LastCommit) -> Self {
        Self { socket, elements, nft, links: Arc::default() }
    }

    /// Whether a notice of anything with this port is of ours.
    pub fn has_port(&self, port: u32) -> bool {
        port == self.socket
    }

    /// Whether a notice of the firewall with this port is of ours.
    pub fn has_firewall_port(&self, port: u32) -> bool {
        port == self.elements || self.nft.is(port)
    }

    /// Whether we have touched the link of this name a moment ago.
    pub fn has_link(&self, name: &IfName) -> bool {
        self.links().get(name).is_some_and(|since| since.elapsed() < NOTICED)
    }

    /// Notes that we touch a link, or that it goes with one of ours.
    pub fn note_link(&self, name: &IfName) {
        let mut links = self.links();
        links.retain(|_, since| since.elapsed() < NOTICED);
        links.insert(name.clone(), Instant::now());
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<IfName, Instant>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
