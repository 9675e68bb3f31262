//! Single rules of records: who may write, what removes, what waits.

use crate::keys::{Key, Keys, endpoint, fact, host, revision};
use hopsack_gossip::{Batch, Entry, Records, Reject, Signer, Source};
use hopsack_types::fact::{Fact, FactKey, PathFact};
use hopsack_types::{Incarnation, Revision, Seq};

const KEYS: Keys = Keys { hosts: 10 };

fn records(n: u16, incarnation: u64) -> Records {
    Records::new(host(n), Incarnation(incarnation))
}

/// Flushes everything.
fn flush(records: &mut Records, n: u16, intent: Revision) -> Vec<Batch> {
    std::iter::from_fn(|| records.flush(&Key(host(n)), intent).unwrap()).collect()
}

fn flush_all(records: &mut Records, n: u16) -> Vec<Batch> {
    flush(records, n, Revision::default())
}

fn set(records: &mut Records, key: u32, value: u32) {
    records.set_local(endpoint(key), Some(fact(value))).unwrap();
}

/// Everything that the reader sees, by key.
fn seen(records: &Records) -> Vec<(FactKey, Fact)> {
    records.facts().map(|(_, key, fact)| (*key, fact.clone())).collect()
}

fn numbers(pairs: &[(u32, u32)]) -> Vec<(FactKey, Fact)> {
    pairs.iter().map(|(key, value)| (endpoint(*key), fact(*value))).collect()
}

fn exchange(a: &mut Records, b: &mut Records) -> usize {
    crate::exchange::exchange(a, b, 1000, &KEYS).batches
}

#[test]
fn several_changes_go_into_one_batch_and_show_what_changed() {
    let (mut a, mut b) = (records(0, 1), records(1, 1));
    set(&mut a, 1, 10);
    set(&mut a, 2, 20);
    let batches = flush_all(&mut a, 0);
    assert_eq!(batches.len(), 1);
    let applied = b.apply(batches, Source::Push, &KEYS);
    assert_eq!(applied.changes.len(), 2);
    assert_eq!(applied.changes[0].new, Some(fact(10)));
    assert_eq!(seen(&b), numbers(&[(1, 10), (2, 20)]));
    assert!(b.poll_push().is_some(), "news is passed on");
    assert!(a.poll_push().is_some(), "own news is pushed");
}

#[test]
fn setting_what_is_so_writes_nothing() {
    let mut a = records(0, 1);
    set(&mut a, 1, 10);
    assert_eq!(flush_all(&mut a, 0).len(), 1);
    assert!(!a.set_local(endpoint(1), Some(fact(10))).unwrap());
    assert!(!a.set_local(endpoint(2), None).unwrap());
    assert!(flush_all(&mut a, 0).is_empty());
}

#[test]
fn a_change_that_is_taken_back_before_the_flush_is_not_written() {
    let mut a = records(0, 1);
    set(&mut a, 1, 10);
    flush_all(&mut a, 0);
    assert!(a.set_local(endpoint(1), None).unwrap());
    assert!(a.set_local(endpoint(1), Some(fact(10))).unwrap());
    assert!(flush_all(&mut a, 0).is_empty());
}

#[test]
fn a_fact_under_a_key_of_another_kind_is_refused() {
    let mut a = records(0, 1);
    let error = a.set_local(endpoint(1), Some(Fact::Path(PathFact::default()))).unwrap_err();
    assert!(error.to_string().contains("another kind"), "{error}");
}

