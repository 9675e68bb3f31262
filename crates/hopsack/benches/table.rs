//! The report as Markdown, which people read on a terminal as well as in the README.

use crate::cells::{Cell, Metric, Plane, Regime};
use crate::report::{Report, Row};

/// Where and when the figures came about.
#[derive(Debug, Clone, Default)]
pub struct Occasion {
    /// Processor, cores, kernel.
    pub machine: String,
    /// The day, as `2026-11-21`.
    pub date: String,
}

/// All of it: a table of data planes for each regime, one of everything else, and what falls short.
pub fn markdown(report: &Report, occasion: &Occasion) -> String {
    let mut text = format!("Measured on {}, {}.\n", occasion.machine, occasion.date);
    for (regime, title) in [
        (Regime::Offload, "Between two containers, with segmentation offload"),
        (Regime::Wire, "The same on the wire: packets of the MTU cross the cable"),
    ] {
        let rows = planes(report, regime);
        if rows.len() > 1 {
            text += &format!(
                "\n{title}. Median, half of the rounds within ±, in brackets the ratio to *against*:\n\n"
            );
            text += &aligned(&rows);
        }
    }
    let cells: Vec<String> = Cell::all().map(|cell| cell.to_string()).collect();
    let others: Vec<&Row> = report.rows().iter().filter(|row| !cells.contains(&row.name)).collect();
    if !others.is_empty() {
        text += "\nEverything else:\n\n";
        text += &aligned(&figures(&others));
    }
    let short: Vec<&Row> = report.rows().iter().filter(|row| !row.met).collect();
    text += match short.len() {
        0 => "\nEverything reaches its bar.\n",
        _ => "\nWhat falls short:\n\n",
    };
    for row in short {
        text += &format!("- {}\n", shortfall(row));
    }
    for note in report.notes() {
        text += &format!("\n{note}\n");
    }
    text
}

/// One line for each plane, one column for each metric.
fn planes(report: &Report, regime: Regime) -> Vec<Vec<String>> {
    let titles = Metric::ALL.map(|metric| format!("{} {}", metric.name(), metric.unit()));
    let mut lines = vec![["plane", "against"].map(str::to_owned).into_iter().chain(titles).collect()];
    for plane in Plane::ALL {
        let find = |metric| {
            let name = Cell { regime, metric, plane }.to_string();
            report.rows().iter().find(|row| row.name == name)
        };
        if Metric::ALL.into_iter().all(|metric| find(metric).is_none()) {
            continue;
        }
        let cells = Metric::ALL.map(|metric| find(metric).map_or_else(|| "-".to_owned(), cell));
        let against = plane.against().map_or("", Plane::name);
        lines.push([plane.name(), against].map(str::to_owned).into_iter().chain(cells).collect());
    }
    lines
}

/// `21.3 ±2% (0.99)`, with `short` where it is.
fn cell(row: &Row) -> String {
    let mut text = format!("{} ±{:.0}%", number(row.value), row.spread / row.value * 50.0);
    if let Some(ratio) = row.ratio {
        text += &format!(" ({ratio:.2})");
    }
    if !row.met {
        text += " short";
    }
    text
}

/// One line for each row.
fn figures(rows: &[&Row]) -> Vec<Vec<String>> {
    let titles = ["name", "value", "spread", "base", "against", "ratio", "bar", "met"];
    let line = |row: &&Row| {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let with_unit = |value: f64| format!("{} {}", number(value), row.unit);
        vec![
            row.name.clone(),
            with_unit(row.value),
            with_unit(row.spread),
            or_none(row.base.map(with_unit)),
            or_none(Some(row.against).filter(|text| !text.is_empty()).map(str::to_owned)),
            or_none(row.ratio.map(|ratio| format!("{ratio:.2}"))),
            or_none(row.bar.map(|bar| bar.to_string())),
            or_none(row.bar.map(|_| if row.met { "yes" } else { "short" }.to_owned())),
        ]
    };
    std::iter::once(titles.map(str::to_owned).to_vec()).chain(rows.iter().map(line)).collect()
}

/// What was found where more was wanted.
fn shortfall(row: &Row) -> String {
    let mut text = format!("{}: {} {}", row.name, number(row.value), row.unit);
    if let (Some(base), Some(ratio)) = (row.base, row.ratio) {
        text += &format!(", {ratio:.3} of the {} of {}", number(base), row.against);
    }
    if let Some(bar) = row.bar {
        text += &format!("; wanted: {bar}");
    }
    text
}

/// Three digits that count, and no fewer than there are before the point.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..0.9995 => 3,
        0.9995..9.995 => 2,
        9.995..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// A Markdown table with columns as wide as their widest cell; its first line is the head.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            text += &format!("| {cell:<width$} ");
        }
        text += "|\n";
        if at == 0 {
            for width in &widths {
                text += &format!("|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    text
}
