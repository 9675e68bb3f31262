//! `kind: Network`.

use crate::address::{Cidr, Family, parse_address};
use crate::id::NetworkId;
use crate::manifest::fields::{FieldError, Fields};
use crate::name::Labels;
use crate::option::{LARGEST_MTU, LEAST_MTU_V4};
use crate::resource::{ChosenBy, Exit, Isolation, Network};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

const SUBNETS: &str = "subnets";
const IPV6: &str = "ipv6";
const RANGES: &str = "ranges";
const GATEWAYS: &str = "gateways";
const RESERVED: &str = "reserved";
const ISOLATION: &str = "isolation";
const INTERNAL: &str = "internal";
const EXIT: &str = "exit";
const MTU: &str = "mtu";

/// What the user says of a network. What is left out stays as it is, or is the default in a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// [`Network::subnets`]; default: the next free /24 of a v4 pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnets: Option<Vec<Cidr>>,
    /// Whether a family that `subnets` leaves out gets the next free subnet of a pool too; default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// [`Network::ranges`]; default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<BTreeSet<Cidr>>,
    /// [`Network::gateways`]; default: the first address of each subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<BTreeSet<IpAddr>>,
    /// [`Network::reserved`]; default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved: Option<BTreeMap<IpAddr, String>>,
    /// [`Network::isolation`]; default: full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// [`Network::internal`]; default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    /// [`Network::exit`]; default: hopsack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// [`Network::mtu`]; default: the underlay's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// What is so about a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// Identity.
    pub id: NetworkId,
    /// `docker` or `hopsack`.
    pub made_by: String,
    /// The gateway in each subnet, chosen or not.
    pub gateways: Vec<IpAddr>,
    /// The containers' next hop of each family.
    pub next_hops: Vec<IpAddr>,
}

impl NetworkStatus {
    /// That of a network.
    pub fn of(network: &Network) -> Self {
        let families = Family::BOTH.into_iter().filter(|family| network.subnets_of(*family).next().is_some());
        Self {
            id: network.id,
            made_by: if network.docker.is_some() { "docker" } else { "hopsack" }.to_owned(),
            gateways: network.gateways.keys().copied().collect(),
            next_hops: families.map(|family| network.next_hop(family)).collect(),
        }
    }
}

impl NetworkSpec {
    pub(super) fn read(spec: Option<&Value>) -> Result<Self, FieldError> {
        const KNOWN: [&str; 9] = [SUBNETS, IPV6, RANGES, GATEWAYS, RESERVED, ISOLATION, INTERNAL, EXIT, MTU];
        let fields = Fields::of(spec, "spec", &KNOWN)?;
        let subnets = fields.texts(SUBNETS, str::parse::<Cidr>)?;
        if subnets.as_ref().is_some_and(Vec::is_empty) {
            let problem = "is empty: write at least one subnet, or leave the field out for the next free one";
            return Err(fields.refuse(SUBNETS, problem));
        }
        Ok(Self {
            subnets,
            ipv6: fields.flag(IPV6)?,
            ranges: fields.texts(RANGES, str::parse::<Cidr>)?.map(BTreeSet::from_iter),
            gateways: fields.texts(GATEWAYS, parse_address)?.map(BTreeSet::from_iter),
            reserved: fields.mapping(RESERVED, parse_address)?,
            isolation: fields.word(ISOLATION, &[("full", Isolation::Full), ("none", Isolation::None)])?,
            internal: fields.flag(INTERNAL)?,
            exit: fields.word(EXIT, &[("hopsack", Exit::Hopsack), ("docker", Exit::Docker)])?,
            mtu: fields.number(MTU, LEAST_MTU_V4, LARGEST_MTU, "bytes")?,
        })
    }

