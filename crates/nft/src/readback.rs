//! What `nft -j list table` says, as the firewall's form. Names, hooks, digests and set elements only: rules are
//! never parsed. Whatever was put there by others in a shape that we never write reads as something that differs
//! from every plan, so that it is repaired.

use crate::NftError;
use crate::render::{KINDS, LEADS_TO, chain_kind, hook_point, kind_name};
use hopsack_types::firewall::{ChainKind, Field, FieldKind, Firewall, Hook, HookPoint, Rule, Set};
use hopsack_types::{Cidr, Family, IfName};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Digest of a rule that is not ours; none of ours is likely to have it.
const FOREIGN: u64 = 0;

/// Parses the listing of our table.
pub fn parse(listing: &[u8]) -> Result<Firewall, NftError> {
    let listing: Value = serde_json::from_slice(listing).map_err(NftError::NotJson)?;
    let mut firewall = Firewall::default();
    let objects = listing.get("nftables").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for object in objects {
        if let Some(chain) = object.get("chain") {
            firewall.chains.entry(text(chain, "name")).or_default().hook = hook(chain);
        } else if let Some(rule) = object.get("rule") {
            let chain = firewall.chains.entry(text(rule, "chain")).or_default();
            chain.rules.push(Rule::observed(digest(rule)));
        } else if let Some(set) = object.get("set").or_else(|| object.get("map")) {
            firewall.sets.insert(text(set, "name"), parse_set(set));
        }
    }
    Ok(firewall)
}

fn text(object: &Value, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn hook(chain: &Value) -> Option<Hook> {
    const CHAIN_KINDS: [ChainKind; 3] = [ChainKind::Filter, ChainKind::Nat, ChainKind::Route];
    const POINTS: [HookPoint; 5] = [
        HookPoint::Prerouting,
        HookPoint::Input,
        HookPoint::Forward,
        HookPoint::Output,
        HookPoint::Postrouting,
    ];
    let (kind, point) = (text(chain, "type"), text(chain, "hook"));
    Some(Hook {
        kind: CHAIN_KINDS.into_iter().find(|known| chain_kind(*known) == kind)?,
        point: POINTS.into_iter().find(|known| hook_point(*known) == point)?,
        priority: i32::try_from(chain.get("prio")?.as_i64()?).ok()?,
    })
}

fn digest(rule: &Value) -> u64 {
    let comment = text(rule, "comment");
    let last = comment.rsplit(' ').next().unwrap_or_default();
    if last.len() == 16 { u64::from_str_radix(last, 16).unwrap_or(FOREIGN) } else { FOREIGN }
}

fn parse_set(set: &Value) -> Set {
    let comment = text(set, "comment");
    let (fields, data) = comment.split_once(LEADS_TO).unwrap_or((&comment, ""));
    let [fields, data] = [fields, data].map(|names| -> Vec<FieldKind> {
        let known = |name| KINDS.into_iter().find(|known| kind_name(*known) == name);
        names.split(' ').filter_map(known).collect()
    });
    let flags = set.get("flags").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let interval = flags.iter().any(|flag| flag == "interval");
    let elements = set.get("elem").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let parse = |element| parse_element(element, &fields, &data, interval);
    let parsed: Option<BTreeSet<_>> = elements.iter().map(parse).collect();
    match parsed {
        Some(elements) => Set { fields, data, interval, elements },
        // No fields: differs from every set of ours, so the table is replaced.
        None => Set { interval, ..Set::default() },
    }
}

fn parse_element(
    element: &Value,
    fields: &[FieldKind],
    data: &[FieldKind],
    interval: bool,
) -> Option<Vec<Field>> {
    let [key, value] = match element.as_array().map(Vec::as_slice) {
        Some([key, value]) => [key, value],
        Some(_) => return None,
        None => return parse_tuple(element, fields, interval).filter(|_| data.is_empty()),
    };
    let mut tuple = parse_tuple(key, fields, interval)?;
    tuple.extend(parse_tuple(value, data, interval)?);
    Some(tuple)
}

fn parse_tuple(tuple: &Value, kinds: &[FieldKind], interval: bool) -> Option<Vec<Field>> {
    // Newer versions wrap an element that carries a comment, a timeout or a counter.
    let tuple = tuple.get("elem").and_then(|wrapped| wrapped.get("val")).unwrap_or(tuple);
    let single = std::slice::from_ref(tuple);
    let parts = tuple.get("concat").and_then(Value::as_array).map_or(single, Vec::as_slice);
    if parts.len() != kinds.len() {
        return None;
    }
    parts.iter().zip(kinds).map(|(part, kind)| parse_field(part, *kind, interval)).collect()
}

fn parse_field(part: &Value, kind: FieldKind, interval: bool) -> Option<Field> {
    let family = match kind {
        FieldKind::Mac => return part.as_str()?.parse().ok().map(Field::Mac),
        FieldKind::Interface => return IfName::new(part.as_str()?).ok().map(Field::Interface),
        FieldKind::Protocol => return part.as_str()?.parse().ok().map(Field::Protocol),
        FieldKind::Port => return u16::try_from(part.as_u64()?).ok().map(Field::Port),
        FieldKind::Address(family) | FieldKind::InnerSource(family) => family,
    };
    if !interval {
        return parse_address(part, family).map(Field::Address);
    }
    if let Some(prefix) = part.get("prefix") {
        let address = parse_address(prefix.get("addr")?, family)?;
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        return Some(Field::Prefix(Cidr::around(address, length)));
    }
    if let Some(range) = part.get("range").and_then(Value::as_array) {
        let [first, last] = range.as_slice() else { return None };
        return between(parse_address(first, family)?, parse_address(last, family)?).map(Field::Prefix);
    }
    parse_address(part, family).map(|address| Field::Prefix(Cidr::host(address)))
}

/// An address, which nft writes as such, or as a number where the type is that of raw payload: small ones as a JSON
/// number, large ones as a text in hex.
fn parse_address(part: &Value, family: Family) -> Option<IpAddr> {
    let number = match part {
        Value::Number(number) => u128::from(number.as_u64()?),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(hex) => u128::from_str_radix(hex, 16).ok()?,
            None => return text.parse().ok().filter(|address| Family::of(*address) == family),
        },
        _ => return None,
    };
    Some(match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).ok()?).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    })
}

