//! The only task that touches the kernel: observe, compare with what is wanted, apply the difference, tell.
//!
//! It runs when something else is wanted, when the kernel says that something changed, and at a deadline, because
//! not every change is told. What must not live here: what should be (the planner).

use crate::kernel::access::{Differing, KernelAccess, SharedSettings};
use crate::kernel::originals::Originals;
use crate::kernel::planner::Wanted;
use crate::kernel::settings::SettingsLooks;
use crate::metrics::Meters;
use hopsack_api::KernelStatus;
use hopsack_kernel::{Applied, Kernel, KernelError};
use hopsack_plan::HostState;
use hopsack_store::watch;
use hopsack_types::Generation;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// How long looks that are due wait for what else is wanted.
const PUT_OFF: Duration = Duration::from_millis(200);
/// A look at everything, should a change not have been told.
const EVERYTHING: Duration = Duration::from_secs(30);
/// Events come in bursts; this is how long the first one waits for the rest, and never longer.
const GATHER: Duration = Duration::from_millis(20);
/// After a failure, try again this much later.
const RETRY: Duration = Duration::from_millis(500);

/// What to look at before comparing. The rest is taken to be as it was left, since nothing was heard since.
enum Look {
    /// All that is ours.
    Everything,
    /// Only what the kernel does not tell of. The settings were looked at already: these are not as they were left.
    Silent(Arc<HostState>, Differing),
    /// Nothing, which keeps the start of a container quick.
    Nothing(Arc<HostState>),
}

impl Look {
    /// As the metrics call it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Silent(..) => "silent",
            Self::Nothing(_) => "nothing",
        }
    }

    fn at(self, kernel: &mut dyn Kernel, desired: &HostState) -> Result<Arc<HostState>, KernelError> {
        Ok(match self {
            Self::Everything => Arc::new(kernel.observe(desired)?),
            Self::Nothing(left) => left,
            Self::Silent(mut left, differing) => {
                let forward_accept = kernel.observe_forward_accept(&left.forward_accept)?;
                if !differing.is_empty() || forward_accept != left.forward_accept {
                    let state = Arc::make_mut(&mut left);
                    state.forward_accept = forward_accept;
                    for (setting, value) in differing {
                        match value {
                            Some(value) => state.sysctls.insert(setting, value),
                            None => state.sysctls.remove(&setting),
                        };
                    }
                }
                left
            }
        })
    }
}

