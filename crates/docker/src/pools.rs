//! Subnets that were promised to Docker and are not a network yet: `RequestPool` comes before `CreateNetwork`, and
//! the agent is told by the latter only. What Docker says of a subnet in between and not again is kept here too.

use hopsack_types::Cidr;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Docker makes the network within milliseconds; a promise that is older belongs to an engine that was killed.
const LIFETIME: Duration = Duration::from_secs(60);

/// What is known of a promised subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    /// `--ip-range`, which `CreateNetwork` does not carry.
    pub(crate) range: Option<Cidr>,
    /// Whether Docker shows the gateway: the user gave it, or gave no subnet.
    pub(crate) gateway_shown: bool,
    since: Instant,
    /// How often it was asked for and not given back: Docker asks again where an answer was lost, and two networks of
    /// one subnet may be made at once, of which `CreateNetwork` refuses the later.
    asked: usize,
}

/// The promises.
#[derive(Debug, Default)]
pub(crate) struct PromisedPools {
    made: Mutex<BTreeMap<Cidr, Promise>>,
}

impl PromisedPools {
    fn made(&self) -> MutexGuard<'_, BTreeMap<Cidr, Promise>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises a subnet with the range in it, to somebody who did or did not say which subnet.
    pub(crate) fn insert(&self, pool: Cidr, range: Option<Cidr>, chosen_by_us: bool) {
        let mut made = self.made();
        let asked = made.get(&pool).map_or(0, |promise| promise.asked) + 1;
        made.insert(pool, Promise { range, gateway_shown: chosen_by_us, since: Instant::now(), asked });
    }

    /// Notes that the user gave the gateway of a subnet.
    pub(crate) fn gateway_given(&self, pool: &Cidr) {
        if let Some(promise) = self.made().get_mut(pool) {
            promise.gateway_shown = true;
        }
    }

    /// Takes one promise of a subnet back.
    pub(crate) fn give_back(&self, pool: &Cidr) {
        let mut made = self.made();
        if let Some(promise) = made.get_mut(pool) {
            promise.asked -= 1;
            if promise.asked == 0 {
                made.remove(pool);
            }
        }
    }

    /// A network has the subnet now: what was promised is kept.
    pub(crate) fn keep(&self, pool: &Cidr) {
        self.made().remove(pool);
    }

    /// What was promised of this subnet.
    pub(crate) fn get(&self, pool: &Cidr) -> Option<Promise> {
        self.made().get(pool).copied()
    }

    /// All promises that still count.
    pub(crate) fn all(&self) -> Vec<Cidr> {
        let mut made = self.made();
        made.retain(|_, promise| promise.since.elapsed() < LIFETIME);
        made.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_promise_made_twice_holds_until_both_are_given_back_or_it_is_kept() {
        let pools = PromisedPools::default();
        let pool = "10.1.0.0/24".parse().unwrap();
        for _ in 0..2 {
            pools.insert(pool, None, false);
        }
        pools.give_back(&pool);
        assert!(pools.get(&pool).is_some());
        pools.give_back(&pool);
        pools.give_back(&pool);
        assert_eq!(pools.get(&pool), None);
        for _ in 0..2 {
            pools.insert(pool, None, false);
        }
        pools.keep(&pool);
        assert_eq!(pools.get(&pool), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_promise_to_a_killed_engine_is_forgotten_after_a_while() {
        let pools = PromisedPools::default();
        pools.insert("10.1.0.0/24".parse().unwrap(), None, true);
        tokio::time::advance(LIFETIME / 2).await;
        pools.insert("10.2.0.0/24".parse().unwrap(), None, true);
        assert_eq!(pools.all().len(), 2);
        tokio::time::advance(LIFETIME / 2).await;
        assert_eq!(pools.all(), ["10.2.0.0/24".parse().unwrap()]);
    }
}
