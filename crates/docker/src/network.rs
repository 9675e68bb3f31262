//! `NetworkDriver`: Docker's calls about networks and endpoints, in the agent's words.

use crate::error::DockerError;
use crate::ipam::{self, ADDRESS_SPACE};
use crate::links::Links;
use crate::options::Asked;
use crate::pools::PromisedPools;
use crate::sandboxes::WideSandboxes;
use crate::wire;
use hopsack_api::{Api, DockerNetwork, EndpointRequest, EndpointStatus, ErrorCode, NetworkRequest};
use hopsack_types::address::AddressError;
use hopsack_types::id::IdError;
use hopsack_types::{Cidr, EndpointId, Exit, Family, Isolation, Labels, Mac, Network, NetworkId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a network that was just made may take to show in this host's copy of intent.
const VISIBLE: Duration = Duration::from_secs(5);

/// How long to look for a network that a refused one might be the same as.
const TWIN: Duration = Duration::from_millis(200);

/// The driver.
pub(crate) struct NetworkDriver {
    pub(crate) api: Arc<dyn Api>,
    pub(crate) pools: Arc<PromisedPools>,
    pub(crate) links: Arc<Links>,
    pub(crate) wide: WideSandboxes,
}

impl NetworkDriver {
    /// Makes a network, or learns that Docker made its copy of one.
    pub(crate) async fn create_network(&self, request: wire::CreateNetwork) -> Result<(), DockerError> {
        let asked = Asked::read(&request.options.unwrap_or_default())?;
        let v4 = request.ipv4_data.unwrap_or_default();
        let v6 = request.ipv6_data.unwrap_or_default();
        if v4.is_empty() && v6.is_empty() {
            return Err(DockerError::ForeignAddresses);
        }
        let mut addresses = Addresses::default();
        for data in v4.iter().chain(&v6) {
            addresses.read(data, &self.pools)?;
        }
        if let Some(id) = asked.network {
            return self.copy_made(&request.network_id, id, &addresses.subnets);
        }
        if self.api.networks().borrow().made_here(&request.network_id).is_some() {
            return Ok(());
        }
        if let Some(subnet) = addresses.forgotten
            && !self.api.networks().borrow().networks.values().any(|n| n.subnets.contains(&subnet))
        {
            return Err(DockerError::Forgotten { subnet });
        }
        let subnets = addresses.subnets.clone();
        let docker = request.network_id;
        let request = NetworkRequest {
            name: None,
            subnets: addresses.subnets,
            both_families: false,
            ranges: addresses.ranges,
            gateways: addresses.gateways,
            reserved: addresses.reserved,
            isolation: asked.options.isolation,
            internal: asked.internal,
            exit: asked.options.exit,
            mtu: asked.options.mtu,
            said: asked.options.said,
            labels: Labels::new(),
            docker: Some(DockerNetwork { id: docker.clone() }),
        };
        match self.api.create_network(request.clone()).await {
            // From here on Docker lists it, and the mirror removes what is in Docker's list and not in intent.
            Ok(made) => self.visible(&made).await?,
            Err(error) if error.code == ErrorCode::Conflict && self.is_twin(&docker, &request).await => {}
            Err(error) => return Err(error.into()),
        }
        self.kept(&subnets);
        Ok(())
    }

    /// Whether this is a network that was made elsewhere at the same moment, and that this engine has no copy of: the
    /// mirror compares their names, which are not known yet, and puts the copy in its place.
    async fn is_twin(&self, docker: &str, request: &NetworkRequest) -> bool {
        let mut networks = self.api.networks();
        let me = networks.borrow().me;
        let is_twin = |network: &Network| {
            let same = request.subnets.iter().collect::<BTreeSet<_>>() == network.subnets.iter().collect()
                && request.ranges == network.ranges
                && Network::unusual_gateways(&request.subnets, &request.gateways)
                    == Network::unusual_gateways(&network.subnets, network.gateways.keys())
                && (request.isolation, request.internal, request.exit, request.mtu, &request.reserved)
                    == (network.isolation, network.internal, network.exit, network.mtu, &network.reserved);
            let made_here = network.docker.as_ref().is_some_and(|origin| Some(origin.host) == me);
            same && !made_here && !self.links.holds(network.id)
        };
        // The refusal may be younger than what is told of networks, but not by much.
        let shown = networks.wait_for(|all| all.networks.values().any(is_twin));
        let Ok(Ok(all)) = tokio::time::timeout(TWIN, shown).await else { return false };
        let twin = all.networks.values().find(|network| is_twin(network)).map(|network| network.id);
        self.links.extend(twin.map(|twin| (docker.to_owned(), twin)));
        twin.is_some()
    }

    fn copy_made(&self, docker: &str, id: NetworkId, subnets: &[Cidr]) -> Result<(), DockerError> {
        let networks = self.api.networks();
        let networks = networks.borrow();
        let network =
            networks.networks.get(&id).ok_or_else(|| DockerError::NoNetwork { network: id.to_string() })?;
        if subnets.len() != network.subnets.len() || !subnets.iter().all(|s| network.subnets.contains(s)) {
            let name = network.name.clone();
            // Docker before 28 has no network without IPv4, and asked for a subnet of it by itself.
            return Err(match network.subnets_of(Family::V4).next() {
                Some(_) => DockerError::OtherSubnets { network: name },
                None => DockerError::OnlyV6 { network: name },
            });
        }
        self.links.extend([(docker.to_owned(), id)]);
        self.kept(subnets);
        Ok(())
    }

    fn kept(&self, subnets: &[Cidr]) {
        for subnet in subnets {
            self.pools.keep(subnet);
        }
    }

    async fn visible(&self, made: &Network) -> Result<(), DockerError> {
        let mut networks = self.api.networks();
        let shown = networks.wait_for(|all| all.networks.contains_key(&made.id));
        match tokio::time::timeout(VISIBLE, shown).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(DockerError::NotSeen { network: made.id.to_string() }),
        }
    }

    /// Docker has removed its network, whatever is answered. One that Docker made goes, unless it is in use
    /// somewhere; one that was declared in Hopsack stays. What stays, the mirror brings back.
    pub(crate) async fn delete_network(&self, request: wire::DeleteNetwork) -> Result<(), DockerError> {
        let docker = &request.network_id;
        if self.links.is_replaced(docker) {
            return Ok(());
        }
        let (declared, made_by_docker) = {
            let networks = self.api.networks();
            let networks = networks.borrow();
            let linked = || networks.networks.get(&self.links.get(docker)?);
            let known = networks.made_here(docker).or_else(linked);
            let declared = known.filter(|network| network.docker.is_none());
            (declared.cloned(), known.filter(|network| network.docker.is_some()).map(|network| network.id))
        };
        self.links.forget(docker);
        if let Some(Network { id, name, .. }) = declared {
            let reason = format!("it was declared in Hopsack: `hopsack network rm {name}` removes it");
            self.links.keep(id, reason);
        }
        let Some(id) = made_by_docker else { return Ok(()) };
        let removed = self.api.remove_network(id).await;
        if let Err(error) = &removed {
            self.links.keep(id, error.to_string());
        }
        Ok(removed?)
    }

    /// The network of an endpoint: by Docker's id, else by the address, which our IPAM driver gave out of it. An
    /// engine that starts its containers at boot does so before it can be asked for its list.
    fn network_of(&self, docker: &str, address: IpAddr) -> Result<Network, DockerError> {
        let networks = self.api.networks();
        let networks = networks.borrow();
        let linked = || networks.networks.get(&self.links.get(docker)?);
        let by_address = || networks.networks.values().find(|n| n.subnet_of(address).is_some());
        let known = networks.made_here(docker).or_else(linked).or_else(by_address);
        known.cloned().ok_or_else(|| DockerError::UnknownNetwork { docker: docker.to_owned() })
    }

    /// Makes an endpoint out of the addresses that were requested before.
    pub(crate) async fn create_endpoint(
        &self,
        request: wire::CreateEndpoint,
    ) -> Result<wire::CreatedEndpoint, DockerError> {
        let id = endpoint_id(&request.endpoint_id)?;
        let interface = request.interface.unwrap_or_default();
        let given = [&interface.address, &interface.address_ipv6];
        let addresses = given.into_iter().filter(|text| !text.is_empty()).map(|text| ipam::address(text));
        let addresses = addresses.collect::<Result<Vec<IpAddr>, DockerError>>()?;
        let Some(&first) = addresses.first() else {
            return Err(DockerError::NoAddress { endpoint: request.endpoint_id });
        };
        let mac = match interface.mac_address.as_str() {
            "" => None,
            text => Some(text.parse::<Mac>().map_err(|error: AddressError| DockerError::Subnet(error))?),
        };
        let network = self.network_of(&request.network_id, first)?;
        let endpoint = match self.existing(id, &network, &addresses).await? {
            Some(endpoint) => endpoint,
            None => {
                let (name, labels) = (endpoint_name(id), Labels::new());
                let request = EndpointRequest { id, network: network.id, addresses, mac, name, labels };
                self.make(request).await?
            }
        };
        let mac_address = mac.is_none().then(|| endpoint.mac.to_string());
        Ok(wire::CreatedEndpoint { interface: wire::CreatedInterface { mac_address } })
    }

    /// Makes an endpoint or nothing: Docker does not ask to remove one that it believes was not made.
    async fn make(&self, request: EndpointRequest) -> Result<EndpointStatus, DockerError> {
        let id = request.id;
        match self.api.create_endpoint(request).await {
            Ok(endpoint) => Ok(endpoint),
            Err(error) => {
                // If this fails too, the endpoint is found stale later.
                let _undone = self.api.remove_endpoint(id).await;
                Err(error.into())
            }
        }
    }

    /// The endpoint itself if this is a repeated call; an error if an address of it belongs to another.
    async fn existing(
        &self,
        id: EndpointId,
        network: &Network,
        addresses: &[IpAddr],
    ) -> Result<Option<EndpointStatus>, DockerError> {
        for address in addresses {
            if let Some(reason) = network.kept_for(*address) {
                let (address, network, reason) = (*address, network.name.clone(), reason.to_owned());
                return Err(DockerError::Reserved { address, network, reason });
            }
        }
        let mut same = None;
        for endpoint in self.api.endpoints().await? {
            if endpoint.id == id {
                same = Some(endpoint);
            } else if let Some(&address) = addresses.iter().find(|a| endpoint.addresses.contains(a)) {
                let (network, holder) = (network.name.clone(), endpoint.name);
                return Err(DockerError::InUse { address, network, holder });
            }
        }
        Ok(same.filter(|endpoint| endpoint.network == network.id && endpoint.addresses == addresses))
    }

    /// Tells libnetwork what to move into the container and how to route there.
    pub(crate) async fn join(&self, request: wire::Join) -> Result<wire::JoinAnswer, DockerError> {
        let id = endpoint_id(&request.endpoint_id)?;
        let unknown = || DockerError::UnknownEndpoint { endpoint: request.endpoint_id.clone() };
        let endpoints = self.api.endpoints().await?;
        let endpoint = endpoints.iter().find(|endpoint| endpoint.id == id).ok_or_else(unknown)?;
        let networks = self.api.networks().borrow().clone();
        let network = networks.networks.get(&endpoint.network);
        let name = |id: &NetworkId| networks.networks.get(id).map(|network| network.name.clone());
        if network.is_some_and(leads_to_pools)
            && let Err(other) = self.wide.enter(&request.sandbox_key, id, &endpoints)
            && let (Some(network), Some(other)) = (name(&endpoint.network), name(&other.network))
        {
            return Err(DockerError::TwoWays { network, other });
        }
        Ok(join_answer(endpoint, network, &networks.pools))
    }

    /// Removes an endpoint.
    pub(crate) async fn delete_endpoint(&self, request: wire::OfEndpoint) -> Result<(), DockerError> {
        Ok(self.api.remove_endpoint(endpoint_id(&request.endpoint_id)?).await?)
    }
}

