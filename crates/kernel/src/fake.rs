//! A kernel in memory: the same order of operations as the real one, none of its effects, and faults on demand.
//!
//! It knows what hangs together (what is on a link goes with it, a route needs its device to be up) as far as that
//! decides whether an order works. It has no clock and no randomness: the same calls give the same trace.

use crate::apply::{
    FastKey, Operations, Published, apply, device_of, hook_name, is_of_link, port_name, route_name, rule_name,
};
use crate::{Applied, Differing, Kernel, KernelError, Settings, Table};
use hopsack_netlink::{Errno, NetlinkError};
use hopsack_plan::HostState;
use hopsack_plan::state::{Container, FastEntry, FastHook, Link, LinkKind, MarkRule, Route, RouteKey};
use hopsack_types::fastpath::FastPort;
use hopsack_types::firewall::Firewall;
use hopsack_types::{Family, IfName, Mac};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What shall fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Operations on this table.
    pub table: Table,
    /// Only on this object, as [`crate::Failure::object`] names it; none: on any.
    pub object: Option<String>,
    /// How often; none: until [`FakeKernel::heal`].
    pub times: Option<u32>,
}

/// The fake. Clones are handles to the same kernel.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    state: HostState,
    devices: BTreeSet<IfName>,
    gone: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    blind: u32,
    operations: u64,
    trace: Vec<String>,
}

