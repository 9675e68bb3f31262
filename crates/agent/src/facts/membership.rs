//! Drives membership: datagrams in and out, timers, and the exchange of member lists.
//!
//! What must not live here: the protocol (the `gossip` crate), and any consequence of a host being away beyond what
//! `status` tells.

use crate::entropy::Entropy;
use crate::intent::copy::IntentAt;
use crate::talk::peers::Peers;
use crate::talk::seal::Seal;
use crate::talk::transport::Transport;
use crate::talk::wire::{Answer, Question};
use hopsack_gossip::{MemberEvent, MemberRecord, Membership};
use hopsack_store::watch;
use hopsack_types::HostId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How often the whole member list is exchanged with one other host.
const EXCHANGE: Duration = Duration::from_secs(10);

/// Membership, as the tasks of one agent share it.
pub struct Members {
    membership: Mutex<Membership>,
    started: Instant,
    changed: Notify,
    active: watch::Sender<BTreeSet<HostId>>,
    heard: watch::Sender<BTreeMap<HostId, SocketAddr>>,
}

impl Members {
    /// Wraps the protocol's state. `heard` gets where hosts say that they are.
    pub fn new(membership: Membership, heard: watch::Sender<BTreeMap<HostId, SocketAddr>>) -> Self {
        Self {
            membership: Mutex::new(membership),
            started: Instant::now(),
            changed: Notify::new(),
            active: watch::Sender::new(BTreeSet::new()),
            heard,
        }
    }

    /// The other hosts that answer.
    pub fn active(&self) -> watch::Receiver<BTreeSet<HostId>> {
        self.active.subscribe()
    }

    /// Up to `count` hosts that answer, at random.
    pub fn choose_active(&self, count: usize) -> Vec<HostId> {
        self.with(|membership, _| membership.choose_active(count)).into_iter().map(|(host, _)| host).collect()
    }

    /// Any known host at random, whether it answers or not.
    pub fn choose_partner(&self) -> Option<HostId> {
        self.with(|membership, _| membership.choose_partner()).map(|(host, _)| host)
    }

    /// Takes another's list, gives the own.
    pub fn exchange(&self, theirs: Vec<MemberRecord>) -> Vec<MemberRecord> {
        let ours = self.with(|membership, now| {
            if let Err(error) = membership.apply_member_list(theirs, now) {
                tracing::debug!(%error, "a member list was not taken whole");
            }
            membership.member_list()
        });
        self.changed.notify_one();
        ours
    }

    fn with<T>(&self, work: impl FnOnce(&mut Membership, Duration) -> T) -> T {
        let now = self.started.elapsed();
        work(&mut self.membership.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Tells the others that this host's agent stops on purpose.
    pub async fn leave(&self, transport: &dyn Transport, seal: &Seal, entropy: &Entropy) {
        let outcome = self.with(Membership::leave);
        if let Err(error) = outcome {
            tracing::debug!(%error, "the others were not told of the stop");
        }
        self.flush(transport, seal, entropy).await;
    }

    async fn flush(&self, transport: &dyn Transport, seal: &Seal, entropy: &Entropy) {
        while let Some((to, plain)) = self.with(|membership, _| membership.poll_transmit()) {
            if let Some(datagram) = seal.seal(&plain, entropy) {
                transport.send_datagram(to, datagram).await;
            }
        }
        while let Some(event) = self.with(|membership, _| membership.poll_event()) {
            match event {
                MemberEvent::Up { host, incarnation, addr } => {
                    tracing::info!(%host, %incarnation, %addr, "a host's agent answers");
                }
                MemberEvent::Down { host } => tracing::warn!(%host, "a host's agent does not answer"),
                MemberEvent::Restarted { host, incarnation, addr } => {
                    tracing::info!(%host, %incarnation, %addr, "a host's agent has started again");
                }
                MemberEvent::Rejoined => tracing::info!("others took this host for dead and know better now"),
            }
        }
        let members = self.with(|membership, _| membership.members());
        let heard = members.iter().map(|record| (record.host, record.addr)).collect();
        self.heard.send_if_modified(|before| {
            let changed = *before != heard;
            *before = heard;
            changed
        });
        let active: BTreeSet<HostId> =
            members.into_iter().filter(MemberRecord::is_active).map(|record| record.host).collect();
        self.active.send_if_modified(|before| {
            let changed = *before != active;
            *before = active;
            changed
        });
    }

    /// Runs the protocol for ever.
    pub async fn run(
        self: Arc<Self>,
        transport: Arc<dyn Transport>,
        seal: Arc<Seal>,
        entropy: Arc<Entropy>,
        mut intent: watch::Receiver<IntentAt>,
    ) {
        loop {
            let seeds = seeds(&intent.borrow_and_update());
            let outcome = self.with(|membership, now| {
                membership.set_seeds(seeds, now).and_then(|()| membership.handle_timer(now))
            });
            if let Err(error) = outcome {
                tracing::debug!(%error, "membership could not do something");
            }
            self.flush(transport.as_ref(), &seal, &entropy).await;
            let due = self
                .with(|membership, _| membership.poll_timeout())
                .map_or_else(|| Instant::now() + EXCHANGE, |(due, _)| self.started + due);
            tokio::select! {
                biased;
                (from, datagram) = transport.receive_datagram() => match seal.open(&datagram) {
                    Some(plain) => {
                        let outcome = self.with(|membership, now| membership.handle_datagram(&plain, now));
                        if let Err(error) = outcome {
                            tracing::debug!(%from, %error, "a datagram was not understood");
                        }
                    }
                    None => tracing::debug!(%from, "a datagram that is not from this cluster was dropped"),
                },
                changed = intent.changed() => if changed.is_err() { return },
                () = self.changed.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Exchanges member lists for ever.
    pub async fn run_exchange(self: Arc<Self>, peers: Arc<Peers>) {
        loop {
            sleep_until(Instant::now() + EXCHANGE).await;
            let Some(partner) = self.choose_partner() else { continue };
            let Some(host) = peers.all().into_iter().find(|host| host.id == partner) else { continue };
            let ours = self.with(|membership, _| membership.member_list());
            match peers.ask(&host, &Question::Members(ours)).await {
                Ok(Answer::Members(theirs)) => drop(self.exchange(theirs)),
                Ok(_) => tracing::debug!(host = %host.name, "member lists were not exchanged"),
                Err(error) => tracing::debug!(host = %host.name, %error, "member lists were not exchanged"),
            }
        }
    }
}

fn seeds(at: &IntentAt) -> BTreeMap<HostId, SocketAddr> {
    at.intent.hosts.values().map(|host| (host.id, Peers::control_address(host))).collect()
}
