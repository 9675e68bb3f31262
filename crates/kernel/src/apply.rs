//! The order in which a difference is applied, the same for every kernel.
//!
//! 1. Links that go, or must be made anew, are removed, and all that was on them counts as not there any more.
//! 2. Links are made (down) or changed in place; those that shall be down go down.
//! 3. Addresses.
//! 4. Settings, also those of links that are new.
//! 5. Permanent neighbours, then forwarding entries.
//! 6. Published ports begin to take the routes, then the firewall changes, in one transaction: an endpoint's policy is
//!    in place before its link is up, and outlives it, because links that go have gone in step 1.
//! 7. Tracked flows that the firewall would translate otherwise by now are forgotten.
//! 8. The accept rule in the forward chain of others.
//! 9. Containers' ends move into place, what looks at packets for the fast path is bound to their links, then these go
//!    up; not if the firewall could not be put in place.
//! 10. Routing rules, then routes, each changed without a gap.
//! 11. The fast path: its entries, then other links that look at them; not if the firewall could not be put in place, and
//!     not where somebody else's route stands in place of ours: then packets go where that leads.
//! 12. What is left over goes, in the reverse of this order, so that nothing that stays loses its footing before it
//!     has changed: the fast path's, routes, rules, the accept rule, forwarding entries, neighbours, addresses.
//!
//! Settings are never put back. Failures are collected and never stop the rest. What must not live here: how an
//! operation is done.

mod fastpath;

pub(crate) use fastpath::{FastKey, hook_name, port_name};

use crate::{Applied, Failure, KernelError, Table};
use hopsack_plan::delta::DeltaTable;
use hopsack_plan::state::{
    Container, FastEntry, FastHook, HostState, Link, LinkKind, MAIN_TABLE, MarkRule, Route, RouteKey,
    RouteTarget,
};
use hopsack_types::fastpath::FastPort;
use hopsack_types::firewall::Firewall;
use hopsack_types::{Cidr, Family, HostPort, IfName, Mac};
use ipnet::IpNet;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

/// The object of a [`Failure`] to change the firewall, which changes as a whole: no endpoint has its policy then.
pub const FIREWALL: &str = "table inet hopsack";

/// The object of a [`Failure`] to forget flows.
const FLOWS: &str = "flows to published ports";

/// Where published ports lead.
pub(crate) type Published = BTreeMap<HostPort, SocketAddr>;

