//! Requests and their answers.

use hopsack_types::name::Labels;
use hopsack_types::resource::DockerOrigin;
use hopsack_types::{
    Cidr, ClusterId, ContainerRef, EndpointId, Exit, Family, HostId, HostName, IfName, Isolation, Mac,
    Network, NetworkId, NetworkName, OptionKey, Protocol, PublishedPort,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;

/// Makes a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitRequest {
    /// This host's name; default: the machine's.
    pub name: Option<HostName>,
    /// The underlay address to use; default: the source address of the default route.
    pub advertise: Option<IpAddr>,
    /// Pools, at most one per family; default: a v4 pool that meets no route of this host, and a random v6 one.
    #[serde(default)]
    pub pools: Vec<Cidr>,
    /// Whether containers keep their own source towards the outside, which has to know the way back then.
    #[serde(default)]
    pub no_nat: bool,
    /// Whether to go on where this kernel has no VXLAN.
    #[serde(default)]
    pub without_vxlan: bool,
}

/// A new cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitAnswer {
    /// The cluster.
    pub cluster: ClusterId,
    /// This host.
    pub host: HostId,
    /// The name that it has now.
    pub name: HostName,
    /// The underlay address in use.
    pub advertise: IpAddr,
    /// The control address that others join at.
    pub address: SocketAddr,
    /// Pools made.
    pub pools: Vec<Cidr>,
    /// A first token, good for a day.
    pub token: String,
}

/// Enters a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinRequest {
    /// Control address of any host of the cluster.
    pub address: SocketAddr,
    /// The token, as `hopsack token create` printed it.
    pub token: String,
    /// This host's name; default: the machine's.
    pub name: Option<HostName>,
    /// The underlay address to use; default: the source address of the default route.
    pub advertise: Option<IpAddr>,
    /// Whether to go on where this kernel has no VXLAN.
    #[serde(default)]
    pub without_vxlan: bool,
}

/// A cluster entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinAnswer {
    /// The cluster.
    pub cluster: ClusterId,
    /// This host.
    pub host: HostId,
    /// The name that it has now.
    pub name: HostName,
    /// The underlay address in use.
    pub advertise: IpAddr,
    /// How many hosts the cluster has, this one included.
    pub hosts: usize,
}

/// Makes a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// Seconds until it expires.
    pub valid_for: u64,
    /// How many hosts may join with it; none: any number.
    pub uses: Option<u32>,
}

/// A new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenAnswer {
    /// The token: CA hash, public half, secret.
    pub token: String,
    /// The control address that others join at.
    pub address: SocketAddr,
}

/// Removes a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveHostRequest {
    /// Its name, or as much of its id as tells it from others; of one that was removed before, its id.
    pub host: String,
    /// Whether it can never run again with what it had: its addresses are free then.
    #[serde(default)]
    pub destroyed: bool,
}

/// A host removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostRemoved {
    /// Which.
    pub id: HostId,
    /// Its name; none if it was removed before.
    pub name: Option<HostName>,
    /// Networks in which it may still use addresses, which nobody else gets.
    pub set_aside: Vec<NetworkName>,
}

/// Asks for a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetRequest {
    /// Family, where no subnet is given.
    pub family: Family,
    /// The subnet to check; none: find one.
    pub wanted: Option<Cidr>,
    /// Where none is wanted: what to keep clear of beside all that is known, because it was promised already.
    #[serde(default)]
    pub avoid: Vec<Cidr>,
}

/// Makes a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkRequest {
    /// Name; none for Docker's, which tells it later.
    pub name: Option<NetworkName>,
    /// Subnets; empty: the next free /24 of a v4 pool.
    #[serde(default)]
    pub subnets: Vec<Cidr>,
    /// Whether a family that `subnets` leaves out gets the next free subnet of a pool, the /64 of v6 as well.
    #[serde(default)]
    pub both_families: bool,
    /// Where addresses come from that nobody asks for by number; at most one inside each subnet.
    #[serde(default)]
    pub ranges: BTreeSet<Cidr>,
    /// Gateways, at most one in each subnet; a subnet without gets its first address behind the network's own.
    #[serde(default)]
    pub gateways: BTreeSet<IpAddr>,
    /// Addresses to keep from containers, with what for.
    #[serde(default)]
    pub reserved: BTreeMap<IpAddr, String>,
    /// Isolation.
    #[serde(default)]
    pub isolation: Isolation,
    /// No way out, none in.
    #[serde(default)]
    pub internal: bool,
    /// Where the default route goes in Docker.
    #[serde(default)]
    pub exit: Exit,
    /// The largest packet, bytes; none: as large as the underlay takes.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Options that the user said, also those that say what is so anyway.
    #[serde(default)]
    pub said: BTreeSet<OptionKey>,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
    /// The Docker engine's side, if Docker makes it.
    pub docker: Option<DockerNetwork>,
}

