//! The search for the largest packet that passes, by probes that may not be fragmented: the full size first, then
//! 1280 (what IPv6 must have), then halving what lies between. Afterwards the size in use is tried again every few
//! seconds, since a path may shrink under it, and the full size every few minutes, since it may grow.

use std::time::Duration;

/// No path is taken to be smaller: every IPv4 host takes packets of this size (RFC 1122, section 3.3.2).
pub const SMALLEST: u32 = 576;
/// The size that is used while the search goes on: the smallest that IPv6 works with (RFC 8200, section 5).
pub const SAFE: u32 = 1280;
/// Losses in a row that prove a size too large, while smaller probes are answered.
pub const LOSSES_TOO_LARGE: u32 = 3;
/// How often the size in use is tried again.
pub const VERIFY_EVERY: Duration = Duration::from_secs(10);
/// How often a larger size than the one in use is tried again.
pub const GROW_EVERY: Duration = Duration::from_secs(300);
/// Search steps follow each other this fast.
const STEP: Duration = Duration::from_millis(100);

/// One path's search. All sizes are whole IP packets in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtuSearch {
    limit: u32,
    /// What the last finished search found; forgotten when it does not pass any more.
    found: Option<u32>,
    /// The largest that passed, or `None` before the first.
    passes: Option<u32>,
    /// The smallest that did not, in this search.
    fails: Option<u32>,
    losses: u32,
    next_at: Duration,
    grow_at: Duration,
}

