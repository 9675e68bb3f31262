//! A disk that is full: who has an address keeps it, nobody else gets one, and nothing grows.

use super::*;
use crate::kernel::access::Blocking;
use crate::statedir::StateDir;
use futures::FutureExt;
use futures::future::join_all;
use hopsack_ipam::COOL_DOWN;
use hopsack_store::MemoryStore;
use tempfile::TempDir;

const HOLDER: &str = "docker:10.50.0.9";

/// A host alone in its cluster, with a network and all of its addresses.
async fn host() -> (TempDir, Addresses, NetworkId) {
    let folder = tempfile::tempdir().unwrap();
    let journal = JournalFile::open(&StateDir::open(folder.path()).unwrap(), Blocking::Thread).unwrap();
    let (me, id) = (HostId::from_bytes([1; 16]), NetworkId::from_bytes([2; 16]));
    let network: Network = serde_json::from_value(serde_json::json!({
        "id": id, "name": "web", "subnets": ["10.50.0.0/24"], "reserved": {}, "isolation": "full", "labels": {},
        "docker": null,
    }))
    .unwrap();
    let ledger: Ledger = serde_json::from_value(serde_json::json!({
        "grants": { "10.50.0.0/24": { "host": me, "quarantined": false } }, "wants": [], "closing": false,
    }))
    .unwrap();
    let store = Arc::new(MemoryStore::new(1));
    let (network_key, ledger_key) = (Key::Network(id), Key::Ledger(id));
    let made = Txn::new()
        .put(network_key.to_string(), encode(&network_key, &network).unwrap())
        .put(ledger_key.to_string(), encode(&ledger_key, &ledger).unwrap());
    store.txn(made).await.unwrap();
    let (_, intent) = watch::channel(IntentAt::default());
    // Begun by a journal that was not lost, so that its ledger may be believed.
    let book = Book::new(COOL_DOWN);
    let entropy = Arc::new(Entropy::from_seed(1));
    (folder, Addresses::new(me, store, intent, journal.file, book, entropy), id)
}

impl Addresses {
    async fn take(&self, network: NetworkId, holder: &str) -> Result<IpAddr, AgentError> {
        self.allocate(network, Family::V4, None, holder).await
    }
}

#[tokio::test]
async fn who_asks_again_for_its_address_keeps_it_though_the_disk_is_full() {
    let (_folder, addresses, network) = host().await;
    let address = addresses.take(network, HOLDER).await.unwrap();
    let room = addresses.journal.fill_disk().await;
    for again in [None, Some(address)] {
        assert!(addresses.allocate(network, Family::V4, again, HOLDER).await.is_err());
        assert_eq!(addresses.in_use(network), BTreeMap::from([(address, HOLDER.to_owned())]));
    }
    addresses.journal.make_room(room).await;
    assert_eq!(addresses.take(network, HOLDER).await.unwrap(), address);
    assert_ne!(addresses.take(network, "docker:other").await.unwrap(), address);
}

#[tokio::test]
async fn of_two_calls_for_one_holder_none_keeps_an_address_that_the_other_has_given_back() {
    let (_folder, addresses, network) = host().await;
    let room = addresses.journal.fill_disk().await;
    // The first fails, the disk has room again, the second is written: what it was given is what the first has.
    let (first, (), second) = tokio::join!(
        addresses.take(network, HOLDER),
        addresses.journal.make_room(room),
        addresses.take(network, HOLDER),
    );
    let kept = [first.ok(), second.ok()].into_iter().flatten();
    assert!(kept.clone().all(|address| addresses.in_use(network).contains_key(&address)), "{kept:?}");
}

