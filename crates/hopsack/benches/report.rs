//! Rows of the report, for people and for programs.

use crate::sample::Sample;
use serde::{Serialize, Serializer};
use std::fmt;
use std::io;
use std::path::Path;

/// What a row has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// Its value, in the row's unit, is not larger.
    ValueAtMost(f64),
    /// Its value is not smaller.
    ValueAtLeast(f64),
    /// Its ratio is not larger.
    RatioAtMost(f64),
    /// Its ratio is not smaller.
    RatioAtLeast(f64),
}

impl Bar {
    /// Whether a row with these figures reaches it. What was not measured does not.
    fn met(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::ValueAtMost(most) => value <= most,
            Self::ValueAtLeast(least) => value >= least,
            Self::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Self::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ValueAtMost(most) => write!(f, "value <= {most}"),
            Self::ValueAtLeast(least) => write!(f, "value >= {least}"),
            Self::RatioAtMost(most) => write!(f, "ratio <= {most:.2}"),
            Self::RatioAtLeast(least) => write!(f, "ratio >= {least:.2}"),
        }
    }
}

impl Serialize for Bar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured; of a data plane `<plane>.<metric>`, with `.wire` where no segments were offloaded.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is compared with, in the same unit.
    pub base: Option<f64>,
    /// The value divided by the base, pair by pair where they were measured in turn.
    pub ratio: Option<f64>,
    /// The width around the value that holds half of the measurements, in the row's unit.
    pub spread: f64,
    /// What was to be reached, if anything was.
    pub bar: Option<Bar>,
    /// Whether it was.
    pub met: bool,
    /// Whose figure the base is, for people.
    #[serde(skip)]
    pub against: &'static str,
}

impl Row {
    /// The median of a sample that is compared with nothing.
    pub fn alone(name: impl Into<String>, unit: &'static str, sample: &Sample) -> Self {
        Self {
            name: name.into(),
            value: sample.median(),
            unit,
            base: None,
            ratio: None,
            spread: sample.spread(),
            bar: None,
            met: true,
            against: "",
        }
    }

    /// Compares it with a sample that was measured in turn with it.
    pub fn against(mut self, whose: &'static str, sample: &Sample, base: &Sample) -> Self {
        self.base = Some(base.median());
        self.ratio = Some(sample.paired(base, |value, base| value / base).median());
        self.against = whose;
        self
    }

    /// Sets what is to be reached.
    pub fn bar(mut self, bar: Bar) -> Self {
        self.met = bar.met(self.value, self.ratio);
        self.bar = Some(bar);
        self
    }
}

/// All rows.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds what people have to know beside the rows, a sentence.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// The rows, in the order that they were measured.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What people have to know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Writes the rows for programs.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_vec_pretty(&self.rows)?)
    }
}
