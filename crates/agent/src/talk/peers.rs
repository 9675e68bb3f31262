//! This host's talk with the others: a kept connection to each for news, fresh ones for writes and for following.

use crate::intent::copy::IntentAt;
use crate::talk::transport::{Connection, Transport, TransportError};
use crate::talk::wire::{Answer, Question};
use async_trait::async_trait;
use futures::stream::BoxStream;
use hopsack_store::watch;
use hopsack_store::{Event, StoreError, Txn, TxnOutcome, Upstream};
use hopsack_types::{Host, HostId, Revision};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Kept = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// The others.
pub struct Peers {
    me: HostId,
    transport: Arc<dyn Transport>,
    intent: watch::Receiver<IntentAt>,
    /// Where hosts say that they are, which may be newer than intent.
    heard: watch::Receiver<BTreeMap<HostId, SocketAddr>>,
    /// Asked for intent while the own copy names nobody.
    seeds: Vec<SocketAddr>,
    kept: Mutex<BTreeMap<HostId, Kept>>,
    /// Whether intent is followed from a voter itself.
    direct: watch::Sender<bool>,
    /// Counts tries to follow, so that each begins with another copy.
    tries: AtomicUsize,
}

impl Peers {
    /// The peers of a host.
    pub fn new(
        me: HostId,
        transport: Arc<dyn Transport>,
        intent: watch::Receiver<IntentAt>,
        heard: watch::Receiver<BTreeMap<HostId, SocketAddr>>,
        seeds: Vec<SocketAddr>,
    ) -> Self {
        Self {
            me,
            transport,
            intent,
            heard,
            seeds,
            kept: Mutex::default(),
            direct: watch::Sender::new(false),
            tries: AtomicUsize::new(0),
        }
    }

    /// Whether this host follows intent from a voter itself. Only then may others follow it: copies that followed each
    /// other in a circle would keep each other content and hear nothing.
    pub fn is_direct(&self) -> watch::Receiver<bool> {
        self.direct.subscribe()
    }

    /// Where a host's control port is.
    pub fn control_address(host: &Host) -> SocketAddr {
        SocketAddr::new(host.underlay, host.control_port)
    }

    /// All other hosts.
    pub fn all(&self) -> Vec<Host> {
        let at = self.intent.borrow();
        at.intent.hosts.values().filter(|host| host.id != self.me).cloned().collect()
    }

    /// Where a host may be: as intent has it, then as it says itself. Whoever answers there proves to be that host.
    fn places(&self, host: &Host) -> Vec<SocketAddr> {
        let known = Self::control_address(host);
        let heard = self.heard.borrow().get(&host.id).copied().filter(|heard| *heard != known);
        [known].into_iter().chain(heard).collect()
    }

