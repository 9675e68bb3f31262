//! A world of three hosts, and what a user does in it: h1 and h2 share a segment, h3 is behind a router.

use crate::machine::{Machine, SimClock, Surrounding};
use crate::network::Network;
use crate::prober::Kernels;
use crate::trace::{Line, Trace};
use hopsack_agent::entropy::Entropy;
use hopsack_api::{
    AllocateRequest, Api, ApiError, ClusterStatus, EndpointRequest, EndpointStatus, InitRequest, JoinRequest,
    NetworkRequest, ReleaseRequest, TokenRequest,
};
use hopsack_types::{Cidr, EndpointId, Family, Network as Definition, NetworkId};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// What must come true, does so within this virtual time.
const PATIENCE: Duration = Duration::from_secs(60);
/// No call of the API takes longer.
const CALL: Duration = Duration::from_secs(10);
/// How often conditions are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// The hosts of a world.
pub const H1: usize = 0;
/// The second.
pub const H2: usize = 1;
/// The third, behind the router.
pub const H3: usize = 2;

/// The world.
pub struct World {
    /// What all hosts share.
    pub around: Surrounding,
    /// The hosts.
    pub hosts: Vec<Machine>,
    /// Every address that was given to a container and not given back.
    held: BTreeMap<IpAddr, Container>,
    dice: Entropy,
}

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Container {
    /// On which host.
    pub host: usize,
    /// Its interface.
    pub endpoint: EndpointId,
    /// Its network.
    pub network: NetworkId,
}

/// Plays a world from a seed, and gives its trace.
pub fn play<F: Future<Output = World>>(seed: u64, plot: impl FnOnce(World) -> F) -> Vec<Line> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = plot(World::new(seed)).await;
        world.around.trace.since(0)
    })
}

impl World {
    fn new(seed: u64) -> Self {
        let around = Surrounding {
            network: Arc::new(Network::new(seed)),
            kernels: Kernels::default(),
            clock: Arc::new(SimClock::new()),
            trace: Trace::new(),
            seed,
        };
        let hosts = [("h1", "10.77.1.1"), ("h2", "10.77.1.2"), ("h3", "10.77.2.3")]
            .map(|(name, address)| Machine::new(name, address.parse().unwrap(), 24, around.clone()));
        Self { around, hosts: hosts.into(), held: BTreeMap::new(), dice: Entropy::from_seed(!seed) }
    }

    /// A number below a limit, by the seed.
    pub fn throw(&self, limit: u64) -> u64 {
        self.dice.below(limit)
    }

    /// Starts all agents, outside of any cluster.
    pub async fn start(&mut self) {
        for host in &mut self.hosts {
            host.start().await.unwrap();
        }
    }

    /// Starts all agents and has them make one cluster.
    pub async fn cluster(&mut self) {
        self.start().await;
        let token = self.init(H1).await.unwrap();
        for host in [H2, H3] {
            self.join(host, H1, &token).await.unwrap();
        }
        self.until("all see each other", |world| {
            world.each_status(|status| status.hosts.len() == 3 && status.hosts.iter().all(|host| host.alive))
        })
        .await;
    }

    /// Makes a cluster. Gives its first token.
    pub async fn init(&self, host: usize) -> Result<String, ApiError> {
        let made =
            self.call(host, "init", |api| async move { api.init(InitRequest::default()).await }).await?;
        self.hosts[host].watch_members();
        Ok(made.token)
    }

    /// Enters a cluster.
    pub async fn join(&self, host: usize, through: usize, token: &str) -> Result<usize, ApiError> {
        let request = JoinRequest {
            address: self.hosts[through].control(),
            token: token.to_owned(),
            name: None,
            advertise: None,
            without_vxlan: false,
        };
        let joined = self.call(host, "join", |api| async move { api.join(request).await }).await?;
        self.hosts[host].watch_members();
        Ok(joined.hosts)
    }

