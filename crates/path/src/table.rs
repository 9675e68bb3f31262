//! The path table: for each peer the kinds of path that could be, what their probes say, and the one to use.
//!
//! `direct` is used only while its probes are answered here and the peer says the same of its own; otherwise `vxlan`,
//! from the first moment and also when its probes fail, since there is nothing better. When nothing is answered any
//! more the last path stays: a silent peer is perhaps only an agent or a machine that restarts, and no route may
//! depend on it.

use crate::link::{Link, ProbeCount};
use crate::reason::Reason;
use hopsack_types::HostId;
use hopsack_types::fact::PathFact;
use hopsack_types::path::{PathChoice, PathKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// Between keep-alive probes of one path.
const STEADY: Duration = Duration::from_secs(1);
/// Adds up over many peers: a thousand peers are probed every five seconds each.
const STEADY_PER_PEER: Duration = Duration::from_millis(5);
/// A tunnel that is only the reserve is probed this many times less often.
const RESERVE: u32 = 5;

/// What could lead to a peer, with the largest packet that each kind could pass (bytes).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// The peer is on the underlay's own segment: the underlay device's MTU.
    pub direct: Option<u32>,
    /// This kernel has VXLAN: the device's MTU.
    pub vxlan: Option<u32>,
}

/// An echo request to send now, from the own host address to the peer's, with the kind's ICMP identifier, unfragmented
/// and without regard to a cached path MTU (`IP_PMTUDISC_PROBE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// To whom.
    pub peer: HostId,
    /// Over which kind.
    pub kind: PathKind,
    /// ICMP sequence number.
    pub sequence: u16,
    /// Size of the whole IP packet in bytes.
    pub size: u32,
}

/// A peer's path as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStatus {
    /// The path in use.
    pub choice: Option<PathChoice>,
    /// Whether its probes are answered.
    pub answered: bool,
    /// Its smoothed round trip time.
    pub rtt: Option<Duration>,
    /// Why it is the one in use.
    pub reason: Reason,
    /// The kinds that there could be, and whether the probes of each are answered.
    pub kinds: BTreeMap<PathKind, bool>,
    /// When a probe of any kind was last answered, since the epoch of the caller's clock.
    pub last_answer: Option<Duration>,
}

#[derive(Debug, Clone, Default)]
struct Peer {
    links: BTreeMap<PathKind, Link>,
    /// Whether the peer says that it sees `direct` pass; none before its first word since this agent's start.
    sees_direct: Option<bool>,
    chosen: Option<PathKind>,
}

/// The table. Times are counted from any fixed moment, on a clock that never goes back.
#[derive(Debug, Clone, Default)]
pub struct PathTable {
    peers: BTreeMap<HostId, Peer>,
    adopted: BTreeMap<HostId, PathChoice>,
}

impl PathTable {
    /// A table that begins with the choices of the agent before this one: they stay until probes or peers speak
    /// against them, so that a restart changes no route.
    pub const fn adopting(choices: BTreeMap<HostId, PathChoice>) -> Self {
        Self { peers: BTreeMap::new(), adopted: choices }
    }

    /// Says which peers there are and what could lead to them. What is known of a link stays while its largest packet
    /// does. A peer that is left out is forgotten.
    pub fn set_peers(&mut self, reaches: &BTreeMap<HostId, Reach>) {
        self.peers.retain(|id, _| reaches.contains_key(id));
        for (id, reach) in reaches {
            let peer = self.peers.entry(*id).or_default();
            let adopted = self.adopted.remove(id);
            if adopted.is_some() {
                peer.chosen = adopted.map(|choice| choice.kind);
            }
            for (kind, limit) in [(PathKind::Direct, reach.direct), (PathKind::Vxlan, reach.vxlan)] {
                match limit {
                    None => drop(peer.links.remove(&kind)),
                    Some(limit) if peer.links.get(&kind).is_some_and(|link| link.mtu.limit() == limit) => {}
                    Some(limit) => {
                        let adopted = adopted.filter(|choice| choice.kind == kind);
                        let link =
                            adopted.map_or_else(|| Link::new(limit), |last| Link::adopted(limit, last.mtu));
                        peer.links.insert(kind, link);
                    }
                }
            }
            peer.choose();
        }
    }

