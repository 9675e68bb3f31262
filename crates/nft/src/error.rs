//! Why the table could not be read or written.

use std::path::PathBuf;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no `nft`.
    #[error("nft not found: apt-get install nftables")]
    NotFound,
    /// `nft` is older than 1.0.
    #[error("nft is too old ({found}): Hopsack needs nftables 1.0 or newer")]
    TooOld {
        /// What `nft --version` said.
        found: String,
    },
    /// `nft` could not be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// `nft` could not list our table.
    #[error("nft cannot list table inet hopsack: {said}")]
    List {
        /// What `nft` said.
        said: String,
    },
    /// `nft` refused a transaction; nothing of it was applied.
    #[error("nft refused a change of table inet hopsack: {said}")]
    Refused {
        /// What `nft` said.
        said: String,
    },
    /// What `nft` listed is not JSON.
    #[error("nft listed table inet hopsack as something that is not JSON")]
    NotJson(#[source] serde_json::Error),
}
