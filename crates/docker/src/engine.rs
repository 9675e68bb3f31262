//! What we need of a Docker engine, and the real one behind its API. Only networks, events and the list of containers:
//! nothing here can start one.

use crate::error::DockerError;
use crate::options;
use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectNetworkOptions, ListContainersOptions, ListNetworksOptions,
};
use futures::stream::{BoxStream, StreamExt};
use hopsack_types::{Cidr, ContainerRef, EndpointId, Family, Labels, NetworkId, NetworkName};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of our two drivers: the plugin socket's file name.
pub const DRIVER: &str = "hopsack";

/// Seconds that one request to the engine may take. Making a network calls back into our plugin, which answers within
/// a few.
const TIMEOUT: u64 = 60;

/// A network in an engine's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineNetwork {
    /// The engine's id of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// For a copy that the mirror made: of which network.
    pub copy_of: Option<NetworkId>,
    /// Of which network it is the twin: it was made here and refused by the cluster, because the same network was made
    /// elsewhere at the same moment. The engine does not know it; the mirror does.
    pub twin_of: Option<NetworkId>,
    /// Its labels.
    pub labels: Labels,
}

/// A container that runs on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineContainer {
    /// Its id and name.
    pub container: ContainerRef,
    /// Its labels.
    pub labels: Labels,
    /// Its endpoints, of all drivers.
    pub endpoints: BTreeSet<EndpointId>,
}

/// A copy to be made of a network: all that `docker network inspect` shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkCopy {
    /// Of which network.
    pub network: NetworkId,
    /// Its name.
    pub name: NetworkName,
    /// Its subnets.
    pub subnets: Vec<SubnetCopy>,
    /// No way out, none in.
    pub internal: bool,
    /// Options as the user would say them.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: Labels,
}

/// One subnet of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetCopy {
    /// Its prefix.
    pub prefix: Cidr,
    /// Where Docker's user wants addresses from.
    pub range: Option<Cidr>,
    /// Its gateway, where the user gave it.
    pub gateway: Option<IpAddr>,
    /// Auxiliary addresses by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// A Docker engine.
#[async_trait]
pub trait Engine: Send + Sync {
    /// All networks, of any driver.
    async fn networks(&self) -> Result<Vec<EngineNetwork>, DockerError>;
    /// The endpoints that the engine has in one network, by its id; those that it is just making are among them.
    async fn endpoints(&self, network: &str) -> Result<BTreeSet<EndpointId>, DockerError>;
    /// Makes a copy of a network. The engine calls our plugin before this returns.
    async fn create(&self, copy: &NetworkCopy) -> Result<(), DockerError>;
    /// Removes a network by the engine's id; one that is not there is no error.
    async fn remove(&self, network: &str) -> Result<(), DockerError>;
    /// An item whenever something about networks has changed; an error or the end when the engine is gone.
    fn changes(&self) -> BoxStream<'static, Result<(), DockerError>>;
    /// All containers that run.
    async fn containers(&self) -> Result<Vec<EngineContainer>, DockerError>;
    /// An item whenever a container has started, was connected or was renamed; an error or the end when the engine is
    /// gone.
    fn starts(&self) -> BoxStream<'static, Result<(), DockerError>>;
}

/// The engine behind a unix socket.
#[derive(Debug)]
pub struct DockerEngine {
    socket: PathBuf,
    /// Kept while it works: a new one asks for the engine's version first.
    client: Mutex<Option<Docker>>,
}

impl DockerEngine {
    /// The engine that listens at `socket`, now or later.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, client: Mutex::new(None) }
    }

    async fn client(&self) -> Result<Docker, DockerError> {
        let kept = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = kept {
            return Ok(client);
        }
        let client = connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    fn unreachable(&self, source: BollardError) -> DockerError {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        DockerError::Unreachable { socket: self.socket.clone(), source: Box::new(source) }
    }

    /// Tells a refusal from an engine that does not answer.
    fn failed(&self, operation: &'static str, object: &str, error: BollardError) -> DockerError {
        match error {
            BollardError::DockerResponseServerError { message, .. } => {
                DockerError::Engine { operation, object: object.to_owned(), message }
            }
            error => self.unreachable(error),
        }
    }

    /// Events of some types and kinds.
    fn events(&self, wanted: [(&str, Vec<&str>); 2]) -> BoxStream<'static, Result<(), DockerError>> {
        let socket = self.socket.clone();
        let unreachable =
            move |source| DockerError::Unreachable { socket: socket.clone(), source: Box::new(source) };
        // The request leaves when the stream is first polled; what happens until then is told too.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let wanted: HashMap<&str, Vec<&str>> = HashMap::from(wanted);
        let options = EventsOptionsBuilder::new().since(&since.to_string()).filters(&wanted).build();
        let socket = self.socket.clone();
        futures::stream::once(async move { Ok(connect(&socket).await?.events(Some(options))) })
            .flat_map(|opened: Result<_, BollardError>| match opened {
                Ok(events) => events.boxed(),
                Err(error) => futures::stream::once(async { Err(error) }).boxed(),
            })
            .map(move |event| event.map(|_| ()).map_err(&unreachable))
            .boxed()
    }
}

