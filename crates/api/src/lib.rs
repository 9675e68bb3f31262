//! What can be asked of an agent, by every front door: requests and answers, the trait that the agent implements,
//! HTTP over the local unix socket, and a blocking client.
//!
//! What must not live here: meaning. A front door translates into these words, the agent gives them meaning.

pub mod client;
pub mod error;
pub mod event;
pub mod examination;
pub mod ipam;
pub mod request;
pub mod resource;
mod route;
pub mod server;
pub mod status;

pub use error::{ApiError, ErrorCode};
pub use event::{Event, EventKind, Events, EventsRequest};
pub use examination::{Examination, PeerAnswer, PeerExamination};
pub use ipam::{BlockIpam, HeldAddress, IpamStatus, NetworkIpam, PoolStatus, SubnetIpam};
pub use request::*;
pub use resource::{
    Change, LabelRequest, ListRequest, Outcome, ResourceChange, WriteMode, WriteRequest, Written,
};
pub use status::*;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hopsack_types::{EndpointId, Network, PublishedPort, TokenId};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Version of this interface; the socket's paths begin with it, so that an older or newer agent is recognised.
pub const VERSION: u32 = 1;

/// Where the agent listens by default.
pub const SOCKET: &str = "/run/hopsack/api.sock";

/// An agent. Every call is answered or fails within a few seconds; none hangs.
#[async_trait]
pub trait Api: Send + Sync {
    /// Makes a new cluster with this host as its first. Fails if this host is in one already.
    async fn init(&self, request: InitRequest) -> Result<InitAnswer, ApiError>;
    /// Enters a cluster through one of its hosts.
    async fn join(&self, request: JoinRequest) -> Result<JoinAnswer, ApiError>;
    /// Makes a join token.
    async fn create_token(&self, request: TokenRequest) -> Result<TokenAnswer, ApiError>;
    /// Join tokens, those that expire first first. Their secrets are known to nobody here.
    async fn tokens(&self) -> Result<Vec<TokenStatus>, ApiError>;
    /// Takes a join token back. Hosts that have joined with it stay.
    async fn revoke_token(&self, token: TokenId) -> Result<(), ApiError>;
    /// One screen about this host, its peers and what is wrong.
    async fn status(&self) -> Result<Status, ApiError>;
    /// What this agent is about, and what each other host answers now. Outside of a cluster there are none.
    async fn examine(&self) -> Result<Examination, ApiError>;
    /// How addresses are spread, over pools, networks, hosts and containers.
    async fn ipam(&self) -> Result<IpamStatus, ApiError>;
    /// What has happened: to be read, and for front doors to tell what only they see.
    fn events(&self) -> Arc<Events>;
    /// The cluster's hosts.
    async fn hosts(&self) -> Result<Vec<HostStatus>, ApiError>;
    /// Removes a host whose agent does not answer. Its addresses are set aside, unless it is destroyed.
    async fn remove_host(&self, request: RemoveHostRequest) -> Result<HostRemoved, ApiError>;

    /// Writes resources, all or none; what came of each, in the order of the documents.
    async fn write_resources(&self, request: WriteRequest) -> Result<Vec<Written>, ApiError>;
    /// Changes labels of one resource.
    async fn label_resource(&self, request: LabelRequest) -> Result<Written, ApiError>;
    /// Resources as documents, by kind and name.
    async fn list_resources(&self, request: ListRequest) -> Result<Vec<Value>, ApiError>;
    /// The same, each as added, and then their changes for as long as the agent lives.
    fn follow_resources(&self, request: ListRequest) -> Result<BoxStream<'static, ResourceChange>, ApiError>;

    /// Finds a subnet that overlaps nothing known: of `wanted`, or the next free one of a pool. Reserves nothing.
    async fn propose_subnet(&self, request: SubnetRequest) -> Result<hopsack_types::Cidr, ApiError>;
    /// Makes a network; all its checks are made again against the newest intent.
    async fn create_network(&self, request: NetworkRequest) -> Result<Network, ApiError>;
    /// Gives a network that Docker made its name and labels, which Docker's driver calls do not carry.
    async fn name_network(&self, request: NameRequest) -> Result<Network, ApiError>;
    /// Changes labels and isolation. Containers stay connected; the copies in Docker's lists follow.
    async fn change_network(&self, request: ChangeRequest) -> Result<Network, ApiError>;
    /// Removes a network. Refused while any host has an endpoint in it.
    async fn remove_network(&self, network: hopsack_types::NetworkId) -> Result<(), ApiError>;
    /// All networks and their changes. The value is replaced whole.
    fn networks(&self) -> watch::Receiver<Arc<Networks>>;

    /// Takes an address of a network for a holder, durably. A given address is taken from wherever in the subnet it
    /// is; the same holder asking again gets the same address.
    async fn allocate(&self, request: AllocateRequest) -> Result<IpAddr, ApiError>;
    /// Gives an address back. Unknown ones are no error: releases are repeated.
    async fn release(&self, request: ReleaseRequest) -> Result<(), ApiError>;
    /// Records an endpoint and returns once its interface pair and its policy are in the kernel.
    async fn create_endpoint(&self, request: EndpointRequest) -> Result<EndpointStatus, ApiError>;
    /// Removes an endpoint and its interface. Unknown ones are no error. Its addresses stay with their holder.
    async fn remove_endpoint(&self, endpoint: EndpointId) -> Result<(), ApiError>;
    /// Notes which container an endpoint belongs to. Unknown endpoints are no error: it may have gone meanwhile.
    async fn name_endpoint(&self, request: ContainerRequest) -> Result<(), ApiError>;
    /// This host's endpoints.
    async fn endpoints(&self) -> Result<Vec<EndpointStatus>, ApiError>;

    /// Makes ports of this host lead to an endpoint, as long as it lives; repeated calls get the same ports. Refused as a
    /// whole if one of them is in use. Returns once they work.
    async fn publish(&self, request: PublishRequest) -> Result<Vec<PublishedPort>, ApiError>;
    /// Takes all ports of an endpoint back. Unknown ones are no error.
    async fn unpublish(&self, endpoint: EndpointId) -> Result<(), ApiError>;

    /// Attaches a bare network namespace: allocates, makes the endpoint and configures the inside.
    async fn attach(&self, request: AttachRequest) -> Result<EndpointStatus, ApiError>;
    /// Undoes [`Api::attach`].
    async fn detach(&self, request: DetachRequest) -> Result<(), ApiError>;
}
