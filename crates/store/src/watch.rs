//! A value and those who wait for it to change, who are woken in the order in which they began to wait.
//!
//! `tokio::sync::watch` wakes them in an order of chance, out of a generator of the thread's own that cannot be seeded;
//! with it two simulations of one seed differ. This has the same face and the same promises: a receiver sees the newest
//! value, and may miss those between. What must not live here: what is watched.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Notify;

#[derive(Debug)]
struct Slot<T> {
    value: T,
    /// Counts changes.
    version: u64,
}

#[derive(Debug)]
struct Shared<T> {
    slot: RwLock<Slot<T>>,
    senders: AtomicUsize,
    /// Wakes in order of waiting.
    changed: Notify,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, Slot<T>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slot<T>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.senders.load(Ordering::Acquire) == 0
    }
}

/// All senders are gone: the value changes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody can change the watched value any more")]
pub struct Closed;

/// The value, as long as it is looked at; nobody can change it meanwhile.
#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, Slot<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// Changes the value. A clone changes the same.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Watches the value. A clone has seen what the original has.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// A value, and the first to watch it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    /// A value that nobody watches yet.
    pub fn new(value: T) -> Self {
        let slot = RwLock::new(Slot { value, version: 0 });
        Self(Arc::new(Shared { slot, senders: AtomicUsize::new(1), changed: Notify::new() }))
    }

    /// A receiver that has seen the value as it is now.
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.read().version;
        Receiver { shared: self.0.clone(), seen }
    }

    /// Looks at the value.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// Replaces the value; gives the one before.
    pub fn send_replace(&self, value: T) -> T {
        let mut value = value;
        self.send_modify(|known| std::mem::swap(known, &mut value));
        value
    }

    /// Changes the value in place.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Changes the value in place and wakes the receivers only if `change` says that it did.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        {
            let mut slot = self.0.write();
            if !change(&mut slot.value) {
                return false;
            }
            slot.version += 1;
        }
        self.0.changed.notify_waiters();
        true
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Receiver<T> {
    /// Looks at the value; it counts as unseen still.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// Looks at the value, and has seen it.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let slot = self.shared.read();
        self.seen = slot.version;
        Ref(slot)
    }

    /// Returns once the value is another than the one seen last, and has seen that. May be cancelled without loss.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Made before the look, so that no change between the two is missed.
            let notified = self.shared.changed.notified();
            let version = self.shared.read().version;
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.is_closed() {
                return Err(Closed);
            }
            notified.await;
        }
    }

    /// Returns once a condition is true of the value, which may be at once.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn wait_for(&mut self, mut condition: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        let Self { shared, seen } = self;
        loop {
            let notified = shared.changed.notified();
            {
                let slot = shared.read();
                *seen = slot.version;
                if condition(&slot.value) {
                    return Ok(Ref(slot));
                }
            }
            if shared.is_closed() {
                return Err(Closed);
            }
            notified.await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::task::yield_now;

    #[tokio::test]
    async fn receivers_are_woken_in_the_order_in_which_they_began_to_wait() {
        let sender = Sender::new(0);
        let woken: Arc<Mutex<Vec<usize>>> = Arc::default();
        let mut tasks = Vec::new();
        for number in 0..50 {
            let (mut receiver, woken) = (sender.subscribe(), woken.clone());
            tasks.push(tokio::spawn(async move {
                receiver.changed().await.unwrap();
                woken.lock().unwrap().push(number);
            }));
            yield_now().await;
        }
        sender.send_replace(1);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_change_is_seen_once_and_the_newest_value_counts() {
        let (sender, mut receiver) = channel("a");
        sender.send_replace("b");
        sender.send_replace("c");
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow(), "c");
        assert!(!sender.send_if_modified(|_| false));
        let mut late = receiver.clone();
        sender.send_modify(|value| *value = "d");
        assert_eq!(*late.wait_for(|value| *value == "d").await.unwrap(), "d");
        drop(sender);
        assert_eq!(late.changed().await, Err(Closed));
        assert_eq!(receiver.changed().await, Ok(()), "what was not seen is told even after the end");
        assert_eq!(receiver.changed().await, Err(Closed));
    }

    #[tokio::test]
    async fn the_end_is_told_when_the_last_sender_has_gone() {
        let (sender, mut receiver) = channel(());
        let other = sender.clone();
        drop(sender);
        let waiting = tokio::spawn(async move { receiver.changed().await });
        yield_now().await;
        assert!(!waiting.is_finished());
        drop(other);
        assert_eq!(waiting.await.unwrap(), Err(Closed));
    }
}
