//! `hopsack status`: one screen, what is wrong first.

use crate::cluster::agent;
use crate::error::CommandError;
use crate::output::{Colour, Format, Output, count, list};
use crate::path;
use crate::table::Table;
use hopsack_api::client::Client;
use hopsack_api::{ClusterStatus, Fault, KernelStatus, Status};

/// `hopsack status`
pub fn run(client: &Client, format: Format, out: &mut Output<'_>) -> Result<(), CommandError> {
    let status = client.status()?;
    match format {
        Format::Json => out.json(&status),
        Format::Text => show(&status, out),
    }
}

fn show(status: &Status, out: &mut Output<'_>) -> Result<(), CommandError> {
    show_faults(status, out)?;
    match &status.cluster {
        Some(cluster) => show_cluster(status, cluster, out),
        None => out.line(CommandError::NoCluster),
    }
}

fn show_faults(status: &Status, out: &mut Output<'_>) -> Result<(), CommandError> {
    match status.faults.len() {
        // A host in no cluster is neither well nor ill.
        0 if status.cluster.is_none() => return Ok(()),
        0 => out.coloured(Colour::Green, "all is well")?,
        faults => out.coloured(Colour::Red, count(faults, "fault"))?,
    }
    for Fault { text, next } in &status.faults {
        out.line(format_args!("  - {text}"))?;
        if let Some(next) = next {
            out.line(format_args!("    next: {next}"))?;
        }
    }
    out.line("")
}

fn show_cluster(status: &Status, cluster: &ClusterStatus, out: &mut Output<'_>) -> Result<(), CommandError> {
    let version = &status.version;
    let ClusterStatus { underlay, store, kernel, .. } = cluster;
    let (id, name) = (cluster.id.short(), &cluster.name);
    out.line(format_args!("host       {name}, in cluster {id}, hopsack {version}"))?;
    out.line(format_args!("addresses  {}", list(&cluster.addresses)))?;
    out.line(format_args!(
        "underlay   {} on {}, MTU {}, found by {}",
        underlay.address, underlay.device, underlay.mtu, underlay.found_by
    ))?;
    out.line(format_args!("pools      {}", list(&cluster.pools)))?;
    let contact = if store.connected { "" } else { ", cut off from the voters" };
    out.line(format_args!("state      revision {}, {}{contact}", store.revision, store.role))?;
    out.line(format_args!("kernel     {}", kernel_line(kernel)))?;
    out.line(format_args!("docker     {}", status.docker))?;
    out.line(format_args!(
        "networks   {}, with {} on this host\n",
        cluster.networks,
        count(cluster.endpoints, "endpoint")
    ))?;
    show_hosts(cluster, out)
}

fn kernel_line(kernel: &KernelStatus) -> String {
    let KernelStatus { wanted, applied, failures, repaired } = kernel;
    let mut text = if !failures.is_empty() {
        format!("generation {wanted} applied but for {}", count(failures.len(), "object"))
    } else if applied == wanted {
        format!("generation {wanted} applied")
    } else {
        format!("generation {applied} applied, {wanted} wanted")
    };
    if !repaired.is_empty() {
        let tables = list(repaired.iter().map(|(table, changes)| format!("{table} {changes}")));
        text.push_str(&format!("; changes by others undone: {tables}"));
    }
    text
}

