//! Who is there: SWIM by `foca`, driven from outside.
//!
//! `foca` alone does not converge at a thousand hosts: it repeats news a bounded number of times, so some is lost, and
//! one lost announcement is a host that never joins (measured). Added here: exchanging the whole member list
//! ([`Membership::member_list`], [`Membership::apply_member_list`], over a stream, with [`Membership::choose_partner`]),
//! and announcing again and again while alone, and now and then to a known host that is not seen.
//!
//! What must not live here: sockets and sealing, and any consequence of a member's state.

use crate::error::GossipError;
use crate::member::{MemberId, MemberRecord, MemberState};
use bytes::Bytes;
use foca::{
    Codec, Config, Foca, Header, Identity, Message, NoCustomBroadcast, Notification, PostcardCodec, Runtime,
    Timer,
};
use hopsack_types::{HostId, Incarnation};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// The largest datagram in bytes: with 32 bytes of sealing, UDP and IPv6 it still passes the smallest MTU that IPv6
/// allows (1280, RFC 8200 section 5).
pub const MAX_DATAGRAM: NonZeroUsize = NonZeroUsize::new(1200).unwrap();

/// First pause between two announcements while alone; doubles up to [`ANNOUNCE_SLOWEST`].
const ANNOUNCE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between announcements while alone, and the pause between announcements to hosts that are not seen.
const ANNOUNCE_SLOWEST: Duration = Duration::from_secs(8);
/// Shortest time between two returns from the dead. A host that was set back to an earlier incarnation is refused
/// each time, and each answer would make it try again: some 200 times a second (simulated).
const REJOIN_PAUSE: Duration = Duration::from_secs(2);
/// How many hosts an announcement goes to while alone.
const ANNOUNCE_FAN_OUT: usize = 3;

/// A change that people and `status` want to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberEvent {
    /// A member is there.
    Up {
        /// The member.
        host: HostId,
        /// Which of its starts.
        incarnation: Incarnation,
        /// Where it is.
        addr: SocketAddr,
    },
    /// A member does not answer any more, or has left.
    Down {
        /// The member.
        host: HostId,
    },
    /// A member has started again or has moved. [`MemberEvent::Up`] follows if it was down.
    Restarted {
        /// The member.
        host: HostId,
        /// Which of its starts.
        incarnation: Incarnation,
        /// Where it is.
        addr: SocketAddr,
    },
    /// Others took this host for dead; it has told them otherwise.
    Rejoined,
}

/// What `foca` wants done: it hands this out while it runs.
#[derive(Debug, Default)]
struct Effects {
    transmits: VecDeque<(SocketAddr, Bytes)>,
    events: VecDeque<MemberEvent>,
    /// By due time, then by order of submission.
    timers: BTreeMap<(Duration, u64), Timer<MemberId>>,
    submitted: u64,
    /// Set when the last active member has gone.
    became_alone: bool,
    /// When this host last came back from having been taken for dead.
    rejoined_at: Option<Duration>,
}

/// [`Effects`] at one moment.
struct EffectsAt<'a> {
    effects: &'a mut Effects,
    me: HostId,
    now: Duration,
}

impl Runtime<MemberId> for EffectsAt<'_> {
    fn notify(&mut self, notification: Notification<'_, MemberId>) {
        let event = match notification {
            // `foca` lists this host's earlier starts as dead members; nobody else has to know.
            Notification::MemberUp(id) | Notification::MemberDown(id) | Notification::Rename(_, id)
                if id.host == self.me =>
            {
                return;
            }
            Notification::MemberUp(id) => {
                MemberEvent::Up { host: id.host, incarnation: id.incarnation, addr: id.addr }
            }
            Notification::MemberDown(id) => MemberEvent::Down { host: id.host },
            Notification::Rename(old, new) if (old.incarnation, old.addr) != (new.incarnation, new.addr) => {
                MemberEvent::Restarted { host: new.host, incarnation: new.incarnation, addr: new.addr }
            }
            Notification::Rejoin(_) => {
                self.effects.rejoined_at = Some(self.now);
                MemberEvent::Rejoined
            }
            Notification::Idle => {
                self.effects.became_alone = true;
                return;
            }
            Notification::Rename(..) | Notification::Active | Notification::Defunct => return,
        };
        self.effects.events.push_back(event);
    }

    fn send_to(&mut self, to: MemberId, data: &[u8]) {
        if to.host != self.me {
            self.effects.transmits.push_back((to.addr, Bytes::copy_from_slice(data)));
        }
    }

    fn submit_after(&mut self, event: Timer<MemberId>, after: Duration) {
        self.effects.submitted += 1;
        self.effects.timers.insert((self.now + after, self.effects.submitted), event);
    }
}

