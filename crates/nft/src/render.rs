//! The firewall's form as `nft` text. Pure; what is fixed here is syntax that nft 1.0.0 and newer accept.

use hopsack_types::firewall::{
    Chain, ChainKind, Field, FieldKind, Firewall, HookPoint, Rule, Set, inner_source,
};
use hopsack_types::numbers::NFT_TABLE;
use hopsack_types::{Cidr, Family};
use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// The whole table: what `nft -f -` takes to make it where it is not.
pub fn render_table(firewall: &Firewall) -> String {
    let mut out = format!("table inet {NFT_TABLE} {{\n");
    for (name, set) in &firewall.sets {
        let _ = write!(out, "\t{} {name} {{\n{}", set_word(set), SetHead(set));
        if !set.elements.is_empty() {
            let _ = writeln!(out, "\t\telements = {{ {} }}", Elements { set, elements: set.elements.iter() });
        }
        out.push_str("\t}\n");
    }
    // Rules may jump to chains that stand further down.
    for (name, chain) in &firewall.chains {
        let _ = write!(out, "\tchain {name} {{\n{}", ChainHead(chain));
        for rule in &chain.rules {
            let _ = writeln!(out, "\t\t{}", RuleText(rule));
        }
        out.push_str("\t}\n");
    }
    out.push_str("}\n");
    out
}

/// What nft calls it.
pub(crate) const fn set_word(set: &Set) -> &'static str {
    if set.data.is_empty() { "set" } else { "map" }
}

/// Stands between a map's kinds and those of its data, in its declaration, its comment and its elements.
pub(crate) const LEADS_TO: &str = " : ";

/// The lines that declare a set. The comment carries the fields' kinds: a list of nft's own type names would not tell
/// an inner IPv4 source from an inner IPv6 one.
pub(crate) struct SetHead<'a>(pub &'a Set);

impl fmt::Display for SetHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Set { fields, data, .. } = self.0;
        let written = |name: fn(FieldKind) -> &'static str, between: &str| {
            let [fields, data] = [fields, data]
                .map(|kinds| kinds.iter().map(|kind| name(*kind)).collect::<Vec<_>>().join(between));
            if data.is_empty() { fields } else { [fields, data].join(LEADS_TO) }
        };
        writeln!(f, "\t\ttypeof {}", written(expression, " . "))?;
        if self.0.interval {
            writeln!(f, "\t\tflags interval")?;
        }
        writeln!(f, "\t\tcomment \"{}\"", written(kind_name, " "))
    }
}

/// The line that hooks a chain, if it is hooked.
pub(crate) struct ChainHead<'a>(pub &'a Chain);

impl fmt::Display for ChainHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(hook) = self.0.hook else { return Ok(()) };
        let (kind, point) = (chain_kind(hook.kind), hook_point(hook.point));
        writeln!(f, "\t\ttype {kind} hook {point} priority {}; policy accept;", hook.priority)
    }
}

/// One rule with its digest.
pub(crate) struct RuleText<'a>(pub &'a Rule);

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} comment \"{} {:016x}\"", self.0.body, self.0.comment, self.0.digest)
    }
}

/// Elements between braces.
pub(crate) struct Elements<'a, I> {
    pub set: &'a Set,
    pub elements: I,
}

impl<'a, I: Iterator<Item = &'a Vec<Field>> + Clone> fmt::Display for Elements<'a, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, element) in self.elements.clone().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            let Set { fields, data, .. } = self.set;
            for (j, (field, kind)) in element.iter().zip(fields.iter().chain(data)).enumerate() {
                f.write_str(match j {
                    0 => "",
                    j if j == fields.len() => LEADS_TO,
                    _ => " . ",
                })?;
                write_field(f, field, *kind)?;
            }
        }
        Ok(())
    }
}

fn write_field(f: &mut fmt::Formatter<'_>, field: &Field, kind: FieldKind) -> fmt::Result {
    let raw = matches!(kind, FieldKind::InnerSource(_));
    match field {
        Field::Address(address) if raw => write!(f, "{:#x}", number(*address)),
        Field::Address(address) => write!(f, "{address}"),
        Field::Prefix(prefix) if is_single(prefix) && raw => write!(f, "{:#x}", number(prefix.first())),
        Field::Prefix(prefix) if is_single(prefix) => write!(f, "{}", prefix.first()),
        Field::Prefix(prefix) if raw => {
            write!(f, "{:#x}-{:#x}", number(prefix.first()), number(prefix.last()))
        }
        Field::Prefix(prefix) => write!(f, "{prefix}"),
        Field::Mac(mac) => write!(f, "{mac}"),
        Field::Interface(name) => write!(f, "\"{name}\""),
        // By number: nft looks names up in /etc/protocols, which small systems lack.
        Field::Protocol(protocol) => write!(f, "{}", protocol.number()),
        Field::Port(port) => write!(f, "{port}"),
    }
}

fn is_single(prefix: &Cidr) -> bool {
    prefix.length() == prefix.family().bits()
}

/// An address as the number that it is in network byte order.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What a field is compared with; `typeof` takes its type.
const fn expression(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Address(Family::V4) => "ip saddr",
        FieldKind::Address(Family::V6) => "ip6 saddr",
        FieldKind::Mac => "ether saddr",
        FieldKind::Interface => "iifname",
        FieldKind::Protocol => "meta l4proto",
        FieldKind::Port => "th dport",
        FieldKind::InnerSource(family) => inner_source(family),
    }
}

/// A kind's name in a set's comment.
pub(crate) const fn kind_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Address(Family::V4) => "v4",
        FieldKind::Address(Family::V6) => "v6",
        FieldKind::Mac => "mac",
        FieldKind::Interface => "interface",
        FieldKind::Protocol => "protocol",
        FieldKind::Port => "port",
        FieldKind::InnerSource(Family::V4) => "inner-v4",
        FieldKind::InnerSource(Family::V6) => "inner-v6",
    }
}

pub(crate) const KINDS: [FieldKind; 8] = [
    FieldKind::Address(Family::V4),
    FieldKind::Address(Family::V6),
    FieldKind::Mac,
    FieldKind::Interface,
    FieldKind::Protocol,
    FieldKind::Port,
    FieldKind::InnerSource(Family::V4),
    FieldKind::InnerSource(Family::V6),
];

pub(crate) const fn chain_kind(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    }
}

pub(crate) const fn hook_point(point: HookPoint) -> &'static str {
    match point {
        HookPoint::Prerouting => "prerouting",
        HookPoint::Input => "input",
        HookPoint::Forward => "forward",
        HookPoint::Output => "output",
        HookPoint::Postrouting => "postrouting",
    }
}
