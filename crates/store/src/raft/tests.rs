//! The log and the state machine against openraft's own suite, and three voters in one process.

use super::log::Log;
use super::machine::Machine;
use super::*;
use crate::disk::{Disk, Kind};
use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use std::collections::BTreeMap;
use std::sync::{Mutex, Weak};
use std::time::Duration;
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<Types, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<VoterId>> {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::create(&directory.path().join("raft.redb"), Kind::Voter, &[]).unwrap();
        let log = Log::open(disk.clone()).await.unwrap();
        let machine = Machine::open(disk, 1).await.unwrap();
        Ok((directory, log, machine))
    }
}

#[test]
fn the_log_and_the_state_machine_pass_the_suite_of_openraft() {
    Suite::test_all(Builder).unwrap();
}

/// Three voters that can be cut off.
#[derive(Default)]
struct InProcess {
    voters: Mutex<BTreeMap<VoterId, Raft<Types>>>,
    cut: Mutex<BTreeSet<VoterId>>,
}

/// The network as one voter sees it; a cut voter hears nobody and is heard by nobody.
struct Seen {
    me: VoterId,
    network: Weak<InProcess>,
}

#[async_trait]
impl Peers for Seen {
    async fn call(&self, to: VoterId, request: PeerRequest) -> Result<PeerAnswer, StoreError> {
        let unreachable = || StoreError::Unreachable { source: "cut".into() };
        let network = self.network.upgrade().ok_or_else(unreachable)?;
        let cut = network.cut.lock().unwrap().clone();
        if cut.contains(&self.me) || cut.contains(&to) {
            return Err(unreachable());
        }
        let raft = network.voters.lock().unwrap().get(&to).cloned().ok_or_else(unreachable)?;
        peers::answer(&raft, request).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_agree_and_a_cut_off_leader_answers_that_the_outcome_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let network = Arc::new(InProcess::default());
    let seen = |me| Arc::new(Seen { me, network: Arc::downgrade(&network) });
    let ids = [VoterId(1), VoterId(2), VoterId(3)];

    let first = RaftStore::create(&directory.path().join("1.redb"), ids[0], 1, seen(ids[0])).await.unwrap();
    // So much that the others need the snapshot as well as the log.
    for n in 0..1_300 {
        first.txn(Txn::new().put(format!("k/{}", n % 7), n.to_string())).await.unwrap();
    }
    network.voters.lock().unwrap().insert(ids[0], first.raft.clone());
    let mut lives = vec![first.live.clone()];
    for id in &ids[1..] {
        let disk = Disk::create(&directory.path().join(format!("{id}.redb")), Kind::Voter, &[]).unwrap();
        let log = Log::open(disk.clone()).await.unwrap();
        let machine = Machine::open(disk, 1).await.unwrap();
        lives.push(machine.live());
        let others = peers::Network::new(seen(*id));
        let raft = Raft::new(*id, Arc::new(config()), others, log, machine).await.unwrap();
        network.voters.lock().unwrap().insert(*id, raft);
        first.raft.add_learner(*id, (), true).await.unwrap();
    }
    first.raft.change_membership(BTreeSet::from(ids), false).await.unwrap();
    let outcome = first.txn(Txn::new().put("by", "three")).await.unwrap();
    let TxnOutcome::Committed(at) = outcome else { panic!("{outcome:?}") };
    for live in &lives {
        timeout(Duration::from_secs(10), live.reached(at)).await.unwrap();
        assert_eq!(live.list(""), first.list(""));
    }

    network.cut.lock().unwrap().insert(ids[0]);
    let answer = first.txn(Txn::new().put("by", "the cut one")).await;
    assert!(matches!(answer, Err(StoreError::OutcomeUnknown)), "{answer:?}");

    // The others elect one of them and go on; the old leader then follows and forgets what was never agreed.
    let second = network.voters.lock().unwrap()[&ids[1]].clone();
    let elected = second.wait(Some(Duration::from_secs(20)));
    let metrics =
        elected.metrics(|m| m.current_leader.is_some_and(|id| id != ids[0]), "new leader").await.unwrap();
    let leader = network.voters.lock().unwrap()[&metrics.current_leader.unwrap()].clone();
    let done = leader.client_write(vec![Txn::new().put("by", "two")]).await.unwrap();
    let TxnOutcome::Committed(at) = done.data[0] else { panic!("{:?}", done.data) };
    network.cut.lock().unwrap().clear();
    timeout(Duration::from_secs(20), first.live.reached(at)).await.unwrap();
    assert_eq!(first.get("by").unwrap().value, b"two");
    let refused = first.txn(Txn::new().put("by", "a follower")).await;
    assert!(matches!(refused, Err(StoreError::NotLeader { leader: Some(_) })), "{refused:?}");
    let voters = std::mem::take(&mut *network.voters.lock().unwrap());
    for raft in voters.into_values() {
        raft.shutdown().await.unwrap();
    }
}
