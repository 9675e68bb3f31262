use super::*;
use crate::testing::{cidr, handle, host, ip, ledger, network, revision};
use proptest::prelude::*;

const ME: u8 = 1;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A book with these grants of a network with a /24 and a /64.
fn book(grants: &[&str]) -> Allocator {
    let mut book = Allocator::new(NetworkId::from_bytes([7; 16]), COOL_DOWN);
    regrant(&mut book, 1, grants);
    book
}

fn regrant(book: &mut Allocator, index: u64, grants: &[&str]) -> Adoption {
    let net = network(&["10.32.0.0/24", "fd00::/64"], &["10.32.0.1"]);
    book.adopt(&net, revision(index), &ledger(&[(ME, grants)]), host(ME))
}

#[test]
fn nothing_is_allocated_before_the_network_is_known() {
    let mut book = Allocator::new(NetworkId::from_bytes([7; 16]), COOL_DOWN);
    assert!(matches!(book.allocate(at(0), Family::V4, &handle(1)), Err(IpamError::NotReady(_))));
}

#[test]
fn unused_addresses_come_first_and_then_the_one_that_rested_longest() {
    let mut book = book(&["10.32.0.0/29"]);
    let all: Vec<IpAddr> = (0..6).map(|n| book.allocate(at(0), Family::V4, &handle(n)).unwrap()).collect();
    assert_eq!(all.first(), Some(&ip("10.32.0.2")), "the network address and the gateway are nobody's");
    assert!(matches!(
        book.allocate(at(0), Family::V4, &handle(9)),
        Err(IpamError::NoneGranted { in_use: 6, .. })
    ));
    for n in [4, 1, 3] {
        assert!(book.release(at(10), all[n], &handle(n)));
    }
    let again: Vec<IpAddr> =
        (20..23).map(|n| book.allocate(at(11), Family::V4, &handle(n)).unwrap()).collect();
    assert_eq!(again, [all[4], all[1], all[3]], "first in, first out, though none is cool yet");
}

#[test]
fn an_address_that_cools_down_is_no_spare_but_can_be_had_by_name() {
    let mut book = book(&["10.32.0.8/29"]);
    assert_eq!(book.spare(at(0), Family::V4), 8);
    let got = book.allocate(at(0), Family::V4, &handle(1)).unwrap();
    book.release(at(100), got, &handle(1));
    assert_eq!((book.cooling(at(101)), book.cooling(at(160))), (vec![got], vec![]));
    assert_eq!((book.spare(at(101), Family::V4), book.available(Family::V4)), (7, 8));
    assert_eq!(book.spare(at(160), Family::V4), 8);
    book.allocate_address(got, &handle(2)).unwrap();
    assert_eq!(book.available(Family::V4), 7);
}

#[test]
fn a_late_release_does_not_free_a_newer_holders_address() {
    let mut book = book(&["10.32.0.8/32"]);
    let got = book.allocate(at(0), Family::V4, &handle(1)).unwrap();
    assert!(book.release(at(1), got, &handle(1)));
    assert_eq!(book.allocate(at(2), Family::V4, &handle(2)).unwrap(), got);
    assert!(!book.release(at(3), got, &handle(1)));
    assert_eq!(book.holder(got), Some(&handle(2)));
}

#[test]
fn a_handle_that_asks_twice_keeps_what_it_has() {
    let mut book = book(&["10.32.0.8/29", "fd00::/80"]);
    let v4 = book.allocate_once(at(0), Family::V4, &handle(1)).unwrap();
    let v6 = book.allocate_once(at(0), Family::V6, &handle(1)).unwrap();
    assert_eq!(book.allocate_once(at(0), Family::V4, &handle(1)).unwrap(), v4);
    assert_eq!(book.held_by(&handle(1)).collect::<Vec<_>>(), [v4, v6]);
    assert_eq!(book.held_by(&handle(2)).count(), 0);
    book.allocate_address(v4, &handle(1)).unwrap();
    let other = book.allocate_address(v4, &handle(2));
    assert_eq!(other, Err(IpamError::InUse { address: v4, holder: handle(1) }));
}

#[test]
fn an_address_passes_to_another_handle_only_from_its_holder() {
    let mut book = book(&["10.32.0.8/29"]);
    let got = book.allocate(at(0), Family::V4, &handle(1)).unwrap();
    assert!(!book.pass(got, &handle(5), &handle(2)));
    assert!(book.pass(got, &handle(1), &handle(2)));
    assert_eq!(book.held_by(&handle(1)).count(), 0);
    assert_eq!(book.held_by(&handle(2)).collect::<Vec<_>>(), [got]);
}

