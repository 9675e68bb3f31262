//! The blocking client: one connection per call, the standard library's sockets only, so that a CNI plugin or a
//! command starts in a millisecond.

mod follow;

pub use follow::Followed;

use crate::*;
use hopsack_types::{Cidr, NetworkId, TokenId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::cmp::Ordering;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a call may take, unless told otherwise: several times what an agent needs to give up by itself.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer that is longer is not an agent's (a status of ten thousand hosts has 5 MB).
const LONGEST_ANSWER: u64 = 64 << 20;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The agent answered with an error.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// Nobody listens.
    #[error("no agent answers at {}: start one with `hopsack agent`", socket.display())]
    NoAgent {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket belongs to root.
    #[error("not allowed to ask the agent at {}: run as root", socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// No answer in time.
    #[error(
        "the agent at {} did not answer in {} s: it may or may not have done what was asked; look at its log",
        socket.display(), timeout.as_secs()
    )]
    Timeout {
        /// The socket.
        socket: PathBuf,
        /// The limit.
        timeout: Duration,
    },
    /// The agent went away with the question.
    #[error(
        "the agent at {} ended before it had answered: it may or may not have done what was asked; look with \
         `hopsack status`", socket.display()
    )]
    Ended {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection broke.
    #[error("cannot {operation} the agent at {}: {source}", socket.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What came back is not an answer to this call.
    #[error(
        "the agent at {} gave an answer that this hopsack does not understand ({reason}): it is of another version, \
         restart the agent", socket.display()
    )]
    NotUnderstood {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A request that has no JSON form (a path that is not UTF-8).
    #[error("the request cannot be written as JSON: {0}")]
    Request(#[source] serde_json::Error),
}

/// Asks an agent. Cheap to make; holds no connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the agent that listens at `socket` (usually [`SOCKET`]).
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), timeout: TIMEOUT }
    }

    /// The same with another limit for each whole call.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// [`Api::init`].
    pub fn init(&self, request: &InitRequest) -> Result<InitAnswer, ClientError> {
        self.post(route::INIT, request)
    }

    /// [`Api::join`].
    pub fn join(&self, request: &JoinRequest) -> Result<JoinAnswer, ClientError> {
        self.post(route::JOIN, request)
    }

    /// [`Api::create_token`].
    pub fn create_token(&self, request: &TokenRequest) -> Result<TokenAnswer, ClientError> {
        self.post(route::CREATE_TOKEN, request)
    }

    /// [`Api::tokens`].
    pub fn tokens(&self) -> Result<Vec<TokenStatus>, ClientError> {
        self.get(route::TOKENS)
    }

    /// [`Api::revoke_token`].
    pub fn revoke_token(&self, token: TokenId) -> Result<(), ClientError> {
        self.post(route::REVOKE_TOKEN, &token)
    }

    /// [`Api::status`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get(route::STATUS)
    }

    /// [`Api::examine`].
    pub fn examine(&self) -> Result<Examination, ClientError> {
        self.get(route::EXAMINE)
    }

    /// [`Api::ipam`].
    pub fn ipam(&self) -> Result<IpamStatus, ClientError> {
        self.get(route::IPAM)
    }

    /// [`Api::events`]: those that are remembered.
    pub fn events(&self, request: &EventsRequest) -> Result<Vec<Event>, ClientError> {
        self.post(route::EVENTS, request)
    }

    /// [`Api::events`]: those that are remembered, and those to come for as long as the agent runs.
    pub fn follow_events(&self, request: &EventsRequest) -> Result<Followed<Event>, ClientError> {
        self.follow(route::FOLLOW_EVENTS, request)
    }

    /// [`Api::hosts`].
    pub fn hosts(&self) -> Result<Vec<HostStatus>, ClientError> {
        self.get(route::HOSTS)
    }

    /// [`Api::remove_host`].
    pub fn remove_host(&self, request: &RemoveHostRequest) -> Result<HostRemoved, ClientError> {
        self.post(route::REMOVE_HOST, request)
    }

    /// [`Api::write_resources`].
    pub fn write_resources(&self, request: &WriteRequest) -> Result<Vec<Written>, ClientError> {
        self.post(route::WRITE_RESOURCES, request)
    }

    /// [`Api::label_resource`].
    pub fn label_resource(&self, request: &LabelRequest) -> Result<Written, ClientError> {
        self.post(route::LABEL_RESOURCE, request)
    }

    /// [`Api::list_resources`].
    pub fn list_resources(&self, request: &ListRequest) -> Result<Vec<Value>, ClientError> {
        self.post(route::RESOURCES, request)
    }

    /// [`Api::follow_resources`], for as long as the agent runs.
    pub fn follow_resources(&self, request: &ListRequest) -> Result<Followed<ResourceChange>, ClientError> {
        self.follow(route::FOLLOW_RESOURCES, request)
    }

    /// [`Api::propose_subnet`].
    pub fn propose_subnet(&self, request: &SubnetRequest) -> Result<Cidr, ClientError> {
        self.post(route::PROPOSE_SUBNET, request)
    }

    /// [`Api::networks`], as they are now.
    pub fn networks(&self) -> Result<Networks, ClientError> {
        self.get(route::NETWORKS)
    }

    /// [`Api::create_network`].
    pub fn create_network(&self, request: &NetworkRequest) -> Result<Network, ClientError> {
        self.post(route::CREATE_NETWORK, request)
    }

    /// [`Api::name_network`].
    pub fn name_network(&self, request: &NameRequest) -> Result<Network, ClientError> {
        self.post(route::NAME_NETWORK, request)
    }

    /// [`Api::change_network`].
    pub fn change_network(&self, request: &ChangeRequest) -> Result<Network, ClientError> {
        self.post(route::CHANGE_NETWORK, request)
    }

    /// [`Api::remove_network`].
    pub fn remove_network(&self, network: NetworkId) -> Result<(), ClientError> {
        self.post(route::REMOVE_NETWORK, &network)
    }

    /// [`Api::allocate`].
    pub fn allocate(&self, request: &AllocateRequest) -> Result<IpAddr, ClientError> {
        self.post(route::ALLOCATE, request)
    }

    /// [`Api::release`].
    pub fn release(&self, request: &ReleaseRequest) -> Result<(), ClientError> {
        self.post(route::RELEASE, request)
    }

    /// [`Api::create_endpoint`].
    pub fn create_endpoint(&self, request: &EndpointRequest) -> Result<EndpointStatus, ClientError> {
        self.post(route::CREATE_ENDPOINT, request)
    }

    /// [`Api::remove_endpoint`].
    pub fn remove_endpoint(&self, endpoint: EndpointId) -> Result<(), ClientError> {
        self.post(route::REMOVE_ENDPOINT, &endpoint)
    }

    /// [`Api::name_endpoint`].
    pub fn name_endpoint(&self, request: &ContainerRequest) -> Result<(), ClientError> {
        self.post(route::NAME_ENDPOINT, request)
    }

    /// [`Api::endpoints`].
    pub fn endpoints(&self) -> Result<Vec<EndpointStatus>, ClientError> {
        self.get(route::ENDPOINTS)
    }

    /// [`Api::publish`].
    pub fn publish(&self, request: &PublishRequest) -> Result<Vec<PublishedPort>, ClientError> {
        self.post(route::PUBLISH, request)
    }

    /// [`Api::unpublish`].
    pub fn unpublish(&self, endpoint: EndpointId) -> Result<(), ClientError> {
        self.post(route::UNPUBLISH, &endpoint)
    }

    /// [`Api::attach`].
    pub fn attach(&self, request: &AttachRequest) -> Result<EndpointStatus, ClientError> {
        self.post(route::ATTACH, request)
    }

    /// [`Api::detach`].
    pub fn detach(&self, request: &DetachRequest) -> Result<(), ClientError> {
        self.post(route::DETACH, request)
    }

    /// Where the agent is asked.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn follow<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<Followed<T>, ClientError> {
        let body = serde_json::to_vec(request).map_err(ClientError::Request)?;
        Followed::begin(self.clone(), self.send("POST", path, &body)?)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call("GET", path, &[])
    }

    fn post<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Result<T, ClientError> {
        self.call("POST", path, &serde_json::to_vec(request).map_err(ClientError::Request)?)
    }

    fn call<T: DeserializeOwned>(&self, method: &str, path: &str, body: &[u8]) -> Result<T, ClientError> {
        let answer = self.exchange(method, path, body)?;
        let not_understood =
            |reason: String| ClientError::NotUnderstood { socket: self.socket.clone(), reason };
        let (ok, body) = split(&answer).map_err(|broken| match broken {
            Broken::Short => ClientError::Ended { socket: self.socket.clone() },
            Broken::Foreign(reason) => not_understood(reason.to_owned()),
        })?;
        if ok {
            serde_json::from_slice(body).map_err(|error| not_understood(error.to_string()))
        } else {
            let error: ApiError =
                serde_json::from_slice(body).map_err(|error| not_understood(error.to_string()))?;
            Err(ClientError::Refused(error))
        }
    }

    /// Sends one request on a connection of its own.
    fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<UnixStream, ClientError> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|e| self.failed("connect to", e))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: hopsack\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.set_write_timeout(Some(self.timeout)).map_err(|e| self.failed("write to", e))?;
        stream.write_all(&[head.as_bytes(), body].concat()).map_err(|e| self.failed("write to", e))?;
        Ok(stream)
    }

    /// Sends one request on a connection of its own and reads until the agent closes it, as it was asked to.
    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        let deadline = Instant::now() + self.timeout;
        let mut stream = self.send(method, path, body)?;
        let mut answer = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.failed("read from", io::ErrorKind::TimedOut.into()));
            }
            stream.set_read_timeout(Some(left)).map_err(|e| self.failed("read from", e))?;
            match stream.read(&mut part) {
                Ok(0) => return Ok(answer),
                Ok(length) => answer.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read from", error)),
            }
            if answer.len() as u64 > LONGEST_ANSWER {
                return Err(self.failed("read from", io::ErrorKind::FileTooLarge.into()));
            }
        }
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> ClientError {
        let socket: &Path = &self.socket;
        let socket = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoAgent { socket },
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                ClientError::Timeout { socket, timeout: self.timeout }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Ended { socket },
            _ => ClientError::Io { operation, socket, source },
        }
    }
}

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq)]
enum Broken {
    /// Its end is missing.
    Short,
    /// It is not of our server's form.
    Foreign(&'static str),
}

/// Splits an HTTP/1.1 answer into "was it a success" and its body. Our server sends whole bodies with their length.
fn split(answer: &[u8]) -> Result<(bool, &[u8]), Broken> {
    const BEGINNING: &[u8] = b"HTTP/1.1 ";
    if !answer.iter().zip(BEGINNING).all(|(found, wanted)| found == wanted) {
        return Err(Broken::Foreign("it is not HTTP/1.1"));
    }
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or(Broken::Short)?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| Broken::Foreign("its head is not text"))?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.ok_or(Broken::Foreign("it is not HTTP/1.1"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or(Broken::Foreign("it has no length"))?;
    match body.len().cmp(&length) {
        Ordering::Less => Err(Broken::Short),
        Ordering::Equal => Ok((status.starts_with('2'), body)),
        Ordering::Greater => Err(Broken::Foreign("it is longer than it says")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_only_when_it_is_whole() {
        assert_eq!(split(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), Ok((true, &b"{}"[..])));
        assert_eq!(split(b"HTTP/1.1 409 Conflict\r\ncontent-length:0\r\n\r\n"), Ok((false, &b""[..])));
        for short in [
            &b""[..],
            b"HTTP",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        ] {
            assert_eq!(split(short), Err(Broken::Short), "{short:?}");
        }
        for foreign in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"\xff\xff\r\n\r\n",
        ] {
            assert!(matches!(split(foreign), Err(Broken::Foreign(_))), "{foreign:?}");
        }
    }
}
