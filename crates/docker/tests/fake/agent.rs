//! An agent in memory: networks that all hosts of one cluster share, addresses and endpoints of each host.

#![allow(dead_code, reason = "each test program uses its own part")]

use async_trait::async_trait;
use futures::stream::BoxStream;
use hopsack_api::*;
use hopsack_types::numbers;
use hopsack_types::resource::DockerOrigin;
use hopsack_types::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Makes and removes the interface pair of an endpoint.
pub trait Wires: Send + Sync {
    fn make(&self, endpoint: &EndpointStatus);
    fn remove(&self, endpoint: &EndpointStatus);
}

/// No kernel.
pub struct NoWires;

impl Wires for NoWires {
    fn make(&self, _: &EndpointStatus) {}
    fn remove(&self, _: &EndpointStatus) {}
}

#[derive(Default)]
struct State {
    networks: BTreeMap<NetworkId, Network>,
    taken: BTreeSet<(NetworkId, IpAddr)>,
    hosts: Vec<Arc<watch::Sender<Arc<Networks>>>>,
    endpoints: BTreeMap<HostId, BTreeMap<EndpointId, EndpointStatus>>,
    drawn: u8,
}

impl State {
    fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        [self.drawn; 16]
    }

    fn publish(&self) {
        for host in &self.hosts {
            host.send_modify(|old| {
                *old = Arc::new(Networks { me: old.me, networks: self.networks.clone(), pools: pools() });
            });
        }
    }
}

/// What the hosts agree on.
#[derive(Default)]
pub struct FakeCluster(Mutex<State>);

impl FakeCluster {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn host(self: &Arc<Self>, wires: impl Wires + 'static) -> Arc<FakeApi> {
        let mut state = self.0.lock().unwrap();
        let me = HostId::from_bytes(state.draw());
        let networks = Networks { me: Some(me), networks: state.networks.clone(), pools: pools() };
        let networks = Arc::new(watch::channel(Arc::new(networks)).0);
        state.hosts.push(networks.clone());
        let (cluster, calls, broken) = (self.clone(), Mutex::default(), AtomicBool::new(false));
        Arc::new(FakeApi {
            cluster,
            me,
            networks,
            calls,
            wires: Box::new(wires),
            events: Events::new(|| 0),
            broken,
        })
    }

    pub fn networks(&self) -> BTreeMap<NetworkId, Network> {
        self.0.lock().unwrap().networks.clone()
    }

    pub fn network(&self, name: &str) -> Option<Network> {
        self.networks().into_values().find(|network| network.name.as_str() == name)
    }

    pub fn taken(&self) -> BTreeSet<IpAddr> {
        self.0.lock().unwrap().taken.iter().map(|(_, address)| *address).collect()
    }

    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.0.lock().unwrap().endpoints.values().flat_map(|of_host| of_host.values().cloned()).collect()
    }
}

/// One host's agent.
pub struct FakeApi {
    cluster: Arc<FakeCluster>,
    me: HostId,
    networks: Arc<watch::Sender<Arc<Networks>>>,
    calls: Mutex<Vec<String>>,
    wires: Box<dyn Wires>,
    events: Arc<Events>,
    /// The kernel refuses links: the endpoint is noted, its interfaces are not there.
    pub broken: AtomicBool,
}

impl FakeApi {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    /// Makes an endpoint one that Docker has nothing to do with.
    pub fn of_another_front_door(&self, id: EndpointId) {
        let mut state = self.cluster.0.lock().unwrap();
        let endpoint = state.endpoints.entry(self.me).or_default().get_mut(&id).unwrap();
        endpoint.docker = false;
    }

    /// Calls that change something, since the last time.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

fn refused<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::new(code, message))
}

/// The cluster's pools.
pub fn pools() -> Vec<Cidr> {
    ["10.210.0.0/16", "fd21::/48"].map(|pool| pool.parse().unwrap()).to_vec()
}

fn nth(subnet: Cidr, n: u32) -> IpAddr {
    match subnet.first() {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + n).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(n)).into(),
    }
}

#[async_trait]
impl Api for FakeApi {
    async fn init(&self, _: InitRequest) -> Result<InitAnswer, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn join(&self, _: JoinRequest) -> Result<JoinAnswer, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn create_token(&self, _: TokenRequest) -> Result<TokenAnswer, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn tokens(&self) -> Result<Vec<TokenStatus>, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn revoke_token(&self, _: TokenId) -> Result<(), ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn status(&self) -> Result<Status, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn examine(&self) -> Result<Examination, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn ipam(&self) -> Result<IpamStatus, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    fn events(&self) -> Arc<Events> {
        self.events.clone()
    }
    async fn hosts(&self) -> Result<Vec<HostStatus>, ApiError> {
        Ok(Vec::new())
    }

