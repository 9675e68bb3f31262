//! The agent as its front doors see it: outside a cluster it can only make or join one, inside it does the rest.

use crate::endpoints::{attachment, ports};
use crate::error::AgentError;
use crate::events;
use crate::intent::{listing, networks, resources};
use crate::member::Member;
use crate::metrics::Meters;
use crate::parts::Parts;
use crate::report;
use crate::trust::identity::Identity;
use crate::trust::tokens;
use crate::trust::{entry, leaving};
use async_trait::async_trait;
use futures::stream::BoxStream;
use hopsack_api::{
    AllocateRequest, Api, ApiError, AttachRequest, ChangeRequest, ContainerRequest, DetachRequest,
    EndpointRequest, EndpointStatus, ErrorCode, EventKind, Events, Examination, Fault, HostRemoved,
    HostStatus, InitAnswer, InitRequest, IpamStatus, JoinAnswer, JoinRequest, LabelRequest, ListRequest,
    NameRequest, NetworkRequest, Networks, PublishRequest, ReleaseRequest, RemoveHostRequest, ResourceChange,
    Status, SubnetRequest, TokenAnswer, TokenRequest, TokenStatus, WriteRequest, Written,
};
use hopsack_store::Store;
use hopsack_types::{Cidr, EndpointId, Network, NetworkId, PublishedPort, TokenId};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// One agent.
pub struct Agent {
    parts: Parts,
    member: RwLock<Option<Arc<Member>>>,
    /// Held while this host makes or enters a cluster, so that it does so once.
    entering: tokio::sync::Mutex<()>,
    networks: watch::Sender<Arc<Networks>>,
    docker: RwLock<DockerReport>,
    /// Why metrics are not served, if they should be and are not.
    unserved: RwLock<Option<Fault>>,
    events: Arc<Events>,
    meters: Meters,
    /// Seconds since 1970.
    started: u64,
    /// Set when the agent ends, and with it every call that is under way.
    ended: watch::Sender<bool>,
}

/// What Docker's front door knows.
#[derive(Debug, Clone)]
pub struct DockerReport {
    /// The engine, in words.
    pub engine: String,
    /// Whether it answers.
    pub connected: bool,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl Default for DockerReport {
    /// Without a front door.
    fn default() -> Self {
        Self { engine: "left alone (--no-docker)".to_owned(), connected: false, faults: Vec::new() }
    }
}

impl Agent {
    /// Builds the agent; inside its cluster at once, if it is in one.
    pub async fn build(parts: Parts) -> Result<Arc<Self>, AgentError> {
        let identity = Identity::load_for_start(&parts.dir)?;
        let clock = parts.clock.clone();
        let events = Events::new(move || clock.unix_seconds());
        events.tell(EventKind::AgentStarted, "agent", concat!("hopsack ", env!("CARGO_PKG_VERSION")));
        let agent = Arc::new(Self {
            parts: parts.clone(),
            member: RwLock::new(None),
            entering: tokio::sync::Mutex::new(()),
            networks: watch::Sender::new(Arc::default()),
            docker: RwLock::default(),
            unserved: RwLock::default(),
            events,
            meters: Meters::default(),
            started: parts.clock.unix_seconds(),
            ended: watch::Sender::new(false),
        });
        if let Some(identity) = identity {
            agent.enter(identity, None).await?;
        }
        Ok(agent)
    }

    async fn enter(
        self: &Arc<Self>,
        identity: Identity,
        made: Option<Arc<dyn Store>>,
    ) -> Result<Arc<Member>, AgentError> {
        let member = Member::start(self.parts.clone(), self.meters.clone(), identity, made).await?;
        *self.member.write().unwrap_or_else(PoisonError::into_inner) = Some(member.clone());
        publish_networks(&member, &self.networks);
        tokio::spawn(follow_networks(member.clone(), Arc::downgrade(self)));
        tokio::spawn(events::follow(Arc::downgrade(&member), self.events.clone()));
        Ok(member)
    }

