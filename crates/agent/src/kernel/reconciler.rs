//! The only task that touches the kernel: observe, compare with what is wanted, apply the difference, tell.
//!
//! It runs when something else is wanted, when the kernel says that something changed, and at a deadline, because
//! not every change is told. What must not live here: what should be (the planner).

use crate::kernel::originals::Originals;
use crate::kernel::planner::Wanted;
use crate::metrics::Meters;
use hopsack_api::KernelStatus;
use hopsack_kernel::{Applied, Kernel, Silent};
use hopsack_plan::HostState;
use hopsack_store::watch;
use hopsack_types::Generation;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Some things change in silence, and must be back in a second, on a busy machine too. With a thousand endpoints a look
/// takes 20 ms.
const SILENT: Duration = Duration::from_millis(400);
/// How long looks that are due wait for what else is wanted.
const PUT_OFF: Duration = Duration::from_millis(200);
/// A look at everything, should a change not have been told.
const EVERYTHING: Duration = Duration::from_secs(30);
/// Events come in bursts; this is how long the first one waits for the rest, and never longer.
const GATHER: Duration = Duration::from_millis(20);
/// After a failure, try again this much later.
const RETRY: Duration = Duration::from_millis(500);

/// How kernel calls, which block, are kept from the runtime's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On a thread for blocking work: the real kernel.
    Thread,
    /// In place: a fake kernel, which never blocks, in a simulation whose order of events must not depend on threads.
    Inline,
}

/// The kernel, shared by the calls that are made of it one after another.
#[derive(Clone)]
pub struct KernelAccess {
    kernel: Arc<Mutex<Box<dyn Kernel>>>,
    blocking: Blocking,
}

impl KernelAccess {
    /// Wraps a kernel.
    pub fn new(kernel: Box<dyn Kernel>, blocking: Blocking) -> Self {
        Self { kernel: Arc::new(Mutex::new(kernel)), blocking }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Kernel) -> T + Send + 'static,
    ) -> Option<T> {
        let kernel = self.kernel.clone();
        let run = move || work(kernel.lock().unwrap_or_else(PoisonError::into_inner).as_mut());
        match self.blocking {
            Blocking::Inline => Some(run()),
            Blocking::Thread => match tokio::task::spawn_blocking(run).await {
                Ok(result) => Some(result),
                Err(error) => {
                    tracing::error!(%error, "a kernel call panicked");
                    None
                }
            },
        }
    }
}

/// What to look at before comparing. The rest is taken to be as it was left, since nothing was heard since.
enum Look {
    /// All that is ours.
    Everything,
    /// Only what the kernel does not tell of.
    Silent(Arc<HostState>),
    /// Nothing, which keeps the start of a container quick.
    Nothing(Arc<HostState>),
}

impl Look {
    /// As the metrics call it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Silent(_) => "silent",
            Self::Nothing(_) => "nothing",
        }
    }

    fn at(
        self,
        kernel: &mut dyn Kernel,
        desired: &HostState,
    ) -> Result<Arc<HostState>, hopsack_kernel::KernelError> {
        Ok(match self {
            Self::Everything => Arc::new(kernel.observe(desired)?),
            Self::Nothing(left) => left,
            Self::Silent(left) => {
                let Silent { sysctls, forward_accept } = kernel.observe_silent(&left)?;
                if sysctls == left.sysctls && forward_accept == left.forward_accept {
                    left
                } else {
                    Arc::new(HostState { sysctls, forward_accept, ..HostState::clone(&left) })
                }
            }
        })
    }
}

/// Notes what settings are before they are changed; a look that was not at everything has not seen those that are new.
fn keep_settings(
    originals: &mut Originals,
    kernel: &mut dyn Kernel,
    observed: &HostState,
    desired: &HostState,
) -> Result<(), hopsack_kernel::KernelError> {
    let kept = if originals.lacks(observed, desired) {
        let Silent { sysctls, .. } = kernel.observe_silent(desired)?;
        originals.keep(&HostState { sysctls, links: observed.links.clone(), ..HostState::default() }, desired)
    } else {
        originals.keep(observed, desired)
    };
    // A network that works is worth more than one that can be taken away without a trace.
    if let Err(error) = kept {
        tracing::warn!(error = error.chain(), "what settings were before is not on disk yet");
    }
    Ok(())
}