/// Docker 29 speaks no version below 1.44 and 20.10 none above 1.41, and each refuses to tell its version to who
/// asks in a foreign one.
async fn connect(socket: &std::path::Path) -> Result<Docker, BollardError> {
    let socket = socket.to_string_lossy();
    let client = |version| Docker::connect_with_unix(&socket, TIMEOUT, version);
    match client(bollard::API_DEFAULT_VERSION)?.negotiate_version().await {
        Err(BollardError::DockerResponseServerError { .. }) => client(&OLDEST),
        negotiated => negotiated,
    }
}

/// The API of Docker 20.10.
const OLDEST: bollard::ClientVersion = bollard::ClientVersion { major_version: 1, minor_version: 41 };

#[async_trait]
impl Engine for DockerEngine {
    async fn networks(&self) -> Result<Vec<EngineNetwork>, DockerError> {
        let listed = self.client().await?.list_networks(None::<ListNetworksOptions>).await;
        let listed = listed.map_err(|error| self.failed("list", "all", error))?;
        Ok(listed
            .into_iter()
            .filter_map(|network| {
                let options = network.options.unwrap_or_default();
                Some(EngineNetwork {
                    id: network.id?,
                    name: network.name.unwrap_or_default(),
                    driver: network.driver.unwrap_or_default(),
                    copy_of: options.get(options::COPY_OF).and_then(|id| id.parse().ok()),
                    twin_of: None,
                    labels: network.labels.unwrap_or_default().into_iter().collect(),
                })
            })
            .collect())
    }

    async fn endpoints(&self, network: &str) -> Result<BTreeSet<EndpointId>, DockerError> {
        let found = self.client().await?.inspect_network(network, None::<InspectNetworkOptions>).await;
        let found = found.map_err(|error| self.failed("inspect", network, error))?;
        let ids = found.containers.unwrap_or_default().into_values().filter_map(|c| c.endpoint_id);
        Ok(ids.filter_map(|id| crate::network::endpoint_id(&id).ok()).collect())
    }

    async fn create(&self, copy: &NetworkCopy) -> Result<(), DockerError> {
        let mark = (options::COPY_OF.to_owned(), copy.network.to_string());
        let config = copy.subnets.iter().map(|subnet| IpamConfig {
            subnet: Some(subnet.prefix.to_string()),
            ip_range: subnet.range.map(|range| range.to_string()),
            gateway: subnet.gateway.map(|gateway| gateway.to_string()),
            auxiliary_addresses: (!subnet.auxiliary.is_empty()).then(|| {
                subnet.auxiliary.iter().map(|(name, address)| (name.clone(), address.to_string())).collect()
            }),
        });
        let has = |family| copy.subnets.iter().any(|subnet| subnet.prefix.family() == family);
        let request = NetworkCreateRequest {
            name: copy.name.to_string(),
            driver: Some(DRIVER.to_owned()),
            ipam: Some(Ipam {
                driver: Some(DRIVER.to_owned()),
                config: Some(config.collect()),
                options: None,
            }),
            internal: Some(copy.internal),
            // Older engines do not know it, and have IPv4 always.
            enable_ipv4: (!has(Family::V4)).then_some(false),
            enable_ipv6: Some(has(Family::V6)),
            options: Some(copy.options.clone().into_iter().chain([mark]).collect()),
            labels: Some(copy.labels.clone().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        let made = self.client().await?.create_network(request).await;
        made.map(|_| ()).map_err(|error| self.failed("create", copy.name.as_str(), error))
    }

    async fn remove(&self, network: &str) -> Result<(), DockerError> {
        match self.client().await?.remove_network(network).await {
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", network, error)),
        }
    }

    fn changes(&self) -> BoxStream<'static, Result<(), DockerError>> {
        // Not of connected containers: they change no list.
        self.events([("type", vec!["network"]), ("event", vec!["create", "destroy"])])
    }

    async fn containers(&self) -> Result<Vec<EngineContainer>, DockerError> {
        let listed = self.client().await?.list_containers(None::<ListContainersOptions>).await;
        let listed = listed.map_err(|error| self.failed("list the containers of", "all networks", error))?;
        Ok(listed
            .into_iter()
            .filter_map(|found| {
                let networks = found.network_settings.and_then(|settings| settings.networks);
                let endpoints = networks.unwrap_or_default().into_values().filter_map(|n| n.endpoint_id);
                // Docker writes a slash before a name, and the names of links, which have more, behind it.
                let name = found.names.unwrap_or_default().into_iter().next().unwrap_or_default();
                Some(EngineContainer {
                    container: ContainerRef { id: found.id?, name: name.trim_start_matches('/').to_owned() },
                    labels: found.labels.unwrap_or_default().into_iter().collect(),
                    endpoints: endpoints.filter_map(|id| crate::network::endpoint_id(&id).ok()).collect(),
                })
            })
            .collect())
    }

    fn starts(&self) -> BoxStream<'static, Result<(), DockerError>> {
        self.events([("type", vec!["container", "network"]), ("event", vec!["start", "rename", "connect"])])
    }
}