    async fn connect(&self, host: &Host) -> Result<Connection, TransportError> {
        let mut outcome = Err(TransportError::Timeout { address: Self::control_address(host) });
        for place in self.places(host) {
            outcome = self.transport.connect(place, Some(host.id)).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Asks a host over the kept connection; makes a new one where that has broken. For questions that may be asked
    /// twice.
    pub async fn ask(&self, host: &Host, question: &Question) -> Result<Answer, TransportError> {
        let kept =
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).entry(host.id).or_default().clone();
        let mut kept = kept.lock().await;
        if let Some(mut connection) = kept.take()
            && let Ok(answer) = connection.ask(question).await
        {
            *kept = Some(connection);
            return Ok(answer);
        }
        let mut connection = self.connect(host).await?;
        let answer = connection.ask(question).await?;
        *kept = Some(connection);
        Ok(answer)
    }

    /// Asks a voter, over a connection of its own: who can take writes and certify hosts.
    pub async fn ask_voter(&self, question: &Question) -> Result<Answer, StoreError> {
        let voters: Vec<Host> = self.all().into_iter().filter(|host| host.voter).collect();
        let mut unreachable: Option<TransportError> = None;
        for voter in voters {
            match self.connect(&voter).await {
                // Once the question is out it may have been heard, so no other voter is asked.
                Ok(mut connection) => {
                    return connection.ask(question).await.map_err(|error| {
                        tracing::warn!(voter = %voter.name, %error, "a voter was asked and did not answer");
                        StoreError::OutcomeUnknown
                    });
                }
                Err(error) => unreachable = Some(error),
            }
        }
        let source: Box<dyn std::error::Error + Send + Sync> = match unreachable {
            Some(error) => error.into(),
            None => "no voter is known".into(),
        };
        Err(StoreError::Unreachable { source })
    }

    /// Everybody who could serve intent: voters first, then copies, beginning with another one each time, because
    /// there is no time to wait for all that are silent.
    fn sources(&self) -> Vec<(SocketAddr, Option<HostId>)> {
        let (voters, mut copies): (Vec<Host>, Vec<Host>) =
            self.all().into_iter().partition(|host| host.voter);
        let turn = self.tries.fetch_add(1, Ordering::Relaxed);
        if !copies.is_empty() {
            let turn = turn % copies.len();
            copies.rotate_left(turn);
        }
        let known = voters
            .iter()
            .chain(&copies)
            .flat_map(|host| self.places(host).into_iter().map(|place| (place, Some(host.id))));
        let seeds = self.seeds.iter().map(|address| (*address, None));
        known.chain(seeds).collect()
    }

    async fn follow_at(
        &self,
        address: SocketAddr,
        wanted: Option<HostId>,
        from: Revision,
    ) -> Result<Followed, StoreError> {
        let unreachable =
            |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Unreachable { source };
        let mut connection =
            self.transport.connect(address, wanted).await.map_err(|error| unreachable(error.into()))?;
        match connection.ask(&Question::Follow(from)).await {
            Ok(Answer::Done) => {}
            Ok(Answer::Refused(refusal)) => return Err(unreachable(refusal.into())),
            Ok(_) => return Err(unreachable(OTHER_ANSWER.into())),
            Err(error) => return Err(unreachable(error.into())),
        }
        let voter = connection
            .peer
            .is_some_and(|peer| self.intent.borrow().intent.hosts.get(&peer).is_some_and(|host| host.voter));
        Ok(Followed { connection, _direct: voter.then(|| Direct::begin(self.direct.clone())) })
    }
}

const OTHER_ANSWER: &str = "it answered something else";

/// A stream of intent.
struct Followed {
    connection: Connection,
    _direct: Option<Direct>,
}

/// Says that a voter is followed, for as long as it lives.
struct Direct(watch::Sender<bool>);

impl Direct {
    fn begin(direct: watch::Sender<bool>) -> Self {
        direct.send_replace(true);
        Self(direct)
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[async_trait]
impl Upstream for Peers {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        match self.ask_voter(&Question::Txn(txn)).await? {
            Answer::Txn(Ok(outcome)) => Ok(outcome),
            Answer::Txn(Err(refusal)) => Err(refusal.into()),
            _ => Err(StoreError::Unreachable { source: "the voter answered something else".into() }),
        }
    }

    async fn follow(
        &self,
        from: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError> {
        let mut last = StoreError::Unreachable { source: "no other host is known".into() };
        for (address, wanted) in self.sources() {
            match self.follow_at(address, wanted, from).await {
                Ok(followed) => return Ok(events(followed)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// The events that a host streams. A silence that is too long is noticed by who reads.
fn events(followed: Followed) -> BoxStream<'static, Result<Event, StoreError>> {
    let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Unreachable { source };
    Box::pin(futures::stream::unfold(Some(followed), move |followed| async move {
        let mut followed = followed?;
        Some(match followed.connection.receive::<Answer>().await {
            Ok(Some(Answer::Event(event))) => (Ok(event), Some(followed)),
            Ok(Some(_)) => (Err(unreachable(OTHER_ANSWER.into())), None),
            Ok(None) => (Err(unreachable("the connection has ended".into())), None),
            Err(error) => (Err(unreachable(error.into())), None),
        })
    }))
}
