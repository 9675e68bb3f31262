//! The sets of our table: all that grows with hosts, networks and endpoints. Each is there once per family, its name
//! ending in 4 or 6.

use crate::survey::{Survey, disjoint};
use hopsack_types::firewall::{Field, FieldKind, Set};
use hopsack_types::{Cidr, Family, Isolation, Network};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// All sets by name.
pub fn of(survey: &Survey<'_>) -> BTreeMap<String, Set> {
    let mut sets = BTreeMap::new();
    for family in Family::BOTH {
        // Outer packets may be of a family that the cluster does not use inside.
        sets.insert(
            named("members", family),
            exact(family, survey.view.hosts.values().map(|host| host.underlay)),
        );
    }
    for family in survey.families.iter().copied() {
        let mut insert = |name: &str, set: Set| drop(sets.insert(named(name, family), set));
        insert("cluster", prefixes(family, survey.territory.iter().copied()));
        insert("nat", prefixes(family, translated(survey)));
        insert(
            "hosts",
            exact(family, survey.view.hosts.values().flat_map(|host| host.addresses.iter().copied())),
        );
        let answered = survey.next_hops_v4().into_iter().chain(survey.gateways());
        insert("own", exact(family, survey.own_addresses().chain(answered)));
        insert("gateways", exact(family, survey.gateways().into_iter()));
        insert("internal", prefixes(family, internal(survey)));
        insert("endpoints", endpoints(survey, family));
        insert("direct", prefixes(family, direct(survey, family)));
        insert("inner", inner(survey, family));
        insert("same", same(survey, family));
        insert("open", prefixes(family, open(survey)));
    }
    sets
}

/// The name of a set of one family.
pub fn named(name: &str, family: Family) -> String {
    format!("{name}{}", if family == Family::V4 { "4" } else { "6" })
}

fn exact(family: Family, addresses: impl Iterator<Item = IpAddr>) -> Set {
    let elements = addresses.filter(|address| Family::of(*address) == family);
    Set {
        fields: vec![FieldKind::Address(family)],
        data: Vec::new(),
        interval: false,
        elements: elements.map(|address| vec![Field::Address(address)]).collect(),
    }
}

fn prefixes(family: Family, prefixes: impl Iterator<Item = Cidr>) -> Set {
    let elements = disjoint(prefixes.filter(|prefix| prefix.family() == family));
    Set {
        fields: vec![FieldKind::Address(family)],
        data: Vec::new(),
        interval: true,
        elements: elements.into_iter().map(|prefix| vec![Field::Prefix(prefix)]).collect(),
    }
}

/// What is masqueraded when it leaves the cluster: pools that say so, and subnets that are in no pool at all, since
/// no answer would find them from outside.
fn translated(survey: &Survey<'_>) -> impl Iterator<Item = Cidr> {
    let subnets = survey.subnets().filter(|subnet| !survey.pools().any(|pool| pool.cidr.covers(subnet)));
    survey.pools().filter(|pool| pool.nat_outgoing).map(|pool| pool.cidr).chain(subnets)
}

/// Which endpoint's address may come from which device.
fn endpoints(survey: &Survey<'_>, family: Family) -> Set {
    let mut elements = BTreeSet::new();
    for (device, endpoint) in &survey.endpoints {
        for address in endpoint.addresses.iter().filter(|address| Family::of(**address) == family) {
            elements.insert(vec![Field::Interface(device.clone()), Field::Address(*address)]);
        }
    }
    Set {
        fields: vec![FieldKind::Interface, FieldKind::Address(family)],
        data: Vec::new(),
        interval: false,
        elements,
    }
}

/// Which addresses of peers may come without a tunnel: those of neighbours, whatever path is in use, since the other
/// end changes over at another moment.
fn direct(survey: &Survey<'_>, family: Family) -> impl Iterator<Item = Cidr> {
    let neighbours = survey.peers.iter().filter(move |peer| survey.direct(peer, family).is_some());
    neighbours.flat_map(move |peer| peer.sources(family))
}

/// Which addresses may be inside a tunnel packet of which member.
fn inner(survey: &Survey<'_>, family: Family) -> Set {
    let outer = survey.outer_family();
    let mut by_member: BTreeMap<IpAddr, BTreeSet<Cidr>> = BTreeMap::new();
    for peer in survey.peers.iter().filter(|peer| Family::of(peer.host.underlay) == outer) {
        by_member.entry(peer.host.underlay).or_default().extend(peer.sources(family));
    }
    let mut elements = BTreeSet::new();
    for (member, prefixes) in by_member {
        for prefix in disjoint(prefixes.into_iter()) {
            elements.insert(vec![Field::Prefix(Cidr::host(member)), Field::Prefix(prefix)]);
        }
    }
    Set {
        fields: vec![FieldKind::Address(outer), FieldKind::InnerSource(family)],
        data: Vec::new(),
        interval: true,
        elements,
    }
}

/// Source and destination in one network.
fn same(survey: &Survey<'_>, family: Family) -> Set {
    let pairs = |network: &Network| {
        let subnets: Vec<Cidr> = network.subnets_of(family).collect();
        let pair = |from: &Cidr| {
            let from = *from;
            subnets.iter().map(move |to| vec![Field::Prefix(from), Field::Prefix(*to)])
        };
        subnets.iter().flat_map(pair).collect::<Vec<_>>()
    };
    let address = FieldKind::Address(family);
    Set {
        fields: vec![address, address],
        data: Vec::new(),
        interval: true,
        elements: networks(survey).flat_map(pairs).collect(),
    }
}

/// Networks with no way out and none in.
fn internal(survey: &Survey<'_>) -> impl Iterator<Item = Cidr> {
    networks(survey).filter(|network| network.internal).flat_map(|network| network.subnets.iter().copied())
}

/// Networks that let each other in.
fn open(survey: &Survey<'_>) -> impl Iterator<Item = Cidr> {
    networks(survey)
        .filter(|network| network.isolation == Isolation::None)
        .flat_map(|network| network.subnets.iter().copied())
}

fn networks<'a>(survey: &Survey<'a>) -> impl Iterator<Item = &'a Network> {
    survey.view.networks.values().map(|network| &network.network)
}
