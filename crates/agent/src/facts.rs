//! Facts on the move: this host's own are signed and pushed, everybody's are exchanged, all are kept on disk.
//!
//! What must not live here: how records merge (the `gossip` crate), and what a fact means.

pub mod membership;

use crate::error::AgentError;
use crate::facts::membership::Members;
use crate::intent::copy::IntentAt;
use crate::statedir::StateDir;
use crate::talk::peers::Peers;
use crate::talk::wire::{Answer, Question};
use crate::trust::authority::{HostKey, verify};
use hopsack_gossip::{Batch, Digest, Records, Signature, Signer, Source, StateHash, Verifier};
use hopsack_store::watch;
use hopsack_types::fact::{EndpointFact, Fact, FactKey, PathFact};
use hopsack_types::intent::Intent;
use hopsack_types::{Cidr, EndpointId, HostId, NetworkId, Seq};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

const FILE: &str = "facts";
/// How often this host compares its facts with one other's.
const EXCHANGE: Duration = Duration::from_secs(2);
/// To how many hosts news is pushed.
const FAN_OUT: usize = 3;
/// The most that one answer carries, bytes.
const PAGE: usize = 4 << 20;
/// Facts are written to disk this long after a change, with all that came meanwhile.
const SAVE: Duration = Duration::from_secs(5);

struct KeySigner<'a>(&'a HostKey);

impl Signer for KeySigner<'_> {
    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes))
    }
}

struct IntentVerifier<'a>(&'a Intent);

impl Verifier for IntentVerifier<'_> {
    fn knows(&self, host: HostId) -> bool {
        self.0.hosts.contains_key(&host)
    }

    fn verify(&self, host: HostId, bytes: &[u8], signature: &Signature) -> bool {
        self.0.hosts.get(&host).is_some_and(|host| verify(&host.public_key, bytes, &signature.0))
    }
}

/// The facts, as the tasks of one agent share them.
pub struct Facts {
    me: HostId,
    records: Mutex<Records>,
    key: Arc<HostKey>,
    intent: watch::Receiver<IntentAt>,
    dir: StateDir,
    changed: watch::Sender<u64>,
    news: Notify,
}

