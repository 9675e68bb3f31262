//! Tests against a real kernel: what was applied reads back the same. Each works in a network namespace of its own,
//! and says SKIP where that or `nft` is not to be had.

use crate::Nft;
use crate::difference::Transaction;
use hopsack_lab::require;
use hopsack_types::firewall::{Chain, ChainKind, Field, FieldKind, Firewall, Hook, HookPoint, Rule, Set};
use hopsack_types::{Cidr, Family, IfName, Mac, Protocol};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Runs a test on a thread in a fresh network namespace.
fn in_namespace(test: impl FnOnce(&Nft) + Send) {
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            test(&Nft::find().unwrap());
        });
        thread.join()
    });
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

fn prefix(text: &str) -> Field {
    Field::Prefix(text.parse().unwrap())
}

fn small_firewall() -> Firewall {
    let hook = Hook { kind: ChainKind::Filter, point: HookPoint::Forward, priority: -10 };
    let chain = Chain {
        hook: Some(hook),
        rules: vec![
            Rule::new("sources of ours", "ip saddr @cluster4 jump isolation"),
            Rule::new("the rest", "ip daddr @cluster4 counter drop"),
        ],
    };
    let isolation = Chain { hook: None, rules: vec![Rule::new("replies", "ct state established accept")] };
    let cluster = Set {
        fields: vec![FieldKind::Address(Family::V4)],
        data: Vec::new(),
        interval: true,
        elements: BTreeSet::from([vec![prefix("10.32.0.0/16")], vec![prefix("10.33.0.7/32")]]),
    };
    Firewall {
        chains: BTreeMap::from([("forwarded".to_owned(), chain), ("isolation".to_owned(), isolation)]),
        sets: BTreeMap::from([("cluster4".to_owned(), cluster)]),
    }
}

#[test]
fn a_missing_table_reads_as_an_empty_firewall_and_removes_as_nothing() {
    require!(Root, Nft);
    in_namespace(|nft| {
        assert_eq!(nft.observe().unwrap(), Firewall::default());
        nft.remove().unwrap();
        assert_eq!(nft.apply(&Firewall::default(), &Firewall::default()).unwrap(), 0);
    });
}

#[test]
fn what_was_applied_reads_back_the_same_and_needs_nothing_more() {
    require!(Root, Nft);
    in_namespace(|nft| {
        let desired = small_firewall();
        assert!(nft.apply(&Firewall::default(), &desired).unwrap() > 0);
        let observed = nft.observe().unwrap();
        assert_eq!(observed, desired);
        assert_eq!(nft.apply(&observed, &desired).unwrap(), 0);
        nft.apply(&observed, &Firewall::default()).unwrap();
        assert_eq!(nft.observe().unwrap(), Firewall::default());
    });
}

#[test]
fn a_changed_rule_refills_its_chain_only() {
    let (before, mut after) = (small_firewall(), small_firewall());
    after.chains.get_mut("isolation").unwrap().rules.push(Rule::new("last", "drop"));
    let transaction = Transaction::between(&before, &after);
    assert_eq!(transaction.changes, 1);
    assert!(!transaction.text.contains("forwarded"), "{}", transaction.text);
}

#[test]
fn another_hook_replaces_the_table_and_is_applied() {
    require!(Root, Nft);
    in_namespace(|nft| {
        let (before, mut after) = (small_firewall(), small_firewall());
        after.chains.get_mut("forwarded").unwrap().hook.as_mut().unwrap().priority = -20;
        nft.apply(&Firewall::default(), &before).unwrap();
        nft.apply(&nft.observe().unwrap(), &after).unwrap();
        assert_eq!(nft.observe().unwrap(), after);
    });
}

