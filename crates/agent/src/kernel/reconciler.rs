//! The only task that touches the kernel: observe, compare with what is wanted, apply the difference, tell.
//!
//! It runs when something else is wanted, when the kernel says that something changed, and at a deadline, because
//! not every change is told. What must not live here: what should be (the planner).

use crate::kernel::access::{KernelAccess, SharedSettings};
use crate::kernel::originals::Originals;
use crate::kernel::planner::Wanted;
use crate::kernel::settings::SettingsLooks;
use crate::metrics::Meters;
use hopsack_api::KernelStatus;
use hopsack_kernel::{Applied, Differing, Failure, Kernel, KernelError, Table, drift};
use hopsack_plan::HostState;
use hopsack_store::watch;
use hopsack_types::Generation;
use std::collections::BTreeMap;
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
    /// All that is ours. How it was left only tells what somebody else has changed since; none: that is not known.
    Everything(Option<Arc<HostState>>),
    /// Only what the kernel does not tell of. The settings were looked at already: these are not as they were left.
    Silent(Arc<HostState>, Differing),
    /// Nothing, which keeps the start of a container quick.
    Nothing(Arc<HostState>),
}

impl Look {
    /// As the metrics call it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Everything(_) => "everything",
            Self::Silent(..) => "silent",
            Self::Nothing(_) => "nothing",
        }
    }

    /// How what is looked at was left, as far as that is known.
    fn left(&self) -> Option<Arc<HostState>> {
        match self {
            Self::Everything(left) => left.clone(),
            Self::Silent(left, _) => Some(left.clone()),
            Self::Nothing(_) => None,
        }
    }

    fn at(self, kernel: &mut dyn Kernel, desired: &HostState) -> Result<Arc<HostState>, KernelError> {
        Ok(match self {
            Self::Everything(_) => Arc::new(kernel.observe(desired)?),
            Self::Nothing(left) => left,
            Self::Silent(mut left, differing) => {
                let forward_accept = kernel.observe_forward_accept(&left.forward_accept)?;
                if !differing.is_empty() || forward_accept != left.forward_accept {
                    let state = Arc::make_mut(&mut left);
                    state.forward_accept = forward_accept;
                    state.set_sysctls(differing);
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

/// What a pass over the kernel found and did.
#[derive(Default)]
struct Pass {
    /// What somebody else had changed.
    drift: BTreeMap<Table, u64>,
    applied: Applied,
}

impl Pass {
    /// What was put right: no more than was changed, for what could not be changed is as it was.
    fn repaired(&self) -> impl Iterator<Item = (Table, u64)> + '_ {
        let changes = |table| self.applied.changes.get(table).copied().unwrap_or_default();
        let repaired = self.drift.iter().map(move |(table, count)| (*table, *count.min(&changes(table))));
        repaired.filter(|(_, count)| *count > 0)
    }
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
        let mut look = Look::Everything(None);
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
            if matches!(look, Look::Everything(_)) {
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
            return Some(Look::Everything(None));
        };
        // A container that starts does not wait for a look, which comes right after it; but however often something
        // else is wanted, looks are not put off for long.
        let overdue = Instant::now() >= settings.due().min(everything_at) + PUT_OFF;
        tokio::select! {
            biased;
            changed = self.wanted.changed(), if !overdue => changed.ok().map(|()| Look::Nothing(left)),
            () = self.dirty.notified() => {
                sleep(GATHER).await;
                Some(Look::Everything(Some(left)))
            }
            () = sleep_until(everything_at) => Some(Look::Everything(Some(left))),
            differing = settings.next(&left) => Some(match differing {
                Some(differing) => Look::Silent(left, differing),
                None => Look::Everything(Some(left)),
            }),
        }
    }

    /// Makes the kernel hold what is wanted. Returns what it was left holding, if nothing failed.
    async fn reconcile(&self, wanted: &Wanted, look: Look) -> Option<Arc<HostState>> {
        let (desired, originals) = (wanted.state.clone(), self.originals.clone());
        let looks = [("look", look.name())];
        let pass = self.kernel.with(move |kernel, settings| -> Result<Pass, KernelError> {
            let left = look.left();
            let observed = look.at(kernel, &desired)?;
            if *observed == *desired {
                return Ok(Pass::default());
            }
            let drift = left.map(|left| drift(&left, &observed, &desired)).unwrap_or_default();
            let mut originals = originals.lock().unwrap_or_else(PoisonError::into_inner);
            keep_settings(&mut originals, settings, &observed, &desired)?;
            Ok(Pass { drift, applied: kernel.apply(Arc::unwrap_or_clone(observed), &desired) })
        });
        let outcome = self.meters.reconcile.timed(looks, pass).await;
        let (pass, failures) = match outcome {
            Some(Ok(pass)) => {
                let told = |failure: &Failure| format!("{}: {}", failure.object, failure.reason);
                let failures = pass.applied.failures.iter().map(told).collect();
                (Some(pass), failures)
            }
            Some(Err(error)) => (None, vec![format!("the kernel cannot be read: {error}")]),
            None => (None, vec!["a kernel call panicked: see the log".to_owned()]),
        };
        let failed = !failures.is_empty();
        self.meters.kernel_refusals.inc_by(failures.len() as u64);
        self.status.send_if_modified(|status| {
            let before = status.clone();
            for (table, count) in pass.iter().flat_map(Pass::repaired) {
                *status.repaired.entry(table.to_string()).or_default() += count;
                tracing::info!(%table, count, "repaired what somebody else changed");
            }
            if failures != status.failures {
                for failure in &failures {
                    tracing::warn!(failure, "the kernel refused a change");
                }
            }
            status.failures = failures;
            // Callers wait for this: what was not even tried must not look done.
            if pass.is_some() {
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
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use tokio::time::advance;

    const FORWARDING: &str = "net/ipv4/ip_forward";
    const SOON: Duration = Duration::from_secs(20);

    type Notes = Arc<Mutex<Vec<&'static str>>>;

    /// Holds what it was left, and notes what it is asked for. After each apply `next` sees the notes, and may have
    /// something else wanted.
    struct Noting<F> {
        notes: Notes,
        forwards: Arc<AtomicBool>,
        next: F,
    }

    impl<F: FnMut(&[&'static str]) + Send> Kernel for Noting<F> {
        fn observe(&mut self, desired: &HostState) -> Result<HostState, KernelError> {
            self.notes.lock().unwrap().push("everything");
            let mut observed = desired.clone();
            if let Some(value) = observed.sysctls.get_mut(FORWARDING)
                && !self.forwards.load(Ordering::Relaxed)
            {
                "0".clone_into(value);
            }
            observed.neighbours.clear();
            Ok(observed)
        }

        fn apply(&mut self, _observed: HostState, _desired: &HostState) -> Applied {
            let mut notes = self.notes.lock().unwrap();
            notes.push("apply");
            (self.next)(&notes);
            Applied { changes: [(Table::Sysctls, 1), (Table::Neighbours, 1)].into(), failures: Vec::new() }
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

    /// A reconciler at work.
    struct Scene {
        notes: Notes,
        /// Ends a look at the settings; once it is gone they find nothing.
        answer: mpsc::Sender<Differing>,
        dirty: Arc<Notify>,
        /// Whether a look at everything finds the setting for forwarding as it is wanted.
        forwards: Arc<AtomicBool>,
        status: watch::Receiver<KernelStatus>,
    }

    impl Scene {
        fn start(
            sender: &watch::Sender<Wanted>,
            blocking: Blocking,
            next: impl FnMut(&[&'static str]) + Send + 'static,
        ) -> Self {
            let (notes, forwards) = (Notes::default(), Arc::new(AtomicBool::new(true)));
            let (answer, answers) = mpsc::channel();
            let kernel = Noting { notes: notes.clone(), forwards: forwards.clone(), next };
            let settings = Told { notes: notes.clone(), answers };
            let folder = tempfile::tempdir().unwrap();
            let originals = Originals::load(StateDir::open(folder.path()).unwrap(), "boot").unwrap();
            let access = KernelAccess::new(Box::new(kernel), Box::new(settings), blocking);
            let dirty = Arc::new(Notify::new());
            let receiver = sender.subscribe();
            let reconciler = Reconciler::new(access, receiver, dirty.clone(), originals, Meters::default());
            let status = reconciler.status();
            tokio::spawn(async move {
                reconciler.run().await;
                drop(folder);
            });
            Self { notes, answer, dirty, forwards, status }
        }

        fn repaired(&self) -> Vec<(String, u64)> {
            self.status.borrow().repaired.clone().into_iter().collect()
        }
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
        let Scene { notes, .. } = Scene::start(&sender, Blocking::Inline, |_| {});
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
        let Scene { notes, answer, .. } = Scene::start(&sender, Blocking::Thread, |_| {});
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
        let scene = Scene::start(&sender, Blocking::Thread, |_| {});
        noted(&scene.notes, &["settings"]).await;
        let found = Differing::from([(FORWARDING.to_owned(), Some("0".to_owned()))]);
        scene.answer.send(found.clone()).unwrap();
        noted(&scene.notes, &["settings", "forward", "apply", "settings"]).await;
        want_forwarding(&sender, "0");
        noted(&scene.notes, &["settings", "apply"]).await;
        scene.answer.send(found).unwrap();
        noted(&scene.notes, &["settings", "apply", "forward", "settings"]).await;
        assert_eq!(scene.repaired(), [("sysctls".to_owned(), 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repair_in_one_pass_with_what_is_wanted_counts_and_what_is_wanted_does_not() {
        let sender = watch::Sender::new(Wanted::default());
        want_forwarding(&sender, "1");
        let scene = Scene::start(&sender, Blocking::Inline, |_| {});
        tokio::task::yield_now().await;
        scene.forwards.store(false, Ordering::Relaxed);
        scene.dirty.notify_one();
        tokio::task::yield_now().await;
        want(&sender);
        advance(GATHER + Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
        assert!(scene.notes.lock().unwrap().ends_with(&["everything", "apply"]));
        assert_eq!(scene.status.borrow().applied, sender.borrow().generation);
        assert_eq!(scene.repaired(), [("sysctls".to_owned(), 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn looks_come_though_something_else_is_always_wanted() {
        let sender = watch::Sender::new(Wanted::default());
        want(&sender);
        let (endless, begin) = (sender.clone(), Instant::now());
        let Scene { notes, .. } = Scene::start(&sender, Blocking::Thread, move |notes| {
            if !notes.contains(&"forward") {
                want(&endless);
            }
        });
        let noted = || notes.lock().unwrap().len();
        while !notes.lock().unwrap().contains(&"forward") {
            assert!(begin.elapsed() < 4 * PERIOD, "{} notes and no look", noted());
            // The clock stands still until something was done.
            let before = noted();
            while noted() == before {
                tokio::task::yield_now().await;
            }
            advance(GATHER).await;
        }
        let took = begin.elapsed();
        let soon = PERIOD + PUT_OFF..=PERIOD + PUT_OFF + 4 * GATHER;
        assert!(soon.contains(&took), "the first look that was due came after {took:?}");
    }
}
