//! Docker's remote driver protocol as data: names and shapes as libnetwork writes them (moby
//! `libnetwork/drivers/remote/api/api.go` and `ipams/remote/api/api.go`), nothing of ours.
//!
//! Every field is optional on the way in: engines differ in what they send, and send `null` for what is empty.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Content type of all answers.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";
/// Option under which the user's `-o` arrive.
pub(crate) const GENERIC: &str = "com.docker.network.generic";
/// Option that `docker network create --internal` sets.
pub(crate) const INTERNAL: &str = "com.docker.network.internal";
/// IPAM option that says what an address is for.
pub(crate) const ADDRESS_TYPE: &str = "RequestAddressType";
/// Value of [`ADDRESS_TYPE`] for a gateway.
pub(crate) const GATEWAY: &str = "com.docker.network.gateway";
/// Route type of a destination that is on the link (libnetwork `types.CONNECTED`).
pub(crate) const ROUTE_CONNECTED: u8 = 1;
/// Route type of a destination behind a next hop (libnetwork `types.NEXTHOP`).
pub(crate) const ROUTE_NEXT_HOP: u8 = 0;

/// Text options, or `null`.
pub(crate) type Options = Option<BTreeMap<String, String>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RequestPool {
    pub(crate) pool: String,
    pub(crate) sub_pool: String,
    pub(crate) options: Options,
    pub(crate) v6: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PoolAnswer {
    #[serde(rename = "PoolID")]
    pub(crate) pool_id: String,
    pub(crate) pool: String,
    pub(crate) data: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ReleasePool {
    #[serde(rename = "PoolID")]
    pub(crate) pool_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RequestAddress {
    #[serde(rename = "PoolID")]
    pub(crate) pool_id: String,
    pub(crate) address: String,
    pub(crate) options: Options,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AddressAnswer {
    pub(crate) address: String,
    pub(crate) data: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ReleaseAddress {
    #[serde(rename = "PoolID")]
    pub(crate) pool_id: String,
    pub(crate) address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub(crate) network_id: String,
    pub(crate) options: Option<BTreeMap<String, Value>>,
    #[serde(rename = "IPv4Data")]
    pub(crate) ipv4_data: Option<Vec<IpamData>>,
    #[serde(rename = "IPv6Data")]
    pub(crate) ipv6_data: Option<Vec<IpamData>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct IpamData {
    pub(crate) address_space: String,
    pub(crate) pool: String,
    pub(crate) gateway: String,
    pub(crate) aux_addresses: Options,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DeleteNetwork {
    #[serde(rename = "NetworkID")]
    pub(crate) network_id: String,
}

/// The answer has the same form.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AllocateNetwork {
    pub(crate) options: Options,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateEndpoint {
    #[serde(rename = "NetworkID")]
    pub(crate) network_id: String,
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint_id: String,
    pub(crate) interface: Option<Interface>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Interface {
    pub(crate) address: String,
    #[serde(rename = "AddressIPv6")]
    pub(crate) address_ipv6: String,
    pub(crate) mac_address: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreatedEndpoint {
    pub(crate) interface: CreatedInterface,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreatedInterface {
    /// libnetwork takes an answer to what it gave itself for an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mac_address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Join {
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint_id: String,
    /// The same for all endpoints of a container, and another one when it is started again.
    pub(crate) sandbox_key: String,
}

/// `DeleteEndpoint`, `RevokeExternalConnectivity`: the endpoint is all that matters of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OfEndpoint {
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint_id: String,
}

/// `ProgramExternalConnectivity`: Docker asks it of the endpoint that has its container's default route.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Publish {
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint_id: String,
    pub(crate) options: Option<PublishOptions>,
}

/// What of a container's options is about ports; those that are only exposed need nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PublishOptions {
    #[serde(rename = "com.docker.network.portmap")]
    pub(crate) port_map: Option<Vec<PortBinding>>,
}

/// libnetwork's `types.PortBinding`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PortBinding {
    /// Number of the IP protocol (IANA).
    pub(crate) proto: u8,
    /// The container's.
    pub(crate) port: u16,
    /// Empty or missing for all addresses.
    #[serde(rename = "HostIP")]
    pub(crate) host_ip: Option<String>,
    /// 0 for any.
    pub(crate) host_port: u16,
    /// The last of a range, 0 for none.
    pub(crate) host_port_end: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct JoinAnswer {
    pub(crate) interface_name: InterfaceName,
    pub(crate) gateway: String,
    #[serde(rename = "GatewayIPv6")]
    pub(crate) gateway_ipv6: String,
    pub(crate) static_routes: Vec<StaticRoute>,
    pub(crate) disable_gateway_service: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InterfaceName {
    pub(crate) src_name: String,
    pub(crate) dst_prefix: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StaticRoute {
    pub(crate) destination: String,
    pub(crate) route_type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_hop: Option<String>,
}
