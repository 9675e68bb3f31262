//! What a hundred hosts must live through together, in virtual time.

use crate::cluster::Cluster;
use hopsack_gossip::{MemberEvent, MemberState};
use std::time::Duration;

const FACTS: u32 = 5;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A cluster in which all know all.
fn joined(size: u16, seed: u64) -> Cluster {
    let mut cluster = Cluster::start(size, FACTS, seed);
    cluster.run_until(seconds(40), "all know all", |cluster| {
        cluster.sees_right(true) && cluster.facts_agree(usize::from(size) * FACTS as usize)
    });
    cluster
}

#[test]
fn a_hundred_hosts_know_each_other_and_all_facts_soon_after_the_start() {
    let cluster = joined(100, 1);
    println!("all know all after {:?}", cluster.now);
    assert!(cluster.now <= seconds(30), "{:?}", cluster.now);
}

#[test]
fn five_dead_of_a_hundred_are_seen_within_twenty_seconds_and_their_facts_stay() {
    let mut cluster = joined(100, 2);
    (10..15).for_each(|n| cluster.kill(n));
    let took = cluster.run_until(seconds(25), "all see the dead as down", |cluster| cluster.sees_right(true));
    println!("seen after {took:?}");
    assert!(cluster.facts_agree(500), "a silent host loses no facts");
}

#[test]
fn nobody_is_taken_for_dead_while_two_percent_are_lost() {
    let mut cluster = joined(30, 3);
    let begin = cluster.trace.len();
    cluster.run(seconds(120));
    let downs: Vec<_> = cluster.trace[begin..]
        .iter()
        .filter(|(_, _, event)| matches!(event, MemberEvent::Down { .. }))
        .collect();
    assert!(downs.is_empty(), "{downs:?}");
}

#[test]
fn one_change_is_everywhere_within_one_round_of_exchanges_and_idle_exchanges_carry_nothing() {
    let mut cluster = joined(100, 4);
    let before = cluster.exchanged;
    cluster.run(seconds(20));
    assert_eq!(cluster.exchanged, before);
    cluster.set(42, 7, Some(77));
    cluster.run(Duration::from_millis(100));
    let pushed = cluster.count_having(42, 7, Some(77));
    assert!(pushed >= 80, "the push alone reached {pushed}");
    cluster.run_until(seconds(15), "all have the change", |cluster| {
        cluster.count_having(42, 7, Some(77)) == 100
    });
    cluster.set(42, 7, None);
    cluster
        .run_until(seconds(15), "all have the deletion", |cluster| cluster.count_having(42, 7, None) == 100);
}

#[test]
fn a_partition_works_on_both_sides_and_heals() {
    let mut cluster = joined(60, 5);
    cluster.partition(|n| n % 3 == 0);
    cluster.set(0, 100, Some(1));
    cluster.set(1, 100, Some(1));
    cluster.run_until(seconds(40), "news flows inside each side", |cluster| {
        cluster.count_having(0, 100, Some(1)) == 20 && cluster.count_having(1, 100, Some(1)) == 40
    });
    let took = cluster
        .run_until(seconds(120), "each side sees the other as down", |cluster| cluster.sees_right(false));
    println!("partition seen after {took:?}");
    assert!(!cluster.facts_agree(302));
    cluster.partition(|_| false);
    let took = cluster.run_until(seconds(60), "all know all again", |cluster| {
        cluster.sees_right(true) && cluster.facts_agree(302)
    });
    println!("healed after {took:?}");
}

#[test]
fn two_halves_that_started_apart_find_each_other() {
    let mut cluster = Cluster::start(12, FACTS, 6);
    // The first three are known to all, one of them is on the other side.
    cluster.partition(|n| n == 2 || n > 6);
    cluster.run_until(seconds(30), "each side is complete", |cluster| cluster.sees_right(false));
    assert_eq!(cluster.sight(0, 9), None);
    cluster.partition(|_| false);
    cluster.run_until(seconds(60), "all know all", |cluster| {
        cluster.sees_right(true) && cluster.facts_agree(60)
    });
}

#[test]
fn a_host_that_restarts_is_known_by_its_new_incarnation_and_drops_what_it_does_not_repeat() {
    let mut cluster = joined(30, 7);
    cluster.kill(20);
    cluster.run(seconds(1));
    cluster.restart(20, 2, FACTS - 2);
    cluster.run_until(seconds(40), "all have its new set", |cluster| {
        cluster.sees_right(true) && cluster.facts_agree(30 * FACTS as usize - 2)
    });
    let restarts =
        cluster.trace.iter().filter(|(_, _, event)| matches!(event, MemberEvent::Restarted { .. })).count();
    assert_eq!(restarts, 29);
    assert_eq!(cluster.sight(0, 20), Some(MemberState::Alive));
}

#[test]
fn a_host_that_was_set_back_to_an_earlier_incarnation_stays_calm_and_comes_back_above_it() {
    let mut cluster = joined(20, 10);
    cluster.kill(5);
    cluster.restart(5, 0, 1);
    cluster.run_until(seconds(60), "all have its set under a new incarnation", |cluster| {
        cluster.sees_right(true) && cluster.facts_agree(19 * FACTS as usize + 1)
    });
    let rejoins = cluster.trace.iter().filter(|(_, _, event)| *event == MemberEvent::Rejoined).count();
    let most = cluster.now.as_secs() / 2;
    assert!(rejoins as u64 <= most, "{rejoins} rejoins in {:?}", cluster.now);
}

#[test]
fn one_seed_gives_one_trace() {
    let run = |seed| {
        let mut cluster = Cluster::start(20, FACTS, seed);
        cluster.run(seconds(10));
        cluster.kill(4);
        cluster.set(5, 9, Some(9));
        cluster.run(seconds(20));
        (cluster.trace.clone(), (0..20).map(|n| cluster.hash(n)).collect::<Vec<_>>())
    };
    let first = run(8);
    assert!(!first.0.is_empty());
    assert_eq!(first, run(8));
    assert_ne!(first.0, run(9).0);
}
