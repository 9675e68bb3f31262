//! `hopsack path ls`: how packets get from this host to each other one, and why so.

use crate::error::CommandError;
use crate::output::{Format, Output};
use crate::table::Table;
use hopsack_api::client::Client;
use hopsack_api::{ClusterStatus, PathStatus};
use hopsack_types::HostName;
use serde::Serialize;

/// One line of the list, also as JSON.
#[derive(Debug, Serialize)]
struct Row<'a> {
    peer: &'a HostName,
    /// None while there is no path at all.
    path: Option<&'a PathStatus>,
}

/// `hopsack path ls`
pub fn list(client: &Client, format: Format, out: &mut Output<'_>) -> Result<(), CommandError> {
    let cluster = client.status()?.cluster.ok_or(CommandError::NoCluster)?;
    match format {
        Format::Json => out.json(&rows(&cluster)),
        Format::Text => show(&rows(&cluster), out),
    }
}

fn rows(cluster: &ClusterStatus) -> Vec<Row<'_>> {
    let peers = cluster.hosts.iter().filter(|host| host.id != cluster.host);
    peers.map(|host| Row { peer: &host.name, path: host.path.as_ref() }).collect()
}

fn show(rows: &[Row<'_>], out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["PEER", "KIND", "MTU", "ROUND TRIP", "WHY"]);
    for Row { peer, path } in rows {
        let [kind, mtu, round_trip] = cells(*path);
        let why = path.map_or_else(|| "no path yet".to_owned(), |path| path.reason.clone());
        table.row([peer.to_string(), kind, mtu, round_trip, why]);
    }
    out.table(&table)
}

/// Kind, MTU and round trip as cells.
pub fn cells(path: Option<&PathStatus>) -> [String; 3] {
    let Some(path) = path else { return Default::default() };
    let round_trip = match path.round_trip {
        Some(_) if !path.answered => "no answer".to_owned(),
        Some(round_trip) => milliseconds(round_trip),
        // Nothing has ever come back; whether that is a fault yet, the reason tells.
        None => String::new(),
    };
    [path.kind.to_string(), path.mtu.to_string(), round_trip]
}

/// Microseconds as people read them.
fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:02} ms", microseconds / 1000, microseconds % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text_of;
    use hopsack_types::PathKind;

    #[test]
    fn a_path_is_told_with_its_reason_and_a_missing_one_too() {
        let [h2, h3, h4] = ["h2", "h3", "h4"].map(|name| HostName::new(name).unwrap());
        let direct = PathStatus {
            kind: PathKind::Direct,
            mtu: 1500,
            round_trip: Some(12_345),
            answered: true,
            reason: "proven".to_owned(),
        };
        let silent = PathStatus { kind: PathKind::Vxlan, answered: false, ..direct.clone() };
        let rows = [
            Row { peer: &h2, path: Some(&direct) },
            Row { peer: &h3, path: Some(&silent) },
            Row { peer: &h4, path: None },
        ];
        assert_eq!(
            text_of(|out| show(&rows, out)),
            "PEER  KIND    MTU   ROUND TRIP  WHY\n\
             h2    direct  1500  12.34 ms    proven\n\
             h3    vxlan   1500  no answer   proven\n\
             h4    -       -     -           no path yet\n"
        );
    }
}