/// One reconciler.
pub struct Reconciler {
    kernel: KernelAccess,
    wanted: watch::Receiver<Wanted>,
    dirty: Arc<Notify>,
    originals: Arc<Mutex<Originals>>,
    status: watch::Sender<KernelStatus>,
    meters: Meters,
}

impl Reconciler {
    /// A reconciler that starts with [`Reconciler::run`].
    pub fn new(
        kernel: KernelAccess,
        wanted: watch::Receiver<Wanted>,
        dirty: Arc<Notify>,
        originals: Originals,
        meters: Meters,
    ) -> Self {
        let originals = Arc::new(Mutex::new(originals));
        Self { kernel, wanted, dirty, originals, status: watch::Sender::new(KernelStatus::default()), meters }
    }

    /// What it has done, now and later.
    pub fn status(&self) -> watch::Receiver<KernelStatus> {
        self.status.subscribe()
    }

    /// Reconciles for ever.
    pub async fn run(mut self) {
        let mut look = Look::Everything;
        let (mut silent_at, mut everything_at) = (Instant::now() + SILENT, Instant::now() + EVERYTHING);
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if wanted.generation == Generation(0) {
                if self.wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let left = self.reconcile(&wanted, look).await;
            let again_at = if left.is_some() { silent_at } else { Instant::now() + RETRY };
            tokio::select! {
                biased;
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    look = left.map_or(Look::Everything, Look::Nothing);
                }
                () = self.dirty.notified() => {
                    look = Look::Everything;
                    sleep_until(Instant::now() + GATHER).await;
                }
                () = sleep_until(again_at) => look = left.map_or(Look::Everything, Look::Silent),
            }
            // A container that starts does not wait for a look, which comes right after it; but however often something
            // else is wanted, looks are not put off for long.
            let now = Instant::now();
            look = match look {
                Look::Nothing(left) if now < silent_at + PUT_OFF => Look::Nothing(left),
                _ if now >= everything_at => Look::Everything,
                Look::Nothing(left) => Look::Silent(left),
                look => look,
            };
            if !matches!(look, Look::Nothing(_)) {
                silent_at = now + SILENT;
            }
            if matches!(look, Look::Everything) {
                everything_at = now + EVERYTHING;
            }
        }
    }

    /// Makes the kernel hold what is wanted. Returns what it was left holding, if nothing failed.
    async fn reconcile(&self, wanted: &Wanted, look: Look) -> Option<Arc<HostState>> {
        let (desired, originals) = (wanted.state.clone(), self.originals.clone());
        let looks = [("look", look.name())];
        let pass = self.kernel.with(move |kernel| -> Result<Applied, hopsack_kernel::KernelError> {
            let observed = look.at(kernel, &desired)?;
            if *observed == *desired {
                return Ok(Applied::default());
            }
            let mut originals = originals.lock().unwrap_or_else(PoisonError::into_inner);
            keep_settings(&mut originals, kernel, &observed, &desired)?;
            Ok(kernel.apply(Arc::unwrap_or_clone(observed), &desired))
        });
        let outcome = self.meters.reconcile.timed(looks, pass).await;
        let (applied, failures) = match outcome {
            Some(Ok(applied)) => {
                let failures: Vec<String> = applied
                    .failures
                    .iter()
                    .map(|failure| format!("{}: {}", failure.object, failure.reason))
                    .collect();
                (Some(applied), failures)
            }
            Some(Err(error)) => (None, vec![format!("the kernel cannot be read: {error}")]),
            None => (None, vec!["a kernel call panicked: see the log".to_owned()]),
        };
        let failed = !failures.is_empty();
        self.meters.kernel_refusals.inc_by(failures.len() as u64);
        self.status.send_if_modified(|status| {
            let before = status.clone();
            // The same generation again and yet something to do: somebody else changed it.
            if let Some(applied) = &applied
                && status.applied == wanted.generation
                && status.failures.is_empty()
            {
                for (table, count) in &applied.changes {
                    *status.repaired.entry(table.to_string()).or_default() += count;
                    tracing::info!(%table, count, "repaired what somebody else changed");
                }
            }
            if failures != status.failures {
                for failure in &failures {
                    tracing::warn!(failure, "the kernel refused a change");
                }
            }
            status.failures = failures;
            // Callers wait for this: what was not even tried must not look done.
            if applied.is_some() {
                status.applied = wanted.generation;
            }
            status.wanted = wanted.generation;
            *status != before
        });
        (!failed).then(|| wanted.state.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statedir::StateDir;
    use hopsack_kernel::KernelError;
    use hopsack_types::{IfName, Mac};
    use tokio::time::advance;

    type Notes = Arc<Mutex<Vec<&'static str>>>;

    /// Holds what it was left, and notes what it is asked for. After each apply `next` sees the notes, and may have
    /// something else wanted.
    struct Noting<F> {
        notes: Notes,
        next: F,
    }

    impl<F: FnMut(&[&'static str]) + Send> Kernel for Noting<F> {
        fn observe(&mut self, _desired: &HostState) -> Result<HostState, KernelError> {
            self.notes.lock().unwrap().push("everything");
            Ok(HostState::default())
        }

        fn apply(&mut self, _observed: HostState, _desired: &HostState) -> Applied {
            let mut notes = self.notes.lock().unwrap();
            notes.push("apply");
            (self.next)(&notes);
            Applied::default()
        }

        fn observe_silent(&mut self, left: &HostState) -> Result<Silent, KernelError> {
            self.notes.lock().unwrap().push("silent");
            let HostState { sysctls, forward_accept, .. } = left.clone();
            Ok(Silent { sysctls, forward_accept })
        }
    }

    /// Each generation wants something else.
    fn want(sender: &watch::Sender<Wanted>) {
        sender.send_modify(|wanted| {
            let generation = wanted.generation.next();
            let mac = Mac::local([0, 0, 0, 0, 0, generation.0 as u8]);
            let neighbours = [((IfName::loopback(), "10.32.0.1".parse().unwrap()), mac)].into();
            let state = HostState { neighbours, ..HostState::default() };
            *wanted = Wanted { generation, state: Arc::new(state) };
        });
    }

    /// A reconciler of a kernel, and what that has noted.
    fn start(sender: &watch::Sender<Wanted>, next: impl FnMut(&[&'static str]) + Send + 'static) -> Notes {
        let notes = Notes::default();
        let kernel = Noting { notes: notes.clone(), next };
        let folder = tempfile::tempdir().unwrap();
        let originals = Originals::load(StateDir::open(folder.path()).unwrap(), "boot").unwrap();
        let access = KernelAccess::new(Box::new(kernel), Blocking::Inline);
        let dirty = Arc::new(Notify::new());
        let reconciler = Reconciler::new(access, sender.subscribe(), dirty, originals, Meters::default());
        tokio::spawn(async move {
            reconciler.run().await;
            drop(folder);
        });
        notes
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wanted_does_not_wait_for_a_look_that_is_due_which_comes_right_after() {
        let sender = watch::Sender::new(Wanted::default());
        want(&sender);
        let notes = start(&sender, |_| {});
        tokio::task::yield_now().await;
        assert_eq!(*notes.lock().unwrap(), ["everything", "apply"]);
        notes.lock().unwrap().clear();
        want(&sender);
        advance(SILENT + GATHER).await;
        advance(Duration::from_millis(1)).await;
        assert_eq!(*notes.lock().unwrap(), ["apply", "silent"]);
    }

    #[tokio::test]
    async fn looks_come_though_something_else_is_always_wanted() {
        let sender = watch::Sender::new(Wanted::default());
        want(&sender);
        let (endless, begin) = (sender.clone(), Instant::now());
        let notes = start(&sender, move |notes| {
            if !notes.contains(&"silent") && begin.elapsed() < 10 * SILENT {
                want(&endless);
            }
        });
        let mut wanted = sender.subscribe();
        while !notes.lock().unwrap().contains(&"silent") {
            assert!(begin.elapsed() < 10 * SILENT, "{} changes and no look", notes.lock().unwrap().len());
            wanted.changed().await.unwrap();
        }
        let took = begin.elapsed();
        assert!(took < 4 * SILENT + PUT_OFF, "the first look that was due came after {took:?}");
    }
}
