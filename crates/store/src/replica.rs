//! Every other host's copy: reads are local, writes go to a host that can decide them.
//!
//! One task, [`Replica::run_follow`], takes in what an upstream sends: first to the backing, then to memory, so what
//! was read once is there again after a crash. It starts without anybody reachable.

use crate::backing::Backing;
use crate::error::StoreError;
use crate::live::{Live, Watch};
use crate::store::{Entry, Event, Snapshot, Store, TXN_DEADLINE, Txn, TxnOutcome};
use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use hopsack_types::Revision;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long an upstream may be silent before another connection is tried.
pub const SILENCE: Duration = Duration::from_secs(15);

/// How long a connection to an upstream may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a writer waits until its own write has come back to this copy.
const CATCH_UP: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a replica reaches the rest of the cluster; the agent implements it over its sealed streams. Each call may
/// choose another host.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// Has a host that can decide it do the transaction.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] if it was sent and the answer is lost; any other error means that nothing was
    /// written.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// Follows some host's store, as [`crate::serve::follow`] serves it there.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and what the other host answered. An error in the stream ends it.
    async fn follow(
        &self,
        from: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError>;
}

/// How the copy is doing.
#[derive(Debug, Clone, Default)]
pub struct Contact {
    /// Since when it has been connected without a break; `None` while it is not.
    pub connected_since: Option<Instant>,
    /// When anything was heard last, in this run of the program.
    pub last_contact: Option<Instant>,
    /// Why it is not connected.
    pub last_error: Option<Arc<StoreError>>,
}

/// A host's copy. Cloning shares it.
#[derive(Clone)]
pub struct Replica {
    live: Live,
    backing: Arc<dyn Backing>,
    upstream: Arc<dyn Upstream>,
    contact: Arc<Mutex<Contact>>,
}

impl Replica {
    /// Takes up what the backing holds; reaches nobody yet.
    ///
    /// # Errors
    /// Those of the backing.
    pub async fn open(backing: Arc<dyn Backing>, upstream: Arc<dyn Upstream>) -> Result<Self, StoreError> {
        let live = Live::new(backing.load().await?);
        Ok(Self { live, backing, upstream, contact: Arc::default() })
    }

    /// How the copy is doing.
    pub fn contact(&self) -> Contact {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows an upstream for ever: on any error it waits, longer each time up to 5 s, and goes on from its own
    /// revision. `jitter` turns each pause into the one to make, so that a cluster does not return in step; the
    /// randomness is the caller's. Run it once; end it by dropping the future.
    pub async fn run_follow(&self, mut jitter: impl FnMut(Duration) -> Duration + Send) {
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = self.contact().last_contact;
            let error = self.follow_once().await;
            let had_been = self.set_contact(|contact| contact.connected_since.take());
            // Being let in is not enough: a host that ends every stream at once must not be asked ten times a second.
            if self.contact().last_contact != heard {
                pause = FIRST_PAUSE;
            }
            // Once when it breaks; that it stays so is in `contact`.
            if had_been.is_some() || self.contact().last_error.is_none() {
                let revision = self.live.revision();
                tracing::warn!(%revision, error = &error as &dyn std::error::Error, "intent is no longer followed");
            }
            self.set_contact(|contact| contact.last_error = Some(Arc::new(error)));
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Follows until something goes wrong, and says what.
    async fn follow_once(&self) -> StoreError {
        let mut stream = match timeout(CONNECT, self.upstream.follow(self.live.revision())).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return error,
            Err(_) => return StoreError::FollowSilent,
        };
        self.set_contact(|contact| {
            contact.connected_since = Some(Instant::now());
            contact.last_error = None;
        });
        tracing::info!(revision = %self.live.revision(), "following intent");
        loop {
            let event = match timeout(SILENCE, stream.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return error,
                Ok(None) => return StoreError::FollowEnded,
                Err(_) => return StoreError::FollowSilent,
            };
            if let Err(error) = self.take_in(event).await {
                return error;
            }
            self.set_contact(|contact| contact.last_contact = Some(Instant::now()));
        }
    }

    async fn take_in(&self, event: Event) -> Result<(), StoreError> {
        let Some(news) = self.live.read(|state| state.news(event))? else { return Ok(()) };
        self.backing.save(news.clone()).await?;
        Ok(self.live.change(|state| state.absorb(news))?)
    }

    fn set_contact<T>(&self, set: impl FnOnce(&mut Contact) -> T) -> T {
        set(&mut self.contact.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for Replica {
    fn get(&self, key: &str) -> Option<Entry> {
        self.live.get(key)
    }

    fn list(&self, prefix: &str) -> Snapshot {
        self.live.list(prefix)
    }

    fn revision(&self) -> Revision {
        self.live.revision()
    }

    fn has_stopped(&self) -> bool {
        false
    }

    fn watch(&self, from: Revision) -> Watch {
        self.live.watch(from)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        let answer = timeout(TXN_DEADLINE, self.upstream.txn(txn)).await;
        let outcome = answer.unwrap_or(Err(StoreError::OutcomeUnknown))?;
        let (TxnOutcome::Committed(at) | TxnOutcome::Conflict { at, .. }) = outcome;
        // A copy that is late does not make the answer wrong, so running out of time here is no error.
        let _ = timeout(CATCH_UP, self.live.reached(at)).await;
        Ok(outcome)
    }
}
