//! Tests of the crate through its public face, in one program so that it links once.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked #[test] for tests, not what they call"
)]

mod cluster;
mod exchange;
mod keys;
mod laws;
mod membership;
mod records;
mod scenarios;
