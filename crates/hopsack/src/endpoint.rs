//! `hopsack endpoint`: interfaces of containers, this host's from its own records, others' as it has heard of them.

use crate::cli::Endpoint as Command;
use crate::error::CommandError;
use crate::manifest::yaml;
use crate::output::{Format, Output, list};
use crate::resource;
use crate::table::Table;
use hopsack_api::client::Client;
use hopsack_api::{EndpointStatus, ListRequest};
use hopsack_types::manifest::Kind;

/// Does what was asked.
pub fn run(client: &Client, command: Command, out: &mut Output<'_>) -> Result<(), CommandError> {
    let kinds = vec![Kind::Endpoint];
    match command {
        Command::Ls { all: false, listing } => {
            let endpoints = client.endpoints()?;
            match listing.output {
                Format::Json => out.json(&endpoints),
                Format::Text => show(&endpoints, out),
            }
        }
        Command::Ls { all: true, listing } => {
            let documents =
                client.list_resources(&ListRequest { kinds: kinds.clone(), names: Vec::new() })?;
            match listing.output {
                Format::Json => out.json(&documents),
                Format::Text => resource::show(&kinds, &documents, true, out),
            }
        }
        Command::Inspect { endpoint, listing } => {
            let documents = client.list_resources(&ListRequest { kinds, names: vec![endpoint] })?;
            match listing.output {
                Format::Json => out.json(&documents),
                Format::Text => out.text(&yaml::write(&documents)),
            }
        }
    }
}

fn show(endpoints: &[EndpointStatus], out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["NAME", "NETWORK", "ADDRESSES", "MAC", "LINK", "MTU", "ID"]);
    for endpoint in endpoints {
        table.row([
            endpoint.name.clone(),
            endpoint.network_name.to_string(),
            list(&endpoint.addresses),
            endpoint.mac.to_string(),
            endpoint.link.to_string(),
            endpoint.mtu.to_string(),
            endpoint.id.short(),
        ]);
    }
    out.table(&table)
}
