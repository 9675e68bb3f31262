//! `hopsack init`, `join` and `host`: how hosts become a cluster, and which ones they are.

use crate::cli::{Identity, Init, Join, JoinToken, LabelHost};
use crate::error::CommandError;
use crate::output::{Format, Output, list};
use crate::parse::shortest;
use crate::resource::tell;
use crate::table::Table;
use hopsack_agent::trust::token;
use hopsack_api::client::Client;
use hopsack_api::{
    HostRemoved, HostStatus, InitAnswer, InitRequest, JoinAnswer, JoinRequest, LabelRequest,
    RemoveHostRequest,
};
use hopsack_types::manifest::Kind;
use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

/// `hopsack init`
pub fn init(client: &Client, arguments: Init, out: &mut Output<'_>) -> Result<(), CommandError> {
    let Init { identity, pools, no_nat, listing } = arguments;
    let Identity { name, advertise, without_vxlan } = identity;
    let answer = client.init(&InitRequest { name, advertise, pools, no_nat, without_vxlan })?;
    match listing.output {
        Format::Json => out.json(&answer),
        Format::Text => show_init(&answer, out),
    }
}

fn show_init(answer: &InitAnswer, out: &mut Output<'_>) -> Result<(), CommandError> {
    let InitAnswer { cluster, name, advertise, address, pools, token, .. } = answer;
    out.line(format_args!("made cluster {}: this host is {name}, reached at {advertise}", cluster.short()))?;
    out.line(format_args!("pools: {}", list(pools)))?;
    out.line("on each other host, within a day:")?;
    out.line(format_args!("\n  {}", join_command(*address, token)))
}

/// What is typed on a host that shall join.
pub fn join_command(address: SocketAddr, token: &str) -> String {
    format!("hopsack join {} --token {token}", shortest(address))
}

/// `hopsack join`
pub fn join(client: &Client, arguments: Join, out: &mut Output<'_>) -> Result<(), CommandError> {
    let Join { address, token, identity, listing } = arguments;
    let token = read_token(token)?;
    let address = address.resolve()?;
    let Identity { name, advertise, without_vxlan } = identity;
    let answer = client.join(&JoinRequest { address, token, name, advertise, without_vxlan })?;
    match listing.output {
        Format::Json => out.json(&answer),
        Format::Text => show_join(&answer, out),
    }
}

fn show_join(answer: &JoinAnswer, out: &mut Output<'_>) -> Result<(), CommandError> {
    let JoinAnswer { cluster, name, advertise, hosts, .. } = answer;
    let cluster = cluster.short();
    out.line(format_args!("joined cluster {cluster}: this host is {name}, reached at {advertise}"))?;
    out.line(format_args!("hosts: {hosts}, this one included (`hopsack host ls`)"))
}

/// The token's text, checked. It is never repeated in an error: it may be almost right.
fn read_token(from: JoinToken) -> Result<String, CommandError> {
    let text = match from {
        JoinToken { token: Some(token), .. } => token,
        JoinToken { token: None, token_file } => read_file(&token_file.unwrap_or_default())?,
    };
    let text = text.trim();
    text.parse::<token::JoinToken>()?;
    Ok(text.to_owned())
}

fn read_file(path: &Path) -> Result<String, CommandError> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    text.map_err(|source| CommandError::ReadToken { path: path.to_owned(), source })
}

/// `hopsack host ls`
pub fn hosts(client: &Client, format: Format, out: &mut Output<'_>) -> Result<(), CommandError> {
    let hosts = client.hosts()?;
    match format {
        Format::Json => out.json(&hosts),
        Format::Text => show_hosts(&hosts, out),
    }
}

fn show_hosts(hosts: &[HostStatus], out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["NAME", "UNDERLAY", "ADDRESSES", "AGENT", "STATE", "ID"]);
    for host in hosts {
        table.row([
            host.name.to_string(),
            host.underlay.to_string(),
            list(&host.addresses),
            agent(host).to_owned(),
            if host.voter { "voter" } else { "copy" }.to_owned(),
            host.id.short(),
        ]);
    }
    out.table(&table)
}

