//! Properties of the pure state machine.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use hopsack_store::{Event, Expected, KvState, Txn, TxnOutcome};
use hopsack_types::Revision;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: [&str; 5] = ["a", "a/1", "a/2", "b/1", "c"];

/// A transaction as a test draws it. `Stale` guards by the revision that the key had when the sequence began to
/// know it, which may or may not be current.
#[derive(Debug, Clone)]
enum Wish {
    Absent(usize),
    Exists(usize),
    Current(usize),
    Stale(usize),
}

fn wish() -> impl Strategy<Value = Wish> {
    let key = 0..KEYS.len();
    prop_oneof![
        key.clone().prop_map(Wish::Absent),
        key.clone().prop_map(Wish::Exists),
        key.clone().prop_map(Wish::Current),
        key.prop_map(Wish::Stale),
    ]
}

type Step = (Vec<Wish>, Vec<(usize, Option<u8>)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = prop::collection::vec((0..KEYS.len(), prop::option::of(any::<u8>())), 0..4);
    prop::collection::vec((prop::collection::vec(wish(), 0..2), writes), 0..60)
}

fn txn(state: &KvState, (wishes, writes): &Step) -> Txn {
    let mut txn = Txn::new();
    for wish in wishes {
        txn = match *wish {
            Wish::Absent(key) => txn.guard(KEYS[key], Expected::Absent),
            Wish::Exists(key) => txn.guard(KEYS[key], Expected::Exists),
            Wish::Current(key) => txn.unchanged(KEYS[key], state.get(KEYS[key])),
            Wish::Stale(key) => txn.guard(KEYS[key], Expected::ModifiedAt(Revision { epoch: 1, index: 1 })),
        };
    }
    for (key, value) in writes {
        txn = match value {
            Some(byte) => txn.put(KEYS[*key], vec![*byte]),
            None => txn.delete(KEYS[*key]),
        };
    }
    txn
}

proptest! {
    #[test]
    fn a_reader_that_applies_what_it_is_told_always_equals_the_state(
        steps in steps(),
        limit in 0..12usize,
        polls in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut state = KvState::new(1).with_history_limit(limit);
        let mut reader = KvState::new(0).with_history_limit(3);
        // A second reader follows the first, as replicas may be chained.
        let mut second = KvState::new(0);
        for (step, poll) in steps.iter().zip(polls) {
            state.apply(txn(&state, step));
            if poll {
                if let Some(event) = state.changes_since(reader.revision()) {
                    reader.absorb(event).unwrap();
                }
                prop_assert_eq!(&reader, &state);
                if let Some(event) = reader.changes_since(second.revision()) {
                    second.absorb(event).unwrap();
                }
                prop_assert_eq!(&second, &state);
            }
        }
    }

    #[test]
    fn a_replay_gives_the_identical_state_and_the_same_answers(steps in steps()) {
        let mut first = KvState::new(7);
        let mut log = Vec::new();
        for step in &steps {
            let txn = txn(&first, step);
            log.push((txn.clone(), first.apply(txn)));
        }
        let mut again = KvState::new(7).with_history_limit(1);
        for (txn, answer) in log {
            prop_assert_eq!(again.apply(txn), answer);
        }
        prop_assert_eq!(&first, &again);
        prop_assert_eq!(first.to_bytes().unwrap(), again.to_bytes().unwrap());
        prop_assert_eq!(&KvState::from_bytes(&first.to_bytes().unwrap()).unwrap(), &first);
    }

    #[test]
    fn guards_and_writes_agree_with_a_plain_map(steps in steps()) {
        let mut state = KvState::new(1);
        let mut model: BTreeMap<String, (Vec<u8>, Revision)> = BTreeMap::new();
        for step in &steps {
            let before = state.revision();
            let txn = txn(&state, step);
            let broken = txn.guards.iter().find(|guard| {
                let found = model.get(&guard.key).map(|(_, modified)| *modified);
                match guard.expected {
                    Expected::Absent => found.is_some(),
                    Expected::Exists => found.is_none(),
                    Expected::ModifiedAt(revision) => found != Some(revision),
                }
            });
            let broken = broken.map(|guard| guard.key.clone());
            match (state.apply(txn), broken) {
                (TxnOutcome::Committed(at), None) => {
                    for (key, value) in &step.1 {
                        match value {
                            Some(byte) => drop(model.insert(KEYS[*key].to_owned(), (vec![*byte], at))),
                            None => drop(model.remove(KEYS[*key])),
                        }
                    }
                    prop_assert!(at.index <= before.index + 1);
                }
                (TxnOutcome::Conflict { key, found, at }, Some(expected)) => {
                    prop_assert_eq!(&key, &expected);
                    prop_assert_eq!(found, model.get(&key).map(|(_, modified)| *modified));
                    prop_assert_eq!((at, state.revision()), (before, before));
                }
                (answer, broken) => prop_assert!(false, "{answer:?} though the model says {broken:?}"),
            }
            let listed: Vec<_> =
                state.list("").entries.into_iter().map(|(k, e)| (k, (e.value, e.modified))).collect();
            prop_assert_eq!(listed, model.clone().into_iter().collect::<Vec<_>>());
            let prefixed: Vec<_> = state.list("a/").entries.into_keys().collect();
            prop_assert_eq!(prefixed, model.keys().filter(|k| k.starts_with("a/")).cloned().collect::<Vec<_>>());
        }
    }
}

