//! Intent: agreed, versioned key-value state behind one trait, [`Store`].
//!
//! ```text
//!   txn ──> RaftStore (voters)  ── watch ──> serve::follow ── TLS, by the agent ──> Replica (every other host)
//!           MemoryStore (tests, simulation)                                          │ reads: own copy
//!                                                                                    └ txn: back to a voter
//! ```
//!
//! Every implementation holds the whole state in memory ([`KvState`], pure) and differs only in who may write and
//! where it is kept. Reads therefore never wait and never fail; only a write can.
//!
//! [`watch`] is the channel that tells of changes, in an order that a simulation can repeat.
//!
//! What must not live here: what keys and values mean (hopsack-types), and sockets (the agent brings them as
//! `Upstream` and `Peers`).

pub mod backing;
mod disk;
mod error;
mod live;
pub mod memory;
pub mod raft;
pub mod replica;
pub mod serve;
pub mod state;
pub mod store;
pub mod watch;

pub use backing::{Backing, DiskBacking, MemoryBacking};
pub use error::{Refusal, StoreError};
pub use live::Watch;
pub use memory::MemoryStore;
pub use raft::{NoPeers, PeerAnswer, PeerRequest, Peers, RaftStore, VoterId};
pub use replica::{Contact, Replica, Upstream};
pub use state::KvState;
pub use store::{Change, Entry, Event, Expected, Guard, Snapshot, Store, Txn, TxnOutcome, Write};
