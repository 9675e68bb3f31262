//! What a replica does when its upstream, its disk or its epoch changes under it. Time is virtual.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod harness;

use harness::{InProcess, following, starting, until};
use hopsack_store::replica::SILENCE;
use hopsack_store::store::TXN_DEADLINE;
use hopsack_store::{
    Backing, DiskBacking, Event, KvState, MemoryBacking, MemoryStore, Store, StoreError, Txn, TxnOutcome,
};
use hopsack_types::Revision;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

async fn commit(store: &dyn Store, key: &str) -> Revision {
    match store.txn(Txn::new().put(key, "x")).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        conflict @ TxnOutcome::Conflict { .. } => panic!("{conflict:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_unknown_after_3_s() {
    let voter = Arc::new(MemoryStore::new(1));
    let upstream = InProcess::to(voter.clone());
    let replica = following(Arc::new(MemoryBacking::new()), upstream.clone()).await;
    upstream.mute.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let answer = replica.txn(Txn::new().put("k", "x")).await;
    assert!(matches!(answer, Err(StoreError::OutcomeUnknown)), "{answer:?}");
    assert_eq!(began.elapsed().as_secs(), TXN_DEADLINE.as_secs());
    // This one did happen, which is why the error must not say that it did not.
    assert!(voter.get("k").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_cut_off_replica_serves_reads_and_catches_up_afterwards() {
    let voter = Arc::new(MemoryStore::new(1));
    commit(&*voter, "before").await;
    let backing = Arc::new(MemoryBacking::new());
    drop(following(backing.clone(), InProcess::to(voter.clone())).await);

    let upstream = InProcess::to(voter.clone());
    upstream.cut.store(true, Ordering::SeqCst);
    let replica = starting(backing, upstream.clone()).await;
    assert!(replica.get("before").is_some());
    until(|| replica.contact().last_error.is_some()).await;
    assert!(matches!(replica.txn(Txn::new().put("k", "")).await, Err(StoreError::Unreachable { .. })));
    assert_eq!(replica.contact().connected_since, None);

    commit(&*voter, "meanwhile").await;
    upstream.cut.store(false, Ordering::SeqCst);
    until(|| replica.get("meanwhile").is_some()).await;
    until(|| replica.contact().connected_since.is_some()).await;
    assert!(replica.contact().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_keeps_its_connections() {
    let replica =
        following(Arc::new(MemoryBacking::new()), InProcess::to(Arc::new(MemoryStore::new(1)))).await;
    until(|| replica.contact().connected_since.is_some()).await;
    let since = replica.contact().connected_since;
    tokio::time::advance(SILENCE).await;
    tokio::time::sleep(SILENCE * 4).await;
    assert_eq!(replica.contact().connected_since, since);
    assert!(replica.contact().last_contact.unwrap().elapsed() < SILENCE);
}

#[tokio::test]
async fn a_restart_from_disk_has_everything_that_was_read_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intent.redb");
    let voter = Arc::new(MemoryStore::new(1));
    let backing = DiskBacking::open(&path).unwrap();
    let replica = following(Arc::new(backing), InProcess::to(voter.clone())).await;
    commit(&*replica, "kept").await;
    commit(&*replica, "gone").await;
    replica.txn(Txn::new().delete("gone")).await.unwrap();

    // A file copied under a running writer is what a power cut leaves.
    let copy = directory.path().join("copy.redb");
    std::fs::copy(&path, &copy).unwrap();
    let backing = DiskBacking::open(&copy).unwrap();
    let state = backing.load().await.unwrap();
    assert_eq!(state.list(""), voter.list(""));

    // It goes on from there by deltas alone.
    let from = state.revision();
    commit(&*voter, "more").await;
    assert!(matches!(voter.watch(from).next().await.unwrap(), Event::Changes { .. }));
    let upstream = InProcess::to(voter.clone());
    let replica = following(Arc::new(backing), upstream).await;
    assert_eq!(replica.list(""), voter.list(""));
}

#[tokio::test]
async fn a_forgotten_history_and_a_new_epoch_are_full_resyncs_on_disk_too() {
    let directory = tempfile::tempdir().unwrap();
    let backing = DiskBacking::open(&directory.path().join("intent.redb")).unwrap();
    let voter = Arc::new(MemoryStore::from(KvState::new(1).with_history_limit(1)));
    for key in ["a", "b", "c"] {
        commit(&*voter, key).await;
    }
    let replica = following(Arc::new(backing.clone()), InProcess::to(voter)).await;
    assert_eq!(replica.list("").entries.len(), 3);
    drop(replica);

    let rebuilt = Arc::new(MemoryStore::new(2));
    commit(&*rebuilt, "a").await;
    let replica = following(Arc::new(backing.clone()), InProcess::to(rebuilt.clone())).await;
    assert_eq!(replica.list(""), rebuilt.list(""));
    assert_eq!(backing.load().await.unwrap().list(""), rebuilt.list(""));
}

#[tokio::test(start_paused = true)]
async fn a_replica_never_goes_back_behind_a_follower_that_is_late() {
    let ahead = Arc::new(MemoryStore::new(1));
    commit(&*ahead, "a").await;
    let late = MemoryStore::from_bytes(&ahead.to_bytes().unwrap()).unwrap();
    commit(&*ahead, "b").await;
    let backing = Arc::new(MemoryBacking::new());
    drop(following(backing.clone(), InProcess::to(ahead.clone())).await);
    let replica = following(backing, InProcess::to(Arc::new(late))).await;
    until(|| replica.contact().last_contact.is_some()).await;
    assert_eq!(replica.list(""), ahead.list(""));
}