fn show_hosts(cluster: &ClusterStatus, out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["HOST", "UNDERLAY", "AGENT", "PATH", "MTU", "ROUND TRIP"]);
    for host in &cluster.hosts {
        let [kind, mtu, round_trip] = if host.id == cluster.host {
            ["this host".to_owned(), String::new(), String::new()]
        } else {
            path::cells(host.path.as_ref())
        };
        table.row([
            host.name.to_string(),
            host.underlay.to_string(),
            agent(host).to_owned(),
            kind,
            mtu,
            round_trip,
        ]);
    }
    out.table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text_of;
    use hopsack_api::{HostStatus, PathStatus, StoreStatus, UnderlayStatus};
    use hopsack_types::{ClusterId, Generation, HostId, HostName, IfName, PathKind, Revision};
    use std::collections::BTreeMap;

    fn host(id: u8, alive: bool, path: Option<PathStatus>) -> HostStatus {
        HostStatus {
            id: HostId::from_bytes([id; 16]),
            name: HostName::new(format!("h{id}")).unwrap(),
            underlay: format!("10.77.1.{id}").parse().unwrap(),
            addresses: vec![format!("10.32.0.{id}").parse().unwrap()],
            voter: id == 1,
            alive,
            path,
        }
    }

    fn path(kind: PathKind, mtu: u32, answered: bool) -> Option<PathStatus> {
        Some(PathStatus { kind, mtu, round_trip: Some(280), answered, reason: "it is tried".to_owned() })
    }

    fn status(kernel: KernelStatus, faults: Vec<Fault>) -> Status {
        let cluster = ClusterStatus {
            id: ClusterId::from_bytes([0xab; 16]),
            host: HostId::from_bytes([1; 16]),
            name: HostName::new("h1").unwrap(),
            underlay: UnderlayStatus {
                device: IfName::new("eth0").unwrap(),
                address: "10.77.1.1".parse().unwrap(),
                mtu: 1500,
                found_by: "default route".to_owned(),
            },
            addresses: vec!["10.32.0.1".parse().unwrap(), "fd12::1".parse().unwrap()],
            pools: vec!["10.32.0.0/12".parse().unwrap(), "fd12::/48".parse().unwrap()],
            store: StoreStatus {
                revision: Revision { epoch: 1, index: 12 },
                role: "voter".to_owned(),
                connected: true,
            },
            kernel,
            networks: 2,
            endpoints: 3,
            hosts: vec![
                host(1, true, None),
                host(2, true, path(PathKind::Direct, 1500, true)),
                host(3, false, path(PathKind::Vxlan, 1450, false)),
            ],
        };
        let docker = "connected".to_owned();
        Status { version: "0.1.0".to_owned(), cluster: Some(cluster), docker, faults }
    }

    #[test]
    fn faults_come_first_and_the_rest_fits_on_a_screen() {
        let kernel = KernelStatus {
            wanted: Generation(7),
            applied: Generation(5),
            failures: Vec::new(),
            repaired: BTreeMap::from([("links".to_owned(), 2), ("routes".to_owned(), 1)]),
        };
        let silent = Fault::new("the agent of host h3 does not answer", "on h3: hopsack status");
        let held = Fault { text: "port 80 is published twice: stop one of them".to_owned(), next: None };
        let text = text_of(|out| show(&status(kernel, vec![silent, held]), out));
        assert_eq!(text, include_str!("status.golden"));
    }

    #[test]
    fn a_host_without_faults_says_so() {
        let kernel = KernelStatus { wanted: Generation(7), applied: Generation(7), ..Default::default() };
        let text = text_of(|out| show(&status(kernel, Vec::new()), out));
        assert!(text.starts_with("all is well\n\nhost "), "{text}");
        assert!(text.contains("generation 7 applied\n"), "{text}");
    }

    #[test]
    fn what_the_kernel_refused_is_counted() {
        let failures = vec!["link hopvxlan: not supported".to_owned()];
        let kernel =
            KernelStatus { wanted: Generation(7), applied: Generation(7), failures, ..Default::default() };
        assert_eq!(kernel_line(&kernel), "generation 7 applied but for 1 object");
    }

    #[test]
    fn outside_a_cluster_the_next_command_is_told() {
        let alone = Status { cluster: None, ..status(KernelStatus::default(), Vec::new()) };
        let text = text_of(|out| show(&alone, out));
        assert!(text.contains("`hopsack init`") && text.contains("`hopsack join`"), "{text}");
        assert!(!text.contains("well"), "{text}");
    }
}
