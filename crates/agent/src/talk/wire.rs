//! What hosts say to each other, and its framing: a 32-bit big-endian length, then `postcard`.
//!
//! A connection carries one question after another, each with one answer; `Follow` is answered by `Done` and a stream of
//! events until the connection ends. What must not live here: sockets, and what an answer means.

use crate::talk::transport::{Connection, TransportError};
use hopsack_api::ApiError;
use hopsack_gossip::{Batch, Digest, MemberRecord, StateHash};
use hopsack_store::{Event, Refusal, Txn, TxnOutcome};
use hopsack_types::{Cidr, ClusterId, HostId, HostName, Revision};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// The largest frame between members, bytes: a whole copy of intent fits.
const MAX_FRAME: u32 = 64 << 20;
/// The largest frame that a stranger may send, bytes: a join question fits.
const MAX_STRANGE_FRAME: u32 = 64 << 10;
/// How long an answer may take; a write's own limit is shorter.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// May I come in? The only one that a host without certificate may ask.
    Join(JoinQuestion),
    /// A new certificate for the key in the signing request (DER).
    Renew(Vec<u8>),
    /// Write intent.
    Txn(Txn),
    /// All changes of intent from here on. Refused by a host that does not follow a voter itself.
    Follow(Revision),
    /// My list of members for yours.
    Members(Vec<MemberRecord>),
    /// Do your facts differ from mine?
    FactsHash(StateHash),
    /// What do I lack? My digest, for the batches that I lack and yours.
    Facts(Digest),
    /// News, to be passed on.
    Push(Vec<Batch>),
    /// What you lacked when we compared.
    Fill(Vec<Batch>),
    /// What does your clock show, and what are you?
    Examine,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Come in.
    Joined(Box<JoinAnswer>),
    /// The new certificate (DER).
    Renewed(Vec<u8>),
    /// What became of a write.
    Txn(Result<TxnOutcome, Refusal>),
    /// Intent has changed.
    Event(Event),
    /// My list of members.
    Members(Vec<MemberRecord>),
    /// Whether the facts are the same.
    FactsSame(bool),
    /// What you lack (as much as fits one answer), and my digest.
    Facts(Vec<Batch>, Digest),
    /// Heard.
    Done,
    /// No, and why.
    Refused(ApiError),
    /// What is asked when a host is examined.
    Examined {
        /// Seconds since 1970.
        unix_seconds: u64,
        /// The agent's version.
        version: String,
    },
}

/// What a joining host says. The secret is said only to a host that has proved itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinQuestion {
    /// The token's public half.
    pub token: hopsack_types::TokenId,
    /// The token's secret half.
    pub secret: [u8; 16],
    /// Signing request, DER.
    pub signing_request: Vec<u8>,
    /// The identity that the host drew.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Where others reach it.
    pub underlay: IpAddr,
    /// Its control port.
    pub control_port: u16,
    /// Prefixes that it has routes to.
    pub routes: Vec<Cidr>,
}

impl std::fmt::Debug for JoinQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinQuestion({} {}, secret withheld)", self.name, self.underlay)
    }
}

/// What a host gets that may come in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// The cluster.
    pub cluster: ClusterId,
    /// The host's certificate, DER.
    pub certificate: Vec<u8>,
    /// The authority's certificate, DER.
    pub authority: Vec<u8>,
    /// The key of membership datagrams.
    pub cluster_key: [u8; 32],
    /// Intent as it is with the new host in it.
    pub intent: Event,
}

impl std::fmt::Debug for JoinAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinAnswer({:?}, keys withheld)", self.cluster)
    }
}

impl Connection {
    /// Sends one message.
    pub async fn send<T: Serialize + Sync>(&mut self, message: &T) -> Result<(), TransportError> {
        let address = self.remote;
        let bytes = postcard::to_stdvec(message).map_err(|_| TransportError::Protocol { address })?;
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= MAX_FRAME)
            .ok_or(TransportError::Protocol { address })?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(&bytes);
        let broken = |source| TransportError::Broken { address, source };
        self.stream.write_all(&frame).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    /// Receives one message; none when the other side has ended the connection between two.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, TransportError> {
        let address = self.remote;
        let broken = |source| TransportError::Broken { address, source };
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(source) => return Err(broken(source)),
        }
        let length = u32::from_be_bytes(length);
        if length > if self.trusted { MAX_FRAME } else { MAX_STRANGE_FRAME } {
            return Err(TransportError::Protocol { address });
        }
        // Grows as bytes arrive, so that a length alone costs no memory.
        let mut bytes = Vec::new();
        let mut limited = (&mut self.stream).take(u64::from(length));
        limited.read_to_end(&mut bytes).await.map_err(broken)?;
        if bytes.len() != length as usize {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        postcard::from_bytes(&bytes).map(Some).map_err(|_| TransportError::Protocol { address })
    }

    /// Asks and waits for the answer.
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, TransportError> {
        let address = self.remote;
        let exchange = async {
            self.send(question).await?;
            self.receive().await
        };
        match timeout(ANSWER_DEADLINE, exchange).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => {
                let source = io::ErrorKind::UnexpectedEof.into();
                Err(TransportError::Broken { address, source })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(TransportError::Timeout { address }),
        }
    }
}
