use super::*;
use crate::testing::{cidr, host, ip, ledger, network};
use crate::want::{self, asked};
use hopsack_types::resource::Want;
use proptest::prelude::*;

fn web() -> Network {
    network(&["10.32.0.0/24", "fd00::/64"], &["10.32.0.1"])
}

fn held(ledger: &Ledger, of: u8) -> Vec<Cidr> {
    granted(ledger, host(of)).collect()
}

#[test]
fn hosts_begin_at_different_blocks() {
    let firsts: std::collections::BTreeSet<Cidr> = (1..=8)
        .flat_map(|n| {
            let mine = claim(&Ledger::default(), &web(), host(n), Family::V4, Need::Now(1)).unwrap();
            held(&mine, n)
        })
        .collect();
    assert!(firsts.len() >= 6, "eight hosts fight for {firsts:?}");
    assert!(firsts.iter().all(|block| block.length() == 29));
}

#[test]
fn as_many_blocks_are_claimed_as_are_needed_in_either_family() {
    let next = claim(&Ledger::default(), &web(), host(1), Family::V4, Need::Now(20)).unwrap();
    assert_eq!(Ranges::of(cidr("10.32.0.0/29")).count() * 3, holdings_count(&next, 1));
    let next = claim(&Ledger::default(), &web(), host(1), Family::V6, Need::Reserve(64)).unwrap();
    assert!(matches!(held(&next, 1)[..], [block] if block.length() == 80));
}

fn holdings_count(ledger: &Ledger, of: u8) -> u128 {
    granted(ledger, host(of)).map(|prefix| Ranges::of(prefix).count()).sum()
}

#[test]
fn what_lies_side_by_side_is_one_grant() {
    let all = claim(&Ledger::default(), &web(), host(1), Family::V4, Need::Now(253)).unwrap();
    assert_eq!(held(&all, 1), [cidr("10.32.0.0/24")]);
}

#[test]
fn a_released_address_splits_the_grant_around_it_and_claimed_again_joins_it() {
    let before = ledger(&[(1, &["10.32.0.8/29"])]);
    let split = release(&before, &web(), host(1), cidr("10.32.0.10/32")).unwrap();
    assert_eq!(held(&split, 1), ["10.32.0.8/31", "10.32.0.11/32", "10.32.0.12/30"].map(cidr));
    assert_eq!(claim_address(&split, &web(), host(1), ip("10.32.0.10")), Some(before));
}

#[test]
fn nobody_releases_or_claims_what_another_holds() {
    let ledger = ledger(&[(1, &["10.32.0.8/29"]), (2, &["10.32.0.16/29"])]);
    assert_eq!(release(&ledger, &web(), host(2), cidr("10.32.0.8/29")), None);
    assert_eq!(claim_address(&ledger, &web(), host(2), ip("10.32.0.9")), None);
    assert_eq!(claim_address(&ledger, &web(), host(2), ip("10.32.0.0")), None, "the network address");
}

#[test]
fn when_no_block_is_whole_a_piece_that_is_large_enough_is_claimed() {
    let mut full = claim(&Ledger::default(), &web(), host(1), Family::V4, Need::Now(253)).unwrap();
    for piece in ["10.32.0.64/30", "10.32.0.200/32"] {
        full = release(&full, &web(), host(1), cidr(piece)).unwrap();
    }
    let one = claim(&full, &web(), host(2), Family::V4, Need::Now(1)).unwrap();
    assert_eq!(holdings_count(&one, 2), 1);
    let three = claim(&full, &web(), host(2), Family::V4, Need::Now(3)).unwrap();
    assert_eq!(held(&three, 2), [cidr("10.32.0.64/30")]);
    let all = claim(&full, &web(), host(2), Family::V4, Need::Now(100)).unwrap();
    assert_eq!(holdings_count(&all, 2), 5);
    assert_eq!(claim(&all, &web(), host(3), Family::V4, Need::Now(1)), None);
}

#[test]
fn a_reserve_leaves_what_others_have_asked_for() {
    let mut full = claim(&Ledger::default(), &web(), host(1), Family::V4, Need::Now(253)).unwrap();
    full = release(&full, &web(), host(1), cidr("10.32.0.64/31")).unwrap();
    let any = Wanted::Any(Family::V4);
    let asked = want::want(&want::want(&full, host(3), any).unwrap(), host(4), any).unwrap();
    assert_eq!(claim(&asked, &web(), host(2), Family::V4, Need::Reserve(5)), None);
    assert!(claim(&asked, &web(), host(2), Family::V4, Need::Now(1)).is_some());
    let by_name = want::want(&full, host(3), Wanted::Address(ip("10.32.0.64"))).unwrap();
    let next = claim(&by_name, &web(), host(2), Family::V4, Need::Now(5)).unwrap();
    assert_eq!(held(&next, 2), [cidr("10.32.0.65/32")], "the other address is wanted by name");
}

