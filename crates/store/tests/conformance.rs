//! One suite for every implementation of the trait.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod harness;

use futures::future::join_all;
use harness::{InProcess, following};
use hopsack_store::{
    DiskBacking, Event, Expected, KvState, MemoryBacking, MemoryStore, NoPeers, RaftStore, Store, StoreError,
    Txn, TxnOutcome, VoterId,
};
use hopsack_types::Revision;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const EPOCH: u64 = 3;

async fn commit(store: &dyn Store, txn: Txn) -> Revision {
    match store.txn(txn).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        conflict @ TxnOutcome::Conflict { .. } => panic!("{conflict:?}"),
    }
}

/// Everything that is promised by the trait. Starts on an empty store.
async fn suite(store: Arc<dyn Store>) {
    a_writer_reads_its_own_write(&*store).await;
    a_guard_that_does_not_hold_changes_nothing(&*store).await;
    a_list_holds_the_prefix_and_nothing_else(&*store).await;
    writes_of_one_transaction_share_a_revision(&*store).await;
    what_is_too_large_is_refused(&*store).await;
    a_watcher_sees_every_change_in_order(&*store).await;
    of_64_writers_of_one_key_each_wins_once(Arc::clone(&store)).await;
}

async fn a_writer_reads_its_own_write(store: &dyn Store) {
    assert_eq!(store.get("own"), None);
    let at = commit(store, Txn::new().put("own", "1")).await;
    let entry = store.get("own").unwrap();
    assert_eq!((entry.value.as_slice(), entry.modified), (&b"1"[..], at));
    assert!(store.revision() >= at);
    assert_eq!(at.epoch, EPOCH);
    commit(store, Txn::new().delete("own")).await;
    assert_eq!(store.get("own"), None);
}

async fn a_guard_that_does_not_hold_changes_nothing(store: &dyn Store) {
    let first = commit(store, Txn::new().guard("guarded", Expected::Absent).put("guarded", "1")).await;
    let again = Txn::new().guard("guarded", Expected::Absent).put("guarded", "2").put("aside", "2");
    let conflict = TxnOutcome::Conflict { key: "guarded".into(), found: Some(first), at: first };
    assert_eq!(store.txn(again).await.unwrap(), conflict);
    assert_eq!(store.get("aside"), None);
    let second =
        commit(store, Txn::new().unchanged("guarded", store.get("guarded").as_ref()).put("guarded", "2"))
            .await;
    let stale = Txn::new().guard("guarded", Expected::ModifiedAt(first)).delete("guarded");
    let conflict = TxnOutcome::Conflict { key: "guarded".into(), found: Some(second), at: second };
    assert_eq!(store.txn(stale).await.unwrap(), conflict);
    let missing = Txn::new().guard("missing", Expected::Exists).put("missing", "");
    assert_eq!(
        store.txn(missing).await.unwrap(),
        TxnOutcome::Conflict { key: "missing".into(), found: None, at: second }
    );
    assert_eq!(store.revision(), second);
}

async fn a_list_holds_the_prefix_and_nothing_else(store: &dyn Store) {
    let at =
        commit(store, Txn::new().put("list/a", "1").put("list/b", "2").put("list0", "3").put("lis", "4"))
            .await;
    let listed = store.list("list/");
    assert_eq!(listed.revision, at);
    assert_eq!(listed.entries.into_keys().collect::<Vec<_>>(), ["list/a", "list/b"]);
}

async fn writes_of_one_transaction_share_a_revision(store: &dyn Store) {
    let before = store.revision();
    let at = commit(store, Txn::new().put("t/1", "a").put("t/2", "b").put("t/1", "c")).await;
    assert_eq!(at.index, before.index + 1);
    assert_eq!(store.get("t/1").unwrap().value, b"c");
    assert!(store.list("t/").entries.values().all(|entry| entry.modified == at));
}

