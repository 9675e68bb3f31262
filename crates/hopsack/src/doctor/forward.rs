//! Chains of others on nftables' forward hook, and whether what Hopsack accepts passes them: `nft -j` is read
//! (libnftables-json(5)).
//!
//! A packet passes a hook only if every chain there lets it. What must not live here: chains that `iptables` and
//! firewalld write, in which the agent's own rule stands.

use hopsack_types::numbers::{ACCEPT_MARK, NFT_TABLE};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A chain on the forward hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its family, table and name, as `nft` takes them.
    pub name: String,
    /// What becomes of what Hopsack accepts.
    pub fate: Fate,
}

/// What a chain does with packets that carry our mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They pass.
    Pass,
    /// Some rule may drop some of them.
    MayDrop,
    /// What no rule accepts is dropped.
    Drop,
}

/// Tables whose forward chains the agent's rule stands in.
const TENDED: [(&str, &str); 3] = [("ip", "filter"), ("ip6", "filter"), ("inet", "firewalld")];

/// The chains of one ruleset, those that the agent tends left out.
pub fn chains(ruleset: &Value) -> Vec<Chain> {
    let objects = || ruleset["nftables"].as_array().into_iter().flatten();
    let mut rules: BTreeMap<[&str; 3], Vec<&Value>> = BTreeMap::new();
    for rule in objects().filter_map(|object| object.get("rule")) {
        rules.entry(place(rule, "chain")).or_default().push(&rule["expr"]);
    }
    objects()
        .filter_map(|object| object.get("chain"))
        .filter(|chain| chain["hook"] == "forward" && !is_tended(chain))
        .map(|chain| {
            let place = place(chain, "name");
            let fate = fate(place, chain["policy"] == "drop", &rules);
            Chain { name: place.join(" "), fate }
        })
        .collect()
}

/// Family, table and chain of an object.
fn place<'a>(object: &'a Value, chain: &str) -> [&'a str; 3] {
    ["family", "table", chain].map(|key| object[key].as_str().unwrap_or_default())
}

fn is_tended(chain: &Value) -> bool {
    let [family, table, _] = place(chain, "name");
    TENDED.contains(&(family, table)) || (family == "inet" && table == NFT_TABLE)
}

type Rules<'a> = BTreeMap<[&'a str; 3], Vec<&'a Value>>;

fn fate(place: [&str; 3], drops: bool, rules: &Rules<'_>) -> Fate {
    for rule in rules.get(&place).into_iter().flatten() {
        if accepts_mark(rule) {
            return Fate::Pass;
        }
        if may_drop(place, rule, rules, &mut BTreeSet::new()) {
            return if drops { Fate::Drop } else { Fate::MayDrop };
        }
    }
    if drops { Fate::Drop } else { Fate::Pass }
}

/// Whether a rule is one that lets all pass that carries our mark.
fn accepts_mark(rule: &Value) -> bool {
    let statements = || rule.as_array().into_iter().flatten();
    let matches: Vec<&Value> = statements().filter_map(|statement| statement.get("match")).collect();
    let accepts = statements().any(|statement| statement.get("accept").is_some());
    let [only] = matches[..] else { return false };
    accepts && is_our_mark(only)
}

/// `mark 0x8000000`, `mark & 0x8000000 == 0x8000000` or `mark & 0x8000000 != 0`, as `nft` writes them.
fn is_our_mark(test: &Value) -> bool {
    let ours = |value: &Value| value.as_u64() == Some(u64::from(ACCEPT_MARK));
    let is_mark = |value: &Value| value["meta"]["key"] == "mark";
    let (left, right) = (&test["left"], &test["right"]);
    let masked =
        left["&"].as_array().is_some_and(|parts| parts.iter().any(is_mark) && parts.iter().any(ours));
    match test["op"].as_str() {
        Some("==") => (is_mark(left) || masked) && ours(right),
        Some("!=") => masked && right.as_u64() == Some(0),
        _ => false,
    }
}

