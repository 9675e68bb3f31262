//! Up or down, with hysteresis: a few answers in a row bring a path up, a few losses in a row take it down, and one
//! that goes down often has to prove itself for longer each time.

use std::time::Duration;

/// Answers in a row that bring a path up.
pub const ANSWERS_UP: u32 = 3;
/// Losses in a row that take a path down: one loss in a hundred is no outage.
pub const LOSSES_DOWN: u32 = 3;
/// After the first time down, a path is up again only after it has been answering for this long.
pub const FIRST_HOLD: Duration = Duration::from_secs(2);
/// The hold doubles each time, up to this.
pub const LONGEST_HOLD: Duration = Duration::from_secs(64);
/// A path that was up for this long starts again with the first hold.
pub const CALM: Duration = Duration::from_secs(120);

/// What the answers and losses so far say of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Liveness {
    up: bool,
    answers: u32,
    losses: u32,
    /// Begin of the run of answers.
    answering_since: Duration,
    last_answer: Option<Duration>,
    /// Begin of the run of losses; none while answers come.
    losing_since: Option<Duration>,
    up_since: Duration,
    hold: Duration,
}

impl Liveness {
    /// That of a path which was up when the agent before this one ended.
    pub fn adopted() -> Self {
        Self { up: true, ..Self::default() }
    }

    /// Takes an answer in.
    pub fn answered(&mut self, now: Duration) {
        if self.answers == 0 {
            self.answering_since = now;
        }
        self.answers = self.answers.saturating_add(1);
        self.losses = 0;
        self.losing_since = None;
        self.last_answer = Some(now);
        let held = now.saturating_sub(self.answering_since) >= self.hold;
        if !self.up && self.answers >= ANSWERS_UP && held {
            self.up = true;
            self.up_since = now;
        }
    }

    /// Takes a loss in.
    pub fn lost(&mut self, now: Duration) {
        self.answers = 0;
        self.losses = self.losses.saturating_add(1);
        self.losing_since.get_or_insert(now);
        if self.up && self.losses >= LOSSES_DOWN {
            self.up = false;
            let calm = now.saturating_sub(self.up_since) >= CALM;
            let longer = (self.hold * 2).clamp(FIRST_HOLD, LONGEST_HOLD);
            self.hold = if calm { FIRST_HOLD } else { longer };
        }
    }

    /// Whether the path counts as passing packets.
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// Whether losses in a row make it doubtful, without having taken it down yet.
    pub const fn is_doubtful(&self) -> bool {
        self.up && self.losses > 0
    }

    /// Whether it is too early to say whether the path passes packets: it was never up, and has not failed yet.
    pub const fn is_undecided(&self) -> bool {
        !self.up && self.hold.is_zero() && self.losses < LOSSES_DOWN
    }

    /// When the last answer came, since the epoch of the caller's clock.
    pub const fn last_answer(&self) -> Option<Duration> {
        self.last_answer
    }

    /// When the first of the losses in a row was noticed, if the last probe was lost.
    pub const fn losing_since(&self) -> Option<Duration> {
        self.losing_since
    }

    /// Answers in a row so far.
    pub const fn answers(&self) -> u32 {
        self.answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEP: Duration = Duration::from_millis(100);

    /// Feeds one result each step; returns the times at which it came up and at which it went down.
    fn run(results: &[bool]) -> (Vec<Duration>, Vec<Duration>) {
        let (mut liveness, mut ups, mut downs) = (Liveness::default(), vec![], vec![]);
        for (i, answered) in (0u32..).zip(results) {
            let (now, before) = (STEP * i, liveness.is_up());
            if *answered {
                liveness.answered(now)
            } else {
                liveness.lost(now)
            }
            match (before, liveness.is_up()) {
                (false, true) => ups.push(now),
                (true, false) => downs.push(now),
                _ => {}
            }
        }
        (ups, downs)
    }

    #[test]
    fn three_answers_in_a_row_bring_it_up_and_three_losses_take_it_down() {
        let (ups, downs) =
            run(&[true, true, false, true, true, true, false, false, true, false, false, false]);
        assert_eq!(ups, [STEP * 5]);
        assert_eq!(downs, [STEP * 11]);
    }

    #[test]
    fn a_path_that_goes_down_again_and_again_is_held_down_for_longer_each_time() {
        let mut results = vec![];
        for _ in 0..8 {
            results.extend([true; 700]);
            results.extend([false; 3]);
        }
        let (ups, downs) = run(&results);
        let holds: Vec<_> = downs.iter().zip(&ups[1..]).map(|(down, up)| (*up - *down).as_secs()).collect();
        assert_eq!(holds, [2, 4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn calm_is_rewarded() {
        let mut results = vec![];
        for calm in [30, 30, 1300] {
            results.extend(vec![true; calm + 30]);
            results.extend([false; 3]);
        }
        results.extend([true; 60]);
        let (ups, downs) = run(&results);
        assert_eq!((ups[3] - downs[2]).as_secs(), FIRST_HOLD.as_secs());
    }

    proptest! {
        #[test]
        fn it_never_comes_up_sooner_than_the_hold_after_it_went_down(
            runs in proptest::collection::vec((any::<bool>(), 1..60usize), 1..80)
        ) {
            let results: Vec<bool> =
                runs.iter().flat_map(|(answered, times)| std::iter::repeat_n(*answered, *times)).collect();
            let (ups, downs) = run(&results);
            for (down, up) in downs.iter().zip(ups.iter().skip(1)) {
                prop_assert!(*up - *down >= FIRST_HOLD);
            }
            // At most five ups in any half minute: the holds add up.
            for window in ups.windows(6) {
                prop_assert!(window[5] - window[0] >= Duration::from_secs(30));
            }
        }
    }
}
