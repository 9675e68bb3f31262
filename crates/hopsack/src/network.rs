//! `hopsack network`: making, listing, showing and removing networks.

use crate::cli::{CreateNetwork, Network as Command, NetworkChange, SetNetwork};
use crate::error::CommandError;
use crate::output::{Format, Output, list};
use crate::table::Table;
use hopsack_api::client::Client;
use hopsack_api::{ChangeRequest, NetworkRequest, Networks};
use hopsack_types::{Family, Isolation, Network, NetworkOptions, option};

/// Does what was asked.
pub fn run(client: &Client, command: Command, out: &mut Output<'_>) -> Result<(), CommandError> {
    match command {
        Command::Create(arguments) => create(client, arguments, out),
        Command::Ls(listing) => {
            let networks = by_name(client.networks()?);
            match listing.output {
                Format::Json => out.json(&networks),
                Format::Text => show_all(&networks, out),
            }
        }
        Command::Set(arguments) => set(client, arguments, out),
        Command::Rm { networks, listing } => remove(client, &networks, listing.output, out),
        Command::Inspect { network, listing } => {
            let known = client.networks()?;
            let network = find(&known, &network)?;
            match listing.output {
                Format::Json => out.json(network),
                Format::Text => show(network, out),
            }
        }
    }
}

fn create(client: &Client, arguments: CreateNetwork, out: &mut Output<'_>) -> Result<(), CommandError> {
    let options = options(&arguments)?;
    let network = client.create_network(&NetworkRequest {
        name: Some(arguments.name),
        subnets: arguments.subnets,
        both_families: arguments.ipv6,
        ranges: arguments.ranges.into_iter().collect(),
        gateways: arguments.gateways.into_iter().collect(),
        reserved: arguments.reserved.into_iter().map(|(name, address)| (address, name)).collect(),
        isolation: options.isolation,
        internal: arguments.internal,
        exit: options.exit,
        mtu: options.mtu,
        said: options.said,
        labels: arguments.labels.into_iter().collect(),
        docker: None,
    })?;
    match arguments.listing.output {
        Format::Json => out.json(&network),
        Format::Text => out.line(format_args!("made network {}: {}", network.name, list(&network.subnets))),
    }
}

/// What `--opt` says, and `--isolation`, which is short for one of them.
fn options(arguments: &CreateNetwork) -> Result<NetworkOptions, CommandError> {
    let mut options = NetworkOptions::default();
    for (key, value) in &arguments.options {
        options.set(key, value)?;
    }
    if let Some(isolation) = arguments.isolation {
        options.isolation = isolation.into();
    }
    Ok(options)
}

fn set(client: &Client, arguments: SetNetwork, out: &mut Output<'_>) -> Result<(), CommandError> {
    let known = client.networks()?;
    let NetworkChange { isolation, labels, no_labels } = arguments.change;
    let set = labels.into_iter().map(|(key, value)| (key, Some(value)));
    let network = client.change_network(&ChangeRequest {
        network: find(&known, &arguments.network)?.id,
        isolation: isolation.map(Into::into),
        labels: no_labels.into_iter().map(|key| (key, None)).chain(set).collect(),
    })?;
    match arguments.listing.output {
        Format::Json => out.json(&network),
        Format::Text => out.line(format_args!("changed network {}", network.name)),
    }
}

/// Removes all that are named; a name that is wrong leaves all of them.
fn remove(
    client: &Client,
    names: &[String],
    format: Format,
    out: &mut Output<'_>,
) -> Result<(), CommandError> {
    let known = client.networks()?;
    let networks = names.iter().map(|name| find(&known, name)).collect::<Result<Vec<_>, _>>()?;
    for network in &networks {
        client.remove_network(network.id)?;
        if format == Format::Text {
            out.line(format_args!("removed network {}", network.name))?;
        }
    }
    if format == Format::Json { out.json(&networks) } else { Ok(()) }
}

/// The network of that name, else of that id, in full or as lists show it.
pub fn find<'a>(networks: &'a Networks, text: &str) -> Result<&'a Network, CommandError> {
    let all = || networks.networks.values();
    all()
        .find(|network| network.name.as_str() == text)
        .or_else(|| all().find(|network| network.id.to_string() == text || network.id.short() == text))
        .ok_or_else(|| CommandError::NoNetwork(text.to_owned()))
}

fn by_name(networks: Networks) -> Vec<Network> {
    let mut networks: Vec<Network> = networks.networks.into_values().collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    networks
}

const fn isolation(network: &Network) -> &'static str {
    match network.isolation {
        Isolation::Full => "full",
        Isolation::None => "none",
    }
}

