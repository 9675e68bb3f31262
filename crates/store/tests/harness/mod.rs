//! An upstream in the same process, whose faults a test switches on.

#![allow(dead_code, reason = "each test file compiles this module for itself and uses a part of it")]

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use hopsack_store::{Backing, Event, Replica, Store, StoreError, Txn, TxnOutcome, Upstream, serve};
use hopsack_types::Revision;
use std::future::pending;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// An upstream in the same process.
pub struct InProcess {
    store: Arc<dyn Store>,
    /// New connections and writes fail.
    pub cut: AtomicBool,
    /// Writes arrive and their answers do not.
    pub mute: AtomicBool,
}

impl InProcess {
    pub fn to(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, cut: AtomicBool::new(false), mute: AtomicBool::new(false) })
    }

    fn reach(&self) -> Result<(), StoreError> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(StoreError::Unreachable { source: "cut".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl Upstream for InProcess {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.reach()?;
        let outcome = self.store.txn(txn).await;
        if self.mute.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        outcome
    }

    async fn follow(
        &self,
        from: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError> {
        self.reach()?;
        Ok(serve::follow(&*self.store, from).map(Ok).boxed())
    }
}

/// A replica whose task runs until this is dropped.
pub struct Following {
    pub replica: Arc<Replica>,
    task: JoinHandle<()>,
}

impl Deref for Following {
    type Target = Replica;
    fn deref(&self) -> &Replica {
        &self.replica
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A replica whose task runs and which may not have heard anything yet.
pub async fn starting(backing: Arc<dyn Backing>, upstream: Arc<InProcess>) -> Following {
    let replica = Arc::new(Replica::open(backing, upstream).await.unwrap());
    let follower = Arc::clone(&replica);
    let task = tokio::spawn(async move { follower.run_follow(|pause| pause).await });
    Following { replica, task }
}

/// A replica whose task runs and which has caught up.
pub async fn following(backing: Arc<dyn Backing>, upstream: Arc<InProcess>) -> Following {
    let goal = upstream.store.revision();
    let following = starting(backing, upstream).await;
    until(|| following.revision() >= goal).await;
    following
}

/// Waits for a condition, at most 10 s.
pub async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(10), wait).await.is_ok(),
        "the condition did not come true within 10 s"
    );
}
