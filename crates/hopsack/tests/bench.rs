//! What `make bench` prints and writes, without measuring anything: which rows there are, what they are compared with,
//! how figures come out of samples.
#![allow(dead_code, reason = "what measures is not here, and uses the rest")]

#[path = "../benches/cells.rs"]
mod cells;
#[path = "../benches/report.rs"]
mod report;
#[path = "../benches/sample.rs"]
mod sample;
#[path = "../benches/table.rs"]
mod table;

use cells::{Cell, Metric, Plane, Samples};
use report::{Bar, Report, Row};
use sample::Sample;
use serde_json::Value;
use std::collections::BTreeSet;
use table::Occasion;

fn sample(values: impl IntoIterator<Item = i32>) -> Sample {
    values.into_iter().map(f64::from).collect()
}

/// A report whose planes all have the same figures, but for one.
fn planes(odd: Plane, metric: Metric, value: i32) -> Report {
    let figure = |cell: Cell| if (cell.plane, cell.metric) == (odd, metric) { value } else { 1000 };
    let samples: Samples = Cell::all().map(|cell| (cell, sample([figure(cell); 9]))).collect();
    let mut report = Report::default();
    cells::rows(&samples).into_iter().for_each(|row| report.push(row));
    report
}

fn find<'a>(report: &'a Report, name: &str) -> &'a Row {
    report.rows().iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"))
}

#[test]
fn there_is_a_row_for_each_plane_metric_and_regime() {
    let report = planes(Plane::Host, Metric::Ping, 1000);
    let names: BTreeSet<String> = report.rows().iter().map(|row| row.name.clone()).collect();
    let mut wanted = BTreeSet::new();
    for plane in ["host", "hopsack-direct", "hopsack-vxlan", "hand-direct", "hand-vxlan", "docker-overlay"] {
        for metric in ["tcp1", "tcp8", "rr", "crr", "udp64", "udp1400", "ping"] {
            wanted.extend([format!("{plane}.{metric}"), format!("{plane}.{metric}.wire")]);
        }
    }
    assert_eq!(names, wanted);
    assert_eq!(report.rows().len(), wanted.len());
}

#[test]
fn what_else_was_promised_is_measured_somewhere() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources: String =
        files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for name in [
        "docker-run",
        "network-usable",
        "rss",
        "cpu-idle",
        "alloc-durable",
        "alloc-memory",
        "endpoint-create",
        "resync",
        "cli",
    ] {
        let forms = [format!("(\"{name}\","), format!("format!(\"{name}.")];
        assert!(forms.iter().any(|form| sources.contains(form)), "no row {name}");
    }
}

#[test]
fn a_row_for_programs_has_these_keys_and_no_others() {
    let report = planes(Plane::Host, Metric::Ping, 1000);
    let rows = serde_json::to_value(report.rows()).unwrap();
    let keys = ["bar", "base", "met", "name", "ratio", "spread", "unit", "value"];
    for row in rows.as_array().unwrap() {
        let row = row.as_object().unwrap();
        assert_eq!(row.keys().collect::<Vec<_>>(), keys, "{row:?}");
        assert!(row["value"].is_number() && row["spread"].is_number() && row["met"].is_boolean(), "{row:?}");
    }
    let find = |name: &str| rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(find("host.tcp1")["base"], Value::Null, "compared with nothing");
    assert_eq!(find("hopsack-vxlan.rr.wire")["bar"], "ratio >= 0.92");
    assert_eq!(find("hopsack-vxlan.rr.wire")["base"], 1000.0);
}

