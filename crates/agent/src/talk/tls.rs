//! The real wire: TLS 1.3 over TCP with certificates on both sides, and UDP.
//!
//! What must not live here: what is said over it.

use crate::talk::transport::{Connection, Credentials, Transport, TransportError, Wire};
use crate::trust::authority::{SERVER_NAME, certificate_hash, identity_of};
use async_trait::async_trait;
use bytes::Bytes;
use hopsack_types::{ClusterId, HostId};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Time for a TCP connection and, again, for its handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Connections that have shaken hands and wait to be taken.
const BACKLOG: usize = 64;
/// Handshakes at a time; more wait for their turn in the kernel's queue.
const HANDSHAKES: usize = 64;
/// A membership datagram fits any path; larger ones are cut off and then fail to open.
const DATAGRAM: usize = 2048;

fn unusable<E: std::error::Error + Send + Sync + 'static>(source: E) -> TransportError {
    TransportError::Credentials { source: Box::new(source) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, TransportError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(unusable)?;
    Ok(Arc::new(roots))
}

fn server_name() -> Result<ServerName<'static>, TransportError> {
    ServerName::try_from(SERVER_NAME).map_err(unusable)
}

/// Makes real transports.
#[derive(Debug, Clone, Copy, Default)]
pub struct TlsWire;

#[async_trait]
impl Wire for TlsWire {
    async fn listen(
        &self,
        address: SocketAddr,
        credentials: Arc<Credentials>,
    ) -> Result<Arc<dyn Transport>, TransportError> {
        let (listener, datagrams) = open_ports(address).await?;
        let (arrived, arrivals) = mpsc::channel(BACKLOG);
        let acceptor = tokio::spawn(accept_all(listener, credentials.clone(), arrived));
        Ok(Arc::new(TlsTransport { credentials, datagrams, arrivals: Mutex::new(arrivals), acceptor }))
    }

    async fn check(&self, address: SocketAddr) -> Result<(), TransportError> {
        open_ports(address).await.map(drop)
    }

    async fn connect_by_hash(&self, to: SocketAddr, ca_hash: &str) -> Result<Connection, TransportError> {
        let provider = provider();
        let verifier = Arc::new(HashVerifier { ca_hash: ca_hash.to_owned(), provider: provider.clone() });
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        dial(to, config).await.map(|(connection, _)| connection).map_err(|error| match error {
            TransportError::Handshake { address, source } if is_certificate_error(&source) => {
                tracing::debug!(%address, error = %source, "the server's certificate was refused");
                TransportError::OtherCluster { address }
            }
            other => other,
        })
    }
}

async fn open_ports(address: SocketAddr) -> Result<(TcpListener, UdpSocket), TransportError> {
    let failed = |source| TransportError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let datagrams = UdpSocket::bind(address).await.map_err(failed)?;
    Ok((listener, datagrams))
}

fn is_certificate_error(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .is_some_and(|inner| matches!(inner, rustls::Error::InvalidCertificate(_)))
}

struct TlsTransport {
    credentials: Arc<Credentials>,
    datagrams: UdpSocket,
    arrivals: Mutex<mpsc::Receiver<Connection>>,
    acceptor: tokio::task::JoinHandle<()>,
}

impl Drop for TlsTransport {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

#[async_trait]
impl Transport for TlsTransport {
    async fn connect(&self, to: SocketAddr, wanted: Option<HostId>) -> Result<Connection, TransportError> {
        let config = client_config(&self.credentials)?;
        let (connection, cluster) = dial(to, config).await.inspect_err(|error| match error {
            // Only this host chooses whom it calls, so a stranger cannot fill the log by this.
            TransportError::Handshake { source, .. } if is_certificate_error(source) => {
                tracing::warn!(address = %to, "the host at an address of this cluster is of another cluster");
            }
            _ => {}
        })?;
        match connection.peer {
            Some(_) if cluster != Some(self.credentials.cluster) => {
                Err(TransportError::OtherCluster { address: to })
            }
            Some(found) => match wanted {
                Some(wanted) if wanted != found => {
                    Err(TransportError::OtherHost { address: to, wanted, found })
                }
                _ => Ok(connection),
            },
            None => Err(TransportError::OtherCluster { address: to }),
        }
    }

    async fn accept(&self) -> Result<Connection, TransportError> {
        let next = self.arrivals.lock().await.recv().await;
        // The accepting task lives as long as this transport, so the channel does not close before it.
        match next {
            Some(connection) => Ok(connection),
            None => std::future::pending().await,
        }
    }

