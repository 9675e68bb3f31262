//! Routing rules that select a table by mark.

use crate::error::NetlinkError;
use crate::socket::{Socket, Task};
use hopsack_types::Family;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{RouteHeader, RouteProtocol};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// One rule: packets with the mark look into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Family.
    pub family: Family,
    /// Order among rules, least first.
    pub preference: u32,
    /// Mark; 0 if the rule does not look at it.
    pub mark: u32,
    /// Which bits of the mark count.
    pub mask: u32,
    /// Table to look into; 0 for a rule with another action.
    pub table: u32,
    /// Who made it (`FRA_PROTOCOL`).
    pub protocol: u8,
}

impl Socket {
    /// All rules of a family.
    pub fn rules(&mut self, family: Family) -> Result<Vec<Rule>, NetlinkError> {
        let mut message = RuleMessage::default();
        message.header.family = family_of(family);
        let found = match self.dump("routing rules", &RouteNetlinkMessage::GetRule(message)) {
            // Without IPv6 (or without rules in the kernel at all) there is nothing to list.
            Err(error) if error.is_unsupported() => Vec::new(),
            other => other?,
        };
        Ok(found.iter().filter_map(|message| decode(message, family)).collect())
    }

    /// Adds a rule; fails if the same is there.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        let name = name_of(rule);
        let task = Task { operation: "add routing rule", object: &name };
        let message = RouteNetlinkMessage::NewRule(message_of(rule));
        self.change(&task, message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes a rule.
    pub fn remove_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        let name = name_of(rule);
        let task = Task { operation: "remove routing rule", object: &name };
        self.change(&task, RouteNetlinkMessage::DelRule(message_of(rule)), 0)
    }
}

fn name_of(rule: &Rule) -> String {
    format!("{} fwmark {:#x} table {}", rule.family, rule.mark, rule.table)
}

const fn family_of(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn message_of(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family_of(rule.family);
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes = vec![
        RuleAttribute::Priority(rule.preference),
        RuleAttribute::FwMark(rule.mark),
        RuleAttribute::FwMask(rule.mask),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::from(rule.protocol)),
    ];
    message
}

fn decode(message: &RouteNetlinkMessage, family: Family) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    let table = u32::from(message.header.table);
    let mut rule = Rule { family, preference: 0, mark: 0, mask: 0, table, protocol: 0 };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(preference) => rule.preference = *preference,
            RuleAttribute::FwMark(mark) => rule.mark = *mark,
            RuleAttribute::FwMask(mask) => rule.mask = *mask,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) => rule.protocol = u8::from(*protocol),
            _ => {}
        }
    }
    Some(rule)
}
