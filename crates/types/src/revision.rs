//! Counters that order things: revisions of intent, generations of what was applied, incarnations and sequence
//! numbers of facts. None of them is a clock.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A point in the history of intent: the cluster's epoch (grows when a cluster is rebuilt from a copy), then the
/// index of the last committed write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// Cluster epoch.
    pub epoch: u64,
    /// Index of the write inside the epoch; 0 is "before the first".
    pub index: u64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Counts the changes of what a host's kernel should hold; a caller waits until its generation is applied.
    Generation
);
counter!(
    /// Counts a host's starts; the boot counter on its disk.
    Incarnation
);
counter!(
    /// Orders the facts that one host wrote in one incarnation.
    Seq
);