/// The single operations of one kernel. Making fails if the object is there, unless said otherwise.
pub(crate) trait Operations {
    /// Whether a link has to be made anew although [`remake`] sees no reason.
    fn is_lost(&mut self, name: &IfName, observed: &Link, desired: &Link) -> bool;
    /// Makes a link, down, with its other end beside it.
    fn create_link(&mut self, name: &IfName, link: &Link) -> Result<(), KernelError>;
    /// Changes alias, MTU and MAC address, and those of the other end while it is beside it.
    fn change_link(&mut self, name: &IfName, observed: &Link, desired: &Link) -> Result<(), KernelError>;
    /// Puts a link up or down.
    fn set_up(&mut self, name: &IfName, up: bool) -> Result<(), KernelError>;
    /// Moves the other end of a link into its container's namespace, if it is not there, and configures it.
    fn place(&mut self, name: &IfName, link: &Link) -> Result<(), KernelError>;
    /// Removes a link with all that is on it.
    fn delete_link(&mut self, name: &IfName) -> Result<(), KernelError>;
    /// Adds an address.
    fn add_address(&mut self, device: &IfName, net: IpNet) -> Result<(), KernelError>;
    /// Removes an address.
    fn remove_address(&mut self, device: &IfName, net: IpNet) -> Result<(), KernelError>;
    /// Writes a setting.
    fn write_sysctl(&mut self, name: &str, value: &str) -> Result<(), KernelError>;
    /// Makes a permanent neighbour or changes it.
    fn set_neighbour(&mut self, device: &IfName, address: IpAddr, mac: Mac) -> Result<(), KernelError>;
    /// Removes a neighbour.
    fn remove_neighbour(&mut self, device: &IfName, address: IpAddr) -> Result<(), KernelError>;
    /// Makes a forwarding entry or changes it.
    fn set_forwarding(&mut self, device: &IfName, mac: Mac, remote: IpAddr) -> Result<(), KernelError>;
    /// Removes a forwarding entry.
    fn remove_forwarding(&mut self, device: &IfName, mac: Mac) -> Result<(), KernelError>;
    /// Makes one firewall into another; returns the number of changes.
    fn change_firewall(&mut self, observed: &Firewall, desired: &Firewall) -> Result<u64, KernelError>;
    /// Forgets the flows that contradict where published ports lead now, and not any more; returns how many.
    fn forget_flows(&mut self, before: &Published, now: &Published) -> Result<u64, KernelError>;
    /// Has our mark accepted where others forward, or takes that back.
    fn set_forward_accept(&mut self, family: Family, accept: bool) -> Result<(), KernelError>;
    /// Adds a routing rule.
    fn add_rule(&mut self, rule: &MarkRule) -> Result<(), KernelError>;
    /// Removes a routing rule.
    fn remove_rule(&mut self, rule: &MarkRule) -> Result<(), KernelError>;
    /// Adds a route.
    fn add_route(&mut self, key: &RouteKey, route: &Route) -> Result<(), KernelError>;
    /// Changes a route without a gap, or adds it.
    fn change_route(&mut self, key: &RouteKey, route: &Route) -> Result<(), KernelError>;
    /// Removes a route.
    fn remove_route(&mut self, key: &RouteKey) -> Result<(), KernelError>;
    /// Has a port of an endpoint take the routes.
    fn set_fast_port(&mut self, port: FastPort) -> Result<(), KernelError>;
    /// Has it take them no more.
    fn remove_fast_port(&mut self, port: FastPort) -> Result<(), KernelError>;
    /// Adds an entry of the fast path or changes it.
    fn set_fast_entry(&mut self, key: FastKey, entry: &FastEntry) -> Result<(), KernelError>;
    /// Removes an entry of the fast path.
    fn remove_fast_entry(&mut self, key: FastKey) -> Result<(), KernelError>;
    /// Has packets that come in by a link looked at, in place of who does so now.
    fn set_fast_hook(&mut self, link: &IfName, hook: FastHook) -> Result<(), KernelError>;
    /// Has packets that come in by a link take the routes.
    fn remove_fast_hook(&mut self, link: &IfName) -> Result<(), KernelError>;
}

/// Makes `observed` into `desired`.
pub(crate) fn apply(operations: &mut impl Operations, observed: HostState, desired: &HostState) -> Applied {
    let mut pass = Pass {
        operations,
        there: observed,
        desired,
        unusable: BTreeSet::new(),
        new: BTreeSet::new(),
        astray: BTreeSet::new(),
        applied: Applied::default(),
    };
    pass.remove_links();
    pass.make_links();
    pass.add_addresses();
    pass.write_sysctls();
    pass.set_neighbours();
    pass.set_fast_ports();
    let safe = pass.change_firewall();
    if safe {
        pass.forget_flows();
    }
    pass.set_forward_accept(true);
    pass.raise_links(safe);
    pass.add_rules();
    pass.set_routes();
    if safe {
        pass.set_fast_path();
    }
    pass.remove_leftovers(safe);
    pass.applied
}

/// Whether the kind of a link cannot be changed in place.
pub(crate) fn remake(observed: &LinkKind, desired: &LinkKind) -> bool {
    match (observed, desired) {
        (LinkKind::Holder, LinkKind::Holder) | (LinkKind::Veth { .. }, LinkKind::Veth { .. }) => false,
        (LinkKind::Vxlan { .. }, LinkKind::Vxlan { .. }) => observed != desired,
        _ => true,
    }
}

/// Whether a setting is one of a link's own, like `net/ipv4/conf/hop0/rp_filter`.
pub(crate) fn is_of_link(setting: &str, link: &IfName) -> bool {
    setting.split('/').any(|part| part == link.as_str())
}

