//! What changes in a host's kernel: recordings of `ip monitor` and `nft monitor`.

use crate::error::Result;
use crate::host::Host;
use crate::place::{Inside, Running};
use crate::process::ProcessId;
use crate::wait;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

/// How long a monitor may take to listen.
const READY: Duration = Duration::from_secs(10);

/// A recording of all changes of links, addresses, routes, rules, neighbours and nftables of one host.
#[derive(Debug)]
pub struct Monitor {
    host: Host,
    ip: Running,
    nft: Running,
}

impl Host {
    /// Starts recording; gives back when both programs listen.
    pub fn monitor(&self) -> Result<Monitor> {
        let ip =
            self.spawn(&["ip", "monitor", "label", "link", "address", "route", "rule", "neigh", "netconf"])?;
        let nft = self.spawn(&["nft", "monitor"])?;
        for running in [&ip, &nft] {
            wait::until("a monitor to listen", READY, || is_listening(running.pid()))?;
        }
        Ok(Monitor { host: self.clone(), ip, nft })
    }
}

impl Monitor {
    /// All that was recorded.
    pub fn lines(&self) -> Vec<String> {
        let texts = [self.ip.stdout(), self.nft.stdout()];
        texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
    }

    /// What was recorded, less the kernel's own housekeeping of neighbours that it found by itself: those come, go
    /// stale and are asked again whatever anybody configures, and so do multicast groups' Ethernet addresses, which it
    /// computes. Permanent neighbours and proxies count.
    pub fn changes(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| !is_housekeeping(line)).collect()
    }

    /// The host that is watched.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

fn is_housekeeping(line: &str) -> bool {
    let configured = ["PERMANENT", "NOARP", "proxy", "extern_learn"];
    let Some(neighbour) = line.strip_prefix("[NEIGH]") else { return false };
    let address = neighbour.trim_start_matches("Deleted ").split(' ').next();
    let is_group =
        address.and_then(|word| word.parse().ok()).is_some_and(|address: IpAddr| address.is_multicast());
    is_group || !configured.iter().any(|word| line.contains(word))
}

/// Whether a process has a netlink socket that listens to a group. Its port id is its process id as it sees itself
/// (`netlink_autobind`), the fourth column of `/proc/PID/net/netlink` the groups.
fn is_listening(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own =
        status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_ascii_whitespace().next_back());
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/netlink")).unwrap_or_default();
    ProcessId::of(pid).is_some()
        && sockets.lines().skip(1).any(|line| {
            let columns: Vec<_> = line.split_ascii_whitespace().collect();
            columns.get(2).copied() == own
                && columns.get(3).is_some_and(|groups| groups.contains(|c| c != '0'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_that_the_kernel_found_are_housekeeping() {
        assert!(is_housekeeping("[NEIGH]10.77.1.2 dev eth0 lladdr 02:00:00:00:00:02 STALE"));
        assert!(!is_housekeeping("[NEIGH]Deleted 10.77.1.2 dev hopvxlan lladdr 02:00:00:00:00:02 PERMANENT"));
        assert!(!is_housekeeping("[NEIGH]dev hopvxlan lladdr 02:00:00:00:00:02 self extern_learn"));
        assert!(is_housekeeping("[NEIGH]Deleted ff02::16 dev hopvxlan lladdr 33:33:00:00:00:16 NOARP "));
        assert!(!is_housekeeping("[NEIGH]10.32.0.9 dev hopvxlan lladdr 02:00:00:00:00:09 NOARP"));
        assert!(!is_housekeeping("[ROUTE]10.32.0.0/24 via 10.77.1.2 dev eth0"));
    }
}