    /// Makes a token.
    pub async fn token(&self, host: usize, valid_for: u64, uses: Option<u32>) -> Result<String, ApiError> {
        let request = TokenRequest { valid_for, uses };
        self.call(host, "token", |api| async move { api.create_token(request).await })
            .await
            .map(|made| made.token)
    }

    /// Makes a network.
    pub async fn network(&self, host: usize, name: &str, subnets: &[&str]) -> Result<Definition, ApiError> {
        let request = NetworkRequest {
            name: Some(name.parse().unwrap()),
            subnets: subnets.iter().map(|subnet| subnet.parse().unwrap()).collect(),
            ..NetworkRequest::default()
        };
        self.call(host, "network", |api| async move { api.create_network(request).await }).await
    }

    /// Starts a container as Docker does: an address, then an endpoint with it. No address may be in use anywhere.
    pub async fn container(&mut self, host: usize, network: NetworkId) -> Result<EndpointStatus, ApiError> {
        let id = EndpointId::from_bytes(self.dice.bytes());
        let request = AllocateRequest {
            network,
            family: Family::V4,
            address: None,
            holder: format!("docker:{}", id.short()),
        };
        let address = self.call(host, "allocate", |api| async move { api.allocate(request).await }).await?;
        let before = self.held.insert(address, Container { host, endpoint: id, network });
        assert_eq!(before, None, "{address} was given twice");
        let request = EndpointRequest {
            id,
            network,
            addresses: vec![address],
            mac: None,
            name: format!("c{}", self.held.len()),
            labels: BTreeMap::new(),
        };
        let made = self.call(host, "endpoint", |api| async move { api.create_endpoint(request).await }).await;
        if made.is_err() {
            // So does Docker's driver, and then Docker gives the address back.
            self.end(address).await?;
        }
        made
    }

    /// Ends a container as Docker does.
    pub async fn end(&mut self, address: IpAddr) -> Result<(), ApiError> {
        let Container { host, endpoint, network } = self.held[&address];
        self.call(host, "remove endpoint", |api| async move { api.remove_endpoint(endpoint).await }).await?;
        let request = ReleaseRequest { network, address };
        self.call(host, "release", |api| async move { api.release(request).await }).await?;
        self.held.remove(&address);
        Ok(())
    }

    /// Every address in use.
    pub fn held(&self) -> &BTreeMap<IpAddr, Container> {
        &self.held
    }

    /// A call of a host's API, traced with its answer. It must not hang.
    pub async fn call<T: std::fmt::Debug, F: Future<Output = Result<T, ApiError>>>(
        &self,
        host: usize,
        what: &str,
        call: impl FnOnce(hopsack_agent::agent::Service) -> F,
    ) -> Result<T, ApiError> {
        let machine = &self.hosts[host];
        let answer = timeout(CALL, call(machine.api())).await;
        let Ok(answer) = answer else { self.fail(&format!("{what} on {} hangs", machine.name)) };
        self.around.trace.note(&machine.name, format!("{what}: {answer:?}"));
        answer
    }