/// When a setting is written, the lowest first. Turning on forwarding makes the kernel forget what routers have
/// advertised, unless a device's `accept_ra` says otherwise by then, and changing it resets other settings of the same
/// namespace (`ip-sysctl.rst`: "variable is special, its change resets all configuration parameters to their default
/// state").
fn turn(setting: &str) -> u8 {
    if setting.ends_with("/accept_ra") {
        0
    } else if setting == "net/ipv4/ip_forward" || setting.ends_with("/all/forwarding") {
        1
    } else {
        2
    }
}

/// One pass. `there` is what is there as the pass goes on.
struct Pass<'a, O> {
    operations: &'a mut O,
    there: HostState,
    desired: &'a HostState,
    /// Links without which nothing on them can be done; the link's own failure says enough.
    unusable: BTreeSet<IfName>,
    /// Links made in this pass.
    new: BTreeSet<IfName>,
    /// Where routes should lead and do not.
    astray: BTreeSet<Cidr>,
    applied: Applied,
}

impl<'a, O: Operations> Pass<'a, O> {
    /// Tries an operation; returns whether things are now as it should have made them.
    fn attempt(
        &mut self,
        table: Table,
        object: &dyn Display,
        operation: impl FnOnce(&mut O) -> Result<u64, KernelError>,
    ) -> bool {
        match operation(self.operations) {
            Ok(0) => true,
            Ok(changes) => {
                *self.applied.changes.entry(table).or_default() += changes;
                true
            }
            Err(error) => {
                self.fail(table, object, &error);
                false
            }
        }
    }

    /// Tries to make something; it is as good if it is there already.
    fn make(
        &mut self,
        table: Table,
        object: &dyn Display,
        operation: impl FnOnce(&mut O) -> Result<(), KernelError>,
    ) -> bool {
        self.attempt(table, object, |operations| match operation(operations) {
            Ok(()) => Ok(1),
            Err(error) if error.is_exists() => Ok(0),
            Err(error) => Err(error),
        })
    }

    /// Tries to remove something; it is as good if it is gone already.
    fn remove(
        &mut self,
        table: Table,
        object: &dyn Display,
        operation: impl FnOnce(&mut O) -> Result<(), KernelError>,
    ) -> bool {
        self.attempt(table, object, |operations| match operation(operations) {
            Ok(()) => Ok(1),
            Err(error) if error.is_gone() => Ok(0),
            Err(error) => Err(error),
        })
    }

    fn fail(&mut self, table: Table, object: &dyn Display, error: &KernelError) {
        self.applied.failures.push(Failure { table, object: object.to_string(), reason: error.reason() });
    }

    fn remove_links(&mut self) {
        let links = DeltaTable::new(&self.there.links, &self.desired.links);
        let mut going: Vec<IfName> = links.remove().cloned().collect();
        for (name, observed, desired) in links.change() {
            if remake(&observed.kind, &desired.kind)
                || (observed.kind != desired.kind && self.operations.is_lost(name, observed, desired))
            {
                going.push(name.clone());
            }
        }
        for name in going {
            if self.remove(Table::Links, &name, |operations| operations.delete_link(&name)) {
                self.there.links.remove(&name);
                self.forget(&name);
            } else {
                self.unusable.insert(name);
            }
        }
    }

    /// Counts all that was on a link as not there.
    fn forget(&mut self, link: &IfName) {
        let there = &mut self.there;
        there.addresses.retain(|(device, _)| device != link);
        there.neighbours.retain(|(device, _), _| device != link);
        there.fdb.retain(|(device, _), _| device != link);
        there.routes.retain(|_, route| device_of(route) != Some(link));
        there.sysctls.retain(|setting, _| !is_of_link(setting, link));
        there.fast_path.hooks.remove(link);
        // What led to it stays, and leads nowhere until it is set again or removed.
        let fast = &mut there.fast_path;
        for entry in fast.endpoints.values_mut().chain(fast.remotes.values_mut()) {
            if entry.device == *link {
                entry.device = IfName::loopback();
            }
        }
    }

