//! A state that is shared between readers, one writer, and watchers who wait for it to move.
//!
//! Nothing is queued for a watcher: it asks the state for what is new since the revision that it knows, so a slow
//! one costs nothing and gets a snapshot in the end.

use crate::state::KvState;
use crate::store::{Entry, Event, Snapshot};
use crate::watch;
use futures::stream::{self, BoxStream, StreamExt};
use hopsack_types::Revision;
use std::sync::{Arc, Mutex, PoisonError};

/// The shared state. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    state: Arc<Mutex<KvState>>,
    moved: watch::Sender<Revision>,
}

impl Live {
    pub(crate) fn new(state: KvState) -> Self {
        let moved = watch::Sender::new(state.revision());
        Self { state: Arc::new(Mutex::new(state)), moved }
    }

    /// Looks at the state; `look` must be short.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&KvState) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state and wakes the watchers.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut KvState) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let revision = state.revision();
        drop(state);
        self.moved.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        result
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.read(|state| state.get(key).cloned())
    }

    pub(crate) fn list(&self, prefix: &str) -> Snapshot {
        self.read(|state| state.list(prefix))
    }

    pub(crate) fn revision(&self) -> Revision {
        self.read(KvState::revision)
    }

    pub(crate) fn watch(&self, from: Revision) -> Watch {
        Watch { state: Arc::clone(&self.state), moved: self.moved.subscribe(), from }
    }

    /// Returns once the state is at the revision or later; the caller bounds the wait.
    pub(crate) async fn reached(&self, revision: Revision) {
        // The sender is ours, so waiting cannot fail.
        let _ = self.moved.subscribe().wait_for(|now| *now >= revision).await;
    }
}

/// Follows a store from a revision on. It ends when the store is dropped.
#[derive(Debug)]
pub struct Watch {
    state: Arc<Mutex<KvState>>,
    moved: watch::Receiver<Revision>,
    from: Revision,
}

impl Watch {
    /// Waits for what is new; `None` once the store is gone. May be cancelled and called again without loss.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            self.moved.borrow_and_update();
            let event = self.state.lock().unwrap_or_else(PoisonError::into_inner).changes_since(self.from);
            if let Some(event) = event {
                self.from = event.revision();
                return Some(event);
            }
            self.moved.changed().await.ok()?;
        }
    }

    /// The revision up to which everything was told.
    pub fn revision(&self) -> Revision {
        self.from
    }

    /// The same as a stream.
    pub fn into_stream(self) -> BoxStream<'static, Event> {
        stream::unfold(self, |mut watch| async { watch.next().await.map(|event| (event, watch)) }).boxed()
    }
}
