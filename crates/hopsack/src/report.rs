//! `hopsack report`: all that somebody needs who looks for the cause of a fault, in one archive. What cannot be had is
//! missing, and its place says why.
//!
//! What must not get in: keys, tokens and their hashes, what labels say, environments. Nothing of the state directory
//! is read; what is read elsewhere goes through `redaction`.

mod archive;
mod contents;
mod redaction;

use crate::cli::Report;
use crate::error::CommandError;
use crate::output::{Format, Output};
use crate::program;
use crate::table::Table;
use contents::Part;
use hopsack_api::client::Client;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What was made, also as JSON.
#[derive(Debug, Serialize)]
struct Made {
    file: PathBuf,
    parts: Vec<PartMade>,
}

/// One part of it.
#[derive(Debug, Serialize)]
struct PartMade {
    name: String,
    bytes: usize,
}

/// Makes the archive and tells where it is and what is in it.
pub fn run(client: &Client, arguments: &Report, out: &mut Output<'_>) -> Result<(), CommandError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let parts = contents::collect(client, &arguments.places);
    let machine = program::read(&["uname", "-n"]).unwrap_or_default();
    let name = format!("hopsack-report-{}-{now}", machine.trim());
    let file = arguments.file.clone().unwrap_or_else(|| format!("{name}.tar.gz").into());
    archive::write(&file, &name, now, &parts)
        .map_err(|source| CommandError::Report { path: file.clone(), source })?;
    let made = parts.iter().map(|Part { name, text }| PartMade { name: name.clone(), bytes: text.len() });
    let made = Made { file, parts: made.collect() };
    match arguments.listing.output {
        Format::Json => out.json(&made),
        Format::Text => show(&made, out),
    }
}

fn show(made: &Made, out: &mut Output<'_>) -> Result<(), CommandError> {
    out.line(format_args!("made {}; keys, tokens and what labels say are not in it\n", made.file.display()))?;
    let mut table = Table::new(["PART", "BYTES"]);
    for PartMade { name, bytes } in &made.parts {
        table.row([name.clone(), bytes.to_string()]);
    }
    out.table(&table)
}
