//! Our one nftables table: renders its form as text, applies a difference in one transaction with the `nft` program,
//! and reads back what is there.
//!
//! What must not live here: decisions about what should be in the table (that is `plan`), tables of others.

mod difference;
mod error;
mod layout;
mod program;
mod readback;
mod render;
#[cfg(test)]
mod roundtrip;

pub use error::NftError;
pub use layout::only_elements;
pub use program::{LastCommit, Nft};
pub use render::render_table;