    /// All that a user could have said of a network.
    pub fn of(network: &Network) -> Self {
        let gateways = chosen(network);
        Self {
            subnets: Some(network.subnets.clone()),
            ipv6: None,
            ranges: Some(network.ranges.clone()).filter(|ranges| !ranges.is_empty()),
            gateways: Some(gateways).filter(|gateways| !gateways.is_empty()),
            reserved: Some(network.reserved.clone()).filter(|reserved| !reserved.is_empty()),
            isolation: Some(network.isolation),
            internal: Some(network.internal),
            exit: Some(network.exit),
            mtu: network.mtu,
        }
    }

    /// A network with what is said changed: its isolation and its labels. All else is refused where it differs from
    /// what the network has, since containers and engines were told of it.
    pub fn change(&self, known: &Network, labels: Option<&Labels>) -> Result<Network, FieldError> {
        self.check_subnets(known)?;
        let differs = |field, said: String, has: String| Err(fixed(known, field, said, has));
        match &self.ranges {
            Some(said) if *said != known.ranges => {
                return differs(RANGES, listed(said), listed(&known.ranges));
            }
            _ => {}
        }
        match &self.gateways {
            Some(said) if !gateways_are(known, said) => {
                return differs(GATEWAYS, listed(said), listed(known.gateways.keys()));
            }
            _ => {}
        }
        match &self.reserved {
            Some(said) if *said != known.reserved => {
                return differs(RESERVED, reserved(said), reserved(&known.reserved));
            }
            _ => {}
        }
        match self.internal {
            Some(said) if said != known.internal => {
                return differs(INTERNAL, said.to_string(), known.internal.to_string());
            }
            _ => {}
        }
        match self.exit {
            Some(said) if said != known.exit => {
                return differs(EXIT, said.to_string(), known.exit.to_string());
            }
            _ => {}
        }
        match self.mtu {
            Some(said) if known.mtu != Some(said) => {
                let has = known.mtu.map_or_else(|| "the underlay's".to_owned(), |mtu| mtu.to_string());
                return differs(MTU, said.to_string(), has);
            }
            _ => {}
        }
        Ok(Network {
            isolation: self.isolation.unwrap_or(known.isolation),
            labels: labels.unwrap_or(&known.labels).clone(),
            ..known.clone()
        })
    }

    /// The subnets of each family have to be the same, but for those that a pool has given because nobody named any.
    fn check_subnets(&self, known: &Network) -> Result<(), FieldError> {
        let both = self.ipv6.unwrap_or_default();
        if both
            && let Some(lacking) = Family::BOTH.into_iter().find(|f| known.subnets_of(*f).next().is_none())
        {
            let has = format!("no {lacking} subnet");
            return Err(fixed(known, IPV6, "true".to_owned(), has));
        }
        let Some(said) = &self.subnets else { return Ok(()) };
        let differs = Family::BOTH.into_iter().any(|family| {
            let said: Vec<Cidr> = said.iter().copied().filter(|subnet| subnet.family() == family).collect();
            let given_by_a_pool = both && said.is_empty();
            !given_by_a_pool && !known.subnets_of(family).eq(said)
        });
        if differs { Err(fixed(known, SUBNETS, listed(said), listed(&known.subnets))) } else { Ok(()) }
    }
}

/// The gateways that somebody has chosen.
fn chosen(network: &Network) -> BTreeSet<IpAddr> {
    let chosen = network.gateways.iter().filter(|(_, by)| **by == ChosenBy::User);
    chosen.map(|(gateway, _)| *gateway).collect()
}

fn listed<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}

fn reserved(reserved: &BTreeMap<IpAddr, String>) -> String {
    listed(reserved.iter().map(|(address, what)| format!("{address} ({what})")))
}

/// Whether these are the gateways that were chosen; default ones may be named as well.
fn gateways_are(known: &Network, said: &BTreeSet<IpAddr>) -> bool {
    said.is_superset(&chosen(known)) && said.iter().all(|gateway| known.gateways.contains_key(gateway))
}

fn fixed(known: &Network, field: &str, found: String, has: String) -> FieldError {
    let problem = format!(
        "found {found}, but network {} has {has}, which cannot be changed: write that, or remove the network and make \
         it anew",
        known.name
    );
    FieldError::new(format!("spec.{field}"), problem)
}
