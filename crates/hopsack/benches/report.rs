//! Rows of the report, for people and for programs.

use serde::{Serialize, Serializer};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// What a row has to reach.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// Its value, in the row's unit, is not larger.
    ValueAtMost(f64),
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ValueAtMost(most) => write!(f, "value <= {most}"),
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
    /// What was measured.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What the same takes without Hopsack, in the same unit.
    pub base: f64,
    /// With, divided by without.
    pub ratio: f64,
    /// The width around the median that holds half of the measurements, in the row's unit.
    pub spread: f64,
    /// What was to be reached, if anything was.
    pub bar: Option<Bar>,
    /// Whether it was.
    pub met: bool,
}

impl Row {
    /// Sets what is to be reached.
    pub fn bar(mut self, bar: Bar) -> Self {
        self.met = match bar {
            Bar::ValueAtMost(most) => self.value <= most,
        };
        self.bar = Some(bar);
        self
    }
}

/// All rows.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Report(Vec<Row>);

impl Report {
    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.0.push(row);
    }

    /// Prints the table for people.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{:<16} {:>10} {:>10} {:>7} {:>9}  {:<16} MET",
            "NAME", "VALUE", "BASE", "RATIO", "SPREAD", "BAR"
        )?;
        for row in &self.0 {
            let Row { name, value, unit, base, ratio, spread, bar, met } = row;
            let bar = bar.map(|bar| bar.to_string());
            let met = match (&bar, met) {
                (None, _) => "-",
                (Some(_), true) => "yes",
                (Some(_), false) => "NO",
            };
            let bar = bar.unwrap_or_else(|| "-".to_owned());
            writeln!(
                out,
                "{name:<16} {value:>7.1} {unit:<2} {base:>7.1} {unit:<2} {ratio:>7.2} {spread:>6.1} {unit:<2}  {bar:<16} {met}"
            )?;
        }
        Ok(())
    }

    /// Writes the rows for programs.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_vec_pretty(self)?)
    }
}