    /// The cluster membership; none before `init` or `join`.
    pub fn member(&self) -> Option<Arc<Member>> {
        self.member.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn inside(&self) -> Result<Arc<Member>, ApiError> {
        self.member().ok_or_else(|| {
            let message =
                "this host is in no cluster: make one with `hopsack init`, or enter one with `hopsack join`";
            ApiError::new(ErrorCode::NotReady, message)
        })
    }

    /// Looks at the disk as well: an agent that could not start its part in a cluster is in it all the same.
    fn outside(&self) -> Result<(), AgentError> {
        let Some(identity) = Identity::load(&self.parts.dir)? else { return Ok(()) };
        let message = format!(
            "this host is in cluster {} already, as {}: to move it to another, stop the agent and remove its state \
             directory first",
            identity.cluster.short(),
            identity.name
        );
        Err(ApiError::new(ErrorCode::Conflict, message).into())
    }

    async fn init(self: &Arc<Self>, request: InitRequest) -> Result<InitAnswer, AgentError> {
        let _once = self.entering.lock().await;
        self.outside()?;
        let made = entry::init(&self.parts, request).await?;
        let answer = InitAnswer {
            cluster: made.identity.cluster,
            host: made.identity.host,
            name: made.identity.name.clone(),
            advertise: made.underlay,
            address: (made.underlay, made.identity.control_port).into(),
            pools: made.pools,
            token: made.token.to_string(),
        };
        self.enter(made.identity, Some(made.store)).await?;
        Ok(answer)
    }

    async fn join(self: &Arc<Self>, request: JoinRequest) -> Result<JoinAnswer, AgentError> {
        let _once = self.entering.lock().await;
        self.outside()?;
        let (identity, advertise) = entry::join(&self.parts, request).await?;
        let (cluster, host, name) = (identity.cluster, identity.host, identity.name.clone());
        let member = self.enter(identity, None).await?;
        let hosts = member.intent.borrow().intent.hosts.len();
        Ok(JoinAnswer { cluster, host, name, advertise, hosts })
    }

    /// What has happened.
    pub fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// Takes what Docker's front door knows, for the status.
    pub fn set_docker(&self, report: DockerReport) {
        *self.docker.write().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// What Docker's front door knows.
    pub fn docker(&self) -> DockerReport {
        self.docker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes why metrics are not served, for the status; none once they are.
    pub fn set_unserved(&self, fault: Option<Fault>) {
        *self.unserved.write().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// What is wrong with this agent itself, in a cluster or not.
    pub fn faults(&self) -> Vec<Fault> {
        self.unserved.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What is measured on the way.
    pub const fn meters(&self) -> &Meters {
        &self.meters
    }

    /// When it began to run, seconds since 1970.
    pub const fn started(&self) -> u64 {
        self.started
    }

    /// Stops in good order. The kernel stays as it is.
    pub async fn stop(&self) {
        self.ended.send_replace(true);
        if let Some(member) = self.member() {
            member.stop().await;
        }
    }

    /// Ends all tasks and calls at once, without a word to anybody.
    pub fn abort(&self) {
        self.ended.send_replace(true);
        if let Some(member) = self.member() {
            member.abort();
        }
    }
}

fn publish_networks(member: &Member, networks: &watch::Sender<Arc<Networks>>) {
    let intent = member.intent.borrow().intent.clone();
    // A copy of intent that does not name this host has not arrived yet, and must not be taken for "no networks".
    let me = Some(member.identity.host).filter(|me| intent.hosts.contains_key(me));
    let pools = intent.pools.values().map(|pool| pool.cidr).collect();
    let fresh = Networks { me, networks: intent.networks.clone(), pools };
    networks.send_if_modified(|known| {
        let changed = **known != fresh;
        *known = Arc::new(fresh);
        changed
    });
}

/// Tells the front doors of every change of networks, for as long as the agent lives.
async fn follow_networks(member: Arc<Member>, agent: std::sync::Weak<Agent>) {
    let mut intent = member.intent.clone();
    while intent.changed().await.is_ok() {
        let Some(agent) = agent.upgrade() else { return };
        publish_networks(&member, &agent.networks);
    }
}

/// The agent behind the [`Api`]: a handle that can start tasks in the agent's name.
#[derive(Clone)]
pub struct Service(pub Arc<Agent>);

impl Service {
    /// Does the work to its end, also when the caller goes away in between: what is half done helps nobody. Only the
    /// agent's own end ends it before.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, AgentError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let mut ended = self.0.ended.subscribe();
        let work = async move {
            tokio::select! {
                biased;
                () = async { drop(ended.wait_for(|ended| *ended).await) } => {
                    Err(ApiError::new(ErrorCode::Unavailable, "the agent is stopping: try again").into())
                }
                done = work => done,
            }
        };
        match tokio::spawn(work).await {
            Ok(result) => Ok(result?),
            Err(error) => {
                tracing::error!(%error, "a request ended in a panic");
                Err(ApiError::new(ErrorCode::Host, "the agent failed at this: see its log"))
            }
        }
    }
}

#[async_trait]
impl Api for Service {
    async fn init(&self, request: InitRequest) -> Result<InitAnswer, ApiError> {
        let agent = self.0.clone();
        self.to_the_end(async move { agent.init(request).await }).await
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinAnswer, ApiError> {
        let agent = self.0.clone();
        self.to_the_end(async move { agent.join(request).await }).await
    }

    async fn create_token(&self, request: TokenRequest) -> Result<TokenAnswer, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { tokens::create(&member, request).await }).await
    }

    async fn tokens(&self) -> Result<Vec<TokenStatus>, ApiError> {
        Ok(tokens::list(&*self.0.inside()?))
    }

    async fn revoke_token(&self, token: TokenId) -> Result<(), ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { tokens::revoke(&member, token).await }).await
    }

    async fn status(&self) -> Result<Status, ApiError> {
        let (cluster, mut faults) = match self.0.member() {
            Some(member) => {
                let (cluster, faults) = report::status(&member);
                (Some(cluster), faults)
            }
            None => (None, Vec::new()),
        };
        let docker = self.0.docker();
        faults.extend(docker.faults);
        faults.extend(self.0.faults());
        Ok(Status { version: env!("CARGO_PKG_VERSION").to_owned(), cluster, docker: docker.engine, faults })
    }

    async fn examine(&self) -> Result<Examination, ApiError> {
        let parts = &self.0.parts;
        let state_dir = parts.dir.root().to_owned();
        let Some(member) = self.0.member() else {
            let (settings, peers) = (BTreeMap::new(), Vec::new());
            return Ok(Examination { state_dir, control_port: parts.control_port, settings, peers });
        };
        let (settings, control_port) = (member.planner.settings(), member.identity.control_port);
        Ok(Examination { state_dir, control_port, settings, peers: report::peers(&member).await })
    }

    async fn ipam(&self) -> Result<IpamStatus, ApiError> {
        Ok(report::ipam(&*self.0.inside()?))
    }

    fn events(&self) -> Arc<Events> {
        self.0.events.clone()
    }

    async fn hosts(&self) -> Result<Vec<HostStatus>, ApiError> {
        Ok(report::hosts(&*self.0.inside()?))
    }

    async fn remove_host(&self, request: RemoveHostRequest) -> Result<HostRemoved, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { leaving::remove(&member, request).await }).await
    }

