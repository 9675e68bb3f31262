use super::*;
use crate::allocator::COOL_DOWN;
use crate::testing::{cidr, handle, host, ip, ledger, network, revision};
use hopsack_types::Cidr;

const NOW: Duration = Duration::from_secs(1);

/// A host's sight of a network with a /24 in a cluster of four.
struct Sight {
    network: Network,
    ledger: Ledger,
    waiting: BTreeMap<Wanted, u64>,
    allocator: Allocator,
    index: u64,
}

impl Sight {
    fn new(ledger: Ledger) -> Self {
        let network = network(&["10.32.0.0/24"], &[]);
        let allocator = Allocator::new(network.id, COOL_DOWN);
        let mut sight =
            Self { network, ledger: Ledger::default(), waiting: BTreeMap::new(), allocator, index: 0 };
        sight.see(ledger);
        sight
    }

    fn see(&mut self, ledger: Ledger) {
        self.index += 1;
        self.allocator.adopt(&self.network, revision(self.index), &ledger, host(1));
        self.ledger = ledger;
    }

    fn next(&mut self) -> Option<Move> {
        let Self { network, ledger, waiting, allocator, .. } = self;
        next_move(NOW, Situation { me: host(1), network, ledger, hosts: 4, waiting }, allocator).unwrap()
    }

    fn verdict(&self, wanted: Wanted) -> Verdict {
        let Self { network, ledger, waiting, allocator, .. } = self;
        let situation = Situation { me: host(1), network, ledger, hosts: 4, waiting };
        verdict(situation, allocator, wanted, &Names::new())
    }

    fn wait_for(&mut self, wanted: Wanted) {
        self.waiting.insert(wanted, 1);
    }

    fn mine(ledger: &Ledger) -> Vec<Cidr> {
        crate::grant::granted(ledger, host(1)).collect()
    }
}

const ANY: Wanted = Wanted::Any(Family::V4);

#[test]
fn a_host_fills_its_reserve_and_then_rests() {
    let mut sight = Sight::new(Ledger::default());
    let due = sight.next().unwrap();
    sight.see(due.ledger);
    assert!(sight.allocator.spare(NOW, Family::V4) >= 16, "256 / (4 * 4)");
    assert_eq!(sight.next(), None);
}

#[test]
fn a_host_claims_once_for_a_container_however_late_that_comes_for_its_address() {
    let mut sight = Sight::new(Ledger::default());
    sight.wait_for(ANY);
    let due = sight.next().unwrap();
    sight.see(due.ledger);
    assert_eq!(sight.next(), None);
}

#[test]
fn what_is_asked_for_by_name_is_handed_back_durably_first() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.0/25"])]));
    let wanted = Wanted::Address(ip("10.32.0.9"));
    sight.see(want::want(&sight.ledger, host(2), wanted).unwrap());
    let due = sight.next().unwrap();
    let lend = Record::Lend { network: sight.network.id, prefix: cidr("10.32.0.9/32") };
    assert_eq!(due.records, [lend]);
    assert!(sight.allocator.allocate_address(ip("10.32.0.9"), &handle(1)).is_err(), "marked before the swap");
    assert!(!Sight::mine(&due.ledger).iter().any(|prefix| prefix.contains(ip("10.32.0.9"))));
}

#[test]
fn after_a_refusal_what_was_lent_is_free_again_and_after_silence_it_is_not() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.0/25"])]));
    sight.see(want::want(&sight.ledger, host(2), Wanted::Address(ip("10.32.0.9"))).unwrap());
    let due = sight.next().unwrap();
    let again = sight.next().unwrap();
    assert_eq!(
        (again.records.len(), &again.ledger),
        (0, &due.ledger),
        "lent once, handed back until it is done"
    );
    let records = due.refused(NOW, &mut sight.allocator);
    assert_eq!(records, [Record::Unlend { network: sight.network.id, prefix: cidr("10.32.0.9/32") }]);
    sight.allocator.allocate_address(ip("10.32.0.9"), &handle(1)).unwrap();
}

#[test]
fn an_address_in_use_is_declined_once() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.0/25"])]));
    sight.allocator.allocate_address(ip("10.32.0.9"), &handle(1)).unwrap();
    sight.see(want::want(&sight.ledger, host(2), Wanted::Address(ip("10.32.0.9"))).unwrap());
    let due = sight.next().unwrap();
    assert_eq!(due.ledger.wants[0].declined, [host(1)]);
    sight.see(due.ledger);
    assert_eq!(sight.next(), None);
}

#[test]
fn a_container_that_waits_makes_its_host_claim_ask_and_in_the_end_withdraw() {
    let mut sight = Sight::new(ledger(&[(2, &["10.32.0.0/25"]), (3, &["10.32.0.128/25"])]));
    sight.wait_for(ANY);
    assert_eq!(sight.verdict(ANY), Verdict::Waiting([host(2), host(3)].into()));
    let due = sight.next().unwrap();
    assert_eq!(due.ledger.wants.len(), 1);
    sight.see(decline(&due.ledger, host(2), host(1), ANY).unwrap());
    assert_eq!(sight.verdict(ANY), Verdict::Waiting([host(3)].into()));
    sight.see(decline(&sight.ledger, host(3), host(1), ANY).unwrap());
    assert!(matches!(sight.verdict(ANY), Verdict::Refused(IpamError::Exhausted { .. })));
    assert_eq!(sight.next(), None);
    sight.waiting.clear();
    assert_eq!(sight.next().unwrap().ledger.wants, []);
}

