//! The single operations, as netlink requests, settings, `nft` transactions and rules in the forward chains of others.

use super::container::{self, Wanted};
use super::observe::is_ours;
use super::{LinuxKernel, flows};
use crate::KernelError;
use crate::apply::{FastKey, Operations, Published};
use hopsack_netlink::link::{Base, LinkChange, Vxlan};
use hopsack_netlink::route::{Kind as RouteKind, Route as NetlinkRoute};
use hopsack_netlink::rule::Rule;
use hopsack_netlink::sysctl;
use hopsack_plan::state::{
    Container, FastEntry, FastHook, Link, LinkKind, MarkRule, Route, RouteKey, RouteTarget,
};
use hopsack_types::fastpath::FastPort;
use hopsack_types::firewall::Firewall;
use hopsack_types::numbers::ROUTE_PROTOCOL;
use hopsack_types::{Family, IfName, Mac};
use ipnet::IpNet;
use std::net::IpAddr;

/// Outer hop limit of tunnel packets. Said rather than left to the kernel, because it may be asked for in a trace.
const VXLAN_TTL: u8 = 64;

impl LinuxKernel {
    fn route_of(&mut self, key: &RouteKey, route: &Route) -> Result<NetlinkRoute, KernelError> {
        let (kind, gateway, device) = match &route.target {
            RouteTarget::Via { next_hop, device } => (RouteKind::Unicast, Some(*next_hop), Some(device)),
            RouteTarget::Device(device) => (RouteKind::Unicast, None, Some(device)),
            RouteTarget::Local(device) => (RouteKind::Local, None, Some(device)),
            RouteTarget::Unreachable => (RouteKind::Unreachable, None, None),
            RouteTarget::Blackhole => (RouteKind::Blackhole, None, None),
        };
        Ok(NetlinkRoute {
            table: key.table,
            destination: key.destination,
            kind,
            gateway,
            on_link: gateway.is_some(),
            device: device.map(|device| self.index(device)).transpose()?,
            source: route.source,
            mtu: route.mtu,
            protocol: ROUTE_PROTOCOL,
            metric: key.metric,
            tos: key.tos,
        })
    }

    fn taken(&mut self, name: &IfName, peer: Option<&IfName>) -> KernelError {
        let taken = match (self.socket.link(name), peer) {
            (Ok(None), Some(peer)) => peer,
            _ => name,
        };
        KernelError::LinkTaken(taken.clone())
    }
}

impl Operations for LinuxKernel {
    fn is_lost(&mut self, name: &IfName, observed: &Link, desired: &Link) -> bool {
        let (
            LinkKind::Veth { container: Container::External, .. },
            LinkKind::Veth { container: Container::Namespace { path, .. }, .. },
        ) = (&observed.kind, &desired.kind)
        else {
            return false;
        };
        // Only if the namespace can be looked into: one that cannot may come back.
        let outside = self.socket.link(name).ok().flatten().filter(|outside| outside.peer_elsewhere);
        outside.is_some_and(|outside| container::is_inside(&outside, path) == Ok(false))
    }

    fn create_link(&mut self, name: &IfName, link: &Link) -> Result<(), KernelError> {
        let base = Base { name, mac: link.mac, mtu: link.mtu };
        self.own.note_link(name);
        let (made, peer) = match &link.kind {
            LinkKind::Holder => (self.socket.create_bridge(&base), None),
            LinkKind::Vxlan { vni, port, local } => {
                let vxlan = Vxlan {
                    vni: *vni,
                    port: *port,
                    local: Some(*local),
                    learning: false,
                    ttl: VXLAN_TTL,
                    // RFC 7348, 5: should be zero over IPv4; what is inside has its own. Over IPv6 it has to be there (RFC 8200).
                    checksum: Some(local.is_ipv6()),
                    // A probe of the path's MTU must not pass in pieces.
                    inherit_df: true,
                };
                (self.socket.create_vxlan(&base, &vxlan), None)
            }
            LinkKind::Veth { peer, peer_mac, .. } => {
                let other = Base { name: peer, mac: Some(*peer_mac), mtu: link.mtu };
                self.own.note_link(peer);
                (self.socket.create_veth(&base, &other), Some(peer))
            }
        };
        match made {
            Err(error) if error.is_exists() => return Err(self.taken(name, peer)),
            other => other?,
        }
        self.indexes.remove(name);
        self.change(name, &LinkChange { alias: Some(&link.alias), ..LinkChange::default() })
    }

    fn change_link(&mut self, name: &IfName, observed: &Link, desired: &Link) -> Result<(), KernelError> {
        let change = LinkChange {
            alias: Some(desired.alias.as_str()).filter(|alias| *alias != observed.alias),
            mtu: Some(desired.mtu).filter(|mtu| *mtu != observed.mtu),
            mac: desired.mac.filter(|mac| Some(*mac) != observed.mac),
            ..LinkChange::default()
        };
        self.change(name, &change)?;
        let LinkKind::Veth { peer, peer_mac, .. } = &desired.kind else { return Ok(()) };
        let Some(outside) = self.socket.link(name)? else { return Err(KernelError::NoDevice(name.clone())) };
        // An end that has moved is configured where it is, by us or by somebody else.
        let Some(index) = outside.peer.filter(|_| !outside.peer_elsewhere) else { return Ok(()) };
        let change = LinkChange {
            name: Some(peer),
            mac: Some(*peer_mac),
            mtu: Some(desired.mtu),
            ..LinkChange::default()
        };
        Ok(self.socket.change_link(index, &change)?)
    }

    fn set_up(&mut self, name: &IfName, up: bool) -> Result<(), KernelError> {
        self.change(name, &LinkChange { up: Some(up), ..LinkChange::default() })
    }

