//! What carries talk between hosts, as a trait: TLS over TCP and UDP in a real agent, memory in a simulation.
//!
//! A transport authenticates and encrypts; what is said is in `wire`.

use crate::trust::authority::HostKey;
use async_trait::async_trait;
use bytes::Bytes;
use hopsack_types::{ClusterId, HostId};
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};

/// What a host proves itself with, and whom it believes.
pub struct Credentials {
    /// The cluster.
    pub cluster: ClusterId,
    /// This host.
    pub host: HostId,
    /// Its key.
    pub key: Arc<HostKey>,
    /// The authority's certificate.
    pub authority: CertificateDer<'static>,
    /// Seals membership datagrams; known to members only.
    pub cluster_key: [u8; 32],
    certificate: RwLock<CertificateDer<'static>>,
}

impl Credentials {
    /// Credentials of their parts.
    pub fn new(
        cluster: ClusterId,
        host: HostId,
        key: Arc<HostKey>,
        authority: CertificateDer<'static>,
        certificate: CertificateDer<'static>,
        cluster_key: [u8; 32],
    ) -> Self {
        Self { cluster, host, key, authority, cluster_key, certificate: RwLock::new(certificate) }
    }

    /// The certificate in use.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses a renewed certificate for connections from now on.
    pub fn renew(&self, certificate: CertificateDer<'static>) {
        *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }
}

/// A stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// An authenticated, encrypted connection.
pub struct Connection {
    /// Who is at the other end; none only for a host that wants to join and has no certificate yet.
    pub peer: Option<HostId>,
    /// Whether the other end has proved to belong to a cluster that this end wants to talk with. A host that joins
    /// trusts the one that it asks; not the other way round.
    pub trusted: bool,
    /// Where the other end is.
    pub remote: SocketAddr,
    /// The bytes.
    pub stream: Box<dyn Stream>,
}

/// Why talk with another host failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Nobody answers.
    #[error("no hopsack agent answers at {address}: check the address, and that TCP port {} is open", address.port())]
    Connect {
        /// Address.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The handshake failed.
    #[error("{address} could not prove that it belongs to this cluster")]
    Handshake {
        /// Address.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The host at the address belongs to another cluster than the token.
    #[error("the host at {address} belongs to another cluster than the token: check both")]
    OtherCluster {
        /// Address.
        address: SocketAddr,
    },
    /// A member, but not the one that was meant.
    #[error("{address} is host {found:?}, not {wanted:?}: has its address moved?")]
    OtherHost {
        /// Address.
        address: SocketAddr,
        /// Who was meant.
        wanted: HostId,
        /// Who answered.
        found: HostId,
    },
    /// The port cannot be opened.
    #[error(
        "cannot listen on {address}, TCP and UDP: stop what uses the port, or choose another with `hopsack agent --control-port` before `hopsack init` or `join`"
    )]
    Listen {
        /// Address.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {address} broke")]
    Broken {
        /// Address.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The other side sent what cannot be understood.
    #[error("{address} speaks another version of the protocol: run the same hopsack version on all hosts")]
    Protocol {
        /// Address.
        address: SocketAddr,
    },
    /// No answer in time.
    #[error("{address} did not answer in time")]
    Timeout {
        /// Address.
        address: SocketAddr,
    },
    /// A key or certificate is not usable.
    #[error("this host's key or certificate cannot be used: restore its state directory, or join again")]
    Credentials {
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A host's place in the network, once it has credentials.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Connects to a member. With `wanted`, only that one will do.
    async fn connect(&self, to: SocketAddr, wanted: Option<HostId>) -> Result<Connection, TransportError>;
    /// The next connection that somebody made to this host. Members have an identity; others may only ask to join.
    async fn accept(&self) -> Result<Connection, TransportError>;
    /// Sends a datagram; like all datagrams it may be lost.
    async fn send_datagram(&self, to: SocketAddr, bytes: Bytes);
    /// The next datagram.
    async fn receive_datagram(&self) -> (SocketAddr, Bytes);
}

/// Makes transports.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Opens the control port, TCP and UDP.
    async fn listen(
        &self,
        address: SocketAddr,
        credentials: Arc<Credentials>,
    ) -> Result<Arc<dyn Transport>, TransportError>;
    /// Whether the control port could be opened; asked before a host makes or enters a cluster, so that it does so
    /// wholly or not at all.
    async fn check(&self, address: SocketAddr) -> Result<(), TransportError>;
    /// Connects before this host has credentials, to a host that proves to be certified by the authority with this
    /// hash.
    async fn connect_by_hash(&self, to: SocketAddr, ca_hash: &str) -> Result<Connection, TransportError>;
}
