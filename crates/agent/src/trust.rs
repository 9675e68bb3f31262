//! Who belongs to the cluster: making one, joining one, and the keys and certificates that prove it (contract C4).
//!
//! What must not live here: what members say to each other once they are in, which is `talk`.

pub mod admission;
pub mod authority;
pub mod entry;
pub mod identity;
pub mod keyring;
pub mod leaving;
pub mod token;
pub mod tokens;
