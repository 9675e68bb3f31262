//! Our one nftables table: renders its form as text, applies a difference in one transaction with the `nft` program,
//! and reads back what is there.
//!
//! What must not live here: decisions about what should be in the table (that is `plan`), tables of others.

mod apply;

pub use apply::{Nft, NftError};