impl FakeKernel {
    /// An empty kernel that has, besides ours, these devices of the host.
    pub fn new(devices: impl IntoIterator<Item = IfName>) -> Self {
        let inner = Inner { devices: devices.into_iter().collect(), ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Has operations fail from now on.
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Has the next `times` observations fail.
    pub fn blind(&self, times: u32) {
        self.lock().blind = times;
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.faults.clear();
        inner.blind = 0;
    }

    /// Lets a container's namespace be gone, or be there again.
    pub fn set_namespace_gone(&self, path: PathBuf, gone: bool) {
        let mut inner = self.lock();
        if gone {
            inner.gone.insert(path);
        } else {
            inner.gone.remove(&path);
        }
    }

    /// Removes an object behind everybody's back, with what hangs on it. The name is as [`crate::Failure::object`]
    /// gives it; the firewall is lost whole. Returns whether it was there.
    pub fn lose(&self, table: Table, object: &str) -> bool {
        let mut inner = self.lock();
        let before = inner.state.clone();
        let state = &mut inner.state;
        match table {
            Table::Links => {
                if let Ok(name) = IfName::new(object) {
                    inner.drop_link(&name);
                }
            }
            Table::Addresses => state.addresses.retain(|(_, net)| net.to_string() != object),
            Table::Sysctls => state.sysctls.retain(|name, _| name != object),
            Table::Neighbours => state.neighbours.retain(|(_, address), _| address.to_string() != object),
            Table::Fdb => state.fdb.retain(|(_, mac), _| mac.to_string() != object),
            Table::Firewall => state.firewall = Firewall::default(),
            Table::Flows => state.published.clear(),
            Table::Forward => state.forward_accept.retain(|family| family.to_string() != object),
            Table::Rules => state.rules.retain(|rule| rule_name(rule) != object),
            Table::Routes => state.routes.retain(|key, _| route_name(key) != object),
            Table::FastPath => state.fast_path.hooks.retain(|link, _| hook_name(link) != object),
        }
        inner.state != before
    }

    /// What is there.
    pub fn state(&self) -> HostState {
        self.lock().state.clone()
    }

    /// Changes what is there behind everybody's back.
    pub fn edit(&self, change: impl FnOnce(&mut HostState)) {
        change(&mut self.lock().state);
    }

    /// How many operations were tried, failed ones counted too.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// All operations that were done, in order, like `links create hop0`.
    pub fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel for FakeKernel {
    fn observe(&mut self, desired: &HostState) -> Result<HostState, KernelError> {
        let mut inner = self.lock();
        if inner.blind > 0 {
            inner.blind -= 1;
            return Err(KernelError::Injected);
        }
        let mut state = inner.state.clone();
        state.sysctls.retain(|name, _| desired.sysctls.contains_key(name));
        for (name, link) in &mut state.links {
            let wanted = desired.links.get(name);
            link.mac = link.mac.filter(|_| wanted.is_some_and(|wanted| wanted.mac.is_some()));
            // An end that somebody else moves cannot be seen.
            if let (
                LinkKind::Veth { container, .. },
                Some(LinkKind::Veth { container: Container::External, .. }),
            ) = (&mut link.kind, wanted.map(|wanted| &wanted.kind))
            {
                *container = Container::External;
            }
        }
        Ok(state)
    }

    fn apply(&mut self, observed: HostState, desired: &HostState) -> Applied {
        apply(&mut *self.lock(), observed, desired)
    }

    fn observe_forward_accept(&mut self, _left: &BTreeSet<Family>) -> Result<BTreeSet<Family>, KernelError> {
        Ok(self.lock().state.forward_accept.clone())
    }
}

impl Settings for FakeKernel {
    fn differing(&mut self, expected: &BTreeMap<String, String>) -> Result<Differing, KernelError> {
        let there = &self.lock().state.sysctls;
        let differing = expected.iter().filter(|(name, value)| there.get(*name) != Some(value));
        Ok(differing.map(|(name, _)| (name.clone(), there.get(name).cloned())).collect())
    }
}

impl Inner {
    /// Counts an operation, and fails it if it was told to.
    fn enter(&mut self, table: Table, verb: &str, object: &str) -> Result<(), KernelError> {
        self.operations += 1;
        let hit = self.faults.iter_mut().find(|fault| {
            fault.table == table
                && fault.times != Some(0)
                && fault.object.as_ref().is_none_or(|wanted| wanted == object)
        });
        if let Some(fault) = hit {
            fault.times = fault.times.map(|times| times - 1);
            return Err(KernelError::Injected);
        }
        self.trace.push(format!("{table} {verb} {object}"));
        Ok(())
    }

    fn link(&mut self, name: &IfName) -> Result<&mut Link, KernelError> {
        self.state.links.get_mut(name).ok_or_else(|| KernelError::NoDevice(name.clone()))
    }

    fn drop_link(&mut self, name: &IfName) {
        self.state.links.remove(name);
        self.drop_routes(name);
        self.state.addresses.retain(|(device, _)| device != name);
        self.state.neighbours.retain(|(device, _), _| device != name);
        self.state.fdb.retain(|(device, _), _| device != name);
        self.state.sysctls.retain(|setting, _| !is_of_link(setting, name));
        let fast = &mut self.state.fast_path;
        fast.hooks.remove(name);
        // As numbers of links that are gone stay in the tables.
        for entry in fast.endpoints.values_mut().chain(fast.remotes.values_mut()) {
            if entry.device == *name {
                entry.device = IfName::loopback();
            }
        }
    }

    fn drop_routes(&mut self, name: &IfName) {
        self.state.routes.retain(|_, route| device_of(route) != Some(name));
    }

    fn set_route(&mut self, key: &RouteKey, route: &Route) -> Result<(), KernelError> {
        if let Some(device) = device_of(route)
            && !self.devices.contains(device)
            && !self.link(device)?.up
        {
            return Err(KernelError::NoDevice(device.clone()));
        }
        self.state.routes.insert(*key, route.clone());
        Ok(())
    }
}

impl Operations for Inner {
    fn is_lost(&mut self, _: &IfName, _: &Link, _: &Link) -> bool {
        false
    }

    fn create_link(&mut self, name: &IfName, link: &Link) -> Result<(), KernelError> {
        self.enter(Table::Links, "create", name.as_str())?;
        if self.state.links.contains_key(name) || self.devices.contains(name) {
            return Err(KernelError::LinkTaken(name.clone()));
        }
        let mut link = Link { up: false, ..link.clone() };
        if let LinkKind::Veth { container, .. } = &mut link.kind {
            *container = Container::External;
        }
        self.state.links.insert(name.clone(), link);
        Ok(())
    }

    fn change_link(&mut self, name: &IfName, observed: &Link, desired: &Link) -> Result<(), KernelError> {
        self.enter(Table::Links, "change", name.as_str())?;
        let link = self.link(name)?;
        link.alias.clone_from(&desired.alias);
        link.mtu = desired.mtu;
        link.mac = desired.mac.or(link.mac);
        if let (LinkKind::Veth { peer, peer_mac, .. }, LinkKind::Veth { peer: new, peer_mac: new_mac, .. }) =
            (&mut link.kind, &desired.kind)
        {
            peer.clone_from(new);
            *peer_mac = *new_mac;
        }
        if observed.mac != desired.mac {
            self.state.neighbours.retain(|(device, _), _| device != name);
        }
        Ok(())
    }

    fn set_up(&mut self, name: &IfName, up: bool) -> Result<(), KernelError> {
        self.enter(Table::Links, if up { "up" } else { "down" }, name.as_str())?;
        self.link(name)?.up = up;
        if !up {
            self.drop_routes(name);
            self.state.neighbours.retain(|(device, _), _| device != name);
            self.state.addresses.retain(|(device, net)| device != name || net.addr().is_ipv4());
        }
        Ok(())
    }

    fn place(&mut self, name: &IfName, link: &Link) -> Result<(), KernelError> {
        self.enter(Table::Links, "place", name.as_str())?;
        if let LinkKind::Veth { container: Container::Namespace { path, .. }, .. } = &link.kind
            && self.gone.contains(path)
        {
            let source = NetlinkError::Namespace { path: path.clone(), errno: Errno::ENOENT };
            return Err(KernelError::ContainerGone { source });
        }
        self.link(name)?.kind = link.kind.clone();
        Ok(())
    }

    fn delete_link(&mut self, name: &IfName) -> Result<(), KernelError> {
        self.enter(Table::Links, "delete", name.as_str())?;
        self.link(name)?;
        self.drop_link(name);
        Ok(())
    }

    fn add_address(&mut self, device: &IfName, net: IpNet) -> Result<(), KernelError> {
        self.enter(Table::Addresses, "add", &net.to_string())?;
        self.link(device)?;
        self.state.addresses.insert((device.clone(), net));
        Ok(())
    }

    fn remove_address(&mut self, device: &IfName, net: IpNet) -> Result<(), KernelError> {
        self.enter(Table::Addresses, "remove", &net.to_string())?;
        self.state.addresses.remove(&(device.clone(), net));
        // As Linux does with the last IPv4 address of a link.
        let mut left = self.state.addresses.iter().filter(|(other, _)| other == device);
        if net.addr().is_ipv4() && !left.any(|(_, net)| net.addr().is_ipv4()) {
            self.state.neighbours.retain(|(other, address), _| other != device || address.is_ipv6());
            self.state.routes.retain(|key, route| {
                device_of(route) != Some(device) || key.destination.family() == Family::V6
            });
        }
        Ok(())
    }

    fn write_sysctl(&mut self, name: &str, value: &str) -> Result<(), KernelError> {
        self.enter(Table::Sysctls, "write", name)?;
        // Only our own links come and go; settings of others count as there.
        if let ["net", _, _, device, _] = name.split('/').collect::<Vec<_>>()[..]
            && device.starts_with("hop")
            && let Ok(device) = IfName::new(device)
        {
            self.link(&device)?;
        }
        self.state.sysctls.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn set_neighbour(&mut self, device: &IfName, address: IpAddr, mac: Mac) -> Result<(), KernelError> {
        self.enter(Table::Neighbours, "set", &address.to_string())?;
        self.link(device)?;
        self.state.neighbours.insert((device.clone(), address), mac);
        Ok(())
    }

    fn remove_neighbour(&mut self, device: &IfName, address: IpAddr) -> Result<(), KernelError> {
        self.enter(Table::Neighbours, "remove", &address.to_string())?;
        self.state.neighbours.remove(&(device.clone(), address));
        Ok(())
    }

    fn set_forwarding(&mut self, device: &IfName, mac: Mac, remote: IpAddr) -> Result<(), KernelError> {
        self.enter(Table::Fdb, "set", &mac.to_string())?;
        self.link(device)?;
        self.state.fdb.insert((device.clone(), mac), remote);
        Ok(())
    }

    fn remove_forwarding(&mut self, device: &IfName, mac: Mac) -> Result<(), KernelError> {
        self.enter(Table::Fdb, "remove", &mac.to_string())?;
        self.state.fdb.remove(&(device.clone(), mac));
        Ok(())
    }

    fn change_firewall(&mut self, observed: &Firewall, desired: &Firewall) -> Result<u64, KernelError> {
        self.enter(Table::Firewall, "change", "table inet hopsack")?;
        self.state.firewall = desired.clone();
        Ok(u64::from(observed != desired))
    }

    fn forget_flows(&mut self, _before: &Published, now: &Published) -> Result<u64, KernelError> {
        self.enter(Table::Flows, "forget", "flows to published ports")?;
        self.state.published = now.clone();
        Ok(0)
    }

    fn set_forward_accept(&mut self, family: Family, accept: bool) -> Result<(), KernelError> {
        self.enter(Table::Forward, if accept { "accept" } else { "remove" }, &family.to_string())?;
        if accept {
            self.state.forward_accept.insert(family);
        } else {
            self.state.forward_accept.remove(&family);
        }
        Ok(())
    }

    fn add_rule(&mut self, rule: &MarkRule) -> Result<(), KernelError> {
        self.enter(Table::Rules, "add", &rule_name(rule))?;
        self.state.rules.insert(*rule);
        Ok(())
    }

    fn remove_rule(&mut self, rule: &MarkRule) -> Result<(), KernelError> {
        self.enter(Table::Rules, "remove", &rule_name(rule))?;
        self.state.rules.remove(rule);
        Ok(())
    }

    fn add_route(&mut self, key: &RouteKey, route: &Route) -> Result<(), KernelError> {
        self.enter(Table::Routes, "add", &route_name(key))?;
        if self.state.routes.contains_key(key) {
            return Err(KernelError::RouteTaken(key.destination));
        }
        self.set_route(key, route)
    }

    fn change_route(&mut self, key: &RouteKey, route: &Route) -> Result<(), KernelError> {
        self.enter(Table::Routes, "change", &route_name(key))?;
        self.set_route(key, route)
    }

    fn remove_route(&mut self, key: &RouteKey) -> Result<(), KernelError> {
        self.enter(Table::Routes, "remove", &route_name(key))?;
        self.state.routes.remove(key);
        Ok(())
    }

    fn set_fast_port(&mut self, port: FastPort) -> Result<(), KernelError> {
        self.enter(Table::FastPath, "set", &port_name(&port))?;
        self.state.fast_path.published.insert(port);
        Ok(())
    }

    fn remove_fast_port(&mut self, port: FastPort) -> Result<(), KernelError> {
        self.enter(Table::FastPath, "remove", &port_name(&port))?;
        self.state.fast_path.published.remove(&port);
        Ok(())
    }

    fn set_fast_entry(&mut self, key: FastKey, entry: &FastEntry) -> Result<(), KernelError> {
        self.enter(Table::FastPath, "set", &key.to_string())?;
        if !self.devices.contains(&entry.device) {
            self.link(&entry.device)?;
        }
        let fast = &mut self.state.fast_path;
        match key {
            FastKey::Endpoint(address) => fast.endpoints.insert(address, entry.clone()),
            FastKey::Remote(prefix) => fast.remotes.insert(prefix, entry.clone()),
        };
        Ok(())
    }

    fn remove_fast_entry(&mut self, key: FastKey) -> Result<(), KernelError> {
        self.enter(Table::FastPath, "remove", &key.to_string())?;
        let fast = &mut self.state.fast_path;
        match key {
            FastKey::Endpoint(address) => fast.endpoints.remove(&address),
            FastKey::Remote(prefix) => fast.remotes.remove(&prefix),
        };
        Ok(())
    }

    fn set_fast_hook(&mut self, link: &IfName, hook: FastHook) -> Result<(), KernelError> {
        self.enter(Table::FastPath, "set", &hook_name(link))?;
        self.link(link)?;
        self.state.fast_path.hooks.insert(link.clone(), hook);
        Ok(())
    }

    fn remove_fast_hook(&mut self, link: &IfName) -> Result<(), KernelError> {
        self.enter(Table::FastPath, "remove", &hook_name(link))?;
        self.state.fast_path.hooks.remove(link);
        Ok(())
    }
}