    async fn write_resources(&self, request: WriteRequest) -> Result<Vec<Written>, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { resources::write(&member, request).await }).await
    }

    async fn label_resource(&self, request: LabelRequest) -> Result<Written, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { resources::label(&member, request).await }).await
    }

    async fn list_resources(&self, request: ListRequest) -> Result<Vec<Value>, ApiError> {
        Ok(listing::list(&*self.0.inside()?, &request)?)
    }

    fn follow_resources(&self, request: ListRequest) -> Result<BoxStream<'static, ResourceChange>, ApiError> {
        listing::follow(&self.0.inside()?, request)
    }

    async fn propose_subnet(&self, request: SubnetRequest) -> Result<Cidr, ApiError> {
        Ok(networks::propose_subnet(&*self.0.inside()?, &request).await?)
    }

    async fn create_network(&self, request: NetworkRequest) -> Result<Network, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { networks::create(&member, request).await }).await
    }

    async fn name_network(&self, request: NameRequest) -> Result<Network, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { networks::name(&member, request).await }).await
    }

    async fn change_network(&self, request: ChangeRequest) -> Result<Network, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { networks::set(&member, request).await }).await
    }

    async fn remove_network(&self, network: NetworkId) -> Result<(), ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { networks::remove(&member, network).await }).await
    }

    fn networks(&self) -> watch::Receiver<Arc<Networks>> {
        self.0.networks.subscribe()
    }

    async fn allocate(&self, request: AllocateRequest) -> Result<IpAddr, ApiError> {
        let member = self.0.inside()?;
        let AllocateRequest { network, family, address, holder } = request;
        self.to_the_end(async move { attachment::allocate(&member, network, family, address, &holder).await })
            .await
    }

    async fn release(&self, request: ReleaseRequest) -> Result<(), ApiError> {
        let member = self.0.inside()?;
        let ReleaseRequest { network, address } = request;
        self.to_the_end(async move { member.addresses.release(network, address).await.map(drop) }).await
    }

    async fn create_endpoint(&self, request: EndpointRequest) -> Result<EndpointStatus, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { attachment::create(&member, request).await }).await
    }

    async fn remove_endpoint(&self, endpoint: EndpointId) -> Result<(), ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { attachment::remove(&member, endpoint).await.map(drop) }).await
    }

    async fn name_endpoint(&self, request: ContainerRequest) -> Result<(), ApiError> {
        let member = self.0.inside()?;
        Ok(attachment::name(&member, request)?)
    }

    async fn endpoints(&self) -> Result<Vec<EndpointStatus>, ApiError> {
        Ok(attachment::all(&*self.0.inside()?))
    }

    async fn publish(&self, request: PublishRequest) -> Result<Vec<PublishedPort>, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { ports::publish(&member, &request).await }).await
    }

    async fn unpublish(&self, endpoint: EndpointId) -> Result<(), ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { ports::unpublish(&member, endpoint).await }).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<EndpointStatus, ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { attachment::attach(&member, request).await }).await
    }

    async fn detach(&self, request: DetachRequest) -> Result<(), ApiError> {
        let member = self.0.inside()?;
        self.to_the_end(async move { attachment::detach(&member, request).await }).await
    }
}
