//! `hopsack ipam`: where addresses are.

use crate::cli::Ipam as Command;
use crate::error::CommandError;
use crate::network;
use crate::output::{Format, Output};
use crate::table::Table;
use hopsack_api::client::Client;
use hopsack_api::ipam::UNCOUNTED;
use hopsack_api::{BlockIpam, HeldAddress, IpamStatus, NetworkIpam, SubnetIpam};
use hopsack_types::{HostId, HostName};

/// Does what was asked.
pub fn run(client: &Client, command: Command, out: &mut Output<'_>) -> Result<(), CommandError> {
    let Command::Show { network, listing } = command;
    let mut ipam = client.ipam()?;
    if let Some(text) = network {
        let id = network::find(&client.networks()?, &text)?.id;
        ipam.networks.retain(|network| network.id == id);
        let cut: Vec<_> = ipam.networks.iter().flat_map(|network| &network.subnets).collect();
        ipam.pools.retain(|pool| cut.iter().any(|subnet| subnet.pool.as_ref() == Some(&pool.name)));
    }
    match listing.output {
        Format::Json => out.json(&ipam),
        Format::Text => show(&ipam, out),
    }
}

fn show(ipam: &IpamStatus, out: &mut Output<'_>) -> Result<(), CommandError> {
    // Of one network none, if its subnets were given.
    if !ipam.pools.is_empty() {
        show_pools(ipam, out)?;
    }
    if ipam.networks.is_empty() {
        return Ok(());
    }
    if !ipam.pools.is_empty() {
        out.line("")?;
    }
    show_subnets(&ipam.networks, out)?;
    out.line("")?;
    show_blocks(&ipam.networks, out)?;
    if ipam.networks.iter().any(|network| !network.held.is_empty()) {
        out.line("")?;
        show_held(&ipam.networks, out)?;
    }
    Ok(())
}

fn show_pools(ipam: &IpamStatus, out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["POOL", "PREFIX", "SUBNETS", "HOSTS", "HOST ADDRESSES FROM", "STATE"]);
    for pool in &ipam.pools {
        table.row([
            pool.name.to_string(),
            pool.prefix.to_string(),
            pool.subnets.len().to_string(),
            pool.hosts.to_string(),
            pool.host_range.to_string(),
            if pool.disabled { "disabled" } else { "in use" }.to_owned(),
        ]);
    }
    out.table(&table)
}

fn show_subnets(networks: &[NetworkIpam], out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new([
        "NETWORK",
        "SUBNET",
        "IP-RANGE",
        "POOL",
        "USED",
        "RESERVE",
        "COOLING",
        "QUARANTINED",
        "FREE",
        "KEPT",
    ]);
    for (network, subnet) in all(networks, |network| &network.subnets) {
        let SubnetIpam { prefix, range, pool, used, reserve, quarantined, free, kept, cooling, .. } = subnet;
        let closing = if network.closing { " (being removed)" } else { "" };
        table.row([
            format!("{}{closing}", network.name),
            prefix.to_string(),
            range.map_or_else(String::new, |range| range.to_string()),
            pool.as_ref().map_or_else(String::new, ToString::to_string),
            number(*used),
            number(*reserve),
            number(*cooling),
            number(*quarantined),
            number(*free),
            number(*kept),
        ]);
    }
    out.table(&table)
}

fn show_blocks(networks: &[NetworkIpam], out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["BLOCK", "NETWORK", "HOST", "USED", "RESERVE", "COOLING"]);
    for (network, subnet) in all(networks, |network| &network.subnets) {
        for BlockIpam { prefix, host, host_name, quarantined, used, reserve, cooling } in &subnet.blocks {
            let aside = if *quarantined { " (removed, quarantined)" } else { "" };
            table.row([
                prefix.to_string(),
                network.name.to_string(),
                format!("{}{aside}", shown(*host, host_name.as_ref())),
                number(*used),
                if *quarantined { String::new() } else { number(*reserve) },
                cooling.map_or_else(String::new, number),
            ]);
        }
    }
    out.table(&table)
}

