//! An agent inside a cluster: its parts put together, its tasks running.
//!
//! ```text
//!   store ──▶ intent copy ──▶ planner ──▶ reconciler ──▶ kernel
//!               │   ▲  │        ▲ ▲                        │ dirty
//!               │   │  └▶ paths ┘ └ endpoints              └────▶ reconciler
//!               ▼   │       ▲
//!   peers ◀─ facts ─┘  probes       addresses ──▶ store (ledgers)
//! ```
//! What must not live here: what any of them does.

use crate::addresses::Addresses;
use crate::addresses::journal::{JournalFile, Opened};
use crate::endpoints::Endpoints;
use crate::endpoints::ports::Holds;
use crate::error::AgentError;
use crate::facts::Facts;
use crate::facts::membership::Members;
use crate::intent::copy::{self, IntentAt, keep};
use crate::intent::removal::Unfinished;
use crate::kernel::originals::Originals;
use crate::kernel::paths::Paths;
use crate::kernel::planner::{Inputs, Planner};
use crate::kernel::reconciler::Reconciler;
use crate::kernel::underlay;
use crate::metrics::{MeteredStore, Meters};
use crate::parts::Parts;
use crate::talk::peers::Peers;
use crate::talk::seal::Seal;
use crate::talk::server::Server;
use crate::talk::transport::{Credentials, Transport};
use crate::trust::admission::Admission;
use crate::trust::identity::Identity;
use crate::trust::keyring;
use crate::upkeep;
use hopsack_api::KernelStatus;
use hopsack_gossip::{Membership, Records};
use hopsack_ipam::{Book, COOL_DOWN, Record};
use hopsack_plan::view::Endpoint;
use hopsack_store::watch;
use hopsack_store::{Replica, Store};
use hopsack_types::fact::{EndpointFact, Fact, FactKey};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// An agent inside a cluster.
pub struct Member {
    /// Who this host is.
    pub identity: Identity,
    /// What it is built from.
    pub parts: Parts,
    /// What is measured on the way.
    pub meters: Meters,
    /// Keys and certificates.
    pub credentials: Arc<Credentials>,
    /// Intent.
    pub store: Arc<dyn Store>,
    /// The copy's contact with the cluster; none on a voter.
    pub replica: Option<Replica>,
    /// Intent, parsed.
    pub intent: watch::Receiver<IntentAt>,
    /// What the kernel should hold.
    pub planner: Arc<Planner>,
    /// What the reconciler did.
    pub kernel: watch::Receiver<KernelStatus>,
    /// Removals of networks that were begun, by any host.
    pub removals: Unfinished,
    /// This host's endpoints.
    pub endpoints: Mutex<Endpoints>,
    /// Ports of this host that lead to them.
    pub holds: Mutex<Holds>,
    /// Addresses.
    pub addresses: Arc<Addresses>,
    /// Who answers.
    pub members: Arc<Members>,
    /// Facts.
    pub facts: Arc<Facts>,
    /// Paths.
    pub paths: Arc<Paths>,
    /// The other hosts.
    pub peers: Arc<Peers>,
    transport: Arc<dyn Transport>,
    seal: Arc<Seal>,
    tasks: Mutex<JoinSet<()>>,
}

