//! The ports that Hopsack takes of a host: free, or its own.

use super::finding::{Finding, Subject};
use hopsack_types::numbers::{VXLAN_DEVICE, VXLAN_PORT};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The state of a TCP socket that listens.
const LISTEN: &str = "0A";
/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// No process has the socket: a device of the kernel, or a process that cannot be seen from here.
    Nobody,
    /// A process.
    Process { id: String, name: String },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("a device of the kernel"),
            Self::Process { id, name } => write!(f, "{name} ({id})"),
        }
    }
}

/// Control port and VXLAN port.
pub fn check(control_port: u16) -> Vec<Finding> {
    let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let vxlan = devices.lines().any(|line| line.trim_start().starts_with(&format!("{VXLAN_DEVICE}:")));
    vec![
        control("TCP", control_port, &holders(&["tcp", "tcp6"], control_port)),
        control("UDP", control_port, &holders(&["udp", "udp6"], control_port)),
        tunnel(&holders(&["udp", "udp6"], VXLAN_PORT), vxlan),
    ]
}

fn control(protocol: &str, port: u16, holders: &[Holder]) -> Finding {
    let ours = |holder: &&Holder| matches!(holder, Holder::Process { name, .. } if name == "hopsack");
    match holders.iter().find(|holder| !ours(holder)) {
        None if holders.is_empty() => {
            Finding::ok(Subject::Ports, format!("{protocol} {port}, for the agents, is free"))
        }
        None => Finding::ok(Subject::Ports, format!("{protocol} {port} is the agent's")),
        Some(other) => {
            let found = format!(
                "{protocol} {port} is held by {other}: end it, or start the agent with --control-port"
            );
            let flag = if protocol == "TCP" { "t" } else { "u" };
            Finding::fail(Subject::Ports, found, format!("ss -ln{flag}p 'sport = :{port}'"))
        }
    }
}

/// The kernel holds the port of our VXLAN device itself.
fn tunnel(holders: &[Holder], ours: bool) -> Finding {
    let port = VXLAN_PORT;
    match holders.iter().find(|holder| !ours || **holder != Holder::Nobody) {
        None if ours => Finding::ok(Subject::Ports, format!("UDP {port} is {VXLAN_DEVICE}'s")),
        None => Finding::ok(Subject::Ports, format!("UDP {port}, for VXLAN, is free")),
        Some(other) => {
            let found = format!("UDP {port}, for VXLAN, is held by {other}: tunnels cannot be made");
            let next = format!("ss -lnup 'sport = :{port}'; ip -d link show type vxlan");
            Finding::fail(Subject::Ports, found, next)
        }
    }
}

/// Who has a port, of the tables of this network namespace.
fn holders(tables: &[&str], port: u16) -> Vec<Holder> {
    let read = |table: &&str| fs::read_to_string(Path::new("/proc/thread-self/net").join(table)).ok();
    tables.iter().filter_map(read).flat_map(|text| sockets(&text, port)).map(holder).collect()
}

/// The sockets that have a port, by the number that /proc gives them (proc(5)):  `sl local_address rem_address st … inode …`, addresses and ports in hex. Of TCP only sockets that
/// listen count; the state of a UDP socket that does not talk to one address alone is 07.
fn sockets(table: &str, port: u16) -> Vec<u64> {
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = words.get(1)?.rsplit_once(':')?;
        let taken = u16::from_str_radix(local, 16).ok()? == port && matches!(*words.get(3)?, LISTEN | "07");
        if taken { words.get(9)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// Who has a socket.
fn holder(socket: u64) -> Holder {
    process(socket).map_or(Holder::Nobody, |(id, name)| Holder::Process { id, name })
}

/// The process that has a socket: its id and name.
fn process(socket: u64) -> Option<(String, String)> {
    let wanted = format!("socket:[{socket}]");
    let has = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| link.as_os_str() == wanted.as_str())
    };
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    // Not `self`, which would be another name of one of them.
    let is_id =
        |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(|id| id.parse::<u32>().is_ok());
    let process = processes.filter(is_id).find(|path| has(path))?;
    let name = fs::read_to_string(process.join("comm")).ok()?.trim().to_owned();
    Some((process.file_name()?.to_str()?.to_owned(), name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;
    use std::net::TcpListener;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 00000000:1245 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   \
        1: 0100007F:1245 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n   \
        2: 00000000:1246 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0\n";

    #[test]
    fn of_a_port_those_that_wait_there_hold_it() {
        assert_eq!(sockets(TABLE, 0x1245), [4711]);
        assert_eq!(sockets(TABLE, 0x1246), [0]);
        assert!(sockets(TABLE, 80).is_empty());
    }

    #[test]
    fn the_kernels_own_socket_is_our_tunnel_only_if_our_device_is_there() {
        let kernel = [Holder::Nobody];
        assert_eq!(tunnel(&kernel, true).verdict, Verdict::Ok);
        assert_eq!(tunnel(&kernel, false).verdict, Verdict::Fail);
        assert_eq!(tunnel(&[], false).verdict, Verdict::Ok);
    }

    #[test]
    fn a_port_that_another_process_holds_is_told_with_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let finding = control("TCP", port, &holders(&["tcp"], port));
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.found.contains(&format!("({})", std::process::id())), "{finding:?}");
        assert!(finding.next.unwrap().contains(&format!(":{port}")));
    }
}