    async fn remove_host(&self, _: RemoveHostRequest) -> Result<HostRemoved, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn write_resources(&self, _: WriteRequest) -> Result<Vec<Written>, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn label_resource(&self, _: LabelRequest) -> Result<Written, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn list_resources(&self, _: ListRequest) -> Result<Vec<serde_json::Value>, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    fn follow_resources(&self, _: ListRequest) -> Result<BoxStream<'static, ResourceChange>, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn propose_subnet(&self, request: SubnetRequest) -> Result<Cidr, ApiError> {
        let state = self.cluster.0.lock().unwrap();
        let mut all: Vec<Cidr> = state.networks.values().flat_map(|n| n.subnets.clone()).collect();
        if let Some(wanted) = request.wanted {
            let clash = all.iter().find(|other| other.overlaps(&wanted));
            return match clash {
                Some(other) => refused(ErrorCode::Conflict, format!("{wanted} overlaps {other}")),
                None => Ok(wanted),
            };
        }
        all.extend(request.avoid);
        let candidates = (0..=255).map(|i| match request.family {
            Family::V4 => Cidr::around(Ipv4Addr::new(10, 210, i, 0).into(), 24),
            Family::V6 => Cidr::around(Ipv6Addr::new(0xfd21, 0, 0, i.into(), 0, 0, 0, 0).into(), 64),
        });
        let free = candidates.into_iter().find(|c| !all.iter().any(|other| other.overlaps(c)));
        free.ok_or_else(|| ApiError::new(ErrorCode::Exhausted, "no subnet is left"))
    }

    async fn create_network(&self, request: NetworkRequest) -> Result<Network, ApiError> {
        let NetworkRequest { subnets, ranges, gateways, reserved, .. } = &request;
        self.note(format!(
            "create_network {subnets:?} ranges {ranges:?} gateways {gateways:?} reserved {reserved:?}"
        ));
        let mut state = self.cluster.0.lock().unwrap();
        let all = state.networks.values().flat_map(|n| n.subnets.clone());
        for other in all {
            if let Some(wanted) = request.subnets.iter().find(|wanted| other.overlaps(wanted)) {
                return refused(ErrorCode::Conflict, format!("{wanted} overlaps {other}"));
            }
        }
        let id = NetworkId::from_bytes(state.draw());
        let unnamed = NetworkName::new(format!("unnamed-{}", id.short())).unwrap();
        let without = request.subnets.iter().filter(|s| !request.gateways.iter().any(|g| s.contains(*g)));
        let default = without.filter_map(|subnet| Network::default_gateway(*subnet));
        let default = default.map(|gateway| (gateway, ChosenBy::Default));
        let chosen = request.gateways.iter().map(|gateway| (*gateway, ChosenBy::User));
        let network = Network {
            gateways: chosen.chain(default).collect(),
            ranges: request.ranges,
            reserved: request.reserved,
            isolation: request.isolation,
            internal: request.internal,
            exit: request.exit,
            mtu: request.mtu,
            said: request.said,
            labels: request.labels,
            docker: request.docker.map(|d| DockerOrigin {
                host: self.me,
                network: d.id,
                named: request.name.is_some(),
            }),
            ..Network::new(id, request.name.unwrap_or(unnamed), request.subnets)
        };
        state.networks.insert(id, network.clone());
        state.publish();
        Ok(network)
    }

    async fn name_network(&self, request: NameRequest) -> Result<Network, ApiError> {
        self.note(format!("name_network {} {:?}", request.name, request.labels));
        let mut state = self.cluster.0.lock().unwrap();
        if state.networks.values().any(|n| n.name == request.name && n.id != request.network) {
            return refused(ErrorCode::Conflict, format!("there is a network {} already", request.name));
        }
        let Some(network) = state.networks.get_mut(&request.network) else {
            return refused(ErrorCode::NotFound, "no such network");
        };
        network.name = request.name;
        network.labels = request.labels;
        if let Some(docker) = &mut network.docker {
            docker.named = true;
        }
        let named = network.clone();
        state.publish();
        Ok(named)
    }

    async fn change_network(&self, request: ChangeRequest) -> Result<Network, ApiError> {
        let mut state = self.cluster.0.lock().unwrap();
        let Some(network) = state.networks.get_mut(&request.network) else {
            return refused(ErrorCode::NotFound, "no such network");
        };
        network.labels.extend(request.labels.into_iter().filter_map(|(key, value)| Some((key, value?))));
        let changed = network.clone();
        state.publish();
        Ok(changed)
    }

    async fn remove_network(&self, network: NetworkId) -> Result<(), ApiError> {
        self.note("remove_network".to_owned());
        let mut state = self.cluster.0.lock().unwrap();
        if state.endpoints.values().flat_map(BTreeMap::values).any(|e| e.network == network) {
            return refused(ErrorCode::Conflict, "the network is in use");
        }
        state.networks.remove(&network);
        state.publish();
        Ok(())
    }

    fn networks(&self) -> watch::Receiver<Arc<Networks>> {
        self.networks.subscribe()
    }

    async fn allocate(&self, request: AllocateRequest) -> Result<IpAddr, ApiError> {
        self.note(format!("allocate {:?} {:?}", request.address, request.holder));
        let mut state = self.cluster.0.lock().unwrap();
        let network = state.networks[&request.network].clone();
        let free = |address: &IpAddr| {
            !state.taken.contains(&(network.id, *address)) && network.kept_for(*address).is_none()
        };
        let address = match request.address {
            Some(address) if !free(&address) => {
                return refused(ErrorCode::Conflict, format!("{address} is in use"));
            }
            Some(address) => address,
            None => {
                let subnets: Vec<Cidr> = network.subnets_of(request.family).collect();
                let all = subnets.iter().flat_map(|subnet| (2..6).map(|n| nth(*subnet, n)));
                all.into_iter().find(free).unwrap()
            }
        };
        state.taken.insert((network.id, address));
        Ok(address)
    }

    async fn release(&self, request: ReleaseRequest) -> Result<(), ApiError> {
        self.note(format!("release {}", request.address));
        self.cluster.0.lock().unwrap().taken.remove(&(request.network, request.address));
        Ok(())
    }

    async fn create_endpoint(&self, request: EndpointRequest) -> Result<EndpointStatus, ApiError> {
        self.note(format!("create_endpoint {} {:?} {:?}", request.id, request.addresses, request.mac));
        let network = self.cluster.networks()[&request.network].clone();
        let short = request.id.short();
        let families = request.addresses.iter().map(|address| Family::of(*address));
        let endpoint = EndpointStatus {
            id: request.id,
            network: network.id,
            network_name: network.name.clone(),
            next_hops: families.map(|family| network.next_hop(family)).collect(),
            addresses: request.addresses,
            mac: request.mac.unwrap_or(Mac::local([1, 2, 3, 4, 5, self.me.as_bytes()[0]])),
            link: IfName::new(format!("{}{short}", numbers::ENDPOINT_PREFIX)).unwrap(),
            peer: IfName::new(format!("{}{short}", numbers::PEER_PREFIX)).unwrap(),
            mtu: 1450,
            name: request.name,
            docker: true,
            container: None,
            ports: Vec::new(),
        };
        self.wires.make(&endpoint);
        let mut state = self.cluster.0.lock().unwrap();
        state.endpoints.entry(self.me).or_default().insert(endpoint.id, endpoint.clone());
        if self.broken.load(Ordering::Relaxed) {
            return refused(ErrorCode::Host, "cannot make the link: no memory");
        }
        Ok(endpoint)
    }

    async fn remove_endpoint(&self, endpoint: EndpointId) -> Result<(), ApiError> {
        self.note(format!("remove_endpoint {endpoint}"));
        let removed = self.cluster.0.lock().unwrap().endpoints.entry(self.me).or_default().remove(&endpoint);
        if let Some(endpoint) = removed {
            self.wires.remove(&endpoint);
        }
        Ok(())
    }

    async fn name_endpoint(&self, request: ContainerRequest) -> Result<(), ApiError> {
        let mut state = self.cluster.0.lock().unwrap();
        if let Some(endpoint) = state.endpoints.entry(self.me).or_default().get_mut(&request.endpoint) {
            endpoint.name.clone_from(&request.container.name);
            endpoint.container = Some(request.container);
        }
        Ok(())
    }

    async fn endpoints(&self) -> Result<Vec<EndpointStatus>, ApiError> {
        let state = self.cluster.0.lock().unwrap();
        Ok(state.endpoints.get(&self.me).map(|all| all.values().cloned().collect()).unwrap_or_default())
    }

    async fn publish(&self, request: PublishRequest) -> Result<Vec<PublishedPort>, ApiError> {
        self.note(format!("publish {} {:?}", request.endpoint, request.ports));
        let mut state = self.cluster.0.lock().unwrap();
        let own = state.endpoints.entry(self.me).or_default();
        let Some(endpoint) = own.get_mut(&request.endpoint) else {
            return refused(ErrorCode::NotFound, "there is no such endpoint");
        };
        let any = |address: Option<IpAddr>| address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let one = |port: &PortRequest| PublishedPort {
            host: HostPort {
                protocol: port.protocol,
                address: any(port.host_address),
                port: port.host_ports.map_or(NonZeroU16::MAX, |(first, _)| first),
            },
            container_port: port.container_port,
        };
        endpoint.ports = request.ports.iter().map(one).collect();
        Ok(endpoint.ports.clone())
    }

    async fn unpublish(&self, endpoint: EndpointId) -> Result<(), ApiError> {
        self.note(format!("unpublish {endpoint}"));
        let mut state = self.cluster.0.lock().unwrap();
        if let Some(endpoint) = state.endpoints.entry(self.me).or_default().get_mut(&endpoint) {
            endpoint.ports.clear();
        }
        Ok(())
    }

    async fn attach(&self, _: AttachRequest) -> Result<EndpointStatus, ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
    async fn detach(&self, _: DetachRequest) -> Result<(), ApiError> {
        refused(ErrorCode::Conflict, "not in this test")
    }
}
