//! What people want: this host's copy of it, and the ways to change it.
//!
//! What must not live here: the stores themselves (the `store` crate), and what intent means for a kernel (`kernel`).

pub mod changes;
pub mod copy;
pub mod hosts;
pub mod listing;
pub mod networks;
pub mod pools;
pub mod removal;
pub mod resources;
