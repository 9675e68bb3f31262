//! Single rules of membership, between two or three hosts without delay or loss.

use crate::keys::host;
use hopsack_gossip::{MAX_DATAGRAM, MemberEvent, MemberRecord, MemberState, Membership};
use hopsack_types::Incarnation;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const START: Duration = Duration::ZERO;

fn addr(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

fn member(n: u16, incarnation: u64) -> Membership {
    Membership::new(host(n), Incarnation(incarnation), addr(n), u64::from(n))
}

/// Delivers everything, and what that brings about, until all is quiet.
fn deliver(members: &mut [(u16, Membership)], now: Duration) {
    loop {
        let mut sent = Vec::new();
        for (_, member) in members.iter_mut() {
            sent.extend(std::iter::from_fn(|| member.poll_transmit()));
        }
        if sent.is_empty() {
            return;
        }
        for (to, bytes) in sent {
            for (_, member) in members.iter_mut().filter(|(n, _)| addr(*n) == to) {
                member.handle_datagram(&bytes, now).unwrap();
            }
        }
    }
}

fn events(member: &mut Membership) -> Vec<MemberEvent> {
    std::iter::from_fn(|| member.poll_event()).collect()
}

/// Two hosts that know each other.
fn pair() -> [(u16, Membership); 2] {
    let mut members = [(1, member(1, 1)), (2, member(2, 1))];
    members[0].1.announce(host(2), addr(2), START).unwrap();
    deliver(&mut members, START);
    members.iter_mut().for_each(|(_, member)| drop(events(member)));
    members
}

#[test]
fn a_host_alone_announces_itself_with_growing_pauses_until_somebody_answers() {
    let mut a = member(1, 1);
    assert_eq!(a.poll_timeout(), None, "it knows nobody");
    a.set_seeds(BTreeMap::from([(host(1), addr(1)), (host(2), addr(2))]), START).unwrap();
    let mut times = Vec::new();
    for _ in 0..6 {
        let (due, reason) = a.poll_timeout().unwrap();
        assert_eq!(reason, "announcement to hosts that are not seen");
        a.handle_timer(due).unwrap();
        let to: Vec<_> = std::iter::from_fn(|| a.poll_transmit()).map(|(to, _)| to).collect();
        assert_eq!(to, [addr(2)], "never to itself");
        times.push(due.as_secs());
    }
    assert_eq!(times, [0, 1, 3, 7, 15, 23]);
    let now = Duration::from_secs(31);
    a.handle_timer(now).unwrap();
    let mut members = [(1, a), (2, member(2, 1))];
    deliver(&mut members, now);
    assert!(!members[0].1.is_alone() && !members[1].1.is_alone());
}

#[test]
fn the_member_list_brings_in_a_third_host_and_what_is_down_too() {
    let mut members = pair();
    let mut third = member(3, 1);
    let mut list = members[0].1.member_list();
    assert_eq!(list.iter().map(|record| record.host).collect::<Vec<_>>(), [host(1), host(2)]);
    let down = MemberRecord { host: host(9), addr: addr(9), state: MemberState::Down, ..list[0].clone() };
    list.push(down.clone());
    third.apply_member_list(list, START).unwrap();
    let up = |n| MemberEvent::Up { host: host(n), incarnation: Incarnation(1), addr: addr(n) };
    assert_eq!(events(&mut third), [up(1), up(2)]);
    assert!(third.members().contains(&down));
    assert!(third.choose_active(10).iter().all(|(member, _)| *member != host(9)));
    members[1].1.apply_member_list(third.member_list(), START).unwrap();
    assert_eq!(events(&mut members[1].1), [up(3)]);
}

#[test]
fn a_member_that_leaves_is_down_at_once() {
    let [mut a, mut b] = pair();
    b.1.leave(START).unwrap();
    let mut members = [a, b];
    deliver(&mut members, START);
    [a, b] = members;
    assert_eq!(events(&mut a.1), [MemberEvent::Down { host: host(2) }]);
    assert!(a.1.is_alone() && b.1.members().len() == 1);
}

#[test]
fn a_later_start_replaces_an_earlier_one_and_never_the_other_way_round() {
    let [mut a, _] = pair();
    let record = |incarnation, port, state| MemberRecord {
        host: host(2),
        incarnation: Incarnation(incarnation),
        renewal: 0,
        refutation: 0,
        addr: addr(port),
        state,
    };
    let restarted = record(2, 22, MemberState::Alive);
    a.1.apply_member_list(vec![restarted.clone()], START).unwrap();
    let event = MemberEvent::Restarted { host: host(2), incarnation: Incarnation(2), addr: addr(22) };
    assert_eq!(events(&mut a.1), [event]);
    a.1.apply_member_list(vec![record(1, 2, MemberState::Down)], START).unwrap();
    assert_eq!(events(&mut a.1), []);
    assert_eq!(a.1.members(), [restarted]);
}

#[test]
fn a_host_that_is_taken_for_dead_says_otherwise_and_is_believed() {
    let mut members = pair();
    let mut list = members[0].1.member_list();
    list.retain(|record| record.host == host(2));
    list[0].state = MemberState::Down;
    members[0].1.apply_member_list(list.clone(), START).unwrap();
    assert_eq!(events(&mut members[0].1), [MemberEvent::Down { host: host(2) }]);
    members[1].1.apply_member_list(list, START).unwrap();
    assert_eq!(events(&mut members[1].1), [MemberEvent::Rejoined]);
    deliver(&mut members, START);
    let up = MemberEvent::Up { host: host(2), incarnation: Incarnation(1), addr: addr(2) };
    assert_eq!(events(&mut members[0].1), [up]);
}

#[test]
fn what_others_believe_of_an_earlier_start_of_this_host_does_not_show() {
    let mut a = member(1, 5);
    let old = MemberRecord { incarnation: Incarnation(4), ..a.member_list()[0].clone() };
    a.apply_member_list(vec![old], START).unwrap();
    assert_eq!((events(&mut a), a.members()), (vec![], vec![]));
}

#[test]
fn datagrams_stay_within_their_limit_whatever_the_number_of_members() {
    let mut a = member(1, 1);
    let own = a.member_list()[0].clone();
    let list = (2..500).map(|n| MemberRecord { host: host(n), addr: addr(n), ..own.clone() });
    a.apply_member_list(list.collect(), START).unwrap();
    a.handle_timer(Duration::from_secs(30)).unwrap();
    let mut sent = 0;
    while let Some((_, bytes)) = a.poll_transmit() {
        assert!(bytes.len() <= MAX_DATAGRAM.get(), "{}", bytes.len());
        sent += 1;
    }
    assert!(sent > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn senseless_datagrams_are_refused_and_harm_nothing(
        garbage in prop::collection::vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let [mut a, mut b] = pair();
        a.1.announce(host(2), addr(2), START).unwrap();
        let (_, bytes) = a.1.poll_transmit().unwrap();
        let mut changed = bytes.to_vec();
        changed[at.index(bytes.len())] ^= flip;
        for datagram in [&garbage[..], &changed, &bytes[..cut.index(bytes.len())]] {
            // Whether a changed one still makes sense is not the point.
            let _ = b.1.handle_datagram(datagram, START);
        }
        b.1.handle_timer(Duration::from_secs(3)).unwrap();
        prop_assert!(b.1.members().iter().any(|record| record.host == host(1)));
    }
}