    fn place(&mut self, name: &IfName, link: &Link) -> Result<(), KernelError> {
        let LinkKind::Veth { peer_mac, container, .. } = &link.kind else { return Ok(()) };
        let Container::Namespace { path, interface, addresses, routes, mtu } = container else {
            return Ok(());
        };
        let wanted = Wanted { path, interface, addresses, routes, mtu: *mtu, mac: *peer_mac };
        let gone = || KernelError::NoDevice(name.clone());
        let outside = self.socket.link(name)?.ok_or_else(gone)?;
        if let Some(peer) = outside.peer.filter(|_| !outside.peer_elsewhere) {
            container::take_in(&mut self.socket, peer, &wanted)?;
        }
        // Its number may have changed on the way.
        let outside = self.socket.link(name)?.ok_or_else(gone)?;
        container::configure(&outside, &wanted)
    }

    fn delete_link(&mut self, name: &IfName) -> Result<(), KernelError> {
        self.indexes.remove(name);
        let Some(link) = self.socket.link(name)? else { return Err(KernelError::NoDevice(name.clone())) };
        // What was observed may have been put aside by somebody since.
        if !is_ours(&link) {
            return Err(KernelError::LinkTaken(name.clone()));
        }
        self.own.note_link(name);
        Ok(self.socket.delete_link(link.index)?)
    }

    fn add_address(&mut self, device: &IfName, net: IpNet) -> Result<(), KernelError> {
        let index = self.index(device)?;
        Ok(self.socket.add_address(index, net)?)
    }

    fn remove_address(&mut self, device: &IfName, net: IpNet) -> Result<(), KernelError> {
        let index = self.index(device)?;
        Ok(self.socket.remove_address(index, net)?)
    }

    fn write_sysctl(&mut self, name: &str, value: &str) -> Result<(), KernelError> {
        Ok(sysctl::write(name, value)?)
    }

    fn set_neighbour(&mut self, device: &IfName, address: IpAddr, mac: Mac) -> Result<(), KernelError> {
        let index = self.index(device)?;
        Ok(self.socket.set_neighbour(index, address, mac)?)
    }

    fn remove_neighbour(&mut self, device: &IfName, address: IpAddr) -> Result<(), KernelError> {
        let index = self.index(device)?;
        Ok(self.socket.remove_neighbour(index, address)?)
    }

    fn set_forwarding(&mut self, device: &IfName, mac: Mac, remote: IpAddr) -> Result<(), KernelError> {
        let index = self.index(device)?;
        Ok(self.socket.set_forwarding_entry(index, mac, remote)?)
    }

    fn remove_forwarding(&mut self, device: &IfName, mac: Mac) -> Result<(), KernelError> {
        let index = self.index(device)?;
        Ok(self.socket.remove_forwarding_entry(index, mac)?)
    }

    fn change_firewall(&mut self, observed: &Firewall, desired: &Firewall) -> Result<u64, KernelError> {
        self.write_firewall(observed, desired)
    }

    fn forget_flows(&mut self, before: &Published, now: &Published) -> Result<u64, KernelError> {
        let forgotten = flows::forget(&mut self.socket, before, now)?;
        self.published = now.clone();
        Ok(forgotten)
    }

    fn set_forward_accept(&mut self, family: Family, accept: bool) -> Result<(), KernelError> {
        self.forward.set(family, accept)
    }

    fn add_rule(&mut self, rule: &MarkRule) -> Result<(), KernelError> {
        Ok(self.socket.add_rule(&rule_of(rule))?)
    }

    fn remove_rule(&mut self, rule: &MarkRule) -> Result<(), KernelError> {
        Ok(self.socket.remove_rule(&rule_of(rule))?)
    }

    fn add_route(&mut self, key: &RouteKey, route: &Route) -> Result<(), KernelError> {
        let route = self.route_of(key, route)?;
        match self.socket.add_route(&route) {
            Err(error) if error.is_exists() => Err(KernelError::RouteTaken(key.destination)),
            result => Ok(result?),
        }
    }

    fn change_route(&mut self, key: &RouteKey, route: &Route) -> Result<(), KernelError> {
        let route = self.route_of(key, route)?;
        Ok(self.socket.replace_route(&route)?)
    }

    fn remove_route(&mut self, key: &RouteKey) -> Result<(), KernelError> {
        Ok(self.socket.remove_route(key.table, key.destination, key.metric, key.tos, ROUTE_PROTOCOL)?)
    }

    fn set_fast_port(&mut self, port: FastPort) -> Result<(), KernelError> {
        self.fast.set_port(&port)
    }

    fn remove_fast_port(&mut self, port: FastPort) -> Result<(), KernelError> {
        self.fast.remove_port(&port)
    }

    fn set_fast_entry(&mut self, key: FastKey, entry: &FastEntry) -> Result<(), KernelError> {
        let index = self.index(&entry.device)?;
        self.fast.set_entry(key, entry, index)
    }

    fn remove_fast_entry(&mut self, key: FastKey) -> Result<(), KernelError> {
        self.fast.remove_entry(key)
    }

    fn set_fast_hook(&mut self, link: &IfName, hook: FastHook) -> Result<(), KernelError> {
        let index = self.index(link)?;
        self.fast.set_hook(&mut self.socket, index, hook)
    }

    fn remove_fast_hook(&mut self, link: &IfName) -> Result<(), KernelError> {
        let index = self.index(link)?;
        self.fast.remove_hook(&mut self.socket, index)
    }
}

const fn rule_of(rule: &MarkRule) -> Rule {
    Rule {
        family: rule.family,
        preference: rule.preference,
        mark: rule.mark,
        mask: rule.mark,
        table: rule.table,
        protocol: ROUTE_PROTOCOL,
    }
}