impl MtuSearch {
    /// A search below `limit`: the device's MTU less the tunnel's overhead.
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            found: None,
            passes: None,
            fails: None,
            losses: 0,
            next_at: Duration::ZERO,
            grow_at: Duration::ZERO,
        }
    }

    /// A search that begins with what the agent before this one had found.
    pub fn adopted(limit: u32, found: u32) -> Self {
        Self { found: Some(found.min(limit)), ..Self::new(limit) }
    }

    /// The size above which nothing is tried.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// The size to use now: what was found; before the first result the limit; while a smaller one is searched, a
    /// safe one, so that routes do not change with each step of the search.
    pub fn usable(&self) -> u32 {
        let guess = if self.fails.is_none() { self.limit } else { SAFE.min(self.limit) };
        self.found.unwrap_or(guess)
    }

    /// Whether the largest size is known.
    pub fn is_settled(&self) -> bool {
        match (self.passes, self.fails) {
            (Some(passes), Some(fails)) => passes + 1 >= fails,
            (Some(passes), None) => passes == self.limit,
            (None, Some(fails)) => fails <= SMALLEST,
            (None, None) => false,
        }
    }

    /// When the next size is due.
    pub const fn next_at(&self) -> Duration {
        self.next_at
    }

    /// The size to send now, if it is time; at most one at a time, so the caller waits for its result before it asks
    /// again.
    pub fn due(&mut self, now: Duration) -> Option<u32> {
        if now < self.next_at {
            return None;
        }
        if self.is_settled() && self.fails.is_some() && now >= self.grow_at {
            // Forgets what failed, so that the full size is tried first; what passed stays in use meanwhile.
            self.fails = None;
            self.losses = 0;
            self.grow_at = now + GROW_EVERY;
        }
        Some(self.candidate())
    }

    fn candidate(&self) -> u32 {
        match (self.passes, self.fails) {
            (_, None) => self.limit,
            (Some(passes), Some(_)) if self.is_settled() => passes,
            (None, Some(fails)) if fails > SAFE => SAFE,
            (passes, Some(fails)) => {
                let low = passes.unwrap_or(SMALLEST - 1);
                low + (fails - low) / 2
            }
        }
    }

    /// Takes in that a packet of `size` passed.
    pub fn passed(&mut self, size: u32, now: Duration) {
        if self.fails.is_some_and(|fails| size >= fails) {
            // It passes what it did not: search above anew.
            self.fails = None;
        }
        self.losses = 0;
        if self.passes.is_none_or(|passes| size > passes) {
            self.passes = Some(size);
        }
        self.schedule(now);
    }

    /// Takes in that a packet of `size` was lost while smaller ones were answered.
    pub fn lost(&mut self, size: u32, now: Duration) {
        self.losses += 1;
        self.next_at = now + STEP;
        if self.losses < LOSSES_TOO_LARGE {
            return;
        }
        self.losses = 0;
        self.fails = Some(size.max(SMALLEST));
        if self.passes.is_some_and(|passes| passes >= size) {
            self.passes = None;
        }
        if self.found.is_some_and(|found| found >= size) {
            self.found = None;
        }
        self.schedule(now);
    }

    fn schedule(&mut self, now: Duration) {
        let settled = self.is_settled();
        if settled {
            self.found = self.passes;
        }
        self.next_at = now + if settled { VERIFY_EVERY } else { STEP };
        if settled && self.grow_at <= now {
            self.grow_at = now + GROW_EVERY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs the search over a path that passes up to `truth` until `end`; returns the number of probes.
    fn run(search: &mut MtuSearch, truth: u32, from: Duration, end: Duration) -> u32 {
        let (mut now, mut probes) = (from, 0);
        while now < end {
            if let Some(size) = search.due(now) {
                probes += 1;
                if size <= truth { search.passed(size, now) } else { search.lost(size, now) }
            }
            now += STEP;
        }
        probes
    }

    #[test]
    fn the_full_size_is_used_at_once_and_settled_by_one_probe() {
        let mut search = MtuSearch::new(1450);
        assert_eq!(search.usable(), 1450);
        assert_eq!(search.due(Duration::ZERO), Some(1450));
        search.passed(1450, Duration::ZERO);
        assert!(search.is_settled());
        assert_eq!(search.due(STEP), None);
    }

    #[test]
    fn a_path_that_shrinks_is_noticed_within_its_verification_and_one_that_grows_later() {
        let second = Duration::from_secs(1);
        let mut search = MtuSearch::new(1500);
        run(&mut search, 1500, Duration::ZERO, second);
        run(&mut search, 1400, second, second + VERIFY_EVERY + 6 * second);
        assert_eq!((search.usable(), search.is_settled()), (1400, true));
        let later = second + VERIFY_EVERY + 6 * second;
        run(&mut search, 1500, later, later + GROW_EVERY + second);
        assert_eq!(search.usable(), 1500);
    }

    #[test]
    fn a_failed_try_to_grow_keeps_the_size_in_use() {
        let mut search = MtuSearch::new(1500);
        let mut now = Duration::ZERO;
        run(&mut search, 1400, now, Duration::from_secs(20));
        let end = 2 * GROW_EVERY;
        while now < end {
            now = now.max(Duration::from_secs(20)) + STEP;
            run(&mut search, 1400, now, now + STEP);
            assert_eq!(search.usable(), 1400, "at {now:?}");
        }
    }

    #[test]
    fn one_lost_packet_changes_nothing() {
        let mut search = MtuSearch::new(1500);
        search.passed(1500, Duration::ZERO);
        search.lost(1500, STEP);
        assert_eq!(search.usable(), 1500);
        assert_eq!(search.due(3 * STEP), Some(1500));
    }

    proptest! {
        #[test]
        fn the_search_finds_the_true_size_in_few_probes(limit in SMALLEST..9001u32, truth in SMALLEST..9001u32) {
            let mut search = MtuSearch::new(limit);
            let probes = run(&mut search, truth, Duration::ZERO, Duration::from_secs(9));
            prop_assert!(search.is_settled());
            prop_assert_eq!(search.usable(), truth.min(limit));
            prop_assert!(probes <= 50, "{} probes", probes);
        }

        #[test]
        fn a_shrinking_path_is_followed_whatever_it_was(before in 576..9001u32, after in 576..9001u32) {
            let mut search = MtuSearch::new(9000);
            let middle = Duration::from_secs(20);
            run(&mut search, before, Duration::ZERO, middle);
            run(&mut search, after, middle, middle + GROW_EVERY + Duration::from_secs(30));
            prop_assert_eq!(search.usable(), after.min(9000));
        }
    }
}
