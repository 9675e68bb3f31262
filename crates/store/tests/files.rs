//! What a voter and a copy make of the files that they find: their own after a crash, and bad ones.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use futures::future::join_all;
use hopsack_lab::require;
use hopsack_store::{DiskBacking, Event, NoPeers, RaftStore, Store, StoreError, Txn, TxnOutcome, VoterId};
use hopsack_types::Revision;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

async fn create(path: &Path) -> Result<RaftStore, StoreError> {
    RaftStore::create(path, VoterId(7), 1, Arc::new(NoPeers)).await
}

async fn open(path: &Path) -> Result<RaftStore, StoreError> {
    RaftStore::open(path, Arc::new(NoPeers)).await
}

async fn put(store: &RaftStore, key: &str, value: &str) -> Revision {
    match store.txn(Txn::new().put(key, value)).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        conflict @ TxnOutcome::Conflict { .. } => panic!("{conflict:?}"),
    }
}

/// What a person would read.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn a_voter_restarts_with_all_that_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let store = create(&path).await.unwrap();
    put(&store, "a", "1").await;
    let at = put(&store, "b", "2").await;
    store.txn(Txn::new().delete("a")).await.unwrap();
    let before = store.list("");
    store.shutdown().await;

    let store = open(&path).await.unwrap();
    assert_eq!(store.list(""), before);
    assert_eq!((store.id(), store.leader()), (VoterId(7), Some(VoterId(7))));
    // Revisions go on where they were, so that guards of before the restart still mean the same.
    assert_eq!(store.get("b").unwrap().modified, at);
    let next = put(&store, "c", "3").await;
    assert_eq!(next.index, before.revision.index + 1);
}

/// A file as it is at one moment: one that is written to while it is read is a mixture of two.
fn at_one_moment(path: &Path) -> Vec<u8> {
    loop {
        let (bytes, again) = (fs::read(path).unwrap(), fs::read(path).unwrap());
        if bytes == again {
            return bytes;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_under_writes_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let store = Arc::new(create(&path).await.unwrap());
    for round in 0..5 {
        let acknowledged = put(&store, "last", &round.to_string()).await;
        let writers = (0..64).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { put(&store, &format!("w/{n}"), "x").await })
        });
        let writers: Vec<_> = writers.collect();
        // The file as it is while the 64 are being written is what a crash leaves.
        let copy = directory.path().join(format!("crash-{round}.redb"));
        fs::write(&copy, at_one_moment(&path)).unwrap();
        let survivor = open(&copy).await.unwrap();
        assert!(survivor.revision() >= acknowledged);
        assert_eq!(survivor.get("last").unwrap().value, round.to_string().as_bytes());
        for written in join_all(writers).await {
            assert!(written.unwrap() > acknowledged);
        }
        assert_eq!(store.list("w/").entries.len(), 64);
        survivor.shutdown().await;
    }
}

#[tokio::test]
async fn a_long_history_is_compacted_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let store = create(&path).await.unwrap();
    // More entries than one snapshot covers. Several writers at once would share entries.
    for n in 0..1_300 {
        put(&store, &format!("k/{}", n % 10), &n.to_string()).await;
    }
    let before = store.list("");
    store.shutdown().await;
    let store = open(&path).await.unwrap();
    assert_eq!(store.list(""), before);
    // A follower from before the restart's history is given everything.
    let mut watch = store.watch(Revision { epoch: 1, index: 3 });
    assert!(matches!(watch.next().await.unwrap(), Event::Snapshot(snapshot) if snapshot == before));
}

#[tokio::test]
async fn a_cluster_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let store = create(&path).await.unwrap();
    put(&store, "a", "1").await;
    store.shutdown().await;
    assert!(matches!(store.txn(Txn::new().put("b", "2")).await, Err(StoreError::Stopped)));
    assert!(store.get("a").is_some());
    let again = create(&path).await.err().unwrap();
    assert!(matches!(again, StoreError::Exists { .. }), "{again:?}");
    assert!(open(&path).await.unwrap().get("a").is_some());
}

#[tokio::test]
async fn a_file_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let _store = create(&path).await.unwrap();
    let second = open(&path).await.err().unwrap();
    assert!(matches!(second, StoreError::Locked { .. }), "{second:?}");
    assert!(chain(&second).contains("stop the other hopsack agent"));
}

