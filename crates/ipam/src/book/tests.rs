use super::*;
use crate::Handle;
use crate::testing::{cidr, handle, host, ip, ledger, network, revision};
use hopsack_types::{Family, Network};
use std::net::IpAddr;

const COOL_DOWN: Duration = Duration::from_secs(60);

fn web() -> Network {
    network(&["10.32.0.0/24"], &[])
}

/// What a book says of its one network.
fn state(book: &Book) -> (Vec<(IpAddr, Handle)>, Vec<hopsack_types::Cidr>, Vec<hopsack_types::Cidr>) {
    let allocator = book.network(web().id).unwrap();
    let in_use = allocator.in_use().map(|(address, handle)| (address, handle.clone()));
    (in_use.collect(), allocator.granted().collect(), allocator.lent().collect())
}

fn records() -> Vec<Record> {
    let network = web().id;
    vec![
        Record::Boot { incarnation: Incarnation(4) },
        Record::Grants { network, revision: revision(2), granted: vec![cidr("10.32.0.8/29")] },
        Record::Allocate { network, address: ip("10.32.0.9"), handle: handle(1) },
        Record::Allocate { network, address: ip("10.32.0.10"), handle: handle(2) },
        Record::Allocate { network, address: ip("10.32.0.10"), handle: handle(3) },
        Record::Release { network, address: ip("10.32.0.10"), handle: handle(2) },
        Record::Release { network, address: ip("10.32.0.9"), handle: handle(1) },
        Record::Lend { network, prefix: cidr("10.32.0.12/30") },
    ]
}

#[test]
fn a_replayed_book_knows_what_is_in_use_lent_and_granted() {
    let book = Book::replay(&records(), Duration::ZERO, COOL_DOWN);
    assert_eq!(book.incarnation(), Incarnation(4));
    let (in_use, granted, lent) = state(&book);
    assert_eq!(in_use, [(ip("10.32.0.10"), handle(3))], "a release by the old holder changes nothing");
    assert_eq!((granted, lent), (vec![cidr("10.32.0.8/29")], vec![cidr("10.32.0.12/30")]));
}

#[test]
fn a_snapshot_leads_to_the_same_book_cool_down_included() {
    let now = Duration::from_secs(1000);
    let web = web();
    let mut book = Book::replay(&records(), now, COOL_DOWN);
    let ledger = ledger(&[(1, &["10.32.0.8/29"])]);
    book.network_mut(web.id).adopt(&web, revision(2), &ledger, host(1));
    let mut again = Book::replay(&book.snapshot(now), now, COOL_DOWN);
    again.network_mut(web.id).adopt(&web, revision(2), &ledger, host(1));
    assert_eq!(state(&again), state(&book));
    for book in [&book, &again] {
        let allocator = book.network(web.id).unwrap();
        assert_eq!(allocator.spare(now, Family::V4), 2, "10.32.0.8 and .11");
        assert_eq!(allocator.available(Family::V4), 3, "and .9, which cools down");
    }
}

#[test]
fn after_a_loss_no_ledger_is_believed_before_the_fence_even_over_a_second_crash() {
    let web = web();
    let ledger = ledger(&[(1, &["10.32.0.8/29"])]);
    let mut book = Book::new(COOL_DOWN);
    book.apply(Duration::ZERO, &Record::Lost);
    book.network_mut(web.id).observe(ip("10.32.0.9"), &handle(1)).unwrap();
    let mut book = Book::replay(&book.snapshot(Duration::ZERO), Duration::ZERO, COOL_DOWN);
    let allocator = book.network_mut(web.id);
    allocator.adopt(&web, revision(2), &ledger, host(1));
    assert!(allocator.allocate(Duration::ZERO, Family::V4, &handle(2)).is_err());
    book.apply(Duration::ZERO, &Record::Fenced { network: web.id });
    let mut book = Book::replay(&book.snapshot(Duration::ZERO), Duration::ZERO, COOL_DOWN);
    let allocator = book.network_mut(web.id);
    allocator.adopt(&web, revision(3), &ledger, host(1));
    assert_eq!(allocator.allocate(Duration::ZERO, Family::V4, &handle(2)).unwrap(), ip("10.32.0.8"));
}

#[test]
fn a_forgotten_network_is_gone() {
    let mut book = Book::replay(&records(), Duration::ZERO, COOL_DOWN);
    book.apply(Duration::ZERO, &Record::Forget { network: web().id });
    assert!(book.network(web().id).is_none());
}