#[test]
fn a_given_address_is_refused_with_the_reason() {
    let mut book = book(&["10.32.0.0/29"]);
    let mut refused = |address: &str| book.allocate_address(ip(address), &handle(1)).unwrap_err();
    assert!(matches!(refused("10.32.0.0"), IpamError::Unusable { why: crate::Unusable::NetworkAddress, .. }));
    assert!(matches!(refused("10.32.0.1"), IpamError::Unusable { why: crate::Unusable::Reserved(_), .. }));
    assert!(matches!(refused("10.32.0.255"), IpamError::Unusable { why: crate::Unusable::Broadcast, .. }));
    assert!(matches!(refused("10.32.0.9"), IpamError::NotGranted { .. }));
    assert!(matches!(refused("10.33.0.9"), IpamError::OutsideSubnet { .. }));
}

#[test]
fn what_is_lent_is_not_given_until_the_ledger_has_taken_and_granted_it_again() {
    let mut book = book(&["10.32.0.8/29"]);
    book.lend(cidr("10.32.0.8/30")).unwrap();
    assert_eq!(book.available(Family::V4), 4);
    assert!(matches!(book.allocate_address(ip("10.32.0.9"), &handle(1)), Err(IpamError::NotGranted { .. })));
    assert!(matches!(book.lend(cidr("10.32.0.9/32")), Err(IpamError::AlreadyLent { .. })));
    // Another change of the ledger says nothing about it.
    regrant(&mut book, 2, &["10.32.0.8/29", "10.32.0.64/32"]);
    assert_eq!(book.available(Family::V4), 5);
    regrant(&mut book, 3, &["10.32.0.12/30"]);
    assert_eq!(book.lent().count(), 0);
    regrant(&mut book, 4, &["10.32.0.8/29"]);
    assert_eq!(book.available(Family::V4), 8);
}

#[test]
fn a_part_in_use_or_not_granted_cannot_be_lent() {
    let mut book = book(&["10.32.0.8/29"]);
    book.allocate_address(ip("10.32.0.10"), &handle(3)).unwrap();
    let refused = book.lend(cidr("10.32.0.8/30")).unwrap_err();
    assert!(refused.to_string().contains("test:3"), "{refused}");
    assert!(matches!(book.lend(cidr("10.32.0.16/30")), Err(IpamError::NotGranted { .. })));
}

#[test]
fn an_address_in_use_outside_the_grants_is_kept_and_reported() {
    let mut book = book(&["10.32.0.8/29"]);
    let got = book.allocate(at(0), Family::V4, &handle(1)).unwrap();
    let adoption = regrant(&mut book, 2, &["10.32.0.64/29"]);
    assert_eq!(adoption.conflicts, [(got, handle(1))]);
    assert_eq!(regrant(&mut book, 2, &["10.32.0.64/29"]), Adoption::default(), "told once");
    assert_eq!(book.holder(got), Some(&handle(1)));
    assert!(book.release(at(1), got, &handle(1)));
    assert_eq!(book.available(Family::V4), 8, "it is not given again");
}

#[test]
fn addresses_set_aside_when_the_host_was_removed_are_no_conflict() {
    let mut book = book(&["10.32.0.8/29"]);
    book.allocate(at(0), Family::V4, &handle(1)).unwrap();
    let net = network(&["10.32.0.0/24", "fd00::/64"], &[]);
    let aside = crate::grant::quarantine(&ledger(&[(ME, &["10.32.0.8/29"])]), host(ME)).unwrap();
    assert_eq!(book.adopt(&net, revision(2), &aside, host(ME)).conflicts, []);
    assert!(book.allocate(at(0), Family::V4, &handle(2)).is_err());
}

#[test]
fn an_old_ledger_changes_no_grants() {
    let mut book = book(&["10.32.0.8/29"]);
    regrant(&mut book, 5, &["10.32.0.8/30"]);
    assert_eq!(regrant(&mut book, 4, &["10.32.0.8/29"]), Adoption::default());
    assert_eq!(book.granted().collect::<Vec<_>>(), [cidr("10.32.0.8/30")]);
}

#[test]
fn a_v6_block_is_never_listed() {
    let mut book = book(&["fd00::/80"]);
    assert_eq!(book.allocate(at(0), Family::V6, &handle(0)).unwrap(), ip("fd00::1"));
    assert_eq!(book.available(Family::V6), (1 << 48) - 2);
    let piece = book.offer(at(0), Wanted::Any(Family::V6)).unwrap();
    assert_eq!(piece, cidr("fd00::c000:0:0/82"), "the largest piece of at most half of what is spare");
}

#[test]
fn released_v6_addresses_are_used_again_once_many_rest() {
    let mut book = book(&["fd00::/80"]);
    for n in 0..=MAX_RESTING {
        let got = book.allocate(at(0), Family::V6, &handle(n)).unwrap();
        book.release(at(0), got, &handle(n));
    }
    assert!(book.v6.rest.len() > MAX_RESTING);
    assert_ne!(book.allocate(at(1), Family::V6, &handle(1)).unwrap(), ip("fd00::1"), "not before it is cool");
    assert_eq!(book.allocate(at(60), Family::V6, &handle(2)).unwrap(), ip("fd00::1"));
}