/// Notes what settings are before they are changed; a look that was not at everything has not seen those that are new.
fn keep_settings(
    originals: &mut Originals,
    settings: &SharedSettings,
    observed: &HostState,
    desired: &HostState,
) -> Result<(), KernelError> {
    let kept = if originals.lacks(observed, desired) {
        let there = |(setting, value): (String, Option<String>)| Some((setting, value?));
        let sysctls = settings.differing(&desired.sysctls)?.into_iter().filter_map(there).collect();
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
        let mut settings = SettingsLooks::new(self.kernel.clone());
        let mut everything_at = Instant::now() + EVERYTHING;
        let mut look = Look::Everything;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if wanted.generation == Generation(0) {
                if self.wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let left = self.reconcile(&wanted, look).await;
            let Some(next) = self.next(left, &mut settings, everything_at).await else { return };
            look = next;
            if !matches!(look, Look::Nothing(_)) {
                settings.put_off();
            }
            if matches!(look, Look::Everything) {
                everything_at = Instant::now() + EVERYTHING;
            }
        }
    }

    /// Waits until there may be something to do. None: nothing will ever be wanted again.
    async fn next(
        &mut self,
        left: Option<Arc<HostState>>,
        settings: &mut SettingsLooks,
        everything_at: Instant,
    ) -> Option<Look> {
        let Some(left) = left else {
            tokio::select! {
                changed = self.wanted.changed() => changed.ok()?,
                () = self.dirty.notified() => sleep(GATHER).await,
                () = sleep(RETRY) => {}
            }
            return Some(Look::Everything);
        };
        // A container that starts does not wait for a look, which comes right after it; but however often something
        // else is wanted, looks are not put off for long.
        let overdue = Instant::now() >= settings.due().min(everything_at) + PUT_OFF;
        tokio::select! {
            biased;
            changed = self.wanted.changed(), if !overdue => changed.ok().map(|()| Look::Nothing(left)),
            () = self.dirty.notified() => {
                sleep(GATHER).await;
                Some(Look::Everything)
            }
            () = sleep_until(everything_at) => Some(Look::Everything),
            differing = settings.next(&left) => {
                Some(differing.map_or(Look::Everything, |differing| Look::Silent(left.clone(), differing)))
            }
        }
    }

    /// Makes the kernel hold what is wanted. Returns what it was left holding, if nothing failed.
    async fn reconcile(&self, wanted: &Wanted, look: Look) -> Option<Arc<HostState>> {
        let (desired, originals) = (wanted.state.clone(), self.originals.clone());
        let looks = [("look", look.name())];
        let pass = self.kernel.with(move |kernel, settings| -> Result<Applied, KernelError> {
            let observed = look.at(kernel, &desired)?;
            if *observed == *desired {
                return Ok(Applied::default());
            }
            let mut originals = originals.lock().unwrap_or_else(PoisonError::into_inner);
            keep_settings(&mut originals, settings, &observed, &desired)?;
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
    use crate::kernel::access::Blocking;
    use crate::kernel::settings::PERIOD;
    use crate::statedir::StateDir;
    use hopsack_kernel::Settings;
    use hopsack_types::{Family, IfName, Mac};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::mpsc;
    use tokio::time::advance;

    const FORWARDING: &str = "net/ipv4/ip_forward";
    const SOON: Duration = Duration::from_secs(20);

    type Notes = Arc<Mutex<Vec<&'static str>>>;

    /// Holds what it was left, and notes what it is asked for. After each apply `next` sees the notes, and may have
    /// something else wanted.
    struct Noting<F> {
        notes: Notes,
        next: F,
    }

    impl<F: FnMut(&[&'static str]) + Send> Kernel for Noting<F> {
        fn observe(&mut self, desired: &HostState) -> Result<HostState, KernelError> {
            self.notes.lock().unwrap().push("everything");
            Ok(HostState { sysctls: desired.sysctls.clone(), ..HostState::default() })
        }

        fn apply(&mut self, _observed: HostState, _desired: &HostState) -> Applied {
            let mut notes = self.notes.lock().unwrap();
            notes.push("apply");
            (self.next)(&notes);
            Applied::default()
        }

        fn observe_forward_accept(
            &mut self,
            left: &BTreeSet<Family>,
        ) -> Result<BTreeSet<Family>, KernelError> {
            self.notes.lock().unwrap().push("forward");
            Ok(left.clone())
        }
    }

    /// Settings of which each look waits for what it is to find.
    struct Told {
        notes: Notes,
        answers: mpsc::Receiver<Differing>,
    }

    impl Settings for Told {
        fn differing(&mut self, _expected: &BTreeMap<String, String>) -> Result<Differing, KernelError> {
            self.notes.lock().unwrap().push("settings");
            Ok(self.answers.recv_timeout(SOON).unwrap_or_default())
        }
    }

    /// Each generation wants something else.
    fn want(sender: &watch::Sender<Wanted>) {
        sender.send_modify(|wanted| {
            let generation = wanted.generation.next();
            let mac = Mac::local([0, 0, 0, 0, 0, generation.0 as u8]);
            let neighbours = [((IfName::loopback(), "10.32.0.1".parse().unwrap()), mac)].into();
            let sysctls = wanted.state.sysctls.clone();
            let state = HostState { neighbours, sysctls, ..HostState::default() };
            *wanted = Wanted { generation, state: Arc::new(state) };
        });
    }

    fn want_forwarding(sender: &watch::Sender<Wanted>, value: &str) {
        let mut wanted = sender.borrow().clone();
        Arc::make_mut(&mut wanted.state).sysctls.insert(FORWARDING.to_owned(), value.to_owned());
        wanted.generation = wanted.generation.next();
        sender.send_replace(wanted);
    }

    /// A reconciler of a kernel, what that has noted, and a way to end a look at its settings; without it looks find
    /// nothing.
    fn start(
        sender: &watch::Sender<Wanted>,
        blocking: Blocking,
        next: impl FnMut(&[&'static str]) + Send + 'static,
    ) -> (Notes, mpsc::Sender<Differing>) {
        let notes = Notes::default();
        let (answer, answers) = mpsc::channel();
        let kernel = Noting { notes: notes.clone(), next };
        let settings = Told { notes: notes.clone(), answers };
        let folder = tempfile::tempdir().unwrap();
        let originals = Originals::load(StateDir::open(folder.path()).unwrap(), "boot").unwrap();
        let access = KernelAccess::new(Box::new(kernel), Box::new(settings), blocking);
        let dirty = Arc::new(Notify::new());
        let reconciler = Reconciler::new(access, sender.subscribe(), dirty, originals, Meters::default());
        tokio::spawn(async move {
            reconciler.run().await;
            drop(folder);
        });
        (notes, answer)
    }

    /// Waits until these were noted last.
    async fn noted(notes: &Notes, last: &[&str]) {
        let deadline = Instant::now() + SOON;
        while !notes.lock().unwrap().ends_with(last) {
            assert!(Instant::now() < deadline, "{:?} and not {last:?}", notes.lock().unwrap());
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wanted_does_not_wait_for_a_look_that_is_due_which_comes_right_after() {
        let sender = watch::Sender::new(Wanted::default());
        want(&sender);
        let (notes, _) = start(&sender, Blocking::Inline, |_| {});
        tokio::task::yield_now().await;
        assert_eq!(*notes.lock().unwrap(), ["everything", "apply"]);
        notes.lock().unwrap().clear();
        want(&sender);
        advance(PERIOD + GATHER).await;
        advance(Duration::from_millis(1)).await;
        assert_eq!(*notes.lock().unwrap(), ["apply", "settings", "forward"]);
    }

    #[tokio::test]
    async fn what_is_wanted_does_not_wait_for_a_look_at_the_settings_that_has_begun() {
        let sender = watch::Sender::new(Wanted::default());
        want(&sender);
        let (notes, answer) = start(&sender, Blocking::Thread, |_| {});
        noted(&notes, &["settings"]).await;
        want(&sender);
        noted(&notes, &["settings", "apply"]).await;
        answer.send(Differing::new()).unwrap();
        noted(&notes, &["settings", "apply", "forward"]).await;
    }

    #[tokio::test]
    async fn a_setting_that_somebody_else_changed_is_put_right_and_not_one_that_we_changed_during_the_look() {
        let sender = watch::Sender::new(Wanted::default());
        want(&sender);
        want_forwarding(&sender, "1");
        let (notes, answer) = start(&sender, Blocking::Thread, |_| {});
        noted(&notes, &["settings"]).await;
        let found = Differing::from([(FORWARDING.to_owned(), Some("0".to_owned()))]);
        answer.send(found.clone()).unwrap();
        noted(&notes, &["settings", "forward", "apply", "settings"]).await;
        want_forwarding(&sender, "0");
        noted(&notes, &["settings", "apply"]).await;
        answer.send(found).unwrap();
        noted(&notes, &["settings", "apply", "forward", "settings"]).await;
    }

    #[tokio::test]
    async fn looks_come_though_something_else_is_always_wanted() {
        let sender = watch::Sender::new(Wanted::default());
        want(&sender);
        let (endless, begin) = (sender.clone(), Instant::now());
        let (notes, _) = start(&sender, Blocking::Inline, move |notes| {
            if !notes.contains(&"forward") && begin.elapsed() < 10 * PERIOD {
                want(&endless);
            }
        });
        while !notes.lock().unwrap().contains(&"forward") {
            assert!(begin.elapsed() < 10 * PERIOD, "{} changes and no look", notes.lock().unwrap().len());
            sleep(Duration::from_millis(1)).await;
        }
        let took = begin.elapsed();
        assert!(took < 4 * PERIOD + PUT_OFF, "the first look that was due came after {took:?}");
    }
}
