//! Paths on the move: probes go out, answers and peers' own sight come in, the choice goes to the planner.
//!
//! What must not live here: how paths are chosen (the `path` crate), the sockets (a [`Prober`] brings them).

use crate::facts::Facts;
use crate::intent::copy::IntentAt;
use crate::kernel::planner::Planner;
use crate::statedir::StateDir;
use async_trait::async_trait;
use hopsack_path::{PathStatus, PathTable, Probe, ProbeCount, Reach};
use hopsack_plan::Features;
use hopsack_plan::paths::{may_be_direct, may_be_tunnelled, probe_addresses};
use hopsack_plan::view::Underlay;
use hopsack_store::watch;
use hopsack_types::fact::{Fact, FactKey};
use hopsack_types::path::{PathChoice, PathKind};
use hopsack_types::{HostId, numbers};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const FILE: &str = "paths.json";

/// One echo request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Own host address.
    pub from: IpAddr,
    /// The peer's host address.
    pub to: IpAddr,
    /// ICMP identifier: tells the kind of path.
    pub id: u16,
    /// ICMP sequence number.
    pub sequence: u16,
    /// Size of the whole IP packet in bytes.
    pub size: u32,
}

/// An echo reply that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoReply {
    /// Who answered.
    pub from: IpAddr,
    /// ICMP identifier.
    pub id: u16,
    /// ICMP sequence number.
    pub sequence: u16,
}

/// Sends and receives ICMP echo (RFC 792, RFC 4443).
#[async_trait]
pub trait Prober: Send + Sync {
    /// Sends a request, unfragmented. An error means that the kernel would not send it.
    async fn send(&self, echo: Echo) -> io::Result<()>;
    /// The next reply.
    async fn receive(&self) -> EchoReply;
}

const fn icmp_id(kind: PathKind) -> u16 {
    match kind {
        PathKind::Direct => numbers::PROBE_DIRECT_ICMP_ID,
        PathKind::Vxlan => numbers::PROBE_VXLAN_ICMP_ID,
    }
}

const fn kind_of(id: u16) -> Option<PathKind> {
    match id {
        numbers::PROBE_DIRECT_ICMP_ID => Some(PathKind::Direct),
        numbers::PROBE_VXLAN_ICMP_ID => Some(PathKind::Vxlan),
        _ => None,
    }
}

/// The paths of one host, as its tasks share them.
pub struct Paths {
    me: HostId,
    table: Mutex<PathTable>,
    started: Instant,
    features: Features,
    dir: StateDir,
}