#[test]
fn half_of_what_is_spare_is_offered_and_the_last_address_too() {
    let mut book = book(&["10.32.0.8/29", "10.32.0.24/29", "10.32.0.40/29"]);
    let any = Wanted::Any(Family::V4);
    assert_eq!(book.offer(at(0), any), Some(cidr("10.32.0.40/29")), "a whole block, the last");
    for n in 0..23 {
        book.allocate(at(0), Family::V4, &handle(n)).unwrap();
    }
    assert_eq!(book.offer(at(0), any), Some(cidr("10.32.0.47/32")));
    book.release(at(0), ip("10.32.0.8"), &handle(0));
    book.allocate_address(ip("10.32.0.47"), &handle(23)).unwrap();
    assert_eq!(book.offer(at(1), any), Some(cidr("10.32.0.8/32")), "even one that cools down");
    book.allocate(at(1), Family::V4, &handle(24)).unwrap();
    assert_eq!(book.offer(at(1), any), None);
    assert_eq!(book.offer(at(1), Wanted::Address(ip("10.32.0.8"))), None, "in use");
}

#[derive(Debug, Clone)]
enum Step {
    Allocate(usize),
    AllocateAt(u8, usize),
    Release(u8, usize),
    Lend(u8, u8),
    Unlend(usize),
    Regrant(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_usize).prop_map(Step::Allocate),
        2 => (0..32_u8, 0..8_usize).prop_map(|(a, h)| Step::AllocateAt(a, h)),
        4 => (0..32_u8, 0..8_usize).prop_map(|(a, h)| Step::Release(a, h)),
        1 => (0..32_u8, 29..=32_u8).prop_map(|(a, l)| Step::Lend(a, l)),
        1 => (0..4_usize).prop_map(Step::Unlend),
        1 => prop::collection::vec(0..8_u8, 0..6).prop_map(Step::Regrant),
    ]
}

proptest! {
    #[test]
    fn a_book_gives_only_what_is_granted_free_and_not_lent(steps in prop::collection::vec(step(), 1..80)) {
        let mut book = book(&["10.32.0.0/28"]);
        let mut index = 1;
        let mut holders: BTreeMap<IpAddr, Handle> = BTreeMap::new();
        let address = |n: u8| IpAddr::from([10, 32, 0, n]);
        for (second, step) in steps.into_iter().enumerate() {
            let now = at(second as u64 * 7);
            let before = book.clone();
            let may_give = |wanted: IpAddr| {
                before.granted().any(|prefix| prefix.contains(wanted))
                    && !before.lent().any(|prefix| prefix.contains(wanted))
            };
            match step {
                Step::Allocate(holder) => {
                    if let Ok(got) = book.allocate(now, Family::V4, &handle(holder)) {
                        prop_assert!(may_give(got), "{} must not be given", got);
                        prop_assert!(holders.insert(got, handle(holder)).is_none(), "{} twice", got);
                    }
                }
                Step::AllocateAt(n, holder) => {
                    let free = !holders.contains_key(&address(n)) && may_give(address(n)) && n > 1;
                    let own = n > 1 && holders.get(&address(n)) == Some(&handle(holder));
                    let got = book.allocate_address(address(n), &handle(holder));
                    prop_assert_eq!(got.is_ok(), free || own, "{:?}", got);
                    if free {
                        holders.insert(address(n), handle(holder));
                    }
                }
                Step::Release(n, holder) => {
                    let held = holders.get(&address(n)) == Some(&handle(holder));
                    prop_assert_eq!(book.release(now, address(n), &handle(holder)), held);
                    if held {
                        holders.remove(&address(n));
                    }
                }
                Step::Lend(n, length) => {
                    let prefix = Cidr::around(address(n), length);
                    let used = holders.keys().any(|used| prefix.contains(*used));
                    let lent = book.lend(prefix);
                    prop_assert!(!(used && lent.is_ok()), "{} is in use", prefix);
                }
                Step::Unlend(nth) => {
                    if let Some(prefix) = before.lent().nth(nth) {
                        book.unlend(now, prefix);
                    }
                }
                Step::Regrant(blocks) => {
                    index += 1;
                    let blocks: BTreeSet<Cidr> =
                        blocks.iter().map(|n| Cidr::around(address(n * 4), 30)).collect();
                    let texts: Vec<String> = blocks.iter().map(ToString::to_string).collect();
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    regrant(&mut book, index, &texts);
                }
            }
            let listed: BTreeMap<IpAddr, Handle> =
                book.in_use().map(|(address, holder)| (address, holder.clone())).collect();
            prop_assert_eq!(&listed, &holders);
            let giveable = (2..32).filter(|n| {
                let wanted = address(*n);
                book.granted().any(|prefix| prefix.contains(wanted))
                    && !book.lent().any(|prefix| prefix.contains(wanted))
                    && !holders.contains_key(&wanted)
            });
            prop_assert_eq!(book.available(Family::V4), giveable.count() as u64);
        }
    }
}
