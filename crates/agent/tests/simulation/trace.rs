//! What happened in a world, line by line, with the virtual time.

use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// A trace. Cloning shares it.
#[derive(Clone)]
pub struct Trace {
    begin: Instant,
    lines: Arc<Mutex<Vec<Line>>>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Virtual time since the world's begin, milliseconds.
    pub at: u128,
    /// Where: a host's name, or `test`.
    pub place: String,
    /// What.
    pub what: String,
}

impl Trace {
    /// An empty trace that begins now.
    pub fn new() -> Self {
        Self { begin: Instant::now(), lines: Arc::default() }
    }

    /// Adds a line.
    pub fn note(&self, place: &str, what: impl Into<String>) {
        let at = self.begin.elapsed().as_millis();
        self.lines.lock().unwrap().push(Line { at, place: place.to_owned(), what: what.into() });
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    /// The lines from a number on.
    pub fn since(&self, number: usize) -> Vec<Line> {
        self.lines.lock().unwrap()[number..].to_vec()
    }

    /// The last lines as text, for a test that failed; what was repeated is shown once.
    pub fn tail(&self, count: usize) -> String {
        let mut lines = self.lines.lock().unwrap().clone();
        lines.dedup_by(|next, line| (&next.place, &next.what) == (&line.place, &line.what));
        let from = lines.len().saturating_sub(count);
        lines[from..].iter().map(|line| format!("{:>8} {} {}\n", line.at, line.place, line.what)).collect()
    }
}