/// Which hosts are there. Call a `handle_` function, then empty [`Membership::poll_transmit`] and
/// [`Membership::poll_event`], then wait for a datagram or [`Membership::poll_timeout`].
pub struct Membership {
    foca: Foca<MemberId, PostcardCodec, SmallRng, NoCustomBroadcast>,
    effects: Effects,
    rng: SmallRng,
    /// The other hosts that intent or the disk know of.
    seeds: BTreeMap<HostId, SocketAddr>,
    announce_due: Duration,
    announce_pause: Duration,
    /// The cluster size that timings are set for.
    sized_for: NonZeroU32,
}

impl Membership {
    /// This host alone. `incarnation` must be higher than at any earlier start; `addr` is where others reach it;
    /// `seed` decides every random choice.
    pub fn new(host: HostId, incarnation: Incarnation, addr: SocketAddr, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let sized_for = NonZeroU32::MIN;
        let id = MemberId { host, incarnation, renewal: 0, addr };
        Self {
            foca: Foca::new(id, config(sized_for), SmallRng::from_rng(&mut rng), PostcardCodec),
            effects: Effects::default(),
            rng,
            seeds: BTreeMap::new(),
            announce_due: Duration::ZERO,
            announce_pause: ANNOUNCE_FIRST,
            sized_for,
        }
    }

    /// The hosts that should be there, from intent or the last run. The others are announced to by
    /// [`Membership::handle_timer`] until they are seen.
    pub fn set_seeds(
        &mut self,
        mut seeds: BTreeMap<HostId, SocketAddr>,
        now: Duration,
    ) -> Result<(), GossipError> {
        seeds.remove(&self.foca.identity().host);
        if seeds != self.seeds {
            self.seeds = seeds;
            self.announce_due = now;
            self.announce_pause = ANNOUNCE_FIRST;
        }
        self.resize()
    }

    /// Takes a datagram from the network, unsealed. An error leaves everything usable: count it and go on.
    pub fn handle_datagram(&mut self, bytes: &[u8], now: Duration) -> Result<(), GossipError> {
        let is_just_back = self.effects.rejoined_at.is_some_and(|at| now < at + REJOIN_PAUSE);
        if is_just_back && says_down(bytes) {
            return Ok(());
        }
        self.drive("read a datagram", now, |foca, runtime| foca.handle_data(bytes, runtime))
    }

    /// Does what is due. An error leaves everything usable; everything else that was due is done all the same.
    pub fn handle_timer(&mut self, now: Duration) -> Result<(), GossipError> {
        let mut outcome = Ok(());
        while let Some(entry) = self.effects.timers.first_entry()
            && entry.key().0 <= now
        {
            let timer = entry.remove();
            let done = self.drive("follow its timer", now, |foca, runtime| foca.handle_timer(timer, runtime));
            outcome = outcome.and(done);
        }
        if self.announce_at().is_some_and(|due| due <= now) {
            outcome = outcome.and(self.announce_to_unseen(now));
        }
        outcome
    }

    /// Asks a host to take this one in and to tell whom it knows; works for a host of which nothing else is known.
    pub fn announce(&mut self, to: HostId, addr: SocketAddr, now: Duration) -> Result<(), GossipError> {
        // A receiver takes an announcement to its host id whatever the rest of the identity says.
        let id = MemberId { host: to, incarnation: Incarnation(0), renewal: 0, addr };
        self.drive("announce this host", now, |foca, runtime| foca.announce(id, runtime))
    }

