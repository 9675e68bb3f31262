//! Whole agents in one process, on fake kernels, a fake network and a virtual clock. One seed decides everything that
//! is left to chance, so a failure is repeated by its seed.
//!
//! - `network`, `wire`, `prober`: the fake network, and what agents see of it.
//! - `machine`, `world`: hosts that crash and start again, and what tests do to them.
//! - `trace`: what happened, to be compared between two runs.
//! - `clusters`, `chaos`, `refusals`, `removal`, `resources`, `leaving`, `attachments`, `ports`, `limits`, `metrics`: the
//!   tests.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked #[test] for tests, not what they call"
)]

mod attachments;
mod chaos;
mod clusters;
mod events;
mod kernel;
mod leaving;
mod limits;
mod machine;
mod metrics;
mod network;
mod ports;
mod prober;
mod refusals;
mod removal;
mod resources;
mod seeing;
mod stores;
mod trace;
mod wire;
mod world;