    /// Takes in what a peer says of its paths to this host. Without a new word from it the last one holds: a dead
    /// agent is not a dead path.
    pub fn handle_fact(&mut self, peer: HostId, fact: &PathFact) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let sees_direct = fact.usable.iter().any(|(kind, _)| *kind == PathKind::Direct);
            peer.sees_direct = Some(sees_direct);
            peer.choose();
        }
    }

    /// What to send now; also gives up on what was not answered in time.
    pub fn due(&mut self, now: Duration) -> Vec<Probe> {
        let pace = STEADY.max(STEADY_PER_PEER * u32::try_from(self.peers.len()).unwrap_or(u32::MAX));
        let mut probes = vec![];
        for (id, peer) in &mut self.peers {
            peer.links.values_mut().for_each(|link| link.expire(now));
            peer.choose();
            // When one path is in doubt, the other's state must be fresh.
            let urgent = peer.links.values().any(|link| link.liveness.is_doubtful());
            let reserve = peer.chosen == Some(PathKind::Direct);
            for (kind, link) in &mut peer.links {
                let steady = if reserve && *kind == PathKind::Vxlan { pace * RESERVE } else { pace };
                let due = link.due(now, steady, urgent).into_iter();
                probes.extend(due.map(|(sequence, size)| Probe { peer: *id, kind: *kind, sequence, size }));
            }
        }
        probes
    }

    /// When `due` has something to do next, if nothing comes in before.
    pub fn wakes_at(&self) -> Option<Duration> {
        self.peers.values().flat_map(|peer| peer.links.values()).map(Link::wakes_at).min()
    }

    /// Takes in the answer to a probe.
    pub fn handle_answer(&mut self, peer: HostId, kind: PathKind, sequence: u16, now: Duration) {
        self.with(peer, kind, |link| link.answered(sequence, now));
    }

    /// Takes in that the kernel refused to send a probe (too large, no route).
    pub fn handle_refused(&mut self, peer: HostId, kind: PathKind, sequence: u16, now: Duration) {
        self.with(peer, kind, |link| link.lost(sequence, now));
    }

    fn with(&mut self, peer: HostId, kind: PathKind, act: impl FnOnce(&mut Link)) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        if let Some(link) = peer.links.get_mut(&kind) {
            act(link);
            peer.choose();
        }
    }

    /// The path to use to each peer; a peer without one is left out.
    pub fn choices(&self) -> BTreeMap<HostId, PathChoice> {
        self.peers.iter().filter_map(|(id, peer)| Some((*id, peer.choice()?))).collect()
    }

    /// What to tell each peer of the paths to it. Changes only when a path comes up, goes down or changes its MTU.
    pub fn facts(&self) -> BTreeMap<HostId, PathFact> {
        let usable = |peer: &Peer| {
            let up = peer.links.iter().filter(|(_, link)| link.liveness.is_up());
            PathFact { usable: up.map(|(kind, link)| (*kind, link.mtu.usable())).collect() }
        };
        self.peers.iter().map(|(id, peer)| (*id, usable(peer))).collect()
    }

    /// The probes of every link that there is now; counted from the start of the link.
    pub fn probe_counts(&self) -> BTreeMap<(HostId, PathKind), ProbeCount> {
        let mut counts = BTreeMap::new();
        for (id, peer) in &self.peers {
            counts.extend(peer.links.iter().map(|(kind, link)| ((*id, *kind), link.count)));
        }
        counts
    }

    /// One peer's path and the reason for it.
    pub fn explain(&self, peer: HostId) -> Option<PathStatus> {
        let peer = self.peers.get(&peer)?;
        let link = peer.chosen.and_then(|kind| peer.links.get(&kind));
        Some(PathStatus {
            choice: peer.choice(),
            answered: link.is_some_and(|link| link.liveness.is_up()),
            rtt: link.and_then(|link| link.rtt),
            reason: peer.reason(),
            kinds: peer.links.iter().map(|(kind, link)| (*kind, link.liveness.is_up())).collect(),
            last_answer: peer.links.values().filter_map(|link| link.liveness.last_answer()).max(),
        })
    }
}

impl Peer {
    fn choose(&mut self) {
        let has_vxlan = self.links.contains_key(&PathKind::Vxlan);
        let Some(direct) = self.links.get(&PathKind::Direct) else {
            self.chosen = has_vxlan.then_some(PathKind::Vxlan);
            return;
        };
        let in_use = self.chosen == Some(PathKind::Direct);
        if direct.liveness.is_up() && self.sees_direct.unwrap_or(in_use) {
            self.chosen = Some(PathKind::Direct);
        } else if !in_use {
            self.chosen = has_vxlan.then_some(PathKind::Vxlan);
        } else if has_vxlan && (self.sees_direct == Some(false) || self.vxlan_outlived(direct)) {
            self.chosen = Some(PathKind::Vxlan);
        }
    }

    /// Whether VXLAN was answered after `direct` had begun to fail: then it is the path that is broken, and not the
    /// peer that is gone. An answer from before that says nothing: both may have been cut after it.
    fn vxlan_outlived(&self, direct: &Link) -> bool {
        let vxlan = self.links.get(&PathKind::Vxlan).and_then(|link| link.liveness.last_answer());
        let failing = direct.liveness.losing_since().filter(|_| !direct.liveness.is_up());
        failing.is_some_and(|since| vxlan > Some(since))
    }

    fn choice(&self) -> Option<PathChoice> {
        let kind = self.chosen?;
        self.links.get(&kind).map(|link| PathChoice { kind, mtu: link.mtu.usable() })
    }

    fn reason(&self) -> Reason {
        let up = |kind| self.links.get(&kind).is_some_and(|link| link.liveness.is_up());
        let undecided = |kind| self.links.get(&kind).is_some_and(|link: &Link| link.liveness.is_undecided());
        let direct = self.links.get(&PathKind::Direct);
        match self.chosen {
            None => Reason::NoVxlan,
            Some(kind) if undecided(kind) => Reason::JustStarted,
            Some(PathKind::Direct) if up(PathKind::Direct) => Reason::DirectProven,
            Some(PathKind::Direct) => Reason::PeerSilent,
            Some(PathKind::Vxlan) if !up(PathKind::Vxlan) && !up(PathKind::Direct) => {
                Reason::VxlanNotAnswered
            }
            Some(PathKind::Vxlan) => match direct {
                None => Reason::OtherSegment,
                Some(_) if up(PathKind::Direct) => Reason::PeerDoesNotSeeDirect,
                Some(link) if link.liveness.answers() == 0 => Reason::DirectNotAnswered,
                Some(link) => Reason::DirectUnproven { answers: link.liveness.answers() },
            },
        }
    }
}

#[cfg(test)]
mod tests;