    /// Alone: to a few hosts, with growing pauses. Otherwise: to one that is known and not seen, or two halves that
    /// started apart would never find each other.
    fn announce_to_unseen(&mut self, now: Duration) -> Result<(), GossipError> {
        let is_alone = self.is_alone();
        let mut unseen = self.seeds.clone();
        self.foca.iter_members().for_each(|member| {
            unseen.remove(&member.id().host);
        });
        let fan_out = if is_alone { ANNOUNCE_FAN_OUT } else { 1 };
        let pause = if is_alone { self.announce_pause } else { ANNOUNCE_SLOWEST };
        self.announce_due = now + pause;
        self.announce_pause = (2 * self.announce_pause).min(ANNOUNCE_SLOWEST);
        let chosen = self.choose(unseen.into_iter().collect(), fan_out);
        chosen.into_iter().try_for_each(|(host, addr)| self.announce(host, addr, now))
    }

    fn announce_at(&self) -> Option<Duration> {
        (!self.seeds.is_empty()).then_some(self.announce_due)
    }

    /// Tells a few members that this host goes down on purpose, so that nobody has to find out.
    pub fn leave(&mut self, now: Duration) -> Result<(), GossipError> {
        self.drive("leave", now, |foca, runtime| foca.leave_cluster(runtime))
    }

    /// Goes on under a higher incarnation, because this host was set back to an earlier state (see
    /// [`Applied::own_newer`](crate::Applied)). One that is not higher changes nothing.
    pub fn restart(&mut self, incarnation: Incarnation, now: Duration) -> Result<(), GossipError> {
        let old = self.foca.identity();
        if incarnation <= old.incarnation {
            return Ok(());
        }
        let id = MemberId { incarnation, renewal: 0, ..old.clone() };
        self.effects.rejoined_at = None;
        self.drive("restart", now, |foca, runtime| foca.change_identity(id, runtime))
    }

    /// Takes another host's [`Membership::member_list`].
    pub fn apply_member_list(&mut self, list: Vec<MemberRecord>, now: Duration) -> Result<(), GossipError> {
        let me = self.foca.identity().clone();
        // What others still believe of this host's earlier starts ends by itself once they hear of the present one.
        let is_outdated = |id: &MemberId| id.host == me.host && me.win_addr_conflict(id);
        let members = list.into_iter().map(foca::Member::from).filter(|member| !is_outdated(member.id()));
        self.drive("take a member list", now, |foca, runtime| foca.apply_many(members, true, runtime))
    }

    /// This host and all it knows of, those that are down as well, in order of host: what to send in an exchange.
    pub fn member_list(&self) -> Vec<MemberRecord> {
        let MemberId { host, incarnation, renewal, addr } = *self.foca.identity();
        // The receiver hears of refutations by datagram; claiming none can not undo a later one.
        let own = MemberRecord { host, incarnation, renewal, refutation: 0, addr, state: MemberState::Alive };
        let mut list = self.members();
        list.push(own);
        list.sort_by_key(|record| record.host);
        list
    }

    /// The other members, those that are down as well, in order of host.
    pub fn members(&self) -> Vec<MemberRecord> {
        let me = self.foca.identity().host;
        let mut members: Vec<MemberRecord> = self
            .foca
            .iter_membership_state()
            .map(MemberRecord::from)
            .filter(|record| record.host != me)
            .collect();
        members.sort_by_key(|record| record.host);
        members
    }

    /// Whether no other member is there. News is better left in its queue then.
    pub fn is_alone(&self) -> bool {
        self.foca.num_members() == 0
    }

    /// Up to `count` members that are there, at random: whom to push news to.
    pub fn choose_active(&mut self, count: usize) -> Vec<(HostId, SocketAddr)> {
        let members = self.members().into_iter().filter(MemberRecord::is_active);
        let candidates = members.map(|record| (record.host, record.addr)).collect();
        self.choose(candidates, count)
    }