#[test]
fn what_a_person_broke_by_hand_is_repaired() {
    require!(Root, Nft);
    in_namespace(|nft| {
        let desired = small_firewall();
        for broken_by in [
            "flush ruleset",
            "flush chain inet hopsack forwarded",
            "insert rule inet hopsack isolation accept",
            "flush set inet hopsack cluster4",
            "add element inet hopsack cluster4 { 10.40.0.1-10.40.0.6 }",
            "add chain inet hopsack strange; add rule inet hopsack isolation jump strange",
            "add set inet hopsack strange { type ipv4_addr; }",
            "add map inet hopsack strange { type ipv4_addr : verdict; }",
            "add map inet hopsack strange { type ipv4_addr : ipv4_addr; elements = { 10.0.0.1 : 10.0.0.2 }; }",
        ] {
            nft.apply(&nft.observe().unwrap(), &desired).unwrap();
            nft.commit(broken_by).unwrap();
            assert_ne!(nft.observe().unwrap(), desired, "{broken_by} was not seen");
            nft.apply(&nft.observe().unwrap(), &desired).unwrap();
            assert_eq!(nft.observe().unwrap(), desired, "{broken_by} was not repaired");
        }
    });
}

#[test]
fn a_refused_change_falls_back_to_the_whole_table() {
    require!(Root, Nft);
    in_namespace(|nft| {
        let desired = small_firewall();
        nft.apply(&Firewall::default(), &desired).unwrap();
        let stale = nft.observe().unwrap();
        nft.commit("flush ruleset").unwrap();
        let mut after = desired;
        after.chains.get_mut("isolation").unwrap().rules.clear();
        nft.apply(&stale, &after).unwrap();
        assert_eq!(nft.observe().unwrap(), after);
    });
}

#[test]
fn a_rule_that_nft_does_not_understand_is_an_error_and_changes_nothing() {
    require!(Root, Nft);
    in_namespace(|nft| {
        let mut wrong = small_firewall();
        nft.apply(&Firewall::default(), &wrong).unwrap();
        wrong.chains.get_mut("isolation").unwrap().rules = vec![Rule::new("wrong", "do what I mean")];
        let error = nft.apply(&nft.observe().unwrap(), &wrong).unwrap_err().to_string();
        assert!(error.starts_with("nft refused") && error.contains("stdin:"), "{error}");
        assert_eq!(nft.observe().unwrap(), small_firewall());
    });
}

fn address() -> impl Strategy<Value = (Family, IpAddr)> {
    // Few distinct bits, so that prefixes meet, touch and nest.
    prop_oneof![
        (0..16u32, 0..4u32)
            .prop_map(|(a, b)| (Family::V4, IpAddr::from((0x0a20_0000 | a << 8 | b).to_be_bytes()))),
        (0..16u128, 0..4u128)
            .prop_map(|(a, b)| (Family::V6, IpAddr::from((0xfd00 << 112 | a << 64 | b).to_be_bytes()))),
    ]
}

/// Disjoint prefixes of one family.
fn prefixes(family: Family) -> impl Strategy<Value = BTreeSet<Cidr>> {
    proptest::collection::vec((address(), 0..8u8), 0..24).prop_map(move |drawn| {
        let mut disjoint = BTreeSet::new();
        for ((of, address), length) in drawn {
            let short = if of == Family::V4 { 20 } else { 60 };
            let prefix = Cidr::around(address, if length == 7 { of.bits() } else { short + length });
            if of == family && !disjoint.iter().any(|other: &Cidr| other.overlaps(&prefix)) {
                disjoint.insert(prefix);
            }
        }
        disjoint
    })
}

