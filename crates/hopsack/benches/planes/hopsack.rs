//! Ours: a cluster whose first two hosts reach each other directly, and whose other two do by VXLAN.

use crate::PROGRAM;
use hopsack_lab::{Host, Inside, LabError, Place, wait};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

/// How long the hosts may take to prove their paths.
const PROVEN: Duration = Duration::from_secs(40);
/// The network of the containers.
const NETWORK: &str = "bench";

/// What the program prints on a host, as JSON.
fn ask(host: &Host, words: &[&str]) -> Result<Value, LabError> {
    let said = host.run(&[&[PROGRAM], words, &["-o", "json"]].concat())?;
    Ok(serde_json::from_str(&said).unwrap_or_default())
}

/// The kind of path that a host uses to another, if that one answers over it.
fn path(from: &Host, to: &Host) -> Result<Option<String>, LabError> {
    let status = ask(from, &["status"])?;
    let hosts = status["cluster"]["hosts"].as_array();
    let peer = hosts.into_iter().flatten().find(|host| host["name"] == to.name());
    let path = peer.map(|host| &host["path"]).filter(|path| path["answered"] == true);
    Ok(path.and_then(|path| path["kind"].as_str()).map(str::to_owned))
}

/// Makes the hosts a cluster.
pub fn form(hosts: &[&Host]) -> Result<(), LabError> {
    let Some((first, others)) = hosts.split_first() else { return Ok(()) };
    first.run(&[PROGRAM, "init"])?;
    let address = first.address()?.to_string();
    for host in others {
        let token = first.run(&[PROGRAM, "token", "create", "--quiet"])?;
        host.run(&[PROGRAM, "join", &address, "--token", token.trim()])?;
    }
    first.run(&[PROGRAM, "network", "create", NETWORK]).map(drop)
}

/// Attaches a container on each of two hosts, once these reach each other by this kind of path. Gives the containers,
/// and the second one's address.
pub fn make(hosts: [&Host; 2], kind: &str) -> Result<(Place, Place, IpAddr), LabError> {
    for (from, to) in [(hosts[0], hosts[1]), (hosts[1], hosts[0])] {
        wait::value(&format!("{} to use {kind} to {}", from.name(), to.name()), PROVEN, || {
            match path(from, to).map_err(|error| error.chain())? {
                Some(used) if used == kind => Ok(()),
                other => Err(format!("it uses {other:?}")),
            }
        })?;
    }
    let side = |host: &Host| {
        let container = host.container("c")?;
        wait::until(&format!("the network on {}", host.name()), PROVEN, || {
            host.run(&[PROGRAM, "network", "inspect", NETWORK]).is_ok()
        })?;
        let told = ask(host, &["attach", container.name(), "--network", NETWORK])?;
        let address = told["addresses"][0].as_str().and_then(|address| address.parse().ok());
        let address: IpAddr = wait::value("the container's address", Duration::ZERO, || {
            address.ok_or_else(|| format!("`hopsack attach` said {told}"))
        })?;
        Ok::<_, LabError>((container.place().clone(), address))
    };
    let ((client, _), (server, address)) = (side(hosts[0])?, side(hosts[1])?);
    Ok((client, server, address))
}
