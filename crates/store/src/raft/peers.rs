//! How voters talk to each other: requests and answers that the agent carries over its sealed streams.

use super::{Types, VoterId};
use crate::error::StoreError;
use async_trait::async_trait;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Raft, Snapshot, SnapshotMeta, Vote};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use tokio::time::timeout;

/// What one voter asks another. Opaque to who carries it.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerRequest(Request);

/// What a voter answers. Opaque to who carries it.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerAnswer(Answer);

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<VoterId>),
    Snapshot { vote: Vote<VoterId>, meta: SnapshotMeta<VoterId, ()>, state: Vec<u8> },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Append(AppendEntriesResponse<VoterId>),
    Vote(VoteResponse<VoterId>),
    Snapshot(SnapshotResponse<VoterId>),
}

/// Carries requests between voters; the agent implements it.
#[async_trait]
pub trait Peers: Send + Sync {
    /// Has a voter answer a request, by its [`super::RaftStore::answer`].
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], and what the other voter answered.
    async fn call(&self, to: VoterId, request: PeerRequest) -> Result<PeerAnswer, StoreError>;
}

/// The peers of a sole voter.
#[derive(Debug, Clone, Copy)]
pub struct NoPeers;

/// A sole voter has nobody to ask.
#[derive(Debug, thiserror::Error)]
#[error("voter {0} is not known here")]
struct UnknownVoter(VoterId);

#[async_trait]
impl Peers for NoPeers {
    async fn call(&self, to: VoterId, _: PeerRequest) -> Result<PeerAnswer, StoreError> {
        Err(StoreError::Unreachable { source: Box::new(UnknownVoter(to)) })
    }
}

/// A voter answered something else than it was asked.
#[derive(Debug, thiserror::Error)]
#[error("voter {0} gave an answer of another kind: run the same version of hopsack on all voters")]
struct WrongAnswer(VoterId);

/// Answers another voter by this one.
pub(super) async fn answer(raft: &Raft<Types>, request: PeerRequest) -> Result<PeerAnswer, StoreError> {
    let stopped = |_| StoreError::Stopped;
    let answer = match request.0 {
        Request::Append(request) => Answer::Append(raft.append_entries(request).await.map_err(stopped)?),
        Request::Vote(request) => Answer::Vote(raft.vote(request).await.map_err(stopped)?),
        Request::Snapshot { vote, meta, state } => {
            let snapshot = Snapshot { meta, snapshot: Box::new(state) };
            let installed = raft.install_full_snapshot(vote, snapshot).await;
            Answer::Snapshot(installed.map_err(|_| StoreError::Stopped)?)
        }
    };
    Ok(PeerAnswer(answer))
}

/// [`Peers`] as openraft wants them.
pub(super) struct Network {
    peers: Arc<dyn Peers>,
}

impl Network {
    pub(super) fn new(peers: Arc<dyn Peers>) -> Self {
        Self { peers }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, id: VoterId, (): &()) -> Peer {
        Peer { id, peers: Arc::clone(&self.peers) }
    }
}

/// One other voter.
pub(super) struct Peer {
    id: VoterId,
    peers: Arc<dyn Peers>,
}

impl Peer {
    /// Every failure makes openraft wait a little before it tries again.
    async fn call(&self, request: Request, option: &RPCOption) -> Result<Answer, Unreachable> {
        match timeout(option.hard_ttl(), self.peers.call(self.id, PeerRequest(request))).await {
            Ok(Ok(PeerAnswer(answer))) => Ok(answer),
            Ok(Err(error)) => Err(Unreachable::new(&error)),
            Err(elapsed) => Err(Unreachable::new(&elapsed)),
        }
    }

    fn wrong(&self) -> Unreachable {
        Unreachable::new(&WrongAnswer(self.id))
    }
}

type CallError = RPCError<VoterId, (), RaftError<VoterId>>;

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<VoterId>, CallError> {
        match self.call(Request::Append(request), &option).await? {
            Answer::Append(answer) => Ok(answer),
            Answer::Vote(_) | Answer::Snapshot(_) => Err(self.wrong().into()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<VoterId>,
        option: RPCOption,
    ) -> Result<VoteResponse<VoterId>, CallError> {
        match self.call(Request::Vote(request), &option).await? {
            Answer::Vote(answer) => Ok(answer),
            Answer::Append(_) | Answer::Snapshot(_) => Err(self.wrong().into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<VoterId>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<VoterId>, StreamingError<Types, Fatal<VoterId>>> {
        let request = Request::Snapshot { vote, meta: snapshot.meta, state: *snapshot.snapshot };
        tokio::select! {
            closed = cancel => Err(closed.into()),
            answer = self.call(request, &option) => match answer? {
                Answer::Snapshot(answer) => Ok(answer),
                Answer::Append(_) | Answer::Vote(_) => Err(self.wrong().into()),
            },
        }
    }
}
