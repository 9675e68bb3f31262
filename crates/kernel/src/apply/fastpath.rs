//! The fast path's part of an apply: its tables, and who looks at them.

use super::{Operations, Pass};
use crate::Table;
use hopsack_plan::delta::DeltaTable;
use hopsack_plan::state::{FastEntry, FastPath};
use hopsack_types::fastpath::FastPort;
use hopsack_types::{Cidr, IfName};
use std::fmt::Display;
use std::net::IpAddr;

/// What names an entry of the fast path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FastKey {
    /// An endpoint of this host.
    Endpoint(IpAddr),
    /// A prefix of another.
    Remote(Cidr),
}

impl FastKey {
    /// The destination of the route that leads to the same place.
    fn destination(&self) -> Cidr {
        match self {
            Self::Endpoint(address) => Cidr::host(*address),
            Self::Remote(prefix) => *prefix,
        }
    }
}

impl Display for FastKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint(address) => write!(f, "fast path to {address}"),
            Self::Remote(prefix) => write!(f, "fast path to {prefix}"),
        }
    }
}

/// Endpoints and prefixes as one.
fn fast_entries(fast: &FastPath) -> impl Iterator<Item = (FastKey, &FastEntry)> {
    let endpoints = fast.endpoints.iter().map(|(address, entry)| (FastKey::Endpoint(*address), entry));
    let remotes = fast.remotes.iter().map(|(prefix, entry)| (FastKey::Remote(*prefix), entry));
    endpoints.chain(remotes)
}

fn fast_entry(fast: &FastPath, key: FastKey) -> Option<&FastEntry> {
    match key {
        FastKey::Endpoint(address) => fast.endpoints.get(&address),
        FastKey::Remote(prefix) => fast.remotes.get(&prefix),
    }
}

impl<O: Operations> Pass<'_, O> {
    /// Whether an entry is wanted, and its route is where it should be.
    fn is_in_step(&self, key: FastKey) -> bool {
        fast_entry(&self.desired.fast_path, key).is_some() && !self.astray.contains(&key.destination())
    }

    /// Has published ports take the routes before the firewall translates what is said through them.
    pub(super) fn set_fast_ports(&mut self) {
        let (there, desired) = (&self.there.fast_path, &self.desired.fast_path);
        let ports: Vec<FastPort> = desired.published.difference(&there.published).copied().collect();
        let begins = |(address, entry): (&IpAddr, &FastEntry)| {
            let has_ports = desired.endpoints.get(address).is_some_and(|desired| desired.has_ports);
            (has_ports && !entry.has_ports && entry.device != IfName::loopback())
                .then(|| (*address, FastEntry { has_ports, ..entry.clone() }))
        };
        let endpoints: Vec<(IpAddr, FastEntry)> = there.endpoints.iter().filter_map(begins).collect();
        for port in ports {
            self.attempt(Table::FastPath, &port_name(&port), |operations| {
                operations.set_fast_port(port).map(|()| 1)
            });
        }
        for (address, entry) in endpoints {
            let key = FastKey::Endpoint(address);
            self.attempt(Table::FastPath, &key, |operations| {
                operations.set_fast_entry(key, &entry).map(|()| 1)
            });
            self.there.fast_path.endpoints.insert(address, entry);
        }
    }

    /// Puts entries in place, then has links look at them.
    pub(super) fn set_fast_path(&mut self) {
        for (key, entry) in fast_entries(&self.desired.fast_path) {
            let is_there = fast_entry(&self.there.fast_path, key) == Some(entry);
            if !is_there && self.is_in_step(key) && !self.unusable.contains(&entry.device) {
                self.attempt(Table::FastPath, &key, |operations| {
                    operations.set_fast_entry(key, entry).map(|()| 1)
                });
            }
        }
        for link in self.desired.fast_path.hooks.keys() {
            if !self.unusable.contains(link) {
                self.set_fast_hook(link);
            }
        }
    }

    /// Has a link look at them. Best before it is up: of a link that is up the kernel drops what it sends meanwhile, and
    /// waits until nobody looks at it any more (`qdisc_graft`).
    pub(super) fn set_fast_hook(&mut self, link: &IfName) {
        let Some(hook) = self.desired.fast_path.hooks.get(link) else { return };
        if self.there.fast_path.hooks.get(link) == Some(hook) {
            return;
        }
        let done = self.attempt(Table::FastPath, &hook_name(link), |operations| {
            operations.set_fast_hook(link, *hook).map(|()| 1)
        });
        if done {
            self.there.fast_path.hooks.insert(link.clone(), *hook);
        }
    }

    /// Has links look at them no more, then removes what is left over; but not ports that the firewall still translates.
    pub(super) fn remove_fast_path(&mut self, there: &FastPath, safe: bool) {
        let desired = &self.desired.fast_path;
        for link in DeltaTable::new(&there.hooks, &desired.hooks).remove() {
            self.remove(Table::FastPath, &hook_name(link), |operations| operations.remove_fast_hook(link));
        }
        for (key, _) in fast_entries(there) {
            if !self.is_in_step(key) {
                self.remove(Table::FastPath, &key, |operations| operations.remove_fast_entry(key));
            }
        }
        for port in there.published.difference(&desired.published).filter(|_| safe) {
            self.remove(Table::FastPath, &port_name(port), |operations| operations.remove_fast_port(*port));
        }
    }
}

/// A port that takes the routes, as people name it.
pub(crate) fn port_name(port: &FastPort) -> String {
    format!("published port {} of {}", port.number, port.address)
}

/// What runs at a link, as people name it.
pub(crate) fn hook_name(link: &IfName) -> String {
    format!("fast path from {link}")
}