#[test]
fn a_claim_ends_the_want_that_it_satisfies() {
    let any = want::want(&Ledger::default(), host(1), Wanted::Any(Family::V4)).unwrap();
    assert_eq!(want::want(&any, host(1), Wanted::Any(Family::V4)), None, "asked already");
    assert_eq!(claim(&any, &web(), host(1), Family::V4, Need::Now(1)).unwrap().wants, []);
    let address = want::want(&Ledger::default(), host(1), Wanted::Address(ip("10.32.0.9"))).unwrap();
    assert_eq!(claim_address(&address, &web(), host(1), ip("10.32.0.9")).unwrap().wants, []);
}

#[test]
fn a_removed_hosts_grants_are_nobodys_until_it_is_back_or_destroyed() {
    let ledger = ledger(&[(1, &["10.32.0.8/29"]), (2, &["10.32.0.16/29"])]);
    let ledger = want::want(&ledger, host(1), Wanted::Any(Family::V6)).unwrap();
    let aside = quarantine(&ledger, host(1)).unwrap();
    assert_eq!((held(&aside, 1), aside.wants.len()), (vec![], 0));
    assert_eq!(locate(&aside, &web(), ip("10.32.0.9")), Ok(Place::Quarantined(host(1))));
    assert_eq!(claim_address(&aside, &web(), host(3), ip("10.32.0.9")), None);

    let freed = free_quarantined(&aside, host(1)).unwrap();
    assert_eq!(locate(&freed, &web(), ip("10.32.0.9")), Ok(Place::Free));
    assert_eq!(free_quarantined(&freed, host(2)), None, "who is no removed host keeps what it has");

    let in_use = [ip("10.32.0.9"), ip("10.32.0.10"), ip("10.32.0.17")];
    let back = acknowledge(&aside, &web(), host(1), host(5), in_use).unwrap();
    assert_eq!(held(&back, 5), ["10.32.0.9/32", "10.32.0.10/32"].map(cidr), "17 is another host's");
    assert_eq!(locate(&back, &web(), ip("10.32.0.8")), Ok(Place::Free));
    assert_eq!(acknowledge(&back, &web(), host(1), host(5), []), None);
}

#[test]
fn a_broken_ledger_is_noticed() {
    let overlap = ledger(&[(1, &["10.32.0.0/28"]), (2, &["10.32.0.8/29"])]);
    assert!(matches!(check(&overlap, &web()), Err(IpamError::BrokenLedger { .. })));
    let outside = ledger(&[(1, &["10.33.0.0/28"])]);
    assert!(matches!(check(&outside, &web()), Err(IpamError::BrokenLedger { .. })));
}

#[test]
fn holdings_name_hosts_and_count_usable_addresses() {
    let ledger = ledger(&[(1, &["10.32.0.0/25"]), (2, &["10.32.0.128/25"])]);
    let aside = quarantine(&ledger, host(2)).unwrap();
    let names = Names::from([(host(1), "h1".parse().unwrap())]);
    let mut holdings = holdings(&aside, &web(), Family::V4, &names);
    assert_eq!(
        holdings.to_string(),
        "0202020202 (removed, quarantined) has 127, h1 has 126, 0 free, 1 reserved"
    );
    holdings.local = vec![crate::testing::handle(1), crate::testing::handle(2)];
    assert!(holdings.to_string().ends_with("; on this host test:1 and 1 more"), "{holdings}");
}

#[test]
fn only_who_can_help_is_asked() {
    let ledger = ledger(&[(1, &["10.32.0.0/25"]), (2, &["10.32.0.128/25"]), (3, &["fd00::/80"])]);
    let ledger = want::want(&ledger, host(9), Wanted::Any(Family::V4)).unwrap();
    let ledger = want::want(&ledger, host(9), Wanted::Address(ip("10.32.0.130"))).unwrap();
    let count = |of| asked(&ledger, &web(), host(of)).len();
    assert_eq!((count(1), count(2), count(3), count(9)), (1, 2, 0, 0));
    let freed = release(&ledger, &web(), host(1), cidr("10.32.0.5/32")).unwrap();
    assert_eq!(asked(&freed, &web(), host(2)).len(), 1, "what is free is enough for one");
}

#[test]
fn a_want_is_declined_once_and_withdrawn_by_its_owner_only() {
    let any = Wanted::Any(Family::V4);
    let ledger = want::want(&Ledger::default(), host(1), any).unwrap();
    let declined = want::decline(&ledger, host(2), host(1), any).unwrap();
    assert_eq!(declined.wants, [Want { host: host(1), wanted: any, declined: vec![host(2)] }]);
    assert_eq!(want::decline(&declined, host(2), host(1), any), None);
    assert_eq!(want::withdraw(&declined, host(2), any), None);
    assert_eq!(want::withdraw(&declined, host(1), any).unwrap().wants, []);
}

