//! The way to the kernel's calls, which block, for tasks that must not.
//!
//! What must not live here: when to call, and what for (the reconciler).

use hopsack_kernel::{Differing, Kernel, KernelError, Settings};
use hopsack_plan::HostState;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How kernel calls are kept from the runtime's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On a thread for blocking work: the real kernel.
    Thread,
    /// In place: a fake kernel, which never blocks, in a simulation whose order of events must not depend on threads.
    Inline,
}

/// A call that is under way, also while nobody waits for it. None: it panicked, and the log says why.
pub type Call<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

/// The kernel, shared by the calls that are made of it one after another, and its settings, which are read beside them.
#[derive(Clone)]
pub struct KernelAccess {
    kernel: Arc<Mutex<Box<dyn Kernel>>>,
    settings: Arc<Mutex<Box<dyn Settings>>>,
    blocking: Blocking,
}

impl KernelAccess {
    /// Wraps a kernel and its settings.
    pub fn new(kernel: Box<dyn Kernel>, settings: Box<dyn Settings>, blocking: Blocking) -> Self {
        Self { kernel: Arc::new(Mutex::new(kernel)), settings: Arc::new(Mutex::new(settings)), blocking }
    }

    /// Has work done with the kernel, and with its settings.
    pub fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Kernel, &SharedSettings) -> T + Send + 'static,
    ) -> Call<T> {
        let (kernel, settings) = (self.kernel.clone(), SharedSettings(self.settings.clone()));
        self.call(move || work(lock(&kernel).as_mut(), &settings))
    }

    /// Looks for settings that are not as in a state.
    pub fn differing(&self, expected: Arc<HostState>) -> Call<Result<Differing, KernelError>> {
        let settings = SharedSettings(self.settings.clone());
        self.call(move || settings.differing(&expected.sysctls))
    }

    fn call<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Call<T> {
        match self.blocking {
            Blocking::Inline => Box::pin(async { Some(work()) }),
            Blocking::Thread => {
                let task = tokio::task::spawn_blocking(work);
                Box::pin(async {
                    let log = |error| tracing::error!(%error, "a kernel call panicked");
                    task.await.map_err(log).ok()
                })
            }
        }
    }
}

/// The settings for one look at a time.
pub struct SharedSettings(Arc<Mutex<Box<dyn Settings>>>);

impl SharedSettings {
    /// As [`Settings::differing`].
    pub fn differing(&self, expected: &BTreeMap<String, String>) -> Result<Differing, KernelError> {
        lock(&self.0).differing(expected)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
