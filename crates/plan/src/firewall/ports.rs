//! Published ports: packets for a port of this host go on to a container of its own. Who comes from outside or from
//! this host keeps its address, so that the container sees its clients.
//!
//! Docker's own translation stands behind ours. Both hold the host's ports by sockets, so no port is in both.
//!
//! What must not live here: which port is whose (the agent decides, and holds it), and where nothing is published,
//! anything: a packet of a host without published ports passes no chain of these.

use super::sets::named;
use super::{BEFORE_DESTINATION_NAT, Chains, Words};
use crate::survey::Survey;
use hopsack_types::firewall::{ChainKind, Field, FieldKind, HookPoint, Rule, Set};
use hopsack_types::numbers::ENDPOINT_PREFIX;
use hopsack_types::{Family, HostPort, PublishedPort};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// What this host publishes in one family.
pub struct Ports {
    words: Words,
    /// The family.
    pub family: Family,
    /// Where what comes from the loopback goes on from; none where this host has no address in the cluster.
    own: Option<IpAddr>,
    /// Where each port leads.
    pub leads: BTreeMap<HostPort, SocketAddr>,
}

/// The families that something is published in.
pub fn of(survey: &Survey<'_>) -> Vec<Ports> {
    let all = survey.families.iter().map(|family| Ports::new(survey, *family));
    all.filter(|ports| !ports.leads.is_empty()).collect()
}

/// A container's published ports with their targets; none of a family that the container has no address of.
fn targets(addresses: &[IpAddr], ports: &[PublishedPort]) -> impl Iterator<Item = (HostPort, SocketAddr)> {
    ports.iter().filter_map(|published| {
        let host = published.host;
        let family = Family::of(host.address);
        let address = addresses.iter().copied().find(|address| Family::of(*address) == family)?;
        Some((host, SocketAddr::new(address, published.container_port.get())))
    })
}

impl Ports {
    fn new(survey: &Survey<'_>, family: Family) -> Self {
        let all = survey.endpoints.iter().flat_map(|(_, e)| targets(&e.addresses, &e.ports));
        let mut leads = BTreeMap::new();
        for (host, target) in all.filter(|(host, _)| Family::of(host.address) == family) {
            // Should two claim one port, the kernel would refuse both.
            leads.entry(host).or_insert(target);
        }
        Self { words: Words::of(family), family, own: survey.own.address(family), leads }
    }

    /// The maps that translate, and the sets of what they lead to.
    pub fn sets(&self) -> impl Iterator<Item = (String, Set)> {
        let address = FieldKind::Address(self.family);
        let exact = |fields: &[FieldKind], data: &[FieldKind], elements: BTreeSet<Vec<Field>>| Set {
            fields: fields.to_vec(),
            data: data.to_vec(),
            interval: false,
            elements,
        };
        let (mut any, mut at) = (BTreeSet::new(), BTreeSet::new());
        let (mut targets, mut hairpin) = (BTreeSet::new(), BTreeSet::new());
        for (HostPort { protocol, address, port }, target) in &self.leads {
            let (protocol, port) = (Field::Protocol(*protocol), Field::Port(port.get()));
            let leads_to = [Field::Address(target.ip()), Field::Port(target.port())];
            let [to, to_port] = leads_to.clone();
            targets.insert(vec![to.clone(), protocol.clone(), to_port]);
            hairpin.insert(vec![to; 2]);
            let from = [protocol, port].into_iter().chain(leads_to);
            if address.is_unspecified() {
                any.insert(from.collect());
            } else {
                at.insert([Field::Address(*address)].into_iter().chain(from).collect());
            }
        }
        let (protocol, port) = (FieldKind::Protocol, FieldKind::Port);
        [
            ("ports_any", exact(&[protocol, port], &[address, port], any)),
            ("ports_at", exact(&[address, protocol, port], &[address, port], at)),
            ("published", exact(&[address, protocol, port], &[], targets)),
            ("hairpin", exact(&[address, address], &[], hairpin)),
        ]
        .map(|(name, set)| (named(name, self.family), set))
        .into_iter()
    }

    /// Lets in what was translated, and nothing else: not who writes to the container's own address.
    pub fn forward(&self) -> Rule {
        let Words { ip, suffix, .. } = self.words;
        let target = format!("{ip} daddr . meta l4proto . th dport @published{suffix}");
        Rule::new("to a published port", format!("ct status dnat {target} goto forward_accept"))
    }

    /// What comes in and is not for the published ports, whatever they are.
    fn not_from_there(&self) -> [Rule; 2] {
        let Words { ip, suffix, .. } = self.words;
        let loopback = loopback(self.family);
        [
            // This host takes it for its own before it sees that it cannot come from there.
            Rule::new("the loopback of this host only", format!("{ip} daddr {loopback} return")),
            Rule::new(
                "host addresses from outside",
                format!("{ip} daddr @own{suffix} {ip} saddr != @cluster{suffix} return"),
            ),
        ]
    }

    fn translate(&self) -> [Rule; 2] {
        let Words { ip, suffix, nfproto, .. } = self.words;
        let to =
            |key: &str, map: &str| format!("meta nfproto {nfproto} dnat {ip} to {key} map @{map}{suffix}");
        [
            Rule::new(
                "published at one address",
                to(&format!("{ip} daddr . meta l4proto . th dport"), "ports_at"),
            ),
            Rule::new("published at all", to("meta l4proto . th dport", "ports_any")),
        ]
    }

    /// Whose answers would not find the way back here: they would stay in the container, go to its own loopback, or
    /// leave by another interface of a container that is in the client's network too.
    fn sources(&self) -> [Rule; 3] {
        let Words { ip, suffix, .. } = self.words;
        let translate = match self.own {
            Some(own) => format!("snat {ip} to {own}"),
            None => "masquerade".to_owned(),
        };
        let loopback = loopback(self.family);
        let other = format!(
            "{ip} saddr @cluster{suffix} {ip} saddr != @hosts{suffix} {ip} saddr . {ip} daddr != @same{suffix}"
        );
        [
            Rule::new("to itself", format!("{ip} saddr . {ip} daddr @hairpin{suffix} {translate}")),
            Rule::new("from the loopback", format!("{ip} saddr {loopback} {translate}")),
            Rule::new("from other networks", format!("{other} {translate}")),
        ]
    }
}

/// What each host has for itself (RFC 1122, RFC 4291).
const fn loopback(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1",
    }
}

/// Adds the chains of published ports.
pub fn fill(all: &[Ports], chains: &mut Chains<'_>) {
    if all.is_empty() {
        return;
    }
    let local = Rule::new("to this host", "fib daddr type local goto ports");
    let mut prerouting: Vec<Rule> = all.iter().flat_map(Ports::not_from_there).collect();
    prerouting.push(local.clone());
    let (nat, priority) = (ChainKind::Nat, BEFORE_DESTINATION_NAT);
    chains.hook("nat_prerouting", nat, HookPoint::Prerouting, priority, prerouting);
    chains.hook("nat_output", nat, HookPoint::Output, priority, vec![local]);
    chains.plain("ports", all.iter().flat_map(Ports::translate).collect());
    chains.plain("port_sources", all.iter().flat_map(Ports::sources).collect());
}

/// Sends what was translated to where its source is looked at.
pub fn postrouting() -> Rule {
    Rule::new(
        "to published ports",
        format!("oifname \"{ENDPOINT_PREFIX}*\" ct status dnat goto port_sources"),
    )
}
