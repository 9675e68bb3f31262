//! One transaction that makes what is there into what should be, touching only what differs.

use crate::render::{ChainHead, Elements, RuleText, SetHead, render_table, set_word};
use hopsack_types::firewall::{Chain, Field, Firewall, Set};
use hopsack_types::numbers::NFT_TABLE;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What `nft -f -` is given, and how many objects it changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub text: String,
    pub changes: u64,
    /// Whether the table is made anew, whatever is there.
    pub whole: bool,
}

impl Transaction {
    /// The smallest transaction. Where something cannot be changed in place (a chain's hook, a set's fields), the
    /// whole table is replaced, in the same transaction.
    pub fn between(observed: &Firewall, desired: &Firewall) -> Self {
        if observed == desired {
            return Self::default();
        }
        if *desired == Firewall::default() || !changeable_in_place(observed, desired) {
            return Self::replacing(observed, desired);
        }
        let mut transaction = Self::default();
        transaction.line(format_args!("add table inet {NFT_TABLE}"));
        transaction.add_sets_and_chains(observed, desired);
        transaction.empty_chains(observed, desired);
        // Prefixes may have been cut up or joined, so what leaves a set leaves before what enters it.
        transaction.change_elements("delete", desired, observed);
        transaction.change_elements("add", observed, desired);
        transaction.fill_chains(observed, desired);
        for (name, set) in observed.sets.iter().filter(|(name, _)| !desired.sets.contains_key(*name)) {
            transaction.changes += 1;
            transaction.line(format_args!("delete {} inet {NFT_TABLE} {name}", set_word(set)));
        }
        transaction
    }

    /// The table as a whole, whatever is there.
    pub fn replacing(observed: &Firewall, desired: &Firewall) -> Self {
        let mut text = removal();
        if *desired != Firewall::default() {
            text.push_str(&render_table(desired));
        }
        Self { text, changes: size(observed).max(size(desired)).max(1), whole: true }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{line}");
    }

    fn add_sets_and_chains(&mut self, observed: &Firewall, desired: &Firewall) {
        for (name, set) in desired.sets.iter().filter(|(name, _)| !observed.sets.contains_key(*name)) {
            self.changes += 1;
            self.line(format_args!("add {} inet {NFT_TABLE} {name} {{\n{}}}", set_word(set), SetHead(set)));
        }
        for (name, chain) in desired.chains.iter().filter(|(name, _)| !observed.chains.contains_key(*name)) {
            self.changes += 1;
            self.line(format_args!("add chain inet {NFT_TABLE} {name} {{\n{}}}", ChainHead(chain)));
        }
    }

    /// Empties all chains that change or go before any goes, since they may jump to each other.
    fn empty_chains(&mut self, observed: &Firewall, desired: &Firewall) {
        for name in observed.chains.keys().filter(|name| rules_differ(observed, desired, name)) {
            self.line(format_args!("flush chain inet {NFT_TABLE} {name}"));
        }
        for name in observed.chains.keys().filter(|name| !desired.chains.contains_key(*name)) {
            self.changes += 1;
            self.line(format_args!("delete chain inet {NFT_TABLE} {name}"));
        }
    }

    fn fill_chains(&mut self, observed: &Firewall, desired: &Firewall) {
        for (name, chain) in desired.chains.iter().filter(|(name, _)| rules_differ(observed, desired, name)) {
            self.changes += u64::from(observed.chains.contains_key(name));
            for rule in &chain.rules {
                self.line(format_args!("add rule inet {NFT_TABLE} {name} {}", RuleText(rule)));
            }
        }
    }

    /// Elements that `to` has and `from` has not, of the sets that stay or are new in `to`.
    fn change_elements(&mut self, verb: &str, from: &Firewall, to: &Firewall) {
        for (name, set) in &to.sets {
            if verb == "delete" && !from.sets.contains_key(name) {
                continue;
            }
            let none = BTreeSet::new();
            let before = from.sets.get(name).map_or(&none, |set| &set.elements);
            let elements: Vec<&Vec<Field>> = set.elements.difference(before).collect();
            if elements.is_empty() {
                continue;
            }
            self.changes += elements.len() as u64;
            let elements = Elements { set, elements: elements.into_iter() };
            self.line(format_args!("{verb} element inet {NFT_TABLE} {name} {{ {elements} }}"));
        }
    }
}

/// Removes the table, also where there is none.
pub fn removal() -> String {
    format!("add table inet {NFT_TABLE}\ndelete table inet {NFT_TABLE}\n")
}

fn rules_differ(observed: &Firewall, desired: &Firewall, name: &str) -> bool {
    let rules = |firewall: &Firewall| firewall.chains.get(name).map(|chain| chain.rules.clone());
    rules(observed) != rules(desired)
}

fn changeable_in_place(observed: &Firewall, desired: &Firewall) -> bool {
    let same_hook = |name: &String, chain: &Chain| {
        observed.chains.get(name).is_none_or(|observed| observed.hook == chain.hook)
    };
    let same_fields = |name: &String, set: &Set| {
        let kind = |set: &Set| (set.fields.clone(), set.data.clone(), set.interval);
        observed.sets.get(name).is_none_or(|observed| kind(observed) == kind(set))
    };
    desired.chains.iter().all(|(name, chain)| same_hook(name, chain))
        && desired.sets.iter().all(|(name, set)| same_fields(name, set))
}

fn size(firewall: &Firewall) -> u64 {
    let elements: usize = firewall.sets.values().map(|set| set.elements.len()).sum();
    (firewall.chains.len() + firewall.sets.len() + elements) as u64
}