/// The prefix that is exactly a range, if there is one.
fn between(first: IpAddr, last: IpAddr) -> Option<Cidr> {
    (0..=Family::of(first).bits())
        .map(|length| Cidr::around(first, length))
        .find(|prefix| prefix.first() == first && prefix.last() == last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_a_prefix_reads_as_one_and_others_do_not() {
        let between = |first: &str, last: &str| between(first.parse().unwrap(), last.parse().unwrap());
        assert_eq!(between("10.32.0.0", "10.32.255.255"), "10.32.0.0/16".parse().ok());
        assert_eq!(between("0.0.0.0", "255.255.255.255"), "0.0.0.0/0".parse().ok());
        assert_eq!(between("fd00::", "fd00::ffff"), "fd00::/112".parse().ok());
        assert_eq!(between("10.0.0.1", "10.0.0.2"), None);
    }

    #[test]
    fn what_others_put_into_our_table_differs_from_every_plan() {
        let listing = br#"{"nftables": [
            {"chain": {"name": "c", "type": "filter", "hook": "ingress", "prio": 0}},
            {"rule": {"chain": "c", "comment": "mine"}},
            {"rule": {"chain": "c"}},
            {"set": {"name": "s", "type": "ipv4_addr", "flags": ["interval"], "comment": "v4",
                     "elem": ["10.0.0.1", {"range": ["10.0.0.3", "10.0.0.9"]}]}},
            {"ct helper": {"name": "h"}}]}"#;
        let firewall = parse(listing).unwrap();
        assert_eq!(firewall.chains["c"].hook, None);
        assert_eq!(firewall.chains["c"].rules, [Rule::observed(FOREIGN), Rule::observed(FOREIGN)]);
        assert_eq!(firewall.sets["s"], Set { interval: true, ..Set::default() });
    }

    #[test]
    fn a_listing_that_is_not_json_is_an_error() {
        assert!(matches!(parse(b"table inet hopsack {}"), Err(NftError::NotJson(_))));
        assert_eq!(parse(b"{}").unwrap(), Firewall::default());
    }
}
