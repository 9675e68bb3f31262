//! `hopsack pool`: day-to-day words for documents of pools.

use crate::cli::{HowToWrite, Listing, Pool as Command, PoolChange, PoolSettings};
use crate::error::CommandError;
use crate::manifest::yaml;
use crate::output::{Format, Output};
use crate::resource::{send, show, tell};
use hopsack_api::client::Client;
use hopsack_api::{LabelRequest, ListRequest, WriteMode};
use hopsack_types::manifest::{Kind, PoolSpec, named};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Does what was asked.
pub fn run(client: &Client, command: Command, out: &mut Output<'_>) -> Result<(), CommandError> {
    match command {
        Command::Create { name, cidr, settings, labels, how } => {
            let PoolSettings { nat_outgoing, disabled } = settings;
            let spec = PoolSpec { cidr: Some(cidr), nat_outgoing, disabled };
            let mut document = document(name.as_str(), &spec)?;
            if !labels.is_empty() {
                document["metadata"]["labels"] =
                    labels.into_iter().map(|(key, value)| (key, json!(value))).collect();
            }
            send(client, WriteMode::Create, vec![document], how, out)
        }
        Command::Ls(listing) => list(client, Vec::new(), listing.output, out),
        Command::Inspect { pool, listing } => inspect(client, pool.to_string(), listing.output, out),
        Command::Set { pool, change } => {
            let PoolChange { nat_outgoing, disabled, labels, no_labels } = change;
            // A pool that is not there is told as such: this document could make none.
            let known = ListRequest { kinds: vec![Kind::Pool], names: vec![pool.to_string()] };
            client.list_resources(&known)?;
            if nat_outgoing.is_some() || disabled.is_some() {
                let spec = PoolSpec { cidr: None, nat_outgoing, disabled };
                let how = HowToWrite { dry_run: false, listing: Listing { output: Format::Text } };
                send(client, WriteMode::Apply, vec![document(pool.as_str(), &spec)?], how, out)?;
            }
            let set = labels.into_iter().map(|(key, value)| (key, Some(value)));
            let taken = no_labels.into_iter().map(|key| (key, None));
            let labels: BTreeMap<_, _> = taken.chain(set).collect();
            if labels.is_empty() {
                return Ok(());
            }
            let request = LabelRequest { kind: Kind::Pool, name: pool.to_string(), labels };
            tell(&client.label_resource(&request)?, false, out)
        }
        Command::Rm { pools } => {
            let how = HowToWrite { dry_run: false, listing: Listing { output: Format::Text } };
            let documents = pools.iter().map(|pool| named(Kind::Pool, pool)).collect();
            send(client, WriteMode::Delete, documents, how, out)
        }
    }
}

fn document(name: &str, spec: &PoolSpec) -> Result<Value, CommandError> {
    let mut document = named(Kind::Pool, name);
    document["spec"] = serde_json::to_value(spec).map_err(CommandError::Json)?;
    Ok(document)
}

fn list(
    client: &Client,
    names: Vec<String>,
    format: Format,
    out: &mut Output<'_>,
) -> Result<(), CommandError> {
    let kinds = vec![Kind::Pool];
    let documents = client.list_resources(&ListRequest { kinds: kinds.clone(), names })?;
    match format {
        Format::Json => out.json(&documents),
        Format::Text => show(&kinds, &documents, false, out),
    }
}

fn inspect(client: &Client, name: String, format: Format, out: &mut Output<'_>) -> Result<(), CommandError> {
    let request = ListRequest { kinds: vec![Kind::Pool], names: vec![name] };
    let documents = client.list_resources(&request)?;
    match (format, documents.first()) {
        (Format::Json, Some(document)) => out.json(document),
        _ => out.text(&yaml::write(&documents)),
    }
}
