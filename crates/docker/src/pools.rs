//! Subnets that were promised to Docker and are not a network yet: `RequestPool` comes before `CreateNetwork`, and
//! the agent is told by the latter only.

use hopsack_types::Cidr;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Docker makes the network within milliseconds; a promise that is older belongs to an engine that was killed.
const LIFETIME: Duration = Duration::from_secs(60);

/// The promises.
#[derive(Debug, Default)]
pub(crate) struct PromisedPools {
    made: Mutex<BTreeMap<Cidr, Instant>>,
}

impl PromisedPools {
    fn made(&self) -> MutexGuard<'_, BTreeMap<Cidr, Instant>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises a subnet.
    pub(crate) fn insert(&self, pool: Cidr) {
        self.made().insert(pool, Instant::now());
    }

    /// Ends a promise, kept or not.
    pub(crate) fn remove(&self, pool: &Cidr) {
        self.made().remove(pool);
    }

    /// Whether this subnet is promised.
    pub(crate) fn contains(&self, pool: &Cidr) -> bool {
        self.made().contains_key(pool)
    }

    /// All promises that still count.
    pub(crate) fn all(&self) -> Vec<Cidr> {
        let mut made = self.made();
        made.retain(|_, since| since.elapsed() < LIFETIME);
        made.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_promise_to_a_killed_engine_is_forgotten_after_a_while() {
        let pools = PromisedPools::default();
        pools.insert("10.1.0.0/24".parse().unwrap());
        tokio::time::advance(LIFETIME / 2).await;
        pools.insert("10.2.0.0/24".parse().unwrap());
        assert_eq!(pools.all().len(), 2);
        tokio::time::advance(LIFETIME / 2).await;
        assert_eq!(pools.all(), ["10.2.0.0/24".parse().unwrap()]);
    }
}
