//! Data planes: how fast packets get from one container to another.
//!
//! Both ends of a pair are pinned on one core, so a figure says what a packet costs both hosts together, and no other
//! process disturbs it. All pairs are there at once and are measured in turn, so what slows one slows the next as well.

mod hand;
pub mod hopsack;
mod load;
mod overlay;
mod pairs;

use crate::Effort;
use crate::cells::{Cell, Metric, Plane, Regime, Samples, rows};
use crate::report::Report;
use hopsack_lab::LabError;
use pairs::Pairs;

/// All rows about data planes.
pub fn measure(effort: Effort, report: &mut Report) -> Result<(), LabError> {
    eprintln!("planes: ten hosts, two for each way that packets go");
    let pairs = Pairs::up()?;
    let mut samples = Samples::new();
    let steps: Vec<_> =
        Regime::ALL.iter().flat_map(|regime| Metric::ALL.map(|metric| (*regime, metric))).collect();
    for (step, (regime, metric)) in steps.iter().copied().enumerate() {
        let (name, suffix, all) = (metric.name(), regime.suffix(), steps.len());
        eprintln!("planes: {name}{suffix} of each in turn, {} rounds ({} of {all})", effort.rounds, step + 1);
        pairs.set_regime(regime)?;
        // The first round finds neighbours and fills caches; it does not count.
        for round in 0..=effort.rounds {
            let mut order = Plane::ALL;
            if round % 2 == 1 {
                order.reverse();
            }
            for plane in order {
                let value = load::measure(pairs.of(plane), metric, effort.seconds)?;
                if round > 0 {
                    samples.entry(Cell { regime, metric, plane }).or_default().push(value);
                }
            }
        }
    }
    rows(&samples).into_iter().for_each(|row| report.push(row));
    pairs.down()
}