#[test]
fn forged_foreign_and_senseless_batches_are_refused_by_name() {
    let (mut a, mut b) = (records(0, 1), records(1, 1));
    set(&mut a, 1, 10);
    let good = flush_all(&mut a, 0).remove(0);

    let mut changed = good.clone();
    changed.entries = vec![Entry::Clear(endpoint(1))];
    let mut other_writer = good.clone();
    other_writer.entries = vec![Entry::Set(endpoint(1), fact(66))];
    other_writer.signature = Key(host(2)).sign(&other_writer.signed_bytes().unwrap());
    let mut stranger = good.clone();
    stranger.host = host(99);
    stranger.signature = Key(host(99)).sign(&stranger.signed_bytes().unwrap());
    let mut own = good.clone();
    own.host = host(1);
    own.signature = Key(host(1)).sign(&own.signed_bytes().unwrap());
    let mut empty = good.clone();
    empty.entries.clear();
    let mut mixed = good.clone();
    mixed.entries = vec![Entry::Set(endpoint(1), Fact::Path(PathFact::default()))];
    let mut endless = good.clone();
    endless.first = Seq(u64::MAX);

    let applied =
        b.apply(vec![changed, other_writer, stranger, own, empty, mixed, endless], Source::Push, &KEYS);
    let reasons: Vec<_> = applied.rejected.iter().map(|rejected| rejected.reason).collect();
    use Reject::{BadSignature, Malformed, NotItsWriter, UnknownHost};
    assert_eq!(
        reasons,
        [BadSignature, BadSignature, UnknownHost, NotItsWriter, Malformed, Malformed, Malformed]
    );
    assert_eq!(b.rejects()[&BadSignature], 2);
    assert_eq!(applied.own_newer, Some(Incarnation(1)));
    assert!(seen(&b).is_empty() && b.poll_push().is_none());
}

#[test]
fn a_late_deletion_of_an_old_endpoint_leaves_the_newer_one_with_its_address() {
    let (mut a, mut b) = (records(0, 1), records(1, 1));
    set(&mut a, 1, 10);
    let old = flush_all(&mut a, 0);
    a.set_local(endpoint(1), None).unwrap();
    let deletion = flush_all(&mut a, 0);
    set(&mut a, 2, 10);
    let new = flush_all(&mut a, 0);
    for batches in [new, old, deletion.clone(), deletion] {
        b.apply(batches, Source::Push, &KEYS);
    }
    assert_eq!(seen(&b), numbers(&[(2, 10)]));
}

#[test]
fn a_restarted_host_keeps_its_old_facts_until_its_full_set_is_here_in_whole() {
    let (mut b, mut a) = (records(1, 1), records(0, 1));
    set(&mut a, 1, 10);
    set(&mut a, 2, 20);
    b.apply(flush_all(&mut a, 0), Source::Push, &KEYS);

    let mut a = records(0, 2);
    set(&mut a, 1, 10);
    let first = flush_all(&mut a, 0);
    set(&mut a, 3, 30);
    let second = flush_all(&mut a, 0);
    a.complete_local();
    let marker = flush_all(&mut a, 0);
    b.apply(first, Source::Push, &KEYS);
    b.apply(marker, Source::Push, &KEYS);
    assert_eq!(seen(&b), numbers(&[(1, 10), (2, 20)]), "the second batch is missing still");
    let applied = b.apply(second, Source::Push, &KEYS);
    assert_eq!(seen(&b), numbers(&[(1, 10), (3, 30)]));
    assert!(applied.changes.iter().any(|change| change.key == endpoint(2) && change.new.is_none()));
    assert_eq!(b.export().len(), 3, "the old incarnation's batches are gone");
}

#[test]
fn facts_of_a_newer_intent_wait_for_it() {
    let (mut a, mut b, mut c) = (records(0, 1), records(1, 1), records(2, 1));
    set(&mut a, 1, 10);
    let batches = flush(&mut a, 0, revision(5));
    assert!(b.apply(batches, Source::Push, &KEYS).changes.is_empty());
    assert!(seen(&b).is_empty());
    exchange(&mut b, &mut c);
    assert_eq!(b.hash(), c.hash(), "what waits is forwarded and not asked for again");
    assert!(b.intent_advanced(revision(4)).is_empty());
    assert_eq!(b.intent_advanced(revision(5)).len(), 1);
    assert_eq!(seen(&b), numbers(&[(1, 10)]));
    assert!(seen(&c).is_empty());
}