impl Facts {
    /// Takes the records, with what the disk remembers of others.
    pub fn load(
        me: HostId,
        mut records: Records,
        key: Arc<HostKey>,
        intent: watch::Receiver<IntentAt>,
        dir: StateDir,
    ) -> Result<Self, AgentError> {
        if let Some(bytes) = dir.read(FILE)? {
            match postcard::from_bytes::<Vec<Batch>>(&bytes) {
                Ok(batches) => {
                    let at = intent.borrow().clone();
                    records.intent_advanced(at.revision);
                    records.apply(batches, Source::Sync, &IntentVerifier(&at.intent));
                }
                // They are copies: the other hosts tell them again.
                Err(error) => tracing::warn!(%error, "the remembered facts of other hosts cannot be read"),
            }
        }
        let changed = watch::Sender::new(0);
        Ok(Self { me, records: Mutex::new(records), key, intent, dir, changed, news: Notify::new() })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Records) -> T) -> T {
        work(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts the changes of any fact.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// States or withdraws a fact about this host.
    pub fn set(&self, key: FactKey, fact: Option<Fact>) {
        let outcome = self.with(|records| records.set_local(key, fact));
        match outcome {
            Ok(true) => self.news.notify_one(),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "a fact was not stated"),
        }
    }

    /// Everything about this host has been stated since its start.
    pub fn complete(&self) {
        self.with(Records::complete_local);
        self.news.notify_one();
    }

    /// The endpoints of all hosts whose addresses lie in what is granted to their host.
    pub fn endpoints(&self, intent: &Intent) -> BTreeMap<EndpointId, (HostId, EndpointFact)> {
        self.with(|records| {
            records
                .facts()
                .filter_map(|(host, key, fact)| match (key, fact) {
                    (FactKey::Endpoint(id), Fact::Endpoint(endpoint)) => {
                        Some((*id, (host, endpoint.clone())))
                    }
                    _ => None,
                })
                .filter(|(_, (host, endpoint))| is_granted(intent, *host, endpoint))
                .collect()
        })
    }

    /// Whether any host but this one says that it has an endpoint in a network; who.
    pub fn users_of(&self, network: NetworkId) -> Vec<(HostId, String)> {
        self.with(|records| {
            records
                .facts()
                .filter_map(|(host, _, fact)| match fact {
                    Fact::Endpoint(endpoint) if endpoint.network == network => {
                        Some((host, endpoint.name.clone()))
                    }
                    _ => None,
                })
                .collect()
        })
    }

    /// What every other host's probes see of its paths to this host.
    pub fn paths_to_me(&self) -> BTreeMap<HostId, PathFact> {
        self.with(|records| {
            records
                .facts()
                .filter_map(|(host, key, fact)| match (key, fact) {
                    (FactKey::Path(to), Fact::Path(path)) if *to == self.me => Some((host, path.clone())),
                    _ => None,
                })
                .collect()
        })
    }

    /// How far the facts of each host are known here.
    pub fn sequences(&self) -> BTreeMap<HostId, Seq> {
        let marks = self.with(|records| records.digest()).marks;
        marks.into_iter().map(|(host, mark)| (host, mark.end.seq)).collect()
    }

    /// The routes of all hosts.
    pub fn routes(&self) -> BTreeMap<HostId, Vec<Cidr>> {
        self.with(|records| {
            records
                .facts()
                .filter_map(|(host, _, fact)| match fact {
                    Fact::Routes(routes) => Some((host, routes.clone())),
                    _ => None,
                })
                .collect()
        })
    }

    /// Takes news from another host.
    pub fn receive(&self, batches: Vec<Batch>, source: Source) {
        let intent = self.intent.borrow().intent.clone();
        let applied = self.with(|records| records.apply(batches, source, &IntentVerifier(&intent)));
        for rejected in &applied.rejected {
            tracing::warn!(host = %rejected.host, reason = rejected.reason.name(), "facts were refused");
        }
        if let Some(incarnation) = applied.own_newer {
            tracing::error!(
                %incarnation,
                "others have newer facts of this host than it has itself: is a copy of this machine running?"
            );
        }
        if !applied.changes.is_empty() {
            self.note_change();
        }
        if applied.accepted > 0 {
            self.news.notify_one();
        }
    }

    /// Whether another host's facts are the same.
    pub fn same(&self, theirs: StateHash) -> bool {
        self.with(|records| records.hash()) == theirs
    }

    /// What another host lacks, and the own digest.
    pub fn page_for(&self, theirs: &Digest) -> (Vec<Batch>, Digest) {
        self.with(|records| (records.delta_for(theirs, None, PAGE).batches, records.digest()))
    }

    /// Signs what is new here and pushes news on, for ever.
    pub async fn run_push(self: Arc<Self>, members: Arc<Members>, peers: Arc<Peers>) {
        let mut intent = self.intent.clone();
        let mut active = members.active();
        // Ends with this task, so that an agent that has stopped says nothing more.
        let mut pushes = JoinSet::new();
        loop {
            while pushes.try_join_next().is_some() {}
            let at = intent.borrow_and_update().clone();
            let revision = at.revision;
            let unparked = self.with(|records| records.intent_advanced(revision));
            if !unparked.is_empty() || self.forget_removed(&at.intent) {
                self.note_change();
            }
            let mut batches = Vec::new();
            loop {
                match self.with(|records| records.flush(&KeySigner(&self.key), revision)) {
                    Ok(Some(_)) => self.note_change(),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(%error, "facts were not signed");
                        break;
                    }
                }
            }
            // While alone, news waits for somebody to hear it.
            if !active.borrow_and_update().is_empty() {
                while let Some(batch) = self.with(Records::poll_push) {
                    batches.push(batch);
                }
            }
            if !batches.is_empty() {
                Self::push(&mut pushes, &batches, &members, &peers);
            }
            tokio::select! {
                biased;
                () = self.news.notified() => {}
                changed = active.changed() => if changed.is_err() { return },
                changed = intent.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Drops the facts of hosts that are no longer in intent; else digests never agree with hosts that came later.
    fn forget_removed(&self, intent: &Intent) -> bool {
        // A copy of intent that does not even name this host has only begun to arrive.
        if !intent.hosts.contains_key(&self.me) {
            return false;
        }
        self.with(|records| {
            let removed: Vec<HostId> = records
                .digest()
                .marks
                .keys()
                .filter(|host| **host != self.me && !intent.hosts.contains_key(host))
                .copied()
                .collect();
            removed.iter().filter(|host| !records.forget(**host).is_empty()).count() > 0
        })
    }

    fn push(pushes: &mut JoinSet<()>, batches: &[Batch], members: &Members, peers: &Arc<Peers>) {
        let chosen = members.choose_active(FAN_OUT);
        for host in peers.all().into_iter().filter(|host| chosen.contains(&host.id)) {
            let (peers, question) = (peers.clone(), Question::Push(batches.to_vec()));
            pushes.spawn(async move {
                if let Err(error) = peers.ask(&host, &question).await {
                    tracing::debug!(host = %host.name, %error, "news was not pushed");
                }
            });
        }
    }

    /// Compares facts with one other host after another, for ever.
    pub async fn run_exchange(self: Arc<Self>, members: Arc<Members>, peers: Arc<Peers>) {
        loop {
            sleep_until(Instant::now() + EXCHANGE).await;
            let Some(partner) = members.choose_partner() else { continue };
            let Some(host) = peers.all().into_iter().find(|host| host.id == partner) else { continue };
            if let Err(error) = self.exchange_with(&host, &peers).await {
                tracing::debug!(host = %host.name, %error, "facts were not exchanged");
            }
        }
    }

    async fn exchange_with(
        &self,
        host: &hopsack_types::Host,
        peers: &Peers,
    ) -> Result<(), crate::talk::transport::TransportError> {
        let hash = self.with(|records| records.hash());
        if let Answer::FactsSame(true) = peers.ask(host, &Question::FactsHash(hash)).await? {
            return Ok(());
        }
        let digest = self.with(|records| records.digest());
        if let Answer::Facts(batches, theirs) = peers.ask(host, &Question::Facts(digest)).await? {
            self.receive(batches, Source::Sync);
            let (lacking, _) = self.page_for(&theirs);
            if !lacking.is_empty() {
                peers.ask(host, &Question::Fill(lacking)).await?;
            }
        }
        Ok(())
    }

    /// Keeps the newest facts on disk, for ever.
    pub async fn run_save(self: Arc<Self>) {
        let mut changed = self.changed();
        while changed.changed().await.is_ok() {
            sleep_until(Instant::now() + SAVE).await;
            self.save();
        }
    }

    /// Writes the facts to disk now.
    pub fn save(&self) {
        let batches = self.with(|records| records.export());
        match postcard::to_stdvec(&batches) {
            Ok(bytes) => {
                if let Err(error) = self.dir.write(FILE, &bytes) {
                    tracing::warn!(error = %error.chain(), "facts were not written to disk");
                }
            }
            Err(error) => tracing::warn!(%error, "facts were not written to disk"),
        }
    }
}

fn is_granted(intent: &Intent, host: HostId, endpoint: &EndpointFact) -> bool {
    let Some(ledger) = intent.ledgers.get(&endpoint.network) else { return false };
    endpoint.addresses.iter().all(|address| {
        ledger.grants.iter().any(|(cidr, grant)| grant.host == host && cidr.contains(*address))
    })
}