const fn made_by(network: &Network) -> &'static str {
    if network.docker.is_some() { "docker" } else { "hopsack" }
}

fn show_all(networks: &[Network], out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["NAME", "SUBNETS", "ISOLATION", "MADE BY", "ID"]);
    for network in networks {
        table.row([
            network.name.to_string(),
            list(&network.subnets),
            reachability(network).to_owned(),
            made_by(network).to_owned(),
            network.id.short(),
        ]);
    }
    out.table(&table)
}

/// How far a network's packets go, in one word: what is internal is isolated from the world too.
const fn reachability(network: &Network) -> &'static str {
    if network.internal { "internal" } else { isolation(network) }
}

fn show(network: &Network, out: &mut Output<'_>) -> Result<(), CommandError> {
    out.line(format_args!("name       {}", network.name))?;
    out.line(format_args!("id         {}", network.id))?;
    out.line(format_args!("subnets    {}", list(&network.subnets)))?;
    if !network.ranges.is_empty() {
        out.line(format_args!("ip-ranges  {}", list(&network.ranges)))?;
    }
    if !network.gateways.is_empty() {
        out.line(format_args!("gateways   {}", list(network.gateways.keys())))?;
    }
    let families = Family::BOTH.into_iter().filter(|family| network.subnets_of(*family).next().is_some());
    out.line(format_args!("next hops  {}", list(families.map(|family| network.next_hop(family)))))?;
    out.line(format_args!("isolation  {}", isolation(network)))?;
    if network.internal {
        out.line(format_args!("internal   yes"))?;
    }
    let said = NetworkOptions::of(network).shown().into_iter();
    for (key, value) in said.filter(|(key, _)| *key != option::ISOLATION) {
        out.line(format_args!("option     {key}={value}"))?;
    }
    out.line(format_args!("made by    {}", made_by(network)))?;
    for (key, value) in &network.labels {
        out.line(format_args!("label      {key}={value}"))?;
    }
    for (address, reason) in &network.reserved {
        out.line(format_args!("reserved   {address} ({reason})"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text_of;
    use hopsack_types::{ChosenBy, Exit, NetworkId, NetworkName};
    use std::collections::{BTreeMap, BTreeSet};

    fn network(id: u8, name: &str) -> Network {
        Network {
            id: NetworkId::from_bytes([id; 16]),
            name: NetworkName::new(name).unwrap(),
            subnets: vec!["10.32.4.0/24".parse().unwrap(), "fd12::/64".parse().unwrap()],
            ranges: BTreeSet::from(["10.32.4.128/25".parse().unwrap()]),
            gateways: BTreeMap::from([("10.32.4.1".parse().unwrap(), ChosenBy::Default)]),
            reserved: BTreeMap::from([("10.32.4.9".parse().unwrap(), "router".to_owned())]),
            isolation: Isolation::Full,
            internal: name == "db",
            exit: Exit::Docker,
            mtu: Some(1400),
            said: BTreeSet::new(),
            labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
            docker: None,
        }
    }

    fn networks(all: impl IntoIterator<Item = Network>) -> Networks {
        Networks {
            me: None,
            pools: Vec::new(),
            networks: all.into_iter().map(|network| (network.id, network)).collect(),
        }
    }

    #[test]
    fn networks_are_listed_by_name() {
        let known = by_name(networks([network(1, "web"), network(2, "db")]));
        assert_eq!(
            text_of(|out| show_all(&known, out)),
            "NAME  SUBNETS                  ISOLATION  MADE BY  ID\n\
             db    10.32.4.0/24, fd12::/64  internal   hopsack  0202020202\n\
             web   10.32.4.0/24, fd12::/64  full       hopsack  0101010101\n"
        );
    }

    #[test]
    fn a_network_is_found_by_name_before_id() {
        let known = networks([network(1, "0202020202"), network(2, "db")]);
        assert_eq!(find(&known, "0202020202").unwrap().name.as_str(), "0202020202");
        assert_eq!(find(&known, "02020202020202020202020202020202").unwrap().name.as_str(), "db");
        let error = find(&known, "web").unwrap_err().to_string();
        assert_eq!(error, "there is no network \"web\": `hopsack network ls` lists them");
    }

    #[test]
    fn all_of_a_network_is_shown() {
        let text = text_of(|out| show(&network(1, "web"), out));
        for part in [
            "web",
            "01010101010101010101010101010101",
            "tier=front",
            "ip-ranges  10.32.4.128/25",
            "gateways   10.32.4.1",
            "10.32.4.9 (router)",
            "hopsack.gateway=docker",
            "driver.mtu=1400",
            "169.254.",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