#[test]
fn what_an_owner_hands_back_is_claimed() {
    let full = ledger(&[(2, &["10.32.0.0/24"])]);
    let mut sight =
        Sight::new(release(&full, &network(&["10.32.0.0/24"], &[]), host(2), cidr("10.32.0.9/32")).unwrap());
    sight.wait_for(Wanted::Address(ip("10.32.0.9")));
    assert_eq!(sight.verdict(Wanted::Address(ip("10.32.0.9"))), Verdict::Free);
    assert_eq!(Sight::mine(&sight.next().unwrap().ledger), [cidr("10.32.0.9/32")]);
}

#[test]
fn a_host_does_not_claim_in_the_same_move_what_it_hands_back() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.9/32"]), (2, &["10.32.0.128/25", "10.32.0.64/26"])]));
    let ledger = ledger(&[(1, &["10.32.0.9/32"]), (2, &["10.32.0.0/29", "10.32.0.8/32", "10.32.0.10/31"])]);
    sight.see(ledger);
    sight.allocator.lend(cidr("10.32.0.9/32")).unwrap();
    sight.wait_for(ANY);
    assert_eq!(Sight::mine(&sight.next().unwrap().ledger), []);
}

#[test]
fn a_removed_host_that_is_back_keeps_what_it_has_in_use() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.8/29"])]));
    sight.allocator.allocate_address(ip("10.32.0.9"), &handle(1)).unwrap();
    sight.see(crate::grant::quarantine(&sight.ledger, host(1)).unwrap());
    let due = sight.next().unwrap();
    assert_eq!(Sight::mine(&due.ledger), [cidr("10.32.0.9/32")]);
    assert!(due.ledger.grants.values().all(|grant| !grant.quarantined));
}

#[test]
fn after_a_lost_journal_the_first_move_writes_the_ledger_as_it_is() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.8/29"])]));
    sight.allocator.unfence();
    let due = sight.next().unwrap();
    assert_eq!(due.ledger, sight.ledger);
    let records = due.done(&mut sight.allocator);
    assert_eq!(records, [Record::Fenced { network: sight.network.id }]);
    assert!(sight.allocator.is_fenced());
}

#[test]
fn refusals_say_who_has_it() {
    let full = ledger(&[(1, &["10.32.0.0/25"]), (2, &["10.32.0.128/25"])]);
    let mut sight = Sight::new(want::want(&full, host(1), ANY).unwrap());
    for n in 0..127 {
        sight.allocator.allocate(NOW, Family::V4, &handle(n)).unwrap();
    }
    let wanted = Wanted::Address(ip("10.32.0.5"));
    let Verdict::Refused(here) = sight.verdict(wanted) else { panic!("in use") };
    assert!(here.to_string().contains("10.32.0.5 is in use on this host by test:4"), "{here}");
    sight.see(decline(&sight.ledger, host(2), host(1), ANY).unwrap());
    let Verdict::Refused(exhausted) = sight.verdict(ANY) else { panic!("exhausted") };
    let text = exhausted.to_string();
    assert!(text.contains("0101010101 has 127, 0202020202 has 127"), "{text}");
    assert!(text.contains("on this host test:0 and 126 more"), "{text}");
    let elsewhere = Wanted::Address(ip("10.32.0.130"));
    let asked = want::want(&sight.ledger, host(1), elsewhere).unwrap();
    sight.see(decline(&asked, host(2), host(1), elsewhere).unwrap());
    let Verdict::Refused(there) = sight.verdict(elsewhere) else { panic!("in use there") };
    assert!(there.to_string().contains("in use on host 0202020202"), "{there}");
}

#[test]
fn all_is_handed_back_durably_when_a_network_is_being_removed_and_nothing_is_claimed() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.0/28", "10.32.0.64/28"]), (2, &["10.32.0.128/25"])]));
    sight.wait_for(ANY);
    sight.see(Ledger { closing: true, ..sight.ledger.clone() });
    let due = sight.next().unwrap();
    let lend = |prefix| Record::Lend { network: sight.network.id, prefix: cidr(prefix) };
    assert_eq!(due.records, [lend("10.32.0.0/28"), lend("10.32.0.64/28")]);
    assert!(sight.allocator.allocate(NOW, Family::V4, &handle(1)).is_err(), "marked before the swap");
    assert_eq!(Sight::mine(&due.ledger), []);
    sight.see(due.ledger);
    assert_eq!(sight.next(), None, "it waits, and yet nothing is claimed");
}

#[test]
fn a_host_that_lends_a_part_already_hands_back_the_whole_of_a_network_that_is_being_removed() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.0/28"])]));
    sight.allocator.lend(cidr("10.32.0.4/32")).unwrap();
    sight.see(Ledger { closing: true, ..sight.ledger.clone() });
    assert_eq!(Sight::mine(&sight.next().unwrap().ledger), []);
}

#[test]
fn an_address_in_use_keeps_a_host_from_handing_back_a_network_that_is_being_removed() {
    let mut sight = Sight::new(ledger(&[(1, &["10.32.0.0/28"])]));
    sight.allocator.allocate_address(ip("10.32.0.9"), &handle(1)).unwrap();
    sight.see(Ledger { closing: true, ..sight.ledger.clone() });
    assert_eq!(sight.next(), None);
    sight.allocator.release(NOW, ip("10.32.0.9"), &handle(1));
    assert_eq!(Sight::mine(&sight.next().unwrap().ledger), []);
}