#[test]
fn the_log_stays_bounded_while_facts_come_and_go_even_if_none_can_be_shown() {
    let (mut a, mut b, mut behind) = (records(0, 1), records(1, 1), records(2, 1));
    a.complete_local();
    b.intent_advanced(revision(1));
    set(&mut a, 1_000_000, 1);
    for n in 0..3000 {
        set(&mut a, n, n);
        if n >= 10 {
            a.set_local(endpoint(n - 10), None).unwrap();
        }
        let batches = flush(&mut a, 0, revision(1));
        b.apply(batches.clone(), Source::Push, &KEYS);
        behind.apply(batches, Source::Push, &KEYS);
    }
    assert!(a.stored_bytes() < 20_000, "{} bytes for eleven facts", a.stored_bytes());
    assert_eq!(b.stored_bytes(), a.stored_bytes());
    assert_eq!(behind.stored_bytes(), a.stored_bytes());
    assert_eq!(seen(&b).len(), 11);
    assert_eq!(b.fact(host(0), &endpoint(1_000_000)), Some(&fact(1)));
    assert!(seen(&behind).is_empty());
    behind.intent_advanced(revision(1));
    assert_eq!(seen(&behind), seen(&a));
}

#[test]
fn a_full_set_larger_than_a_batch_is_written_in_several_and_rewritten_whole() {
    let (mut a, mut b) = (records(0, 1), records(1, 1));
    (0..1000).for_each(|n| set(&mut a, n, n));
    a.complete_local();
    let first = flush_all(&mut a, 0);
    assert!(first.len() >= 8);
    let batches = (0..1500).flat_map(|n| {
        set(&mut a, n % 1000, n + 5000);
        flush_all(&mut a, 0)
    });
    let second: Vec<_> = batches.collect();
    b.apply(second, Source::Push, &KEYS);
    assert_eq!(seen(&b), seen(&a), "the rewrite alone is enough");
    assert!(a.digest().marks[&host(0)].end == b.digest().marks[&host(0)].end);
    assert_eq!(exchange(&mut a, &mut b), 0);
}

#[test]
fn an_exchange_closes_gaps_that_lost_pushes_left_and_costs_nothing_when_idle() {
    let (mut a, mut b) = (records(0, 1), records(1, 1));
    for n in 0..20 {
        set(&mut a, n, n);
        let batches = flush_all(&mut a, 0);
        if n % 3 != 1 {
            b.apply(batches, Source::Push, &KEYS);
        }
    }
    set(&mut b, 100, 1);
    flush_all(&mut b, 1);
    assert!(exchange(&mut a, &mut b) > 0);
    assert_eq!(seen(&a), seen(&b));
    assert_eq!(seen(&a).len(), 21);
    assert_eq!(exchange(&mut a, &mut b), 0);
}

#[test]
fn two_hosts_that_lack_different_batches_of_a_dead_writer_complete_each_other() {
    let (mut a, mut b, mut c) = (records(0, 1), records(1, 1), records(2, 1));
    let mut batches = Vec::new();
    for n in 0..4 {
        set(&mut a, n, n);
        batches.extend(flush_all(&mut a, 0));
    }
    b.apply(vec![batches[0].clone(), batches[2].clone()], Source::Push, &KEYS);
    c.apply(vec![batches[0].clone(), batches[3].clone()], Source::Push, &KEYS);
    exchange(&mut b, &mut c);
    assert_eq!(b.hash(), c.hash());
    assert_eq!(seen(&b), numbers(&[(0, 0), (2, 2), (3, 3)]));
}

#[test]
fn the_export_brings_the_last_facts_back_after_a_restart_and_own_ones_count_as_older() {
    let (mut a, mut b) = (records(0, 1), records(1, 1));
    set(&mut a, 1, 10);
    set(&mut b, 2, 20);
    flush_all(&mut a, 0);
    flush_all(&mut b, 1);
    exchange(&mut a, &mut b);
    let mut again = records(0, 2);
    let applied = again.apply(a.export(), Source::Sync, &KEYS);
    assert!(applied.rejected.is_empty());
    assert_eq!(seen(&again), numbers(&[(1, 10), (2, 20)]));
    assert!(again.poll_push().is_none());
    again.complete_local();
    flush_all(&mut again, 0);
    assert_eq!(seen(&again), numbers(&[(2, 20)]));
}

