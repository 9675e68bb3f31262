//! Address management: which host may give which address of a network, and to whom it has. All of it is pure.
//!
//! ```text
//!   pool ⊃ subnet of a network ⊃ block of a host ⊃ address of an endpoint
//!   subnet, definition   block, grant, want        allocator, rest
//!                  └ the ledger, one document per network, changed by compare-and-swap
//!                                                  └ the host's own book, kept by a journal: book, journal
//!                  steward: what a host does about the ledger; tally: how it is spread, for people
//! ```
//!
//! No address is ever given out twice, because grants are disjoint, a host gives only what it was granted, and what it
//! hands back it has marked durably before. Time is an argument: a [`Duration`](std::time::Duration) since any moment
//! that stays the same while the program runs. What must not live here: I/O, clocks, randomness.

pub mod allocator;
pub mod block;
pub mod book;
pub mod definition;
pub mod error;
pub mod grant;
pub mod handle;
pub mod journal;
mod ranges;
mod rest;
pub mod steward;
pub mod subnet;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod want;

pub use allocator::{Adoption, Allocator, COOL_DOWN};
pub use book::Book;
pub use error::{IpamError, Unusable};
pub use handle::Handle;
pub use journal::Record;
