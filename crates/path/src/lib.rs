//! Which path to use to each peer, from what the probes saw: a pure core that is told the time, the answers and the
//! peers' own sight, and says what to send next and what to use.
//!
//! - [`table`]: the path table: probes in, choices out.
//! - [`liveness`]: when a path counts as up or down, so that it does not flap.
//! - [`mtu`]: the search for the largest packet that passes.
//! - [`reason`]: why a path is the one in use, in words.
//!
//! What must not live here: sockets, clocks, randomness, routes (those are `plan`'s).

mod link;
pub mod liveness;
pub mod mtu;
pub mod reason;
pub mod table;

pub use link::ProbeCount;
pub use reason::Reason;
pub use table::{PathStatus, PathTable, Probe, Reach};