/// Whether a rule, or a chain that it leads to, drops anything.
fn may_drop<'a>(
    [family, table, _]: [&'a str; 3],
    rule: &'a Value,
    rules: &Rules<'a>,
    seen: &mut BTreeSet<[&'a str; 3]>,
) -> bool {
    rule.as_array().into_iter().flatten().any(|statement| {
        if ["drop", "reject", "queue", "vmap"].iter().any(|verdict| statement.get(verdict).is_some()) {
            return true;
        }
        let target = ["jump", "goto"].iter().find_map(|word| statement[word]["target"].as_str());
        let Some(target) = target.map(|chain| [family, table, chain]) else { return false };
        let mut inside = rules.get(&target).into_iter().flatten();
        seen.insert(target) && inside.any(|rule| may_drop(target, rule, rules, seen))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(family: &str, table: &str, name: &str, hook: &str, policy: &str) -> Value {
        json!({"chain": {"family": family, "table": table, "name": name, "hook": hook, "prio": 0, "policy": policy}})
    }

    fn rule(chain: &str, statements: &[Value]) -> Value {
        json!({"rule": {"family": "inet", "table": "mine", "chain": chain, "expr": statements}})
    }

    fn mark(op: &str, right: u32) -> Value {
        json!({"match": {"op": op, "left": {"&": [{"meta": {"key": "mark"}}, ACCEPT_MARK]}, "right": right}})
    }

    fn fates(policy: &str, rules: &[Value]) -> Vec<(String, Fate)> {
        let mut objects = vec![chain("inet", "mine", "forward", "forward", policy)];
        objects.extend_from_slice(rules);
        let found = chains(&json!({ "nftables": objects })).into_iter();
        found.map(|chain| (chain.name, chain.fate)).collect()
    }

    fn fate_of(policy: &str, rules: &[Value]) -> Fate {
        let found = fates(policy, rules);
        assert_eq!((found.len(), found[0].0.as_str()), (1, "inet mine forward"), "{found:?}");
        found[0].1
    }

    #[test]
    fn a_policy_that_drops_lets_pass_only_what_a_rule_for_the_mark_accepts() {
        assert_eq!(fate_of("accept", &[]), Fate::Pass);
        assert_eq!(fate_of("drop", &[]), Fate::Drop);
        let accept = json!({ "accept": null });
        let interface = json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth9"}});
        assert_eq!(fate_of("drop", &[rule("forward", &[interface.clone(), accept.clone()])]), Fate::Drop);
        for test in [mark("==", ACCEPT_MARK), mark("!=", 0)] {
            assert_eq!(fate_of("drop", &[rule("forward", &[test.clone(), accept.clone()])]), Fate::Pass);
            let narrow = rule("forward", &[interface.clone(), test, accept.clone()]);
            assert_eq!(fate_of("drop", &[narrow]), Fate::Drop, "only what comes in there");
        }
    }

    #[test]
    fn a_rule_that_drops_counts_unless_the_mark_was_accepted_before() {
        let drops = rule("forward", &[json!({ "drop": null })]);
        let passes = rule("forward", &[mark("!=", 0), json!({ "accept": null })]);
        assert_eq!(fate_of("accept", std::slice::from_ref(&drops)), Fate::MayDrop);
        assert_eq!(fate_of("accept", &[passes.clone(), drops.clone()]), Fate::Pass);
        assert_eq!(fate_of("accept", &[drops, passes]), Fate::MayDrop);
        let jump = rule("forward", &[json!({"jump": {"target": "other"}})]);
        assert_eq!(fate_of("accept", std::slice::from_ref(&jump)), Fate::Pass);
        let inside = rule("other", &[json!({ "reject": null })]);
        assert_eq!(fate_of("accept", &[jump.clone(), inside]), Fate::MayDrop);
        let circle = rule("other", &[json!({"jump": {"target": "other"}})]);
        assert_eq!(fate_of("accept", &[jump, circle]), Fate::Pass);
    }

    #[test]
    fn chains_of_other_hooks_and_those_that_the_agent_tends_are_left_out() {
        let others = [
            chain("inet", "mine", "input", "input", "drop"),
            chain("ip", "filter", "FORWARD", "forward", "drop"),
            chain("inet", "firewalld", "filter_FORWARD", "forward", "accept"),
            chain("inet", "hopsack", "forward", "forward", "drop"),
        ];
        assert_eq!(fates("accept", &others).len(), 1);
    }
}