fn show_held(networks: &[NetworkIpam], out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["ADDRESS", "NETWORK", "HOST", "NAME", "HELD BY"]);
    for (network, held) in all(networks, |network| &network.held) {
        let HeldAddress { address, host, host_name, holder, endpoint, name } = held;
        let endpoint = endpoint.map(|endpoint| format!("endpoint:{}", endpoint.short()));
        table.row([
            address.to_string(),
            network.name.to_string(),
            shown(*host, host_name.as_ref()),
            name.clone().unwrap_or_default(),
            endpoint.or_else(|| holder.clone()).unwrap_or_default(),
        ]);
    }
    out.table(&table)
}

/// What networks have of something, each with its network.
fn all<'a, T: 'a>(
    networks: &'a [NetworkIpam],
    of: impl Fn(&NetworkIpam) -> &Vec<T>,
) -> impl Iterator<Item = (&'a NetworkIpam, &'a T)> {
    networks.iter().flat_map(move |network| of(network).iter().map(move |item| (network, item)))
}

/// A host by its name, or by what is left to call it by.
fn shown(host: HostId, name: Option<&HostName>) -> String {
    name.map_or_else(|| host.short(), ToString::to_string)
}

/// A number of addresses; of millions nobody compares digits.
fn number(count: u64) -> String {
    const LEGIBLE: u64 = 1 << 24;
    match count {
        0..=LEGIBLE => count.to_string(),
        UNCOUNTED.. => "2^53 or more".to_owned(),
        _ => format!("about 2^{:.0}", (count as f64).log2()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text_of;
    use hopsack_api::PoolStatus;
    use hopsack_types::{EndpointId, NetworkId};

    fn block(prefix: &str, host: u8, quarantined: bool, used: u64, reserve: u64) -> BlockIpam {
        BlockIpam {
            prefix: prefix.parse().unwrap(),
            host: HostId::from_bytes([host; 16]),
            host_name: (!quarantined).then(|| format!("h{host}").parse().unwrap()),
            quarantined,
            used,
            reserve,
            cooling: (host == 1).then_some(2),
        }
    }

    fn ipam() -> IpamStatus {
        let subnet = |prefix: &str, free, blocks| SubnetIpam {
            prefix: prefix.parse().unwrap(),
            range: None,
            pool: Some("default".parse().unwrap()),
            used: 2,
            reserve: 11,
            quarantined: 8,
            free,
            kept: 3,
            cooling: 2,
            blocks,
        };
        let v4 = vec![
            block("10.32.4.0/29", 1, false, 1, 4),
            block("10.32.4.8/29", 2, false, 1, 7),
            block("10.32.4.64/29", 9, true, 0, 8),
        ];
        let held = |address: &str, host: u8, name: Option<&str>| HeldAddress {
            address: address.parse().unwrap(),
            host: HostId::from_bytes([host; 16]),
            host_name: Some(format!("h{host}").parse().unwrap()),
            holder: (host == 1).then(|| "docker:8be1".to_owned()),
            endpoint: name.map(|_| EndpointId::from_bytes([5; 16])),
            name: name.map(str::to_owned),
        };
        let network = NetworkIpam {
            id: NetworkId::from_bytes([7; 16]),
            name: "web".parse().unwrap(),
            closing: false,
            subnets: vec![
                subnet("10.32.4.0/24", 232, v4),
                subnet("fd12::/64", UNCOUNTED, vec![block("fd12::/80", 1, false, 0, (1 << 48) - 1)]),
            ],
            held: vec![held("10.32.4.2", 1, None), held("10.32.4.9", 2, Some("db"))],
        };
        let pool = PoolStatus {
            name: "default".parse().unwrap(),
            prefix: "10.32.0.0/12".parse().unwrap(),
            disabled: false,
            subnets: vec!["10.32.4.0/24".parse().unwrap()],
            host_range: "10.32.0.0/22".parse().unwrap(),
            hosts: 2,
        };
        IpamStatus { pools: vec![pool], networks: vec![network] }
    }

    #[test]
    fn pools_subnets_blocks_and_holders_are_shown() {
        assert_eq!(text_of(|out| show(&ipam(), out)), include_str!("ipam.golden"));
    }

    #[test]
    fn a_network_whose_subnets_were_given_has_no_pools_to_show() {
        let text = text_of(|out| show(&IpamStatus { pools: Vec::new(), ..ipam() }, out));
        assert!(text.starts_with("NETWORK  SUBNET"), "{text}");
    }

    #[test]
    fn without_networks_there_are_only_pools() {
        let text = text_of(|out| show(&IpamStatus { networks: Vec::new(), ..ipam() }, out));
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
