//! Laws that records keep for every history of a writer and every way in which its batches travel.

use crate::exchange::exchange;
use crate::keys::{Key, Keys, endpoint, fact, host, revision};
use hopsack_gossip::{Batch, RecordChange, Records, Source};
use hopsack_types::Incarnation;
use hopsack_types::fact::{Fact, FactKey};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;

const KEYS: Keys = Keys { hosts: 4 };
const WRITER: u16 = 0;
/// Keys below this are stated at the begin of every incarnation and never withdrawn.
const KEPT: u32 = 2;

/// One step of the writer.
#[derive(Debug, Clone)]
enum Step {
    Set(u32, u32),
    Clear(u32),
    Flush,
    Complete,
    /// With its own batches from disk, or after having lost them.
    Restart {
        disk: bool,
    },
    IntentGrows,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (KEPT..8u32, any::<u32>()).prop_map(|(key, value)| Step::Set(key, value)),
        8 => (KEPT..8u32).prop_map(Step::Clear),
        12 => Just(Step::Flush),
        2 => Just(Step::Complete),
        1 => any::<bool>().prop_map(|disk| Step::Restart { disk }),
        1 => Just(Step::IntentGrows),
    ]
}

/// What the writer has sent, and what must be so in the end.
struct History {
    batches: Vec<Batch>,
    truth: BTreeMap<FactKey, Fact>,
    last_intent: u64,
}

/// Plays a history on a real writer beside the simplest model of it: a map of what this incarnation has said. In the
/// end the incarnation completes its set, so the map is all that is so.
fn play(steps: &[Step]) -> History {
    let mut incarnation = 1;
    let mut intent = 0;
    let mut records = Records::new(host(WRITER), Incarnation(incarnation));
    let mut batches: Vec<Batch> = Vec::new();
    let mut said = BTreeMap::new();
    let keep = |records: &mut Records, said: &mut BTreeMap<FactKey, Fact>| {
        for key in 0..KEPT {
            records.set_local(endpoint(key), Some(fact(key))).unwrap();
            said.insert(endpoint(key), fact(key));
        }
    };
    let flush = |records: &mut Records, batches: &mut Vec<Batch>, intent| {
        batches.extend(std::iter::from_fn(|| records.flush(&Key(host(WRITER)), revision(intent)).unwrap()));
    };
    keep(&mut records, &mut said);
    for step in steps {
        match step {
            Step::Set(key, value) => {
                records.set_local(endpoint(*key), Some(fact(*value))).unwrap();
                said.insert(endpoint(*key), fact(*value));
            }
            Step::Clear(key) => {
                records.set_local(endpoint(*key), None).unwrap();
                said.remove(&endpoint(*key));
            }
            Step::Flush => flush(&mut records, &mut batches, intent),
            Step::Complete => records.complete_local(),
            Step::Restart { disk } => {
                said.clear();
                incarnation += 1;
                let disk = if *disk { records.export() } else { Vec::new() };
                records = Records::new(host(WRITER), Incarnation(incarnation));
                records.apply(disk, Source::Sync, &KEYS);
                keep(&mut records, &mut said);
            }
            Step::IntentGrows => intent += 1,
        }
    }
    records.complete_local();
    flush(&mut records, &mut batches, intent);
    History { batches, truth: said, last_intent: intent }
}

fn reader(batches: &[Batch]) -> Records {
    let mut reader = Records::new(host(1), Incarnation(1));
    let rejected = reader.apply(batches.to_vec(), Source::Sync, &KEYS).rejected;
    assert!(rejected.is_empty(), "{rejected:?}");
    reader
}

fn merge(into: &Records, from: &Records) -> Records {
    let mut merged = into.clone();
    merged.apply(from.export(), Source::Sync, &KEYS);
    merged
}

fn facts(records: &Records) -> BTreeMap<FactKey, Fact> {
    records.facts().map(|(_, key, fact)| (*key, fact.clone())).collect()
}

/// Everything of a reader's state that others can see.
fn state(records: &Records) -> (Vec<Batch>, BTreeMap<FactKey, Fact>) {
    (records.export(), facts(records))
}