impl Member {
    /// Starts everything, from disk, with nobody reachable if need be.
    /// `made` is the store of a cluster that this host has just made.
    pub async fn start(
        parts: Parts,
        meters: Meters,
        identity: Identity,
        made: Option<Arc<dyn Store>>,
    ) -> Result<Arc<Self>, AgentError> {
        let me = identity.host;
        let credentials = Arc::new(keyring::credentials(&parts.dir, &identity)?);
        let surroundings = parts.scout.look().await?;
        let underlay = underlay::find(&surroundings, identity.advertise)?;
        let control = SocketAddr::new(underlay.address, identity.control_port);
        let transport = parts.wire.listen(control, credentials.clone()).await?;

        let (intent_sender, intent) = watch::channel(IntentAt::default());
        let (heard_sender, heard) = watch::channel(BTreeMap::new());
        let seeds = identity.seeds.clone();
        let peers = Arc::new(Peers::new(me, transport.clone(), intent.clone(), heard, seeds));
        let (store, replica): (Arc<dyn Store>, Option<Replica>) = if let Some(made) = made {
            (made, None)
        } else if identity.voter {
            (parts.stores.open_voter(&parts.dir).await?, None)
        } else {
            let replica = parts.stores.open_copy(&parts.dir, peers.clone()).await?;
            (Arc::new(replica.clone()), Some(replica))
        };
        let store: Arc<dyn Store> = Arc::new(MeteredStore { store, meters: meters.clone() });
        let snapshot = store.list("");
        let parsed = Arc::new(copy::parse(&snapshot)?);
        intent_sender.send_replace(IntentAt { revision: snapshot.revision, intent: parsed.clone() });

        let endpoints = Endpoints::load(&parts.dir)?;
        let holds = Holds::take(parts.ports.clone(), &endpoints);
        let paths = Arc::new(Paths::load(me, parts.features, parts.dir.clone()));
        let choices = paths.set_peers(&intent.borrow(), &underlay);
        let inputs =
            Inputs { me, underlay, intent: parsed, endpoints: endpoints.all().clone(), paths: choices };
        let planner = Arc::new(Planner::new(parts.features, inputs));
        let (wanted, dirty) = (planner.wanted(), parts.dirty.clone());
        let originals = Originals::load(parts.dir.clone(), &parts.boot)?;
        let reconciler = Reconciler::new(parts.kernel.clone(), wanted, dirty, originals, meters.clone());
        let kernel = reconciler.status();

        let addresses = Arc::new(open_addresses(&parts, &identity, &store, &intent, &endpoints)?);
        let membership = Membership::new(me, identity.incarnation, control, parts.entropy.number());
        let members = Arc::new(Members::new(membership, heard_sender));
        let records = Records::new(me, identity.incarnation);
        let key = credentials.key.clone();
        let facts = Arc::new(Facts::load(me, records, key, intent.clone(), parts.dir.clone())?);
        for endpoint in endpoints.all().values() {
            facts.set(FactKey::Endpoint(endpoint.id), Some(endpoint_fact(endpoint)));
        }
        facts.set(FactKey::Routes, Some(Fact::Routes(surroundings.routes)));
        facts.complete();

        let damaged = |error: crate::talk::seal::SealKeyError| AgentError::DamagedState {
            path: parts.dir.path("cluster.key"),
            reason: error.to_string(),
        };
        let seal = Arc::new(Seal::new(credentials.cluster, &credentials.cluster_key).map_err(damaged)?);
        let admission = if identity.voter {
            let authority = keyring::authority(&parts.dir, &identity)?;
            let (entropy, clock) = (parts.entropy.clone(), parts.clock.clone());
            Some(Admission::new(authority, credentials.clone(), store.clone(), entropy, clock))
        } else {
            None
        };
        let (known, told) = (members.clone(), facts.clone());
        let clock = parts.clock.clone();
        let server = Arc::new(Server::new(store.clone(), admission, known, told, peers.clone(), clock));

        let member = Arc::new(Self {
            identity,
            parts,
            meters,
            credentials,
            store,
            replica,
            intent,
            planner,
            kernel,
            removals: Unfinished::default(),
            endpoints: Mutex::new(endpoints),
            holds: Mutex::new(holds),
            addresses,
            members,
            facts,
            paths,
            peers,
            transport,
            seal,
            tasks: Mutex::new(JoinSet::new()),
        });
        member.spawn_tasks(intent_sender, reconciler, server);
        Ok(member)
    }