#[test]
fn a_host_that_was_set_back_hears_of_it_and_wins_under_a_higher_incarnation() {
    let (mut a, mut b) = (records(0, 7), records(1, 1));
    set(&mut a, 1, 10);
    set(&mut a, 2, 20);
    flush_all(&mut a, 0);
    exchange(&mut a, &mut b);
    let mut set_back = records(0, 5);
    set(&mut set_back, 1, 11);
    set_back.complete_local();
    flush_all(&mut set_back, 0);
    let exchanged = crate::exchange::exchange(&mut set_back, &mut b, 1000, &KEYS);
    assert_eq!(exchanged.own_newer, [Some(Incarnation(7)), None]);
    set_back.restart(Incarnation(8));
    flush_all(&mut set_back, 0);
    exchange(&mut set_back, &mut b);
    assert_eq!(seen(&b), numbers(&[(1, 11)]));
    assert_eq!(set_back.hash(), b.hash());
}

#[test]
fn a_removed_host_takes_its_facts_with_it() {
    let (mut a, mut b) = (records(0, 1), records(1, 1));
    set(&mut a, 1, 10);
    b.apply(flush_all(&mut a, 0), Source::Push, &KEYS);
    let changes = b.forget(host(0));
    assert_eq!((changes.len(), changes[0].old.clone()), (1, Some(fact(10))));
    assert!(seen(&b).is_empty());
}

#[test]
fn a_fact_counts_only_if_the_caller_says_so() {
    let mut a = records(0, 1);
    set(&mut a, 1, 10);
    set(&mut a, 2, 20);
    flush_all(&mut a, 0);
    let granted = |_, key: &FactKey, _: &Fact| *key == endpoint(2);
    assert_eq!(a.valid_facts(&granted).count(), 1);
}

#[test]
fn a_batch_reads_back_as_it_was_written_and_its_signature_covers_every_field() {
    let mut a = records(0, 1);
    set(&mut a, 1, 10);
    a.complete_local();
    let batch = flush_all(&mut a, 0).remove(0);
    let bytes = postcard::to_stdvec(&batch).unwrap();
    assert_eq!(postcard::from_bytes::<Batch>(&bytes).unwrap(), batch);

    let signed = batch.signed_bytes().unwrap();
    let others = [
        Batch { host: host(3), ..batch.clone() },
        Batch { incarnation: Incarnation(2), ..batch.clone() },
        Batch { intent: revision(9), ..batch.clone() },
        Batch { first: Seq(2), ..batch.clone() },
        Batch { entries: batch.entries[1..].to_vec(), ..batch.clone() },
    ];
    assert!(others.iter().all(|other| other.signed_bytes().unwrap() != signed));
}

#[test]
fn the_push_queue_drops_the_oldest_and_counts_it() {
    let mut a = records(0, 1);
    for n in 0..1030 {
        set(&mut a, 1, n);
        flush_all(&mut a, 0);
    }
    let pushed: Vec<_> = std::iter::from_fn(|| a.poll_push()).collect();
    assert_eq!(pushed.len() as u64 + a.push_dropped(), 1030);
    assert_eq!(pushed.len(), 1024);
    assert_eq!(pushed.last().unwrap().entries, [Entry::Set(endpoint(1), fact(1029))]);
}

#[test]
fn what_is_shown_outlives_a_restart_though_a_full_set_that_replaces_it_waits_for_intent() {
    let (mut a, mut b) = (records(0, 1), records(1, 1));
    b.intent_advanced(revision(1));
    set(&mut a, 1, 10);
    a.complete_local();
    b.apply(flush(&mut a, 0, revision(1)), Source::Push, &KEYS);
    a.restart(Incarnation(2));
    set(&mut a, 1, 11);
    b.apply(flush(&mut a, 0, revision(2)), Source::Push, &KEYS);
    assert_eq!(a.hash(), b.hash());

    let mut again = records(1, 2);
    again.intent_advanced(revision(1));
    again.apply(b.export(), Source::Sync, &KEYS);
    assert_eq!(seen(&again), numbers(&[(1, 10)]));
    assert_eq!(again.hash(), b.hash(), "what only the view needs is not compared");
    again.intent_advanced(revision(2));
    assert_eq!(seen(&again), numbers(&[(1, 11)]));
    assert_eq!(again.export(), a.export());
}
