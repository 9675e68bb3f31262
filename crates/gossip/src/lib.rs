//! Membership and signed records, without I/O.
//!
//! Two halves that know nothing of each other:
//!
//! - [`Membership`]: who is there and answers. SWIM by `foca`, plus what it needs to converge at a thousand hosts: an
//!   exchange of the whole member list and an announcement that is repeated while alone.
//! - [`Records`]: the facts of all hosts. Each host writes a log of signed batches about itself; everybody keeps
//!   every log, compares logs by hash, and sends what the other lacks.
//!
//! What must not live here: sockets, clocks, keys, a source of randomness, and any decision about what a fact or a
//! silent member means for routes. Time comes in as a [`Duration`](std::time::Duration) since the caller's start.

mod batch;
mod error;
mod log;
mod member;
mod membership;
mod records;
mod sync;
mod writer;

pub use batch::{Batch, Entry, Signature, Signer, Stamp, Verifier};
pub use error::GossipError;
pub use member::{MemberRecord, MemberState};
pub use membership::{MAX_DATAGRAM, MemberEvent, Membership};
pub use records::{Applied, RecordChange, Records, Reject, Rejected, Source, Validity};
pub use sync::{Cursor, Delta, Digest, Mark, StateHash};
