//! The agents' wire in memory. Who is at the other end is told as TLS would prove it.

use crate::network::{Mailbox, Network, Port};
use async_trait::async_trait;
use bytes::Bytes;
use hopsack_agent::talk::transport::{Connection, Credentials, Transport, TransportError, Wire};
use hopsack_agent::trust::authority::certificate_hash;
use hopsack_types::HostId;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;

/// As long as the real wire waits for a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// What a connection holds that nobody has read, bytes.
const WINDOW: usize = 64 * 1024;
/// The other end of an outgoing connection is not a port that anybody looks at.
const EPHEMERAL: u16 = 40_000;

/// One host's plug in the network.
#[derive(Clone)]
pub struct SimWire {
    network: Arc<Network>,
    here: IpAddr,
}

impl SimWire {
    /// The plug of the host with an address.
    pub fn new(network: Arc<Network>, here: IpAddr) -> Self {
        Self { network, here }
    }

    /// Connects to who listens at an address, without looking who that is.
    async fn dial(&self, to: SocketAddr, as_host: Option<HostId>) -> Result<Dialled, TransportError> {
        let failed =
            |kind: io::ErrorKind| TransportError::Connect { address: to, source: io::Error::from(kind) };
        if !self.network.passes(self.here, to.ip()) {
            sleep(CONNECT_DEADLINE).await;
            return Err(failed(io::ErrorKind::TimedOut));
        }
        sleep(self.network.latency()).await;
        let port = self.network.port(to).ok_or_else(|| failed(io::ErrorKind::ConnectionRefused))?;
        let (ours, near) = duplex(WINDOW);
        let (theirs, far) = duplex(WINDOW);
        tokio::spawn(relay(self.network.clone(), self.here, to.ip(), near, far));
        let arriving = Connection {
            peer: as_host,
            trusted: as_host.is_some(),
            remote: SocketAddr::new(self.here, EPHEMERAL),
            stream: Box::new(theirs),
        };
        Ok(Dialled { stream: ours, port, arriving })
    }
}

struct Dialled {
    stream: DuplexStream,
    port: Port,
    arriving: Connection,
}

impl Dialled {
    /// Both sides are content with each other.
    fn accepted(self, to: SocketAddr) -> Result<Connection, TransportError> {
        let peer = Some(self.port.credentials.host);
        self.port.arrivals.send(self.arriving).map_err(|_| TransportError::Connect {
            address: to,
            source: io::ErrorKind::ConnectionRefused.into(),
        })?;
        Ok(Connection { peer, trusted: true, remote: to, stream: Box::new(self.stream) })
    }
}

/// Carries a connection's bytes until an end is closed or the network is cut: then both ends break at once, or fall
/// silent until the network is whole again and break then, as the dice say.
async fn relay(network: Arc<Network>, one: IpAddr, other: IpAddr, near: DuplexStream, far: DuplexStream) {
    let (near_read, near_write) = split(near);
    let (far_read, far_write) = split(far);
    let both = async {
        tokio::join!(carry(&network, near_read, far_write), carry(&network, far_read, near_write));
    };
    tokio::pin!(both);
    tokio::select! {
        biased;
        () = network.until_passes(one, other, false) => {
            if network.coin() {
                network.until_passes(one, other, true).await;
            }
        }
        () = &mut both => {}
    }
}

async fn carry(network: &Network, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; WINDOW];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        sleep(network.latency()).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // The other end may be gone already.
    let _ = to.shutdown().await;
}

#[async_trait]
impl Wire for SimWire {
    async fn check(&self, _: SocketAddr) -> Result<(), TransportError> {
        Ok(())
    }

    async fn listen(
        &self,
        address: SocketAddr,
        credentials: Arc<Credentials>,
    ) -> Result<Arc<dyn Transport>, TransportError> {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        let datagrams = Arc::new(Mailbox::new());
        let port = Port { credentials: credentials.clone(), arrivals, datagrams: datagrams.clone() };
        if !self.network.open(address, port) {
            return Err(TransportError::Listen { address, source: io::ErrorKind::AddrInUse.into() });
        }
        let wire = self.clone();
        Ok(Arc::new(SimTransport { wire, address, credentials, arrived: Mutex::new(arrived), datagrams }))
    }

    async fn connect_by_hash(&self, to: SocketAddr, ca_hash: &str) -> Result<Connection, TransportError> {
        let dialled = self.dial(to, None).await?;
        if certificate_hash(&dialled.port.credentials.authority) != ca_hash {
            return Err(TransportError::OtherCluster { address: to });
        }
        dialled.accepted(to)
    }
}

struct SimTransport {
    wire: SimWire,
    address: SocketAddr,
    credentials: Arc<Credentials>,
    arrived: Mutex<mpsc::UnboundedReceiver<Connection>>,
    datagrams: Arc<Mailbox<(SocketAddr, Bytes)>>,
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        self.wire.network.close(self.address, &self.datagrams);
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn connect(&self, to: SocketAddr, wanted: Option<HostId>) -> Result<Connection, TransportError> {
        let dialled = self.wire.dial(to, Some(self.credentials.host)).await?;
        let theirs = &dialled.port.credentials;
        if theirs.cluster != self.credentials.cluster || theirs.authority != self.credentials.authority {
            return Err(TransportError::OtherCluster { address: to });
        }
        let found = theirs.host;
        match wanted {
            Some(wanted) if wanted != found => Err(TransportError::OtherHost { address: to, wanted, found }),
            _ => dialled.accepted(to),
        }
    }

    async fn accept(&self) -> Result<Connection, TransportError> {
        match self.arrived.lock().await.recv().await {
            Some(connection) => Ok(connection),
            // The port was closed under a host that has crashed.
            None => std::future::pending().await,
        }
    }

    async fn send_datagram(&self, to: SocketAddr, bytes: Bytes) {
        let network = &self.wire.network;
        let after = network.latency();
        if network.loses() || !network.passes(self.address.ip(), to.ip()) {
            return;
        }
        if let Some(port) = network.port(to) {
            port.datagrams.put(after, (self.address, bytes));
        }
    }

    async fn receive_datagram(&self) -> (SocketAddr, Bytes) {
        self.datagrams.take().await
    }
}