    fn spawn_tasks(
        self: &Arc<Self>,
        intent_sender: watch::Sender<IntentAt>,
        reconciler: Reconciler,
        server: Arc<Server>,
    ) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(keep(self.store.clone(), intent_sender));
        if let Some(replica) = self.replica.clone() {
            let entropy = self.parts.entropy.clone();
            tasks.spawn(async move { replica.run_follow(|pause| jitter(pause, &entropy)).await });
        }
        tasks.spawn(reconciler.run());
        tasks.spawn(server.run(self.transport.clone()));
        let (transport, seal) = (self.transport.clone(), self.seal.clone());
        tasks.spawn(self.members.clone().run(
            transport,
            seal,
            self.parts.entropy.clone(),
            self.intent.clone(),
        ));
        tasks.spawn(self.members.clone().run_exchange(self.peers.clone()));
        tasks.spawn(self.facts.clone().run_push(self.members.clone(), self.peers.clone()));
        tasks.spawn(self.facts.clone().run_exchange(self.members.clone(), self.peers.clone()));
        tasks.spawn(self.facts.clone().run_save());
        tasks.spawn(self.addresses.clone().run());
        let prober = self.parts.prober.clone();
        let (facts, planner) = (self.facts.clone(), self.planner.clone());
        tasks.spawn(self.paths.clone().run(prober, facts, planner, self.intent.clone()));
        tasks.spawn(plan_intent(self.planner.clone(), self.intent.clone()));
        tasks.spawn(upkeep::run(Arc::downgrade(self)));
        tasks.spawn(upkeep::follow_underlay(Arc::downgrade(self)));
    }

    /// Ends all tasks. The kernel stays as it is.
    pub async fn stop(&self) {
        self.members.leave(self.transport.as_ref(), &self.seal, &self.parts.entropy).await;
        self.facts.save();
        self.abort();
    }

    /// Ends all tasks at once, without a word to anybody.
    pub fn abort(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Takes every change of intent to the planner, for ever.
async fn plan_intent(planner: Arc<Planner>, mut intent: watch::Receiver<IntentAt>) {
    loop {
        let at = intent.borrow_and_update().clone();
        planner.set_intent(at.intent);
        if intent.changed().await.is_err() {
            return;
        }
    }
}

fn open_addresses(
    parts: &Parts,
    identity: &Identity,
    store: &Arc<dyn Store>,
    intent: &watch::Receiver<IntentAt>,
    endpoints: &Endpoints,
) -> Result<Addresses, AgentError> {
    let Opened { file, mut records } = JournalFile::open(&parts.dir, parts.blocking)?;
    let boot = Record::Boot { incarnation: identity.incarnation };
    file.put(std::slice::from_ref(&boot))?;
    records.push(boot);
    let book = Book::replay(&records, Duration::ZERO, COOL_DOWN);
    let entropy = parts.entropy.clone();
    let addresses = Addresses::new(identity.host, store.clone(), intent.clone(), file, book, entropy);
    // What runs holds its addresses, whatever the journal has lost.
    for endpoint in endpoints.all().values() {
        for address in &endpoint.addresses {
            addresses.observe(endpoint.network, *address, &holder_of(endpoint))?;
        }
    }
    Ok(addresses)
}

/// Who holds the addresses of an endpoint that we attached.
pub fn holder_of(endpoint: &Endpoint) -> String {
    format!("endpoint:{}", endpoint.id)
}

/// An endpoint as others know it.
pub fn endpoint_fact(endpoint: &Endpoint) -> Fact {
    Fact::Endpoint(EndpointFact {
        network: endpoint.network,
        addresses: endpoint.addresses.clone(),
        mac: endpoint.mac,
        name: endpoint.shown_name().to_owned(),
    })
}

/// A pause, changed by up to a quarter either way.
fn jitter(pause: Duration, entropy: &crate::entropy::Entropy) -> Duration {
    let quarter = u64::try_from(pause.as_millis() / 4).unwrap_or(u64::MAX);
    (pause + Duration::from_millis(entropy.below(2 * quarter + 1)))
        .saturating_sub(Duration::from_millis(quarter))
}