    fn make_links(&mut self) {
        for (name, link) in &self.desired.links {
            if self.unusable.contains(name) {
                continue;
            }
            let Some(observed) = self.there.links.get(name).cloned() else {
                // Not `make`: a link of that name that is there and not observed is somebody else's.
                let made = self
                    .attempt(Table::Links, name, |operations| operations.create_link(name, link).map(|()| 1));
                if made {
                    self.new.insert(name.clone())
                } else {
                    self.unusable.insert(name.clone())
                };
                continue;
            };
            if changes_in_place(&observed, link) {
                self.attempt(Table::Links, name, |operations| {
                    operations.change_link(name, &observed, link).map(|()| 1)
                });
                // The kernel forgets even permanent neighbours when a link gets another MAC address.
                if observed.mac != link.mac {
                    self.there.neighbours.retain(|(device, _), _| device != name);
                }
            }
            // It also moves the MTU of IPv6 routes over a link with that of the link (`rt6_mtu_change`).
            if observed.mtu != link.mtu {
                for (key, route) in &mut self.there.routes {
                    if key.destination.family() == Family::V6 && device_of(route) == Some(name) {
                        route.mtu = None;
                    }
                }
            }
            if observed.up && !link.up {
                self.attempt(Table::Links, name, |operations| operations.set_up(name, false).map(|()| 1));
                // So it does, with neighbours, routes and IPv6 addresses, when a link goes down.
                self.there.neighbours.retain(|(device, _), _| device != name);
                self.there.routes.retain(|_, route| device_of(route) != Some(name));
                self.there.addresses.retain(|(device, net)| device != name || net.addr().is_ipv4());
            }
        }
    }

    fn add_addresses(&mut self) {
        for (device, net) in &self.desired.addresses {
            if self.there.addresses.contains(&(device.clone(), *net)) || self.unusable.contains(device) {
                continue;
            }
            // The same address with another length is in the way of the new one.
            let in_the_way: Vec<(IfName, IpNet)> = self
                .there
                .addresses
                .iter()
                .filter(|(other, old)| other == device && old.addr() == net.addr())
                .filter(|old| !self.desired.addresses.contains(*old))
                .cloned()
                .collect();
            for (device, old) in in_the_way {
                self.drop_address(&device, old);
            }
            if self.make(Table::Addresses, net, |operations| operations.add_address(device, *net)) {
                self.there.addresses.insert((device.clone(), *net));
            }
        }
    }

    /// With the last IPv4 address of a link the kernel takes its IPv4 routes and neighbours (`fib_disable_ip`).
    fn drop_address(&mut self, device: &IfName, net: IpNet) {
        self.remove(Table::Addresses, &net, |operations| operations.remove_address(device, net));
        let there = &mut self.there;
        there.addresses.remove(&(device.clone(), net));
        let is_v4 = |net: &IpNet| net.addr().is_ipv4();
        if is_v4(&net) && !there.addresses.iter().any(|(other, net)| other == device && is_v4(net)) {
            there.neighbours.retain(|(other, address), _| other != device || address.is_ipv6());
            there.routes.retain(|key, route| {
                device_of(route) != Some(device) || key.destination.family() == Family::V6
            });
        }
    }

    fn write_sysctls(&mut self) {
        let settings = DeltaTable::new(&self.there.sysctls, &self.desired.sysctls).set();
        let mut differing: Vec<(&String, &String)> =
            settings.filter(|(name, _)| !self.unusable.iter().any(|link| is_of_link(name, link))).collect();
        differing.sort_by_key(|(name, _)| turn(name));
        for (name, value) in differing {
            self.attempt(Table::Sysctls, name, |operations| operations.write_sysctl(name, value).map(|()| 1));
        }
    }