fn show_all(records: &mut Records, history: &History) -> Vec<RecordChange> {
    records.intent_advanced(revision(history.last_intent))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_repetition_of_batches_ends_in_what_the_writer_says(
        steps in vec(step(), 1..300),
        picks in vec(any::<Index>(), 0..200),
        shuffle in any::<prop::sample::Selector>(),
    ) {
        let history = play(&steps);
        let mut in_order = reader(&history.batches);
        show_all(&mut in_order, &history);
        prop_assert_eq!(&facts(&in_order), &history.truth);

        let mut order: Vec<&Batch> = history.batches.iter().collect();
        order.extend(picks.iter().map(|pick| pick.get(&history.batches)));
        let mut shuffled = Vec::new();
        while !order.is_empty() {
            let chosen = shuffle.select(0..order.len());
            shuffled.push(order.swap_remove(chosen).clone());
        }
        let mut out_of_order = reader(&shuffled);
        show_all(&mut out_of_order, &history);
        prop_assert_eq!(out_of_order.hash(), in_order.hash());
        prop_assert_eq!(state(&out_of_order), state(&in_order));
    }

    #[test]
    fn what_the_writer_never_gave_up_never_vanishes_on_the_way(
        steps in vec(step(), 1..300),
        swaps in vec((any::<Index>(), any::<Index>()), 0..100),
        advance in vec(any::<Index>(), 0..20),
    ) {
        let history = play(&steps);
        let mut batches = history.batches.clone();
        for (a, b) in swaps {
            let (a, b) = (a.index(batches.len()), b.index(batches.len()));
            batches.swap(a, b);
        }
        let mut reader = Records::new(host(1), Incarnation(1));
        let mut changes = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            changes.extend(reader.apply(vec![batch.clone()], Source::Push, &KEYS).changes);
            if advance.iter().any(|index| index.index(batches.len()) == at) {
                changes.extend(reader.intent_advanced(revision(at as u64 % (history.last_intent + 1))));
            }
        }
        changes.extend(show_all(&mut reader, &history));
        let lost = changes.iter().find(|change| change.new.is_none() && (0..KEPT).any(|key| change.key == endpoint(key)));
        prop_assert_eq!(lost, None);
        prop_assert_eq!(facts(&reader), history.truth);
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        steps in vec(step(), 1..200),
        owners in vec(select(vec![1u8, 2, 3, 4, 5, 6, 7]), 300),
    ) {
        let history = play(&steps);
        let part = |bit: u8| {
            let mine = history.batches.iter().zip(&owners).filter(|(_, owner)| *owner & bit != 0);
            let mut part = reader(&mine.map(|(batch, _)| batch.clone()).collect::<Vec<_>>());
            show_all(&mut part, &history);
            part
        };
        let (a, b, c) = (part(1), part(2), part(4));
        prop_assert_eq!(state(&merge(&a, &b)), state(&merge(&b, &a)));
        prop_assert_eq!(state(&merge(&merge(&a, &b), &c)), state(&merge(&a, &merge(&b, &c))));
        prop_assert_eq!(state(&merge(&a, &a)), state(&a));
        prop_assert_eq!(merge(&merge(&a, &b), &c).hash(), merge(&c, &merge(&b, &a)).hash());
    }

    #[test]
    fn exchanges_bring_hosts_that_missed_different_pushes_together(
        steps in vec(step(), 1..200),
        owners in vec(0..16u8, 300),
        pairs in vec((0..4usize, 0..4usize), 0..6),
        page in 1..4000usize,
    ) {
        let history = play(&steps);
        let mut hosts: Vec<Records> = (0..4).map(|n| {
            let mine = history.batches.iter().zip(&owners).filter(|(_, owner)| *owner & (1 << n) != 0);
            reader(&mine.map(|(batch, _)| batch.clone()).collect::<Vec<_>>())
        }).collect();
        // Some at random, then everybody with everybody twice: once for what lies ahead, once for what lies in gaps.
        let all = (0..2).flat_map(|_| (0..4).flat_map(|a| (0..4).map(move |b| (a, b))));
        for (a, b) in pairs.into_iter().chain(all) {
            if a < b {
                let (left, right) = hosts.split_at_mut(b);
                exchange(&mut left[a], &mut right[0], page, &KEYS);
            }
        }
        for host in &mut hosts {
            show_all(host, &history);
        }
        for host in &hosts[1..] {
            prop_assert_eq!(host.hash(), hosts[0].hash());
            prop_assert_eq!(state(host), state(&hosts[0]));
        }
    }
}