#[tokio::test]
async fn a_call_that_failed_leaves_the_address_that_a_later_one_was_told_of() {
    let (_folder, addresses, network) = host().await;
    let room = addresses.journal.fill_disk().await;
    let mut first = Box::pin(addresses.take(network, HOLDER));
    assert!(first.as_mut().now_or_never().is_none(), "its write is under way");
    // Once that has failed; the first has not heard of it.
    addresses.journal.make_room(room).await;
    let second = addresses.take(network, HOLDER).await.unwrap();
    assert!(first.await.is_err());
    assert_eq!(addresses.in_use(network), BTreeMap::from([(second, HOLDER.to_owned())]));
}

#[tokio::test]
async fn a_full_disk_lets_no_line_of_records_grow_and_takes_no_address() {
    let (_folder, addresses, network) = host().await;
    let kept = addresses.take(network, HOLDER).await.unwrap();
    let room = addresses.journal.fill_disk().await;
    let mut waiting = Vec::new();
    for call in 0..20 {
        assert!(addresses.take(network, &format!("docker:{call}")).await.is_err());
        assert!(addresses.release(network, kept).await.is_err());
        waiting.push(addresses.journal.waiting());
    }
    assert_eq!(waiting[0], waiting[19], "{waiting:?}");
    assert_eq!(addresses.in_use(network).into_keys().collect::<Vec<_>>(), [kept]);
    addresses.journal.make_room(room).await;
    assert!(addresses.release(network, kept).await.unwrap());
    assert!(addresses.in_use(network).is_empty());
}

/// Lets many callers ask while a write is under way, so that all of them wait for the next one.
async fn many_at_once(
    addresses: &Addresses,
    network: NetworkId,
    callers: usize,
) -> Vec<Result<IpAddr, AgentError>> {
    let busy = addresses.journal.under_way().await;
    let holders: Vec<String> = (0..callers).map(|caller| format!("docker:{caller}")).collect();
    let mut waiting: Vec<_> =
        holders.iter().map(|holder| Box::pin(addresses.take(network, holder))).collect();
    for caller in &mut waiting {
        assert!(caller.now_or_never().is_none(), "told before its record was on disk");
    }
    drop(busy);
    join_all(waiting).await
}

#[tokio::test]
async fn callers_that_come_while_the_disk_is_busy_share_the_next_write() {
    let (folder, addresses, network) = host().await;
    addresses.take(network, HOLDER).await.unwrap();
    let before = addresses.journal.count();
    let given = many_at_once(&addresses, network, 64).await;
    let given: BTreeSet<IpAddr> = given.into_iter().map(Result::unwrap).collect();
    let after = addresses.journal.count();
    assert_eq!((given.len(), after.syncs - before.syncs, after.appends - before.appends), (64, 1, 64));
    drop(addresses);
    let read = JournalFile::open(&StateDir::open(folder.path()).unwrap(), Blocking::Thread).unwrap().records;
    let book = Book::replay(&read, Duration::ZERO, COOL_DOWN);
    let kept = book.network(network).unwrap().in_use().map(|(address, _)| address);
    assert!(given.is_subset(&kept.collect()), "not all are on disk");
}

#[tokio::test]
async fn of_callers_whose_write_fails_none_is_told_an_address_and_none_has_one() {
    let (_folder, addresses, network) = host().await;
    let kept = addresses.take(network, HOLDER).await.unwrap();
    let room = addresses.journal.fill_disk().await;
    let refused = many_at_once(&addresses, network, 64).await;
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    assert_eq!(addresses.in_use(network).into_keys().collect::<Vec<_>>(), [kept]);
    addresses.journal.make_room(room).await;
    assert!(many_at_once(&addresses, network, 64).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn what_was_written_but_cannot_be_synced_is_not_called_durable() {
    let (_folder, addresses, network) = host().await;
    let kept = addresses.take(network, HOLDER).await.unwrap();
    let _other_end = addresses.journal.refuse_to_sync().await;
    for _ in 0..2 {
        let refused = many_at_once(&addresses, network, 8).await;
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        assert_eq!(addresses.in_use(network).into_keys().collect::<Vec<_>>(), [kept]);
    }
}
