//! What a plan is made from: intent, this host's own endpoints, the path in use to each peer, and the underlay.
//! A view is a snapshot; nothing in it is looked up again while planning.

use hopsack_types::name::Labels;
use hopsack_types::path::PathChoice;
use hopsack_types::{
    Cidr, ContainerRef, EndpointId, Family, Host, HostId, IfName, Mac, Network, NetworkId, Pool, PoolName,
    PublishedPort,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// The snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// This host.
    pub me: HostId,
    /// All hosts of the cluster, this one included.
    pub hosts: BTreeMap<HostId, Host>,
    /// All pools.
    pub pools: BTreeMap<PoolName, Pool>,
    /// All networks with who holds what of their subnets (quarantined prefixes left out).
    pub networks: BTreeMap<NetworkId, NetworkView>,
    /// This host's endpoints.
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    /// The path in use to each peer; a peer without one is not reachable and gets no routes but `unreachable`.
    pub paths: BTreeMap<HostId, PathChoice>,
    /// This host's way to the others.
    pub underlay: Underlay,
}

/// A network and its grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    /// The network.
    pub network: Network,
    /// Disjoint prefixes and the hosts that hold them.
    pub grants: BTreeMap<Cidr, HostId>,
}

/// One interface of one container on this host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Identity.
    pub id: EndpointId,
    /// Its network.
    pub network: NetworkId,
    /// One address per family of the network, at least one.
    pub addresses: Vec<IpAddr>,
    /// MAC address of the container's end.
    pub mac: Mac,
    /// Where the container's end goes.
    pub attachment: Attachment,
    /// For people.
    pub name: String,
    /// The user's labels.
    #[serde(default)]
    pub labels: Labels,
    /// Ports of this host that lead to it.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// The container that it belongs to, once a runtime has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRef>,
}

impl Endpoint {
    /// What people call it: its container's name where that is known.
    pub fn shown_name(&self) -> &str {
        self.container.as_ref().map_or(&self.name, |container| &container.name)
    }
}

/// Who moves the container's end of the veth pair.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Attachment {
    /// Docker does: the end is made in the host's namespace under the endpoint's peer name; once it has left, the
    /// pair counts as attached.
    Docker,
    /// We do: into the namespace at this path, as this interface, with addresses and routes.
    Namespace {
        /// A bind-mounted or `/proc/PID/ns/net` path.
        path: PathBuf,
        /// Name inside.
        interface: IfName,
    },
}

/// How this host reaches the others.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Underlay {
    /// The device that carries `address`.
    pub device: IfName,
    /// The address that other hosts know.
    pub address: IpAddr,
    /// Its on-link prefix: a peer inside shares the segment.
    pub on_link: Cidr,
    /// The device's MTU in bytes.
    pub mtu: u32,
    /// Devices, of this host's and not of ours, that follow IPv6 routers' advertisements, and shall go on to.
    pub advertised: BTreeSet<IfName>,
}

impl Underlay {
    /// The largest inner IP packet over VXLAN on this underlay, in bytes.
    pub const fn vxlan_mtu(&self) -> u32 {
        let overhead = match Family::of(self.address) {
            Family::V4 => hopsack_types::numbers::VXLAN_OVERHEAD_V4,
            Family::V6 => hopsack_types::numbers::VXLAN_OVERHEAD_V6,
        };
        self.mtu.saturating_sub(overhead)
    }
}

/// What this kernel and its programs can do; found at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// VXLAN devices can be made.
    pub vxlan: bool,
    /// IPv6 is on.
    pub ipv6: bool,
    /// Links can run eBPF programs of ours, and the user has nothing against it.
    pub fast_path: bool,
}