#[tokio::test]
async fn a_missing_file_and_a_missing_directory_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let missing = open(&directory.path().join("raft.redb")).await.err().unwrap();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing:?}");
    let path = directory.path().join("nowhere/raft.redb");
    for error in [open(&path).await.err().unwrap(), create(&path).await.err().unwrap()] {
        assert!(matches!(error, StoreError::Access { .. }), "{error:?}");
    }
    assert!(matches!(DiskBacking::open(&path), Err(StoreError::Access { .. })));
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused() {
    // Root may write anywhere but into a kernel file system.
    let error = create(Path::new("/proc/raft.redb")).await.err().unwrap();
    assert!(matches!(error, StoreError::Access { .. }), "{error:?}");
    assert!(chain(&error).contains("/proc/raft.redb"), "{}", chain(&error));
}

/// A file system of so many KiB, seen by this thread alone.
fn small_file_system(at: &Path, kib: usize, extra: MsFlags) {
    let options = format!("size={kib}k");
    mount(None::<&str>, at, Some("tmpfs"), extra, Some(options.as_str())).unwrap();
}

#[tokio::test]
async fn a_full_disk_stops_the_voter_and_loses_nothing_that_was_acknowledged() {
    // Only root can make a small file system.
    require!(Root);
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let directory = tempfile::tempdir().unwrap();
    small_file_system(directory.path(), 4_000, MsFlags::empty());
    let path = directory.path().join("raft.redb");
    let store = create(&path).await.unwrap();
    let mut acknowledged = 0;
    let error = loop {
        let key = format!("k/{acknowledged}");
        match store.txn(Txn::new().put(key, vec![0; 50_000])).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1_000, "the disk never gets full");
    };
    assert!(matches!(error, StoreError::OutcomeUnknown), "{error:?}");
    let stopped = async {
        while !store.has_stopped() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), stopped).await.unwrap();
    let after = store.txn(Txn::new().put("after", "")).await;
    assert!(matches!(after, Err(StoreError::Stopped)), "{after:?}");
    assert!(acknowledged > 10 && store.list("k/").entries.len() >= acknowledged);
    store.shutdown().await;

    small_file_system(directory.path(), 40_000, MsFlags::MS_REMOUNT);
    let store = open(&path).await.unwrap();
    for n in 0..acknowledged {
        assert!(store.get(&format!("k/{n}")).is_some(), "k/{n} of {acknowledged}");
    }
    put(&store, "after", "x").await;
    store.shutdown().await;
    umount(directory.path()).unwrap();
}

#[tokio::test]
async fn a_copy_is_not_taken_for_a_voter_nor_a_voter_for_a_copy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.redb");
    drop(DiskBacking::open(&path).unwrap());
    let error = open(&path).await.err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");

    let path = directory.path().join("raft.redb");
    create(&path).await.unwrap().shutdown().await;
    assert!(matches!(DiskBacking::open(&path), Err(StoreError::Foreign { .. })));

    let path = directory.path().join("other.redb");
    drop(redb::Database::create(&path).unwrap());
    assert!(matches!(DiskBacking::open(&path), Err(StoreError::Foreign { .. })));
}

/// What another version of the program would have written into the file.
fn set_format(path: &Path, format: u64) {
    let db = redb::Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    let about = redb::TableDefinition::<&str, u64>::new("about");
    txn.open_table(about).unwrap().insert("format", format).unwrap();
    txn.commit().unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused_and_its_content_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let store = create(&path).await.unwrap();
    put(&store, "a", "1").await;
    store.shutdown().await;
    set_format(&path, 99);
    let error = open(&path).await.err().unwrap();
    assert!(matches!(error, StoreError::NewerFormat { found: 99, .. }), "{error:?}");
    assert!(chain(&error).contains("upgrade"));
    set_format(&path, 1);
    assert_eq!(open(&path).await.unwrap().get("a").unwrap().value, b"1");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_never_a_panic_or_an_empty_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let store = create(&path).await.unwrap();
    for n in 0..50 {
        put(&store, &format!("k/{n}"), &"x".repeat(500)).await;
    }
    let good = store.list("");
    store.shutdown().await;
    let bytes = fs::read(&path).unwrap();
    let damaged = directory.path().join("damaged.redb");

    fs::write(&damaged, b"this is not a database at all").unwrap();
    let error = open(&damaged).await.err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    fs::write(&damaged, b"").unwrap();
    let error = open(&damaged).await.err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");

    // A page of zeros anywhere: refused, or without effect because the page was free.
    let mut refused = 0;
    for page in 0..bytes.len() / 4096 {
        let mut bytes = bytes.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        fs::write(&damaged, &bytes).unwrap();
        match open(&damaged).await {
            Ok(store) => {
                assert_eq!(store.list(""), good, "page {page}");
                store.shutdown().await;
            }
            Err(error) => {
                assert!(
                    matches!(error, StoreError::Corrupt { .. } | StoreError::Foreign { .. }),
                    "{error:?}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
}
