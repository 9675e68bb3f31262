//! The queue of released addresses of one family: first in, first out, with any of them removable.
//! What must not live here: when an address is cool enough to be given; that depends on what else there is.

use std::collections::BTreeMap;
use std::time::Duration;

/// Released addresses, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rest {
    /// By order of release: the address and when.
    queue: BTreeMap<u64, (u128, Duration)>,
    /// Each address's place in the queue.
    places: BTreeMap<u128, u64>,
    /// The next place.
    next: u64,
}

impl Rest {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Puts an address to the end.
    pub(crate) fn push(&mut self, number: u128, now: Duration) {
        self.remove(number);
        self.queue.insert(self.next, (number, now));
        self.places.insert(number, self.next);
        self.next += 1;
    }

    /// Takes the oldest.
    pub(crate) fn pop(&mut self) -> Option<u128> {
        let (_, (number, _)) = self.queue.pop_first()?;
        self.places.remove(&number);
        Some(number)
    }

    pub(crate) fn oldest(&self) -> Option<u128> {
        self.queue.first_key_value().map(|(_, (number, _))| *number)
    }

    pub(crate) fn remove(&mut self, number: u128) {
        if let Some(place) = self.places.remove(&number) {
            self.queue.remove(&place);
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(u128) -> bool) {
        self.queue.retain(|_, (number, _)| keep(*number));
        self.places.retain(|number, _| keep(*number));
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u128> + '_ {
        self.places.keys().copied()
    }

    /// Whether the oldest has rested for as long as it should.
    pub(crate) fn is_cool(&self, now: Duration, cool_down: Duration) -> bool {
        self.cool(now, cool_down).next().is_some()
    }

    /// Those that have rested for as long as they should, oldest first.
    pub(crate) fn cool(&self, now: Duration, cool_down: Duration) -> impl Iterator<Item = u128> + '_ {
        let cool = move |since: Duration| now.saturating_sub(since) >= cool_down;
        self.queue.values().take_while(move |(_, since)| cool(*since)).map(|(number, _)| *number)
    }

    pub(crate) fn cool_count(&self, now: Duration, cool_down: Duration) -> usize {
        self.cool(now, cool_down).count()
    }

    /// Those that have not, oldest first, without the `skip` oldest of all.
    pub(crate) fn warm(
        &self,
        now: Duration,
        cool_down: Duration,
        skip: usize,
    ) -> impl Iterator<Item = u128> + '_ {
        let cool = move |since: Duration| now.saturating_sub(since) >= cool_down;
        self.queue.values().skip(skip).skip_while(move |(_, since)| cool(*since)).map(|(number, _)| *number)
    }
}