fn sets() -> impl Strategy<Value = BTreeMap<String, Set>> {
    let interval = |name: &'static str, fields: Vec<FieldKind>, first: Vec<Field>, family| {
        prefixes(family).prop_map(move |prefixes| {
            let mut elements = BTreeSet::new();
            for prefix in prefixes {
                let part =
                    (fields.len() > 1).then(|| first[usize::from(prefix.length()) % first.len()].clone());
                elements.insert(part.into_iter().chain([Field::Prefix(prefix)]).collect());
            }
            (name.to_owned(), Set { fields: fields.clone(), data: Vec::new(), interval: true, elements })
        })
    };
    let v4 = FieldKind::Address(Family::V4);
    let hosts = vec![prefix("192.0.2.1/32"), prefix("192.0.2.2/32")];
    let links: Vec<_> = ["eth0", "hopvxlan"].map(|name| Field::Interface(IfName::new(name).unwrap())).into();
    let mac = Field::Mac(Mac::from_bytes([2, 0, 0, 0, 0, 1]));
    (
        interval("cluster4", vec![v4], vec![], Family::V4),
        interval("cluster6", vec![FieldKind::Address(Family::V6)], vec![], Family::V6),
        interval("inner4", vec![v4, FieldKind::InnerSource(Family::V4)], hosts.clone(), Family::V4),
        interval("inner6", vec![v4, FieldKind::InnerSource(Family::V6)], hosts, Family::V6),
        interval("sources4", vec![FieldKind::Interface, v4], links.clone(), Family::V4),
        (proptest::collection::btree_set(address(), 0..9), any::<bool>()).prop_map(move |(drawn, with)| {
            let fields = vec![FieldKind::Interface, FieldKind::Mac, v4];
            let exact = |(family, address)| {
                (family == Family::V4 && with)
                    .then(|| vec![links[0].clone(), mac.clone(), Field::Address(address)])
            };
            let elements = drawn.into_iter().filter_map(exact).collect();
            ("exact".to_owned(), Set { fields, data: Vec::new(), interval: false, elements })
        }),
        maps(),
    )
        .prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].into_iter().collect())
}

/// A map whose keys lead to other values from one draw to the next.
fn maps() -> impl Strategy<Value = (String, Set)> {
    let (key, value) = ((0..3usize, 1..5u16), (1..4u8, 1..3u16));
    proptest::collection::btree_map(key, value, 0..6).prop_map(|drawn| {
        let elements = drawn.into_iter().map(|((protocol, port), (address, to))| {
            let key = [Field::Protocol(Protocol::ALL[protocol]), Field::Port(port)];
            let value = [Field::Address(IpAddr::from([10, 0, 0, address])), Field::Port(to)];
            key.into_iter().chain(value).collect()
        });
        let (fields, data) = (
            vec![FieldKind::Protocol, FieldKind::Port],
            vec![FieldKind::Address(Family::V4), FieldKind::Port],
        );
        ("ports".to_owned(), Set { fields, data, interval: false, elements: elements.collect() })
    })
}

fn firewalls() -> impl Strategy<Value = Firewall> {
    (sets(), proptest::collection::vec(0..4usize, 0..4), any::<[bool; 3]>()).prop_map(
        |(sets, rules, some)| {
            const BODIES: [&str; 4] = [
                "ip saddr @cluster4 accept",
                "udp dport 4678 ip saddr . @th,304,128 @inner6 accept",
                "iifname . ip saddr @sources4 counter drop",
                "ct state established accept",
            ];
            let rules: Vec<_> =
                rules.into_iter().map(|i| Rule::new(format!("rule {i}"), BODIES[i])).collect();
            let hook = Hook { kind: ChainKind::Filter, point: HookPoint::Prerouting, priority: -300 };
            let mut chains = BTreeMap::from([
                ("always".to_owned(), Chain { hook: Some(hook), rules: vec![] }),
                ("plain_a".to_owned(), Chain { hook: None, rules: rules.clone() }),
            ]);
            if some[0] {
                chains.insert("plain_b".to_owned(), Chain { hook: None, rules });
                let jump = Rule::new("jump", "jump plain_b");
                chains.entry("always".to_owned()).or_default().rules.push(jump);
            }
            let keep = |name: &str| some[1] || !name.starts_with("exact");
            Firewall { chains, sets: sets.into_iter().filter(|(name, _)| keep(name)).collect() }
        },
    )
}

#[test]
fn any_firewall_is_made_into_any_other_by_its_smallest_change() {
    require!(Root, Nft);
    in_namespace(|nft| {
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(config).run(&(firewalls(), firewalls()), |(first, second)| {
            nft.remove().unwrap();
            for desired in [first, second] {
                let transaction = Transaction::between(&nft.observe().unwrap(), &desired);
                if let Err(error) = nft.commit(&transaction.text) {
                    return Err(TestCaseError::fail(format!("{error}\n{}", transaction.text)));
                }
                let observed = nft.observe().unwrap();
                prop_assert_eq!(&observed, &desired, "after\n{}", transaction.text);
                prop_assert_eq!(Transaction::between(&observed, &desired).changes, 0);
            }
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    });
}
