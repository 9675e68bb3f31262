//! What this host's kernel should hold, as a pure function: `plan(view, features) -> HostState`.
//!
//! Here live the planes and their meaning. What must not live here: system calls, clocks, randomness, sockets.

pub mod delta;
pub mod state;
pub mod view;

pub use state::HostState;
pub use view::{Features, View};