impl Paths {
    /// Begins with the choices of the agent before this one.
    pub fn load(me: HostId, features: Features, dir: StateDir) -> Self {
        let choices: BTreeMap<HostId, PathChoice> = dir.read_json(FILE).unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "the last choices of paths cannot be read; they are made anew");
            None
        }).unwrap_or_default();
        let table = Mutex::new(PathTable::adopting(choices));
        Self { me, table, started: Instant::now(), features, dir }
    }

    fn with<T>(&self, work: impl FnOnce(&mut PathTable, Duration) -> T) -> T {
        let now = self.started.elapsed();
        work(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// A peer's path and the reason for it.
    pub fn explain(&self, peer: HostId) -> Option<PathStatus> {
        self.with(|table, _| table.explain(peer))
    }

    /// How many probes each kind of path to each peer has taken, and lost.
    pub fn probe_counts(&self) -> BTreeMap<(HostId, PathKind), ProbeCount> {
        self.with(|table, _| table.probe_counts())
    }

    /// How long ago a probe to a peer was answered; none: never since this agent's start.
    pub fn silent_for(&self, peer: HostId) -> Option<Duration> {
        self.with(|table, now| Some(now.saturating_sub(table.explain(peer)?.last_answer?)))
    }

    /// Takes in the peers of intent and the underlay; gives the choices.
    pub fn set_peers(&self, at: &IntentAt, underlay: &Underlay) -> BTreeMap<HostId, PathChoice> {
        let Some(own) = at.intent.hosts.get(&self.me) else { return BTreeMap::new() };
        let reaches = at
            .intent
            .hosts
            .values()
            .filter(|host| host.id != self.me)
            .map(|host| {
                let reach = Reach {
                    direct: may_be_direct(underlay, own, host).then_some(underlay.mtu),
                    vxlan: may_be_tunnelled(underlay, &self.features, host).then(|| underlay.vxlan_mtu()),
                };
                (host.id, reach)
            })
            .collect();
        self.with(|table, _| {
            table.set_peers(&reaches);
            table.choices()
        })
    }

    /// Probes for ever.
    pub async fn run(
        self: Arc<Self>,
        prober: Arc<dyn Prober>,
        facts: Arc<Facts>,
        planner: Arc<Planner>,
        mut intent: watch::Receiver<IntentAt>,
    ) {
        let mut heard = facts.changed();
        let mut chosen = BTreeMap::new();
        let mut told = BTreeMap::new();
        loop {
            let at = intent.borrow_and_update().clone();
            let underlay = planner.underlay();
            self.set_peers(&at, &underlay);
            heard.borrow_and_update();
            for (peer, fact) in facts.paths_to_me() {
                self.with(|table, _| table.handle_fact(peer, &fact));
            }
            let mut deadline = Instant::now();
            while Instant::now() >= deadline {
                self.send_due(prober.as_ref(), &at, &underlay).await;
                deadline = self.with(|table, _| table.wakes_at()).map_or_else(
                    || Instant::now() + Duration::from_secs(1),
                    |at| (self.started + at).max(Instant::now() + Duration::from_millis(1)),
                );
            }
            self.publish(&mut chosen, &mut told, &facts, &planner);
            tokio::select! {
                biased;
                reply = prober.receive() => self.take(&at, reply),
                changed = intent.changed() => if changed.is_err() { return },
                changed = heard.changed() => if changed.is_err() { return },
                () = sleep_until(deadline) => {}
            }
        }
    }

    async fn send_due(&self, prober: &dyn Prober, at: &IntentAt, underlay: &Underlay) {
        for probe in self.with(|table, now| table.due(now)) {
            let Some(echo) = self.echo(at, underlay, probe) else { continue };
            if let Err(error) = prober.send(echo).await {
                tracing::trace!(to = %echo.to, size = echo.size, %error, "a probe was not sent");
                self.with(|table, now| table.handle_refused(probe.peer, probe.kind, probe.sequence, now));
            }
        }
    }

    fn echo(&self, at: &IntentAt, underlay: &Underlay, probe: Probe) -> Option<Echo> {
        let (own, peer) = (at.intent.hosts.get(&self.me)?, at.intent.hosts.get(&probe.peer)?);
        let (from, to) = probe_addresses(underlay, own, peer)?;
        Some(Echo { from, to, id: icmp_id(probe.kind), sequence: probe.sequence, size: probe.size })
    }

    fn take(&self, at: &IntentAt, reply: EchoReply) {
        let peer = at.intent.hosts.values().find(|host| host.addresses.contains(&reply.from));
        if let (Some(peer), Some(kind)) = (peer, kind_of(reply.id)) {
            self.with(|table, now| table.handle_answer(peer.id, kind, reply.sequence, now));
        }
    }

    /// Hands on what has changed: choices to the planner and the disk, own sight to the peers.
    fn publish(
        &self,
        chosen: &mut BTreeMap<HostId, PathChoice>,
        told: &mut BTreeMap<HostId, hopsack_types::fact::PathFact>,
        facts: &Facts,
        planner: &Planner,
    ) {
        let (choices, sight) = self.with(|table, _| (table.choices(), table.facts()));
        if choices != *chosen {
            for (peer, choice) in choices.iter().filter(|(peer, choice)| chosen.get(*peer) != Some(*choice)) {
                tracing::info!(%peer, kind = %choice.kind, mtu = choice.mtu, "path chosen");
            }
            planner.set_paths(choices.clone());
            if let Err(error) = self.dir.write_json(FILE, &choices) {
                tracing::warn!(error = %error.chain(), "the choice of paths was not written to disk");
            }
            *chosen = choices;
        }
        if sight != *told {
            let gone: Vec<HostId> = told.keys().filter(|peer| !sight.contains_key(peer)).copied().collect();
            for peer in gone {
                facts.set(FactKey::Path(peer), None);
            }
            for (peer, fact) in &sight {
                facts.set(FactKey::Path(*peer), Some(Fact::Path(fact.clone())));
            }
            *told = sight;
        }
    }
}