    fn set_neighbours(&mut self) {
        let neighbours = DeltaTable::new(&self.there.neighbours, &self.desired.neighbours).set();
        for ((device, address), mac) in neighbours.collect::<Vec<_>>() {
            if !self.unusable.contains(device) {
                self.make(Table::Neighbours, address, |operations| {
                    operations.set_neighbour(device, *address, *mac)
                });
            }
        }
        let entries = DeltaTable::new(&self.there.fdb, &self.desired.fdb).set();
        for ((device, mac), remote) in entries.collect::<Vec<_>>() {
            if !self.unusable.contains(device) {
                self.make(Table::Fdb, mac, |operations| operations.set_forwarding(device, *mac, *remote));
            }
        }
    }

    /// Returns whether the policy is in place.
    fn change_firewall(&mut self) -> bool {
        let observed = std::mem::take(&mut self.there.firewall);
        if observed == self.desired.firewall {
            return true;
        }
        self.attempt(Table::Firewall, &FIREWALL, |operations| {
            operations.change_firewall(&observed, &self.desired.firewall)
        })
    }

    fn forget_flows(&mut self) {
        let (before, now) = (std::mem::take(&mut self.there.published), &self.desired.published);
        if before != *now {
            self.attempt(Table::Flows, &FLOWS, |operations| operations.forget_flows(&before, now));
        }
    }

    fn set_forward_accept(&mut self, accept: bool) {
        let (wanted, had) = (&self.desired.forward_accept, &self.there.forward_accept);
        let families: Vec<Family> = if accept {
            wanted.difference(had).copied().collect()
        } else {
            had.difference(wanted).copied().collect()
        };
        for family in families {
            self.attempt(Table::Forward, &family, |operations| {
                operations.set_forward_accept(family, accept).map(|()| 1)
            });
        }
    }

    fn raise_links(&mut self, safe: bool) {
        for (name, link) in &self.desired.links {
            if self.unusable.contains(name) {
                continue;
            }
            let observed = self.there.links.get(name).filter(|_| !self.new.contains(name));
            let placed = observed.is_some_and(|observed| observed.kind == link.kind);
            let raised = observed.is_some_and(|observed| observed.up);
            let inside = matches!(&link.kind, LinkKind::Veth { container: Container::Namespace { .. }, .. })
                && !placed;
            if !safe && !raised && link.up {
                self.fail(Table::Links, name, &KernelError::KeptDown);
                self.unusable.insert(name.clone());
                continue;
            }
            let good = !inside
                || self.attempt(Table::Links, name, |operations| operations.place(name, link).map(|()| 1));
            if link.up && !raised {
                if good {
                    self.set_fast_hook(name);
                }
                let up = good
                    && self
                        .attempt(Table::Links, name, |operations| operations.set_up(name, true).map(|()| 1));
                if !up {
                    self.unusable.insert(name.clone());
                }
            }
        }
    }

    fn add_rules(&mut self) {
        let missing: Vec<MarkRule> = self.desired.rules.difference(&self.there.rules).copied().collect();
        for rule in missing {
            self.make(Table::Rules, &rule_name(&rule), |operations| operations.add_rule(&rule));
        }
    }

    fn set_routes(&mut self) {
        let there = std::mem::take(&mut self.there.routes);
        let routes = self.routes_with_sources();
        let delta = DeltaTable::new(&there, &routes);
        for (key, _, route) in delta.change() {
            if !self.is_unusable(route) {
                let done = self.attempt(Table::Routes, &route_name(key), |operations| {
                    operations.change_route(key, route).map(|()| 1)
                });
                self.note_astray(key, done);
            }
        }
        for (key, route) in delta.add() {
            if !self.is_unusable(route) {
                // Not `make`: a route that is there and not observed is somebody else's.
                let done = self.attempt(Table::Routes, &route_name(key), |operations| {
                    operations.add_route(key, route).map(|()| 1)
                });
                self.note_astray(key, done);
            }
        }
        self.there.routes = there;
    }

    fn note_astray(&mut self, key: &RouteKey, done: bool) {
        if !done && key.tos == 0 && key.table == MAIN_TABLE {
            self.astray.insert(key.destination);
        }
    }