#[derive(Debug, Clone)]
enum Step {
    Claim(u8, u64, bool),
    ClaimAt(u8, u8),
    Release(u8, u8, u8),
    Remove(u8),
    Return(u8, Vec<u8>),
    Destroy(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let of = 1..5_u8;
    prop_oneof![
        4 => (of.clone(), 1..12_u64, any::<bool>()).prop_map(|(h, n, now)| Step::Claim(h, n, now)),
        2 => (of.clone(), 0..64_u8).prop_map(|(h, a)| Step::ClaimAt(h, a)),
        4 => (of.clone(), 0..64_u8, 28..=32_u8).prop_map(|(h, a, l)| Step::Release(h, a, l)),
        1 => of.clone().prop_map(Step::Remove),
        1 => (of.clone(), prop::collection::vec(0..64_u8, 0..9)).prop_map(|(h, used)| Step::Return(h, used)),
        1 => of.prop_map(Step::Destroy),
    ]
}

proptest! {
    #[test]
    fn every_change_moves_exactly_the_addresses_that_it_should(steps in prop::collection::vec(step(), 1..60)) {
        let net = network(&["10.32.0.0/26"], &["10.32.0.1"]);
        let mut ledger = Ledger::default();
        let address = |n: u8| IpAddr::from([10, 32, 0, n]);
        // Who holds each address, and whether it is set aside.
        let of = |ledger: &Ledger| -> Vec<Option<(HostId, bool)>> {
            (0..64).map(|n| grant_of(ledger, address(n)).map(|g| (g.host, g.quarantined))).collect()
        };
        for step in steps {
            let before = of(&ledger);
            let mut expected = before.clone();
            let next = match &step {
                Step::Claim(h, n, true) => claim(&ledger, &net, host(*h), Family::V4, Need::Now(*n)),
                Step::Claim(h, n, false) => claim(&ledger, &net, host(*h), Family::V4, Need::Reserve(*n)),
                Step::ClaimAt(h, n) => claim_address(&ledger, &net, host(*h), address(*n)),
                Step::Release(h, n, l) => {
                    release(&ledger, &net, host(*h), Cidr::around(address(*n), *l))
                }
                Step::Remove(h) => quarantine(&ledger, host(*h)),
                Step::Return(h, used) => {
                    acknowledge(&ledger, &net, host(*h), host(*h), used.iter().map(|n| address(*n)))
                }
                Step::Destroy(h) => free_quarantined(&ledger, host(*h)),
            };
            let changed = next.is_some();
            ledger = next.unwrap_or(ledger);
            check(&ledger, &net).unwrap();
            let after = of(&ledger);
            match step {
                Step::Claim(h, n, _) => {
                    let gained = (0..64).filter(|n| before[*n] != after[*n]);
                    let (usable, edges): (Vec<_>, Vec<_>) = gained.partition(|n| ![0, 1, 63].contains(n));
                    for n in usable.iter().chain(&edges) {
                        prop_assert_eq!(before[*n], None, "claimed from its holder");
                        prop_assert_eq!(after[*n], Some((host(h), false)));
                    }
                    let free = (2..63).filter(|n| before[*n].is_none()).count() as u64;
                    prop_assert!(usable.len() as u64 >= n.min(free), "{} of {} for {}", usable.len(), free, n);
                    expected = after.clone();
                }
                Step::ClaimAt(h, n) => {
                    if ![0, 1, 63].contains(&n) && before[usize::from(n)].is_none() {
                        expected[usize::from(n)] = Some((host(h), false));
                    }
                }
                Step::Release(h, n, l) => {
                    let prefix = Cidr::around(address(n), l);
                    for n in (0..64_u8).filter(|n| prefix.contains(address(*n))) {
                        let slot = &mut expected[usize::from(n)];
                        *slot = slot.filter(|holder| *holder != (host(h), false));
                    }
                }
                Step::Remove(h) => {
                    for slot in expected.iter_mut().flatten().filter(|slot| slot.0 == host(h)) {
                        slot.1 = true;
                    }
                }
                Step::Return(h, used) => {
                    for n in 0..64_u8 {
                        let slot = &mut expected[usize::from(n)];
                        if *slot == Some((host(h), true)) {
                            *slot = used.contains(&n).then_some((host(h), false));
                        }
                    }
                }
                Step::Destroy(h) => {
                    for slot in &mut expected {
                        *slot = slot.filter(|holder| *holder != (host(h), true));
                    }
                }
            }
            prop_assert_eq!(&after, &expected);
            prop_assert_eq!(changed, before != after, "a change that changes nothing");
        }
    }
}