    async fn send_datagram(&self, to: SocketAddr, bytes: Bytes) {
        if let Err(error) = self.datagrams.send_to(&bytes, to).await {
            tracing::trace!(%to, %error, "a datagram was not sent");
        }
    }

    async fn receive_datagram(&self) -> (SocketAddr, Bytes) {
        let mut buffer = [0; DATAGRAM];
        loop {
            match self.datagrams.recv_from(&mut buffer).await {
                Ok((length, from)) => return (from, Bytes::copy_from_slice(&buffer[..length])),
                // An ICMP error of an earlier datagram; the next one may do better.
                Err(error) => tracing::trace!(%error, "no datagram was received"),
            }
        }
    }
}

fn client_config(credentials: &Credentials) -> Result<ClientConfig, TransportError> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots(&credentials.authority)?)
        .with_client_auth_cert(vec![credentials.certificate()], credentials.key.for_tls())
        .map_err(unusable)
}

fn server_config(credentials: &Credentials) -> Result<ServerConfig, TransportError> {
    let provider = provider();
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots(&credentials.authority)?, provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(unusable)?;
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        // The authority's certificate goes with it, so that who has only its hash can check the chain.
        .with_single_cert(
            vec![credentials.certificate(), credentials.authority.clone()],
            credentials.key.for_tls(),
        )
        .map_err(unusable)
}

/// Connects and shakes hands. Returns the connection with the peer's identity, and the peer's cluster.
async fn dial(
    to: SocketAddr,
    config: ClientConfig,
) -> Result<(Connection, Option<ClusterId>), TransportError> {
    let connect = timeout(CONNECT_DEADLINE, TcpStream::connect(to));
    let stream = match connect.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(TransportError::Connect { address: to, source }),
        Err(_) => {
            let source = io::Error::from(io::ErrorKind::TimedOut);
            return Err(TransportError::Connect { address: to, source });
        }
    };
    if let Err(source) = stream.set_nodelay(true) {
        return Err(TransportError::Connect { address: to, source });
    }
    let handshake = TlsConnector::from(Arc::new(config)).connect(server_name()?, stream);
    let tls = match timeout(CONNECT_DEADLINE, handshake).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(source)) => return Err(TransportError::Handshake { address: to, source }),
        Err(_) => return Err(TransportError::Timeout { address: to }),
    };
    let identity = tls.get_ref().1.peer_certificates().and_then(|chain| identity_of(chain.first()?));
    let peer = identity.map(|(_, host)| host);
    let connection = Connection { peer, trusted: true, remote: to, stream: Box::new(tls) };
    Ok((connection, identity.map(|(cluster, _)| cluster)))
}

async fn accept_all(listener: TcpListener, credentials: Arc<Credentials>, arrived: mpsc::Sender<Connection>) {
    let turns = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (credentials, arrived) = (credentials.clone(), arrived.clone());
        tokio::spawn(async move {
            match timeout(CONNECT_DEADLINE, shake_hands(stream, remote, &credentials)).await {
                Ok(Ok(connection)) => drop(arrived.send(connection).await),
                Ok(Err(error @ TransportError::OtherCluster { .. })) => {
                    tracing::warn!(%remote, %error, "a connection was refused");
                }
                // Anybody can cause these, as often as they like.
                Ok(Err(error)) => tracing::debug!(%remote, %error, "a connection was refused"),
                Err(_) => tracing::debug!(%remote, "a handshake took too long"),
            }
            drop(turn);
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    remote: SocketAddr,
    credentials: &Credentials,
) -> Result<Connection, TransportError> {
    let failed = |source| TransportError::Handshake { address: remote, source };
    stream.set_nodelay(true).map_err(failed)?;
    let config = server_config(credentials)?;
    let tls = TlsAcceptor::from(Arc::new(config)).accept(stream).await.map_err(failed)?;
    let identity = tls.get_ref().1.peer_certificates().and_then(|chain| identity_of(chain.first()?));
    if identity.is_some_and(|(cluster, _)| cluster != credentials.cluster) {
        return Err(TransportError::OtherCluster { address: remote });
    }
    let peer = identity.map(|(_, host)| host);
    Ok(Connection { peer, trusted: peer.is_some(), remote, stream: Box::new(tls) })
}

/// Believes a server whose chain ends at the authority with a given hash: all that a joining host knows.
#[derive(Debug)]
struct HashVerifier {
    ca_hash: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for HashVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let authority = intermediates
            .iter()
            .find(|certificate| certificate_hash(certificate) == self.ca_hash)
            .ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|_| unknown())?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