    /// The routes, without the preferred sources that only links have on which nothing can be done: the kernel refuses a
    /// route with a source that it does not have, and packets of others need none.
    fn routes_with_sources(&self) -> Cow<'a, BTreeMap<RouteKey, Route>> {
        let addresses = |usable: bool| -> BTreeSet<IpAddr> {
            let all = self.desired.addresses.iter();
            all.filter(|(device, _)| self.unusable.contains(device) != usable)
                .map(|(_, net)| net.addr())
                .collect()
        };
        let missing = &addresses(false) - &addresses(true);
        if missing.is_empty() {
            return Cow::Borrowed(&self.desired.routes);
        }
        let without = |route: &Route| {
            let source = route.source.filter(|source| !missing.contains(source));
            Route { source, ..route.clone() }
        };
        Cow::Owned(self.desired.routes.iter().map(|(key, route)| (*key, without(route))).collect())
    }

    fn is_unusable(&self, route: &Route) -> bool {
        device_of(route).is_some_and(|device| self.unusable.contains(device))
    }

    fn remove_leftovers(&mut self, safe: bool) {
        let there = std::mem::take(&mut self.there);
        let desired = self.desired;
        self.remove_fast_path(&there.fast_path, safe);
        for key in DeltaTable::new(&there.routes, &desired.routes).remove() {
            self.remove(Table::Routes, &route_name(key), |operations| operations.remove_route(key));
        }
        for rule in there.rules.difference(&desired.rules) {
            self.remove(Table::Rules, &rule_name(rule), |operations| operations.remove_rule(rule));
        }
        self.there.forward_accept = there.forward_accept;
        self.set_forward_accept(false);
        for (device, mac) in DeltaTable::new(&there.fdb, &desired.fdb).remove() {
            self.remove(Table::Fdb, mac, |operations| operations.remove_forwarding(device, *mac));
        }
        for (device, address) in DeltaTable::new(&there.neighbours, &desired.neighbours).remove() {
            self.remove(Table::Neighbours, address, |operations| {
                operations.remove_neighbour(device, *address)
            });
        }
        let stale: Vec<(IfName, IpNet)> = there.addresses.difference(&desired.addresses).cloned().collect();
        if stale.is_empty() {
            return;
        }
        // What went along with an address is put back.
        self.there = HostState {
            addresses: there.addresses,
            neighbours: desired.neighbours.clone(),
            fdb: desired.fdb.clone(),
            routes: desired.routes.clone(),
            ..HostState::default()
        };
        for (device, net) in stale {
            self.drop_address(&device, net);
        }
        self.set_neighbours();
        self.set_routes();
    }
}

/// Whether a link that stays differs in what is changed while it is down or up alike. The end of a pair that we put
/// into a namespace is changed where it is put.
fn changes_in_place(observed: &Link, desired: &Link) -> bool {
    let end = |link: &Link| match &link.kind {
        LinkKind::Veth { peer, peer_mac, .. } => Some((peer.clone(), *peer_mac)),
        LinkKind::Holder | LinkKind::Vxlan { .. } => None,
    };
    let is_placed = matches!(&desired.kind, LinkKind::Veth { container: Container::Namespace { .. }, .. });
    observed.alias != desired.alias
        || observed.mtu != desired.mtu
        || observed.mac != desired.mac
        || (!is_placed && end(observed) != end(desired))
}

/// The device that a route leads out of.
pub(crate) const fn device_of(route: &Route) -> Option<&IfName> {
    match &route.target {
        RouteTarget::Via { device, .. } | RouteTarget::Device(device) | RouteTarget::Local(device) => {
            Some(device)
        }
        RouteTarget::Unreachable | RouteTarget::Blackhole => None,
    }
}

/// A route as people name it; the main table goes without saying.
pub(crate) fn route_name(key: &RouteKey) -> String {
    let mut name = key.destination.to_string();
    if key.table != MAIN_TABLE {
        name += &format!(" table {}", key.table);
    }
    name += &key.metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
    if key.tos != 0 {
        name += &format!(" tos {:#04x}", key.tos);
    }
    name
}

/// A rule as people name it.
pub(crate) fn rule_name(rule: &MarkRule) -> String {
    format!("{} mark {:#x} table {}", rule.family, rule.mark, rule.table)
}