/// A network as Docker's driver call names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DockerNetwork {
    /// The engine's id of it.
    pub id: String,
}

/// Names a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameRequest {
    /// Which.
    pub network: NetworkId,
    /// Its name.
    pub name: NetworkName,
    /// Its labels.
    pub labels: Labels,
}

/// Changes a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeRequest {
    /// Which.
    pub network: NetworkId,
    /// Its isolation; none: as it was.
    #[serde(default)]
    pub isolation: Option<Isolation>,
    /// Labels to set, or to take away where there is no value; the others stay.
    #[serde(default)]
    pub labels: BTreeMap<String, Option<String>>,
}

/// All networks at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Networks {
    /// This host; none while it is in no cluster.
    pub me: Option<HostId>,
    /// By id.
    pub networks: BTreeMap<NetworkId, Network>,
    /// The cluster's pools.
    #[serde(default)]
    pub pools: Vec<Cidr>,
}

impl Networks {
    /// The network that this engine knows under `docker_id`, where Docker made it on this host.
    pub fn made_here(&self, docker_id: &str) -> Option<&Network> {
        let here = |origin: &DockerOrigin| Some(origin.host) == self.me && origin.network == docker_id;
        self.networks.values().find(|network| network.docker.as_ref().is_some_and(here))
    }
}

/// Takes an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllocateRequest {
    /// Network.
    pub network: NetworkId,
    /// Family, where no address is given.
    pub family: Family,
    /// A certain address.
    pub address: Option<IpAddr>,
    /// Who holds it, for people and for repeated calls: a kind and an id like `cni:4f2a`, without white space. Empty:
    /// nobody can be named, each call is a new holder.
    pub holder: String,
}

/// Gives an address back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Network.
    pub network: NetworkId,
    /// Address.
    pub address: IpAddr,
}

/// Makes an endpoint out of addresses that were allocated before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointRequest {
    /// Identity.
    pub id: EndpointId,
    /// Network.
    pub network: NetworkId,
    /// One per family of the network, at least one.
    pub addresses: Vec<IpAddr>,
    /// MAC address; none: derived from the endpoint's id.
    pub mac: Option<Mac>,
    /// For people.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
}

/// Says whose an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerRequest {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its container.
    pub container: ContainerRef,
    /// The container's labels, which replace the endpoint's.
    #[serde(default)]
    pub labels: Labels,
}

/// A port to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRequest {
    /// Protocol.
    pub protocol: Protocol,
    /// An address of this host, `0.0.0.0` or `::` for all of that family; none: all of the container's families.
    pub host_address: Option<IpAddr>,
    /// The first and the last port of this host that may be taken; none: any free one.
    pub host_ports: Option<(NonZeroU16, NonZeroU16)>,
    /// Where the container listens.
    pub container_port: NonZeroU16,
}

/// Publishes ports of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishRequest {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// All of its ports: those that it has and that are not here are taken back.
    pub ports: Vec<PortRequest>,
}

/// Attaches a bare namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachRequest {
    /// The namespace: a path like `/run/netns/blue` or `/proc/4711/ns/net`.
    pub namespace: PathBuf,
    /// The network's name.
    pub network: NetworkName,
    /// Interface inside.
    pub interface: IfName,
    /// Certain addresses, at most one per family.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// For people.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
    /// Ports of this host that shall lead to it.
    #[serde(default)]
    pub ports: Vec<PortRequest>,
}

/// Detaches a namespace's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DetachRequest {
    /// The namespace as it was given.
    pub namespace: PathBuf,
    /// The network's name.
    pub network: NetworkName,
}

/// An endpoint of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointStatus {
    /// Identity.
    pub id: EndpointId,
    /// Network.
    pub network: NetworkId,
    /// The network's name.
    pub network_name: NetworkName,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// MAC address inside.
    pub mac: Mac,
    /// The next hop of each family.
    pub next_hops: Vec<IpAddr>,
    /// The host's end of the pair.
    pub link: IfName,
    /// The container's end while it is in the host's namespace.
    pub peer: IfName,
    /// MTU inside, bytes.
    pub mtu: u32,
    /// For people: the container's name, once it is known, or what the front door gave.
    pub name: String,
    /// Whether Docker's driver made it.
    #[serde(default)]
    pub docker: bool,
    /// Its container, once a runtime has told; [`ContainerRef::find`] finds the one that a user means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRef>,
    /// Ports of this host that lead to it.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
}
