//! Answers other hosts: one task per connection, one question after another.
//!
//! What must not live here: what an answer means; each question goes to whom it concerns.

use crate::entropy::Clock;
use crate::facts::Facts;
use crate::facts::membership::Members;
use crate::talk::peers::Peers;
use crate::talk::transport::{Connection, Transport, TransportError};
use crate::talk::wire::{Answer, Question};
use crate::trust::admission::Admission;
use hopsack_api::{ApiError, ErrorCode};
use hopsack_gossip::Source;
use hopsack_store::{Refusal, Store, serve};
use hopsack_types::intent::Key;
use hopsack_types::{HostId, Revision};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::StreamExt;

/// A member's connection on which nothing is asked for so long is closed.
const IDLE: Duration = Duration::from_secs(120);
/// A stranger has to ask within this time.
const STRANGER_IDLE: Duration = Duration::from_secs(10);
/// Strangers that are listened to at a time.
const STRANGERS: usize = 32;
/// A follower that takes nothing for so long is given up.
const SEND_DEADLINE: Duration = Duration::from_secs(15);

/// Whom questions go to.
pub struct Server {
    store: Arc<dyn Store>,
    /// On voters only.
    admission: Option<Admission>,
    members: Arc<Members>,
    facts: Arc<Facts>,
    /// The way to voters, for what only they can answer.
    peers: Arc<Peers>,
    clock: Arc<dyn Clock>,
    strangers: Semaphore,
}

impl Server {
    /// A server; `admission` is the door, on voters only.
    pub const fn new(
        store: Arc<dyn Store>,
        admission: Option<Admission>,
        members: Arc<Members>,
        facts: Arc<Facts>,
        peers: Arc<Peers>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, admission, members, facts, peers, clock, strangers: Semaphore::const_new(STRANGERS) }
    }

    /// Answers for ever.
    pub async fn run(self: Arc<Self>, transport: Arc<dyn Transport>) {
        // Ends with this task, so that an agent that has stopped answers nobody.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                accepted = transport.accept() => match accepted {
                    Ok(connection) => drop(connections.spawn(self.clone().serve(connection))),
                    Err(error) => tracing::warn!(%error, "a connection was not accepted"),
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn serve(self: Arc<Self>, mut connection: Connection) {
        let remote = connection.remote;
        if let Err(error) = self.answer_all(&mut connection).await {
            tracing::debug!(%remote, %error, "a connection ended");
        }
    }

    async fn answer_all(&self, connection: &mut Connection) -> Result<(), TransportError> {
        let _place = match connection.trusted {
            true => None,
            false => match self.strangers.try_acquire() {
                Ok(place) => Some(place),
                Err(_) => return Ok(()),
            },
        };
        loop {
            let idle = if connection.trusted { IDLE } else { STRANGER_IDLE };
            let Ok(received) = timeout(idle, connection.receive::<Question>()).await else { return Ok(()) };
            let Some(question) = received? else { return Ok(()) };
            let answer = match connection.peer {
                Some(peer) => match question {
                    Question::Follow(from) => return self.stream(connection, from).await,
                    question => self.answer(question, peer, connection).await,
                },
                None => match question {
                    Question::Join(_) => self.answer(question, HostId::from_bytes([0; 16]), connection).await,
                    _ => Answer::Refused(ApiError::new(
                        ErrorCode::Denied,
                        "only members may ask this: join first",
                    )),
                },
            };
            connection.send(&answer).await?;
        }
    }

    async fn stream(&self, connection: &mut Connection, from: Revision) -> Result<(), TransportError> {
        let mut direct = self.peers.is_direct();
        let voter = self.admission.is_some();
        if !voter && !*direct.borrow_and_update() {
            let message = "this host does not follow a voter at present: follow another";
            return connection.send(&Answer::Refused(ApiError::new(ErrorCode::Unavailable, message))).await;
        }
        connection.send(&Answer::Done).await?;
        let mut events = serve::follow(self.store.as_ref(), from);
        loop {
            tokio::select! {
                biased;
                _ = direct.changed(), if !voter => return Ok(()),
                event = events.next() => match event {
                    Some(event) => {
                        let address = connection.remote;
                        let sent = timeout(SEND_DEADLINE, connection.send(&Answer::Event(event))).await;
                        sent.unwrap_or(Err(TransportError::Timeout { address }))?;
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    async fn answer(&self, question: Question, peer: HostId, connection: &Connection) -> Answer {
        match question {
            Question::Join(join) => match &self.admission {
                Some(admission) => match admission.join(join, connection.remote.ip()).await {
                    Ok(answer) => Answer::Joined(Box::new(answer)),
                    Err(error) => Answer::Refused(error.into()),
                },
                None => self.pass_on(Question::Join(join)).await,
            },
            Question::Renew(request) => match &self.admission {
                Some(admission) => match admission.renew(&request, peer) {
                    Ok(certificate) => Answer::Renewed(certificate),
                    Err(error) => Answer::Refused(error.into()),
                },
                // A voter certifies whom it talks to, so this cannot be passed on.
                None => Answer::Refused(ApiError::new(ErrorCode::Unavailable, "ask a voter for this")),
            },
            Question::Txn(txn) => match &self.admission {
                Some(_) if !self.is_member(peer) => Answer::Txn(Err(Refusal::Removed)),
                Some(_) => Answer::Txn(self.store.txn(txn).await.map_err(|error| Refusal::from(&error))),
                None => Answer::Txn(Err(Refusal::NotLeader { leader: None })),
            },
            Question::Members(theirs) => Answer::Members(self.members.exchange(theirs)),
            Question::FactsHash(hash) => Answer::FactsSame(self.facts.same(hash)),
            Question::Facts(digest) => {
                let (batches, mine) = self.facts.page_for(&digest);
                Answer::Facts(batches, mine)
            }
            Question::Push(batches) => {
                self.facts.receive(batches, Source::Push);
                Answer::Done
            }
            Question::Fill(batches) => {
                self.facts.receive(batches, Source::Sync);
                Answer::Done
            }
            Question::Examine => Answer::Examined {
                unix_seconds: self.clock.unix_seconds(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            Question::Follow(_) => {
                Answer::Refused(ApiError::new(ErrorCode::Invalid, "this is answered by a stream"))
            }
        }
    }

    /// Whether a host that has a certificate is still in the cluster, as a voter knows.
    fn is_member(&self, host: HostId) -> bool {
        self.store.get(&Key::Host(host).to_string()).is_some()
    }

    async fn pass_on(&self, question: Question) -> Answer {
        match self.peers.ask_voter(&question).await {
            Ok(answer) => answer,
            Err(error) => {
                let message = format!("the voter that could let a host in was not reached: {error}");
                Answer::Refused(ApiError::new(ErrorCode::Unavailable, message))
            }
        }
    }
}
