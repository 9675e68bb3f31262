//! What has to be measured while it happens. Every part that measures is handed the same [`Meters`].

use super::page::Page;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

/// Bounds of durations, seconds: from a write to memory to the longest that any caller waits.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// One label.
type Label = [(&'static str, &'static str); 1];

/// How often something was done, and how long it took.
#[derive(Debug, Clone)]
pub struct Meter(Family<Label, Histogram, fn() -> Histogram>);

impl Default for Meter {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(SECONDS)))
    }
}

impl Meter {
    /// Does something, and notes how long it took under a label.
    pub async fn timed<T>(&self, label: Label, work: impl Future<Output = T>) -> T {
        self.timed_by(work, |_| label).await
    }

    /// The same, under the label that says whether it was done.
    pub async fn timed_outcome<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.timed_by(work, |result| [("outcome", if result.is_ok() { "done" } else { "failed" })]).await
    }

    async fn timed_by<T>(&self, work: impl Future<Output = T>, label: impl FnOnce(&T) -> Label) -> T {
        let begin = Instant::now();
        let result = work.await;
        self.0.get_or_create(&label(&result)).observe(begin.elapsed().as_secs_f64());
        result
    }
}

/// Everything that is measured on the way. A clone measures into the same.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    /// Transactions of intent, as this host sees them.
    pub store_write: Meter,
    /// Addresses allocated, with the wait for other hosts and for the disk.
    pub allocation: Meter,
    /// Endpoints made, until the kernel holds them.
    pub endpoint_create: Meter,
    /// Passes of the reconciler, by what they looked at.
    pub reconcile: Meter,
    /// Kernel objects that a pass could not change.
    pub kernel_refusals: Counter,
}

impl Meters {
    /// Writes them down.
    pub(super) fn tell(&self, page: &mut Page) {
        for (name, help, meter) in [
            (
                "store_write_duration_seconds",
                "Time that writes of the cluster's state took, until they were agreed on",
                &self.store_write,
            ),
            (
                "allocation_duration_seconds",
                "Time that allocating an address took, until it was on disk",
                &self.allocation,
            ),
            (
                "endpoint_create_duration_seconds",
                "Time that making an endpoint took, until the kernel held its links, routes and policy",
                &self.endpoint_create,
            ),
            (
                "reconcile_duration_seconds",
                "Time that passes over the kernel took, by what they looked at: everything, what changes in silence, or nothing",
                &self.reconcile,
            ),
        ] {
            page.add(name, help, meter.0.clone());
        }
        let refusals = self.kernel_refusals.clone();
        page.add("kernel_refusals", "Kernel objects that could not be changed, at each try", refusals);
    }
}