    /// Waits until a condition is true; the addresses in use must stay unique all the while.
    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !condition(self) {
            if begin.elapsed() > PATIENCE {
                self.fail(&format!("it did not come true that {what}"));
            }
            self.check_addresses();
            sleep(LOOK).await;
        }
        self.around.trace.note("test", what);
    }

    /// No two hosts may both take an address for theirs.
    fn check_addresses(&self) {
        let mut seen: BTreeMap<(NetworkId, IpAddr), &str> = BTreeMap::new();
        for machine in self.hosts.iter().filter(|machine| machine.runs()) {
            let Some(member) = machine.agent().member() else { continue };
            for network in member.addresses.known() {
                for address in member.addresses.in_use(network).into_keys() {
                    if let Some(other) = seen.insert((network, address), &machine.name) {
                        self.fail(&format!("{address} is in use on {other} and on {}", machine.name));
                    }
                }
            }
        }
    }

    /// Whether something is true of the status of every host whose agent runs.
    pub fn each_status(&self, check: impl Fn(&ClusterStatus) -> bool) -> bool {
        let running = self.hosts.iter().filter(|machine| machine.runs());
        let mut statuses = running
            .map(|machine| machine.agent().member().map(|member| hopsack_agent::report::status(&member).0));
        statuses.all(|status| status.is_some_and(|status| check(&status)))
    }

    /// Whether a host's kernel leads somewhere else for an address than into the void.
    pub fn has_route(&self, host: usize, address: IpAddr) -> bool {
        use hopsack_plan::state::{MAIN_TABLE, RouteTarget};
        let state = self.hosts[host].kernel.state();
        let longest = state
            .routes
            .iter()
            .filter(|(key, _)| key.table == MAIN_TABLE && key.destination.contains(address))
            .max_by_key(|(key, _)| key.destination.length());
        longest.is_some_and(|(_, route)| {
            matches!(route.target, RouteTarget::Via { .. } | RouteTarget::Device(_))
        })
    }

    /// Whether every kernel has a route to every container.
    pub fn all_reach_all(&self) -> bool {
        (0..self.hosts.len()).all(|host| self.held.keys().all(|address| self.has_route(host, *address)))
    }

    /// The addresses of all containers as a host has heard of them.
    pub fn heard(&self, host: usize) -> BTreeMap<IpAddr, String> {
        let member = self.hosts[host].member();
        let intent = member.intent.borrow().intent.clone();
        let facts = member.facts.endpoints(&intent).into_values();
        facts
            .flat_map(|(host, endpoint)| {
                endpoint.addresses.into_iter().map(move |address| (address, host.short()))
            })
            .collect()
    }

    /// Whether every running agent has heard of every container, and intent is the same everywhere.
    pub fn is_settled(&self) -> bool {
        let running: Vec<usize> = (0..self.hosts.len()).filter(|host| self.hosts[*host].runs()).collect();
        let revision = |host: usize| self.hosts[host].member().intent.borrow().revision;
        let first = running[0];
        running.iter().all(|host| {
            let heard = self.heard(*host);
            heard.keys().eq(self.held.keys())
                && heard == self.heard(first)
                && revision(*host) == revision(first)
        })
    }

    /// Kernel operations of a host since a moment of the trace.
    pub fn operations_since(&self, host: usize, moment: usize) -> Vec<String> {
        let lines = self.around.trace.since(moment).into_iter();
        lines
            .filter(|line| line.place == self.hosts[host].name && line.what.starts_with("kernel"))
            .map(|line| line.what)
            .collect()
    }

    /// Cuts a host off from all others.
    pub fn isolate(&self, host: usize) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.cut(host, other);
        }
    }

    /// Cuts two hosts off from each other.
    pub fn cut(&self, one: usize, other: usize) {
        let (one, other) = (&self.hosts[one], &self.hosts[other]);
        self.around.trace.note("test", format!("{} and {} are cut off", one.name, other.name));
        self.around.network.cut(one.underlay, other.underlay);
    }

    /// Makes the network whole again.
    pub fn heal(&self) {
        self.around.trace.note("test", "the network is whole again");
        self.around.network.heal();
    }

    /// What a host holds of a network's addresses beyond those in use.
    pub fn reserve(&self, host: usize, network: NetworkId) -> u64 {
        let member = self.hosts[host].member();
        let intent = member.intent.borrow().intent.clone();
        let granted = intent.ledgers.get(&network).map_or(0, |ledger| {
            let own = ledger.grants.iter().filter(|(_, grant)| grant.host == member.identity.host);
            own.map(|(cidr, _)| size(*cidr)).sum()
        });
        granted.saturating_sub(member.addresses.in_use(network).len() as u64)
    }

    /// Ends the test with what is needed to find out why.
    pub fn fail(&self, what: &str) -> ! {
        panic!("seed {}: {what}\n{}", self.around.seed, self.around.trace.tail(40))
    }
}

fn size(cidr: Cidr) -> u64 {
    1 << (32 - cidr.length())
}