fn put(state: &mut KvState, key: &str) -> Revision {
    match state.apply(Txn::new().put(key, "x")) {
        TxnOutcome::Committed(revision) => revision,
        conflict @ TxnOutcome::Conflict { .. } => panic!("{conflict:?}"),
    }
}

#[test]
fn a_transaction_is_never_split_when_history_is_forgotten() {
    let mut state = KvState::new(1).with_history_limit(2);
    let first = put(&mut state, "a");
    state.apply(Txn::new().put("b", "1").put("c", "1"));
    put(&mut state, "d");
    // Two of the three changes after `first` would fit, but one of them is half a transaction.
    assert!(matches!(state.changes_since(first), Some(Event::Snapshot(_))));
    let second = Revision { epoch: 1, index: 2 };
    assert!(
        matches!(state.changes_since(second), Some(Event::Changes { changes, .. }) if changes.len() == 1)
    );
}

#[test]
fn a_transaction_that_changes_nothing_takes_no_revision() {
    let mut state = KvState::new(1);
    let at = put(&mut state, "a");
    assert_eq!(state.apply(Txn::new()), TxnOutcome::Committed(at));
    assert_eq!(state.apply(Txn::new().delete("nothing")), TxnOutcome::Committed(at));
}

#[test]
fn another_epoch_is_a_full_resync_and_an_older_one_is_ignored() {
    let mut rebuilt = KvState::new(2);
    put(&mut rebuilt, "new");
    let mut reader = KvState::new(1);
    for _ in 0..5 {
        put(&mut reader, "old");
    }
    let old = reader.clone();
    reader.absorb(rebuilt.changes_since(reader.revision()).unwrap()).unwrap();
    assert_eq!(reader, rebuilt);
    reader.absorb(Event::Snapshot(old.snapshot().clone())).unwrap();
    assert_eq!(reader, rebuilt);
    assert_eq!(old.changes_since(rebuilt.revision()), None);
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    let mut state = KvState::new(1);
    let first = put(&mut state, "a");
    let second = put(&mut state, "b");
    put(&mut state, "c");
    let mut reader = KvState::new(1);
    let gap = reader.absorb(state.changes_since(second).unwrap()).unwrap_err();
    assert_eq!((gap.since, gap.own.index), (second, 0));
    assert_eq!(reader, KvState::new(1));
    // What overlaps is no gap: only the new part counts.
    let early = state.changes_since(Revision { epoch: 1, index: 0 }).unwrap();
    reader.absorb(early.clone()).unwrap();
    reader.absorb(early).unwrap();
    assert_eq!(reader, state);
    assert!(first < reader.revision());
}