async fn what_is_too_large_is_refused(store: &dyn Store) {
    let before = store.revision();
    let refused = store.txn(Txn::new().put("big", vec![0; 2 << 20])).await;
    assert!(matches!(refused, Err(StoreError::TxnTooLarge { .. })), "{refused:?}");
    for key in ["", "k".repeat(600).as_str()] {
        let refused = store.txn(Txn::new().put(key, "")).await;
        assert!(matches!(refused, Err(StoreError::KeyLength { .. })), "{refused:?}");
    }
    assert_eq!(store.revision(), before);
}

async fn a_watcher_sees_every_change_in_order(store: &dyn Store) {
    let mut reader = KvState::from(store.list(""));
    let mut watch = store.watch(reader.revision());
    let mut late = store.watch(Revision::default());
    for n in 0..20u8 {
        commit(store, Txn::new().put(format!("w/{}", n % 3), [n]).delete(format!("w/{}", (n + 1) % 3))).await;
        if n % 4 == 0 {
            reader.absorb(watch.next().await.unwrap()).unwrap();
        }
    }
    while reader.revision() < store.revision() {
        let event = watch.next().await.unwrap();
        assert!(matches!(event, Event::Changes { .. }), "{event:?}");
        reader.absorb(event).unwrap();
    }
    assert_eq!(reader.list(""), store.list(""));
    assert!(matches!(late.next().await.unwrap(), Event::Snapshot(snapshot) if snapshot == store.list("")));
    assert!(timeout(Duration::from_millis(20), watch.next()).await.is_err());
}

async fn of_64_writers_of_one_key_each_wins_once(store: Arc<dyn Store>) {
    commit(&*store, Txn::new().put("counter", "0")).await;
    let writers = (0..64).map(|_| {
        let store = Arc::clone(&store);
        async move {
            loop {
                let read = store.get("counter").unwrap();
                let count: u32 = String::from_utf8(read.value.clone()).unwrap().parse().unwrap();
                let txn =
                    Txn::new().unchanged("counter", Some(&read)).put("counter", (count + 1).to_string());
                if let TxnOutcome::Committed(at) = store.txn(txn).await.unwrap() {
                    return (at, count);
                }
            }
        }
    });
    let mut wins = join_all(writers).await;
    wins.sort_unstable();
    let counts: Vec<_> = wins.into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, (0..64).collect::<Vec<_>>());
    assert_eq!(store.get("counter").unwrap().value, b"64");
}

#[tokio::test]
async fn memory_conforms() {
    suite(Arc::new(MemoryStore::new(EPOCH))).await;
}

#[tokio::test]
async fn replica_in_memory_conforms() {
    let voter = Arc::new(MemoryStore::new(EPOCH));
    let replica = following(Arc::new(MemoryBacking::new()), InProcess::to(voter)).await;
    suite(replica.replica.clone()).await;
}

#[tokio::test]
async fn replica_on_disk_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let backing = DiskBacking::open(&directory.path().join("intent.redb")).unwrap();
    let voter = Arc::new(MemoryStore::new(EPOCH));
    let replica = following(Arc::new(backing), InProcess::to(voter)).await;
    suite(replica.replica.clone()).await;
}

#[tokio::test]
async fn replica_of_a_replica_conforms() {
    let voter: Arc<MemoryStore> = Arc::new(MemoryStore::new(EPOCH));
    let first = following(Arc::new(MemoryBacking::new()), InProcess::to(voter)).await;
    let upstream = InProcess::to(first.replica.clone());
    let second = following(Arc::new(MemoryBacking::new()), upstream).await;
    suite(second.replica.clone()).await;
}

#[tokio::test]
async fn raft_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    suite(Arc::new(RaftStore::create(&path, VoterId(7), EPOCH, Arc::new(NoPeers)).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_on_disk_of_raft_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let voter = Arc::new(RaftStore::create(&path, VoterId(7), EPOCH, Arc::new(NoPeers)).await.unwrap());
    let backing = DiskBacking::open(&directory.path().join("intent.redb")).unwrap();
    let replica = following(Arc::new(backing), InProcess::to(voter)).await;
    suite(replica.replica.clone()).await;
}
