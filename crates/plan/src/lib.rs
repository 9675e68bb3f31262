//! What this host's kernel should hold, as a pure function: [`plan`] makes a [`HostState`] out of a [`View`].
//!
//! - [`view`]: what a plan is made from. [`state`]: what it makes.
//! - [`survey`]: what all parts want to know of a view, worked out once.
//! - [`paths`]: the VXLAN device, and what leads to a peer. [`probes`]: what leads probes of each kind there.
//! - [`routed`]: host addresses, endpoints and routes of routed networks.
//! - [`fastpath`]: what of that goes past the host's IP stack.
//! - [`settings`]: kernel settings.
//! - [`firewall`]: our nftables table.
//! - [`delta`]: the difference of two tables.
//!
//! What must not live here: system calls, clocks, randomness, sockets, syntax of tools other than nft's rule bodies.

pub mod delta;
pub mod fastpath;
pub mod firewall;
pub mod paths;
pub mod probes;
pub mod routed;
pub mod settings;
pub mod state;
pub mod survey;
pub mod view;

pub use delta::DeltaTable;
pub use state::HostState;
pub use view::{Features, View};

use survey::Survey;

/// What this host's kernel should hold. A host that is not in the view's cluster holds nothing of ours.
pub fn plan(view: &View, features: &Features) -> HostState {
    let mut state = HostState::default();
    if let Some(survey) = Survey::new(view, features) {
        paths::fill(&survey, &mut state);
        probes::fill(&survey, &mut state);
        routed::fill(&survey, &mut state);
        settings::fill(&survey, &mut state);
        firewall::fill(&survey, &mut state);
        if features.fast_path {
            fastpath::fill(&survey, &mut state);
        }
    }
    state
}
