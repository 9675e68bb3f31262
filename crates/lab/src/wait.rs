//! Waiting for conditions with a deadline. Besides the pace of traffic, the only place that lets time pass.

use crate::error::{LabError, Result};
use std::thread;
use std::time::{Duration, Instant};

/// First pause between two looks; doubles up to [`SLOWEST`].
const FASTEST: Duration = Duration::from_millis(1);
const SLOWEST: Duration = Duration::from_millis(20);

/// Looks until `ready` gives a value; after `deadline` the error says what was waited for and what `ready` said
/// last.
pub fn value<T>(
    what: &str,
    deadline: Duration,
    mut ready: impl FnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = FASTEST;
    loop {
        match ready() {
            Ok(value) => return Ok(value),
            Err(detail) if start.elapsed() >= deadline => {
                return Err(LabError::Timeout { what: what.into(), after: deadline, detail });
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(SLOWEST);
    }
}

/// Looks until `ready` is true.
pub fn until(what: &str, deadline: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    value(what, deadline, || if ready() { Ok(()) } else { Err("not yet so".to_owned()) })
}