#[test]
fn ours_is_compared_with_hand_made_and_dockers_with_ours() {
    let cases = [
        (Plane::HopsackDirect, Metric::Tcp1, 969, 971, "hand-direct"),
        (Plane::HopsackVxlan, Metric::Tcp8, 969, 971, "hand-vxlan"),
        (Plane::HopsackDirect, Metric::RoundTrips, 919, 921, "hand-direct"),
        (Plane::HopsackVxlan, Metric::Connections, 919, 921, "hand-vxlan"),
        (Plane::DockerOverlay, Metric::Tcp1, 1001, 999, "hopsack-vxlan"),
        (Plane::DockerOverlay, Metric::RoundTrips, 1054, 1052, "hopsack-vxlan"),
    ];
    for (plane, metric, short, enough, against) in cases {
        for (value, met) in [(short, false), (enough, true)] {
            let report = planes(plane, metric, value);
            for regime in ["", ".wire"] {
                let row = find(&report, &format!("{}.{}{regime}", plane.name(), metric.name()));
                assert_eq!((row.met, row.against), (met, against), "{row:?}");
            }
        }
    }
}

#[test]
fn what_falls_short_is_printed_as_such_and_told_again_below() {
    let occasion = Occasion { machine: "2 cores".to_owned(), date: "2026-11-21".to_owned() };
    let mut report = planes(Plane::HopsackVxlan, Metric::Tcp1, 900);
    report.push(Row::alone("rss", "MB", &sample([41])).bar(Bar::ValueAtMost(40.0)));
    report.note("rough");
    let text = table::markdown(&report, &occasion);
    assert!(text.starts_with("Measured on 2 cores, 2026-11-21.\n"), "{text}");
    assert!(text.contains("| 900 ±0% (0.90) short "), "{text}");
    assert!(
        text.contains(
            "- hopsack-vxlan.tcp1: 900 Gbit/s, 0.900 of the 1000 of hand-vxlan; wanted: ratio >= 0.97\n"
        ),
        "{text}"
    );
    assert!(text.contains("- rss: 41.0 MB; wanted: value <= 40\n"), "{text}");
    assert!(text.ends_with("\nrough\n"), "{text}");
    let good = table::markdown(&planes(Plane::Host, Metric::Ping, 1000), &occasion);
    assert!(good.contains("Everything reaches its bar.") && !good.contains("short"), "{good}");
}

#[test]
fn a_bar_that_was_to_be_compared_and_was_not_is_not_met() {
    let row = Row::alone("x", "/s", &sample([1]));
    assert!(!row.clone().bar(Bar::RatioAtLeast(0.5)).met && !row.clone().bar(Bar::RatioAtMost(5.0)).met);
    assert!(!Row::alone("x", "/s", &sample([])).bar(Bar::ValueAtMost(5.0)).met, "never measured");
    assert!(row.bar(Bar::ValueAtMost(1.0)).met);
}

#[test]
fn the_median_is_the_middle_in_whatever_order_they_came() {
    assert_eq!(sample([5, 1, 9, 3, 7]).median(), 5.0);
    assert_eq!(sample([4, 2]).median(), 2.0, "the lower one of two");
    assert!(sample([]).median().is_nan());
}

#[test]
fn quantiles_take_the_nearest_rank() {
    let hundred = sample((1..=100).rev());
    for (part, value) in [(0.0, 1.0), (0.01, 1.0), (0.25, 25.0), (0.99, 99.0), (1.0, 100.0)] {
        assert_eq!(hundred.quantile(part), value, "{part}");
    }
}

#[test]
fn the_spread_holds_half_of_them_and_no_outlier_moves_it() {
    assert_eq!(sample(1..=8).spread(), 4.0);
    assert_eq!(sample([1, 2, 3, 4, 5, 6, 7, 8000]).spread(), 4.0);
    assert_eq!(sample([3]).spread(), 0.0);
}

#[test]
fn pairs_are_compared_one_by_one_so_that_what_slows_both_does_not_count() {
    let (ours, theirs) = (sample([90, 45, 9]), sample([100, 50, 10]));
    let ratio = ours.paired(&theirs, |ours, theirs| ours / theirs);
    assert_eq!((ratio.median(), ratio.spread()), (0.9, 0.0));
}