/// `hopsack host label`
pub fn label(client: &Client, arguments: LabelHost, out: &mut Output<'_>) -> Result<(), CommandError> {
    let LabelHost { host, labels, no_labels } = arguments;
    let set = labels.into_iter().map(|(key, value)| (key, Some(value)));
    let labels = no_labels.into_iter().map(|key| (key, None)).chain(set).collect();
    let request = LabelRequest { kind: Kind::Host, name: host.to_string(), labels };
    tell(&client.label_resource(&request)?, false, out)
}

/// `hopsack host rm`
pub fn remove(
    client: &Client,
    request: RemoveHostRequest,
    format: Format,
    out: &mut Output<'_>,
) -> Result<(), CommandError> {
    let removed = client.remove_host(&request)?;
    match format {
        Format::Json => out.json(&removed),
        Format::Text => show_removed(&removed, out),
    }
}

fn show_removed(removed: &HostRemoved, out: &mut Output<'_>) -> Result<(), CommandError> {
    let HostRemoved { id, name, set_aside } = removed;
    let id = id.short();
    let name = name.as_ref().map_or_else(|| id.clone(), ToString::to_string);
    out.line(format_args!("removed host {name}"))?;
    if !set_aside.is_empty() {
        out.line(format_args!(
            "its addresses in {} stay set aside until it can never run again: `hopsack host rm {id} --destroyed`",
            list(set_aside)
        ))?;
    }
    Ok(())
}

/// Whether a host's agent answers, in a word.
pub fn agent(host: &HostStatus) -> &'static str {
    if host.alive { "up" } else { "silent" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::USAGE;
    use crate::output::text_of;
    use hopsack_types::{ClusterId, HostId, HostName};

    #[test]
    fn init_ends_with_the_command_for_the_other_hosts() {
        let mut answer = InitAnswer {
            cluster: ClusterId::from_bytes([0xab; 16]),
            host: HostId::from_bytes([1; 16]),
            name: HostName::new("h1").unwrap(),
            advertise: "10.77.1.1".parse().unwrap(),
            address: "10.77.1.1:4677".parse().unwrap(),
            pools: vec!["10.32.0.0/12".parse().unwrap(), "fd12::/48".parse().unwrap()],
            token: "hopsack1.a.b.c".to_owned(),
        };
        assert_eq!(
            text_of(|out| show_init(&answer, out)),
            "made cluster ababababab: this host is h1, reached at 10.77.1.1\n\
             pools: 10.32.0.0/12, fd12::/48\n\
             on each other host, within a day:\n\
             \n  hopsack join 10.77.1.1 --token hopsack1.a.b.c\n"
        );
        answer.address = "[fd77::1]:99".parse().unwrap();
        let text = text_of(|out| show_init(&answer, out));
        assert!(text.contains("hopsack join [fd77::1]:99 --token"), "{text}");
    }

    #[test]
    fn a_token_is_checked_before_the_agent_is_asked_and_not_repeated_in_the_error() {
        let given = JoinToken { token: Some("hopsack1.abc.secret".to_owned()), token_file: None };
        let error = read_token(given).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(error.exit_status(), USAGE);
    }

    #[test]
    fn a_token_file_that_is_not_there_is_named() {
        let given = JoinToken { token: None, token_file: Some("/nowhere/token".into()) };
        let error = read_token(given).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the token from /nowhere/token: "), "{error}");
    }

    #[test]
    fn a_token_file_may_end_with_a_line() {
        let file = std::env::temp_dir().join(format!("hopsack-token-{}", std::process::id()));
        let token = format!("hopsack1.{}.{}.{}", "a".repeat(64), "b".repeat(32), "c".repeat(32));
        fs::write(&file, format!("{token}\n")).unwrap();
        let read = read_token(JoinToken { token: None, token_file: Some(file.clone()) });
        fs::remove_file(&file).unwrap();
        assert_eq!(read.unwrap(), token);
    }
}