/// The next hop is on the link though it is in no subnet; the network's own subnets are behind it even where another
/// network of the container, or Docker's gateway bridge, has the default route. With the latter, a network that others
/// let in has the cluster's pools behind it too.
fn join_answer(endpoint: &EndpointStatus, network: Option<&Network>, pools: &[Cidr]) -> wire::JoinAnswer {
    let next_hop = |family| endpoint.next_hops.iter().copied().find(|hop| Family::of(*hop) == family);
    let internal = network.is_some_and(|network| network.internal);
    let exit = network.map_or(Exit::Hopsack, |network| network.exit);
    let gateway = |family| match exit {
        Exit::Hopsack if !internal => next_hop(family).map(|hop| hop.to_string()).unwrap_or_default(),
        Exit::Hopsack | Exit::Docker => String::new(),
    };
    let on_link = endpoint.next_hops.iter().map(|hop| wire::StaticRoute {
        destination: Cidr::host(*hop).to_string(),
        route_type: wire::ROUTE_CONNECTED,
        next_hop: None,
    });
    let pools = pools.iter().filter(|_| network.is_some_and(leads_to_pools));
    let behind = network.iter().flat_map(|network| &network.subnets).chain(pools).filter_map(|destination| {
        Some(wire::StaticRoute {
            destination: destination.to_string(),
            route_type: wire::ROUTE_NEXT_HOP,
            next_hop: Some(next_hop(destination.family())?.to_string()),
        })
    });
    wire::JoinAnswer {
        interface_name: wire::InterfaceName { src_name: endpoint.peer.to_string(), dst_prefix: "eth" },
        gateway: gateway(Family::V4),
        gateway_ipv6: gateway(Family::V6),
        static_routes: on_link.chain(behind).collect(),
        disable_gateway_service: internal,
    }
}

