//! Keeps the view: whatever changes in intent, endpoints, paths or the underlay comes here, and out comes what the
//! kernel should hold, with a generation that callers can wait for.
//!
//! What must not live here: kernel calls (the reconciler makes them), and what a plan means (the `plan` crate).

use hopsack_plan::view::{Endpoint, NetworkView, Underlay};
use hopsack_plan::{Features, HostState, View, plan};
use hopsack_store::watch;
use hopsack_types::intent::Intent;
use hopsack_types::path::PathChoice;
use hopsack_types::{EndpointId, Generation, HostId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the kernel should hold, and since when.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Grows with every change; 0 is "nothing is wanted yet".
    pub generation: Generation,
    /// The state.
    pub state: Arc<HostState>,
}

/// What a plan is made from, as the agent keeps it.
pub struct Inputs {
    /// This host.
    pub me: HostId,
    /// The way to the others.
    pub underlay: Underlay,
    /// Intent.
    pub intent: Arc<Intent>,
    /// This host's endpoints.
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    /// The paths in use.
    pub paths: BTreeMap<HostId, PathChoice>,
}

/// The planner of one host.
pub struct Planner {
    features: Features,
    inputs: Mutex<Inputs>,
    wanted: watch::Sender<Wanted>,
}

impl Planner {
    /// A planner. It wants nothing until intent names this host. All inputs come at once, so that an agent that starts
    /// again does not first take away what it has not heard of yet.
    pub fn new(features: Features, inputs: Inputs) -> Self {
        let wanted = watch::Sender::new(Wanted::default());
        let planner = Self { features, inputs: Mutex::new(inputs), wanted };
        planner.change(|_| {});
        planner
    }

    /// What is wanted, now and later.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// The settings below `/proc/sys` that are wanted now.
    pub fn settings(&self) -> BTreeMap<String, String> {
        self.wanted.borrow().state.sysctls.clone()
    }

    /// The generation wanted now.
    pub fn generation(&self) -> Generation {
        self.wanted.borrow().generation
    }

    /// Intent has changed.
    pub fn set_intent(&self, intent: Arc<Intent>) -> Generation {
        self.change(|inputs| inputs.intent = intent)
    }

    /// This host's endpoints have changed.
    pub fn set_endpoints(&self, endpoints: BTreeMap<EndpointId, Endpoint>) -> Generation {
        self.change(|inputs| inputs.endpoints = endpoints)
    }

    /// The paths in use have changed.
    pub fn set_paths(&self, paths: BTreeMap<HostId, PathChoice>) -> Generation {
        self.change(|inputs| inputs.paths = paths)
    }

    /// The way to the others has changed.
    pub fn set_underlay(&self, underlay: Underlay) -> Generation {
        self.change(|inputs| inputs.underlay = underlay)
    }

    /// The way to the others.
    pub fn underlay(&self) -> Underlay {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).underlay.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Inputs)) -> Generation {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut inputs);
        // Before this host's own record has arrived nothing can be planned, and the kernel is left as it is.
        if !inputs.intent.hosts.contains_key(&inputs.me) {
            return self.generation();
        }
        let state = Arc::new(plan(&view(&inputs), &self.features));
        // Sent while the inputs are locked, so that generations and states keep the same order.
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.generation == Generation(0) || wanted.state != state;
            if changed {
                *wanted = Wanted { generation: wanted.generation.next(), state };
            }
            changed
        });
        self.generation()
    }
}

fn view(inputs: &Inputs) -> View {
    let intent = &inputs.intent;
    let networks = intent
        .networks
        .iter()
        .map(|(id, network)| {
            let grants = intent.ledgers.get(id).map(|ledger| {
                ledger
                    .grants
                    .iter()
                    .filter(|(_, grant)| !grant.quarantined)
                    .map(|(cidr, grant)| (*cidr, grant.host))
            });
            let grants = grants.into_iter().flatten().collect();
            (*id, NetworkView { network: network.clone(), grants })
        })
        .collect();
    View {
        me: inputs.me,
        hosts: intent.hosts.clone(),
        pools: intent.pools.clone(),
        networks,
        endpoints: inputs.endpoints.clone(),
        paths: inputs.paths.clone(),
        underlay: inputs.underlay.clone(),
    }
}
