//! One answer to Prometheus, filled family by family.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};
use std::fmt;
use std::sync::atomic::AtomicU64;

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// The families so far. Names are given without `hopsack_`, and those of counters without `_total`.
pub struct Page(Registry);

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self(Registry::with_prefix("hopsack"))
    }

    /// Adds a value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.add(name, help, gauge);
    }

    /// Adds such values, told apart by labels.
    pub fn gauges(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in rows {
            family.get_or_create(&labels).set(value);
        }
        self.add(name, help, family);
    }

    /// Adds a count that another part keeps.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.add(name, help, counter);
    }

    /// Adds counts that another part keeps, told apart by labels.
    pub fn counters(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in rows {
            family.get_or_create(&labels).inc_by(value);
        }
        self.add(name, help, family);
    }

    /// Adds whatever can be written.
    pub fn add(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.0.register(name, help, metric);
    }

    /// The page as OpenMetrics 1.0 text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
    }
}