/// Whether a network's containers need routes to all that the cluster has: others let them in, and their default route
/// is Docker's.
fn leads_to_pools(network: &Network) -> bool {
    network.isolation == Isolation::None && network.exit == Exit::Docker && !network.internal
}

/// What a `CreateNetwork` call and the calls before it say of addresses.
#[derive(Debug, Default)]
struct Addresses {
    subnets: Vec<Cidr>,
    ranges: BTreeSet<Cidr>,
    /// Those that Docker shows.
    gateways: BTreeSet<IpAddr>,
    reserved: BTreeMap<IpAddr, String>,
    /// A subnet that nothing is known of: the agent was restarted after Docker asked for it.
    forgotten: Option<Cidr>,
}

impl Addresses {
    fn read(&mut self, data: &wire::IpamData, pools: &PromisedPools) -> Result<(), DockerError> {
        if data.address_space != ADDRESS_SPACE {
            return Err(DockerError::ForeignAddresses);
        }
        let subnet: Cidr = data.pool.parse()?;
        self.subnets.push(subnet);
        for (purpose, address) in data.aux_addresses.iter().flatten() {
            self.reserved.insert(ipam::address(address)?, purpose.clone());
        }
        match pools.get(&subnet) {
            Some(promise) => {
                self.ranges.extend(promise.range);
                if promise.gateway_shown && !data.gateway.is_empty() {
                    self.gateways.insert(ipam::address(&data.gateway)?);
                }
            }
            None => self.forgotten = Some(subnet),
        }
        Ok(())
    }
}

/// The first 128 of the 256 random bits of Docker's id.
pub(crate) fn endpoint_id(docker: &str) -> Result<EndpointId, IdError> {
    docker.get(..32).unwrap_or(docker).parse()
}

/// Docker's short form of its own id: what people can look up until the container is known, which the driver's calls
/// do not name.
pub(crate) fn endpoint_name(id: EndpointId) -> String {
    let mut name = id.to_string();
    name.truncate(12);
    name
}
