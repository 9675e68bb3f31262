//! One kind of path to one peer: what is under way, what has been answered, what to send next.

use crate::liveness::Liveness;
use crate::mtu::MtuSearch;
use std::collections::BTreeMap;
use std::time::Duration;

/// Size of a keep-alive probe: a whole IP packet in bytes.
pub const SMALL: u32 = 100;
/// Between probes while it matters: at the start, and while losses make a path doubtful.
const FAST: Duration = Duration::from_millis(100);
/// Fast probes at the start, answered or not.
const FIRST_PROBES: u32 = 10;
/// A probe counts as lost after four round trips, within these bounds.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A late answer still teaches the round trip time until this long after its probe.
const REMEMBERED: Duration = Duration::from_secs(3);

/// How many keep-alive probes were sent over a link, and how many of them were not answered in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProbeCount {
    /// Sent, or refused by the kernel.
    pub sent: u64,
    /// Of those, lost.
    pub lost: u64,
}

/// A probe that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    at: Duration,
    size: u32,
    /// Whether its size is what is tried, and not whether the path is up.
    tries_size: bool,
    lost: bool,
}

/// The state of one link.
#[derive(Debug, Clone)]
pub struct Link {
    pub liveness: Liveness,
    pub mtu: MtuSearch,
    /// Smoothed round trip time.
    pub rtt: Option<Duration>,
    under_way: BTreeMap<u16, Sent>,
    next_sequence: u16,
    sent: u32,
    /// Keep-alive probes: one that tries a size is meant to be lost when the size is too large.
    pub count: ProbeCount,
    last_at: Duration,
    next_at: Duration,
}

impl Link {
    pub fn new(limit: u32) -> Self {
        Self {
            liveness: Liveness::default(),
            mtu: MtuSearch::new(limit),
            rtt: None,
            under_way: BTreeMap::new(),
            next_sequence: 0,
            sent: 0,
            count: ProbeCount::default(),
            last_at: Duration::ZERO,
            next_at: Duration::ZERO,
        }
    }

    /// The link of a path that was in use when the agent before this one ended: up, and known to pass `mtu`.
    pub fn adopted(limit: u32, mtu: u32) -> Self {
        Self { liveness: Liveness::adopted(), mtu: MtuSearch::adopted(limit, mtu), ..Self::new(limit) }
    }

    /// Gives up on probes that were not answered in time.
    pub fn expire(&mut self, now: Duration) {
        let wait = self.wait();
        let overdue: Vec<u16> = self
            .under_way
            .iter()
            .filter(|(_, sent)| !sent.lost && now >= sent.at + wait)
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in overdue {
            self.lost(sequence, now);
        }
        self.under_way.retain(|_, sent| now < sent.at + REMEMBERED);
    }

    /// What to send now: (sequence, size). `steady` is the pace of keep-alive probes when nothing is in doubt.
    pub fn due(&mut self, now: Duration, steady: Duration, urgent: bool) -> Vec<(u16, u32)> {
        let mut due = vec![];
        if urgent {
            self.next_at = self.next_at.min(self.last_at + FAST);
        }
        let size = if self.may_try_size() { self.mtu.due(now) } else { None };
        // A small one goes along with each large one: only next to its answer does the large one's loss say something.
        if now >= self.next_at || size.is_some() {
            due.push((self.send(now, SMALL, false), SMALL));
            self.last_at = now;
            let fast = urgent || self.sent < FIRST_PROBES || self.liveness.is_doubtful();
            self.next_at = now + if fast { FAST } else { steady };
        }
        if let Some(size) = size {
            due.push((self.send(now, size, true), size));
        }
        due
    }

    /// Whether a size can be tried: one at a time, and not while it is doubtful that anything passes.
    fn may_try_size(&self) -> bool {
        let trying = self.under_way.values().any(|sent| sent.tries_size && !sent.lost);
        self.liveness.is_up() && !self.liveness.is_doubtful() && !trying
    }

    fn send(&mut self, now: Duration, size: u32, tries_size: bool) -> u16 {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        self.sent = self.sent.saturating_add(1);
        self.count.sent += u64::from(!tries_size);
        self.under_way.insert(sequence, Sent { at: now, size, tries_size, lost: false });
        sequence
    }

    /// Takes an answer in; one that was not asked for, or is very late, counts for nothing.
    pub fn answered(&mut self, sequence: u16, now: Duration) {
        let Some(sent) = self.under_way.remove(&sequence) else { return };
        let sample = now.saturating_sub(sent.at);
        // RFC 6298's smoothing; a late answer teaches to wait longer, but was a loss all the same.
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        if sent.lost {
            return;
        }
        if sent.tries_size {
            self.mtu.passed(sent.size, now);
        } else {
            self.liveness.answered(now);
        }
    }

    /// Takes a loss in, by time or because the kernel would not send.
    pub fn lost(&mut self, sequence: u16, now: Duration) {
        let Some(sent) = self.under_way.get_mut(&sequence).filter(|sent| !sent.lost) else { return };
        sent.lost = true;
        let Sent { at, size, tries_size, .. } = *sent;
        if !tries_size {
            self.count.lost += 1;
            self.liveness.lost(now);
            if self.liveness.is_doubtful() {
                self.next_at = self.next_at.min(now);
            }
        } else if self.liveness.last_answer().is_some_and(|answer| answer >= at) {
            self.mtu.lost(size, now);
        }
    }

    fn wait(&self) -> Duration {
        self.rtt.map_or(LONGEST_WAIT, |rtt| (rtt * 4).clamp(SHORTEST_WAIT, LONGEST_WAIT))
    }

    /// When `due` or `expire` has something to do next, if nothing comes in before.
    pub fn wakes_at(&self) -> Duration {
        let wait = self.wait();
        let overdue = self.under_way.values().filter(|sent| !sent.lost).map(|sent| sent.at + wait);
        let sized = self.may_try_size().then(|| self.mtu.next_at());
        overdue.chain(sized).chain([self.next_at]).min().unwrap_or_default()
    }
}