    /// Whom to exchange records and member lists with next: mostly a member that is there; one time in four any host
    /// that is known, or a partition that has healed would stay apart for minutes. `None` while no other is known.
    pub fn choose_partner(&mut self) -> Option<(HostId, SocketAddr)> {
        if !self.rng.random_ratio(1, 4)
            && let Some(partner) = self.choose_active(1).pop()
        {
            return Some(partner);
        }
        let mut known = self.seeds.clone();
        known.extend(self.members().into_iter().map(|record| (record.host, record.addr)));
        self.choose(known.into_iter().collect(), 1).pop()
    }

    fn choose<T>(&mut self, mut candidates: Vec<T>, count: usize) -> Vec<T> {
        let chosen = candidates.partial_shuffle(&mut self.rng, count).0.len();
        // The shuffled part is at the end of the slice.
        candidates.split_off(candidates.len() - chosen)
    }

    /// A datagram to seal and send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.effects.transmits.pop_front()
    }

    /// What has changed.
    pub fn poll_event(&mut self) -> Option<MemberEvent> {
        self.effects.events.pop_front()
    }

    /// When to call [`Membership::handle_timer`] next, and what for.
    pub fn poll_timeout(&self) -> Option<(Duration, &'static str)> {
        let timer = self.effects.timers.first_key_value().map(|((due, _), timer)| (*due, reason(timer)));
        let announce = self.announce_at().map(|due| (due, "announcement to hosts that are not seen"));
        timer.into_iter().chain(announce).min()
    }

    /// Lets `foca` do one thing, then looks after what follows from it.
    fn drive(
        &mut self,
        doing: &'static str,
        now: Duration,
        step: impl FnOnce(
            &mut Foca<MemberId, PostcardCodec, SmallRng, NoCustomBroadcast>,
            EffectsAt<'_>,
        ) -> Result<(), foca::Error>,
    ) -> Result<(), GossipError> {
        let me = self.foca.identity().host;
        let runtime = EffectsAt { effects: &mut self.effects, me, now };
        let outcome =
            step(&mut self.foca, runtime).map_err(|source| GossipError::Membership { doing, source });
        if std::mem::take(&mut self.effects.became_alone) {
            self.announce_due = now;
            self.announce_pause = ANNOUNCE_FIRST;
        }
        outcome.and(self.resize())
    }

    /// Timings depend on the size of the cluster: how often news is repeated, how long a suspicion lasts.
    fn resize(&mut self) -> Result<(), GossipError> {
        let others = self.seeds.len().max(self.foca.num_members());
        let size = NonZeroU32::MIN.saturating_add(u32::try_from(others).unwrap_or(u32::MAX));
        if size == self.sized_for {
            return Ok(());
        }
        self.sized_for = size;
        let doing = "set timings for its size";
        self.foca.set_config(config(size)).map_err(|source| GossipError::Membership { doing, source })
    }
}

fn config(size: NonZeroU32) -> Config {
    Config { max_packet_size: MAX_DATAGRAM, ..Config::new_lan(size) }
}

/// Whether a datagram tells its receiver that it is taken for dead.
fn says_down(bytes: &[u8]) -> bool {
    let header: Result<Header<MemberId>, _> = PostcardCodec.decode_header(bytes);
    header.is_ok_and(|header| header.message == Message::TurnUndead)
}

const fn reason(timer: &Timer<MemberId>) -> &'static str {
    match timer {
        Timer::ProbeRandomMember(_) => "next probe",
        Timer::SendIndirectProbe { .. } => "probe through others",
        Timer::ChangeSuspectToDown { .. } => "end of a suspicion",
        Timer::PeriodicAnnounce(_) => "announcement to a member",
        Timer::PeriodicAnnounceDown(_) => "announcement to members that are down",
        Timer::PeriodicGossip(_) => "news to members",
        Timer::RemoveDown(_) => "forgetting a member that is down",
    }
}
