//! The mirror's loop against an engine in memory, which comes, goes, refuses and forgets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "fake/agent.rs"]
mod fake;

use async_trait::async_trait;
use fake::{FakeApi, FakeCluster, NoWires};
use futures::StreamExt;
use futures::stream::BoxStream;
use hopsack_api::{
    AllocateRequest, Api, DockerNetwork, EndpointRequest, EventKind, NameRequest, NetworkRequest,
};
use hopsack_docker::{
    DRIVER, DockerEngine, DockerError, DockerStatus, Engine, EngineContainer, EngineNetwork, EngineState,
    FrontDoor, NetworkCopy,
};
use hopsack_types::{ContainerRef, EndpointId, Family, Labels, Network, NetworkId, NetworkName};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than any reaction of the mirror; most tests run on a clock that jumps.
const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Engineroom {
    networks: BTreeMap<String, EngineNetwork>,
    containers: Vec<EngineContainer>,
    endpoints: BTreeSet<EndpointId>,
    refuses: bool,
    made: u32,
}

/// A Docker in memory.
struct MemoryEngine {
    room: Mutex<Engineroom>,
    /// Whether it answers; each change of it, and each change of a network, wakes who follows.
    up: watch::Sender<bool>,
    changed: watch::Sender<u32>,
    /// Where it calls the plugin while it makes a network, as the real one does.
    plugin: Option<PathBuf>,
}

impl MemoryEngine {
    fn new(up: bool) -> Arc<Self> {
        Arc::new(Self::with_plugin(up, None))
    }

    fn with_plugin(up: bool, plugin: Option<PathBuf>) -> Self {
        Self { room: Mutex::default(), up: watch::Sender::new(up), changed: watch::Sender::new(0), plugin }
    }

    fn check(&self) -> Result<(), DockerError> {
        if *self.up.borrow() { Ok(()) } else { Err(down()) }
    }

    fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn names(&self) -> Vec<String> {
        self.room.lock().unwrap().networks.values().map(|network| network.name.clone()).collect()
    }

    /// A network that the user makes by Docker.
    fn user_makes(&self, id: &str, name: &str, driver: &str) {
        let labels = Labels::from([("com.docker.compose.project".to_owned(), "shop".to_owned())]);
        let (id, name, driver) = (id.to_owned(), name.to_owned(), driver.to_owned());
        let network = EngineNetwork { id: id.clone(), name, driver, copy_of: None, twin_of: None, labels };
        self.room.lock().unwrap().networks.insert(id, network);
        self.touch();
    }

    async fn until(&self, what: &str, mut ready: impl FnMut(&Engineroom) -> bool) {
        let mut changes = self.changed.subscribe();
        let wait = changes.wait_for(|_| ready(&self.room.lock().unwrap()));
        timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}")).unwrap();
    }
}

fn down() -> DockerError {
    let source = bollard::errors::Error::IOError { err: io::ErrorKind::ConnectionRefused.into() };
    DockerError::Unreachable { socket: "/run/docker.sock".into(), source: Box::new(source) }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn networks(&self) -> Result<Vec<EngineNetwork>, DockerError> {
        self.check()?;
        Ok(self.room.lock().unwrap().networks.values().cloned().collect())
    }

    async fn endpoints(&self, _: &str) -> Result<BTreeSet<EndpointId>, DockerError> {
        self.check()?;
        Ok(self.room.lock().unwrap().endpoints.clone())
    }

    async fn create(&self, copy: &NetworkCopy) -> Result<(), DockerError> {
        self.check()?;
        let id = {
            let mut room = self.room.lock().unwrap();
            room.made += 1;
            if room.refuses {
                let message = "no room".to_owned();
                return Err(DockerError::Engine {
                    operation: "create",
                    object: copy.name.to_string(),
                    message,
                });
            }
            format!("copy{}", room.made)
        };
        if let Some(plugin) = &self.plugin {
            call_back(plugin, &id, copy).await;
        }
        let network = EngineNetwork {
            id: id.clone(),
            name: copy.name.to_string(),
            driver: DRIVER.to_owned(),
            copy_of: Some(copy.network),
            twin_of: None,
            labels: copy.labels.clone(),
        };
        self.room.lock().unwrap().networks.insert(id, network);
        self.touch();
        Ok(())
    }

    async fn remove(&self, network: &str) -> Result<(), DockerError> {
        self.check()?;
        self.room.lock().unwrap().networks.remove(network);
        self.touch();
        Ok(())
    }

    async fn containers(&self) -> Result<Vec<EngineContainer>, DockerError> {
        self.check()?;
        Ok(self.room.lock().unwrap().containers.clone())
    }

    fn starts(&self) -> BoxStream<'static, Result<(), DockerError>> {
        self.changes()
    }

    fn changes(&self) -> BoxStream<'static, Result<(), DockerError>> {
        let (up, changed) = (self.up.subscribe(), self.changed.subscribe());
        futures::stream::unfold((up, changed), async |(mut up, mut changed)| {
            let event = tokio::select! {
                _ = up.wait_for(|up| !*up) => Err(down()),
                _ = changed.changed() => Ok(()),
            };
            Some((event, (up, changed)))
        })
        .boxed()
    }
}

/// What dockerd asks while it makes a copy.
async fn call_back(plugin: &Path, id: &str, copy: &NetworkCopy) {
    let mark = serde_json::json!({ "com.docker.network.windowsshim.hnsid": copy.network });
    let subnet = &copy.subnets[0].prefix;
    let pool = serde_json::json!({ "Pool": subnet, "Options": null });
    let create = serde_json::json!({
        "NetworkID": id,
        "Options": { "com.docker.network.generic": mark },
        "IPv4Data": [{ "AddressSpace": "hopsack", "Pool": subnet, "Gateway": "10.70.0.1/24" }],
    });
    for (method, body) in [("IpamDriver.RequestPool", pool), ("NetworkDriver.CreateNetwork", create)] {
        call(plugin, method, &body).await;
    }
}

/// One call of the plugin, which must succeed.
async fn call(plugin: &Path, method: &str, body: &serde_json::Value) {
    let body = body.to_string();
    let mut stream = UnixStream::connect(plugin).await.unwrap();
    let request = format!(
        "POST /{method} HTTP/1.1\r\nHost: \r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("200 OK") && !answer.contains("Err"), "{answer}");
}

struct Host {
    cluster: Arc<FakeCluster>,
    api: Arc<FakeApi>,
    engine: Arc<MemoryEngine>,
    door: FrontDoor,
    folder: tempfile::TempDir,
}

impl Host {
    fn start(engine: Arc<MemoryEngine>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = FakeCluster::new();
        let api = cluster.host(NoWires);
        let socket = folder.path().join("hopsack.sock");
        let door = hopsack_docker::serve(&socket, engine.clone(), api.clone()).unwrap();
        Self { cluster, api, engine, door, folder }
    }

    async fn declare(&self, name: &str, third_byte: u8) -> Network {
        self.make(Some(NetworkName::new(name).unwrap()), third_byte, None).await
    }

    async fn make(&self, name: Option<NetworkName>, third_byte: u8, docker: Option<&str>) -> Network {
        let request = NetworkRequest {
            name,
            subnets: vec![format!("10.70.{third_byte}.0/24").parse().unwrap()],
            docker: docker.map(|id| DockerNetwork { id: id.to_owned() }),
            ..NetworkRequest::default()
        };
        self.api.create_network(request).await.unwrap()
    }

    async fn until_status(&self, what: &str, ready: impl FnMut(&DockerStatus) -> bool) {
        let mut status = self.door.status();
        let shown = timeout(DEADLINE, status.wait_for(ready)).await;
        if shown.is_err() {
            panic!("never {what}: {:?}", self.door.status().borrow());
        }
    }

    async fn until_networks(&self, what: &str, mut ready: impl FnMut(&BTreeMap<NetworkId, Network>) -> bool) {
        let mut networks = self.api.networks();
        let wait = networks.wait_for(|all| ready(&all.networks));
        assert!(timeout(DEADLINE, wait).await.is_ok(), "never {what}: {:?}", self.cluster.networks());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_made_while_docker_was_down_is_there_soon_after_it_comes() {
    let host = Host::start(MemoryEngine::new(false));
    host.until_status("down", |status| matches!(status.engine, EngineState::Unreachable(_))).await;
    host.declare("web", 1).await;
    host.engine.up.send_replace(true);
    host.engine.until("web listed", |room| room.networks.len() == 1).await;
    host.until_status("connected", |status| status.engine == EngineState::Connected).await;

    host.engine.up.send_replace(false);
    host.until_status("down again", |status| matches!(status.engine, EngineState::Unreachable(_))).await;
    host.declare("db", 2).await;
    host.engine.up.send_replace(true);
    host.engine.until("db listed", |room| room.networks.len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_network_is_removed_from_docker_when_its_intent_is_gone_and_comes_back_when_only_docker_removed_it()
{
    let host = Host::start(MemoryEngine::new(true));
    let network = host.declare("web", 1).await;
    host.engine.until("web listed", |room| room.networks.len() == 1).await;
    host.engine.room.lock().unwrap().networks.clear();
    host.engine.touch();
    host.engine.until("web back", |room| room.networks.contains_key("copy2")).await;
    host.api.remove_network(network.id).await.unwrap();
    host.engine.until("web gone", |room| room.networks.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn the_name_and_labels_that_docker_told_by_its_list_only_are_committed() {
    let host = Host::start(MemoryEngine::new(true));
    host.make(None, 1, Some("d1")).await;
    host.engine.user_makes("d1", "shop_default", "hopsack");
    host.until_networks("named", |all| {
        all.values()
            .any(|n| n.name.as_str() == "shop_default" && n.labels.contains_key("com.docker.compose.project"))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_mirrored_is_told_and_tried_again() {
    let engine = MemoryEngine::new(true);
    engine.user_makes("b1", "web", "bridge");
    engine.room.lock().unwrap().refuses = true;
    let host = Host::start(engine);
    host.declare("web", 1).await;
    host.declare("db", 2).await;
    host.until_status("both told", |status| {
        let told = |text| status.faults.iter().any(|fault| fault.text.contains(text));
        told("bridge network web") && told("refused to create network db: no room")
    })
    .await;
    host.engine.room.lock().unwrap().refuses = false;
    host.engine.until("db listed", |room| room.networks.values().any(|n| n.name == "db")).await;
    host.engine.remove("b1").await.unwrap();
    host.until_status("all well", |status| status.faults.is_empty()).await;
    let mut names = host.engine.names();
    names.sort();
    assert_eq!(names, ["db", "web"]);
}

#[tokio::test]
async fn docker_may_call_the_plugin_while_the_mirror_waits_for_docker() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hopsack.sock");
    let engine = Arc::new(MemoryEngine::with_plugin(true, Some(socket.clone())));
    let api = FakeCluster::new().host(NoWires);
    let door = hopsack_docker::serve(&socket, engine.clone(), api.clone()).unwrap();
    let host = Host { cluster: FakeCluster::new(), api, engine, door, folder };
    host.declare("web", 1).await;
    let listed = host.engine.until("web listed", |room| room.networks.len() == 1);
    timeout(Duration::from_secs(20), listed).await.unwrap();
}

async fn attach(host: &Host, network: &Network, docker_endpoint: &str, name: &str) -> EndpointId {
    let id: EndpointId = docker_endpoint.parse().unwrap();
    let (network, family, holder) = (network.id, Family::V4, String::new());
    let request = AllocateRequest { network, family, address: None, holder };
    let address = host.api.allocate(request).await.unwrap();
    let (addresses, name, labels) = (vec![address], name.to_owned(), Labels::new());
    host.api
        .create_endpoint(EndpointRequest { id, network, addresses, mac: None, name, labels })
        .await
        .unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_docker_forgot_is_removed_and_its_address_released_and_no_other() {
    let host = Host::start(MemoryEngine::new(true));
    let network = host.declare("web", 1).await;
    let kept = attach(&host, &network, &"aa".repeat(16), "aaaaaaaaaaaa").await;
    let forgotten = attach(&host, &network, &"bb".repeat(16), "bbbbbbbbbbbb").await;
    let of_another_front_door = attach(&host, &network, &"cc".repeat(16), "blue").await;
    host.engine.room.lock().unwrap().endpoints.insert(kept);
    host.api.of_another_front_door(of_another_front_door);
    let mut left = vec![kept, of_another_front_door];
    left.sort();
    let removed = async {
        while host.cluster.endpoints().iter().any(|endpoint| endpoint.id == forgotten) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(DEADLINE, removed).await.unwrap();
    tokio::time::sleep(DEADLINE).await;
    assert_eq!(host.cluster.endpoints().iter().map(|endpoint| endpoint.id).collect::<Vec<_>>(), left);
    assert_eq!(host.cluster.taken().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_docker_asked_for_and_did_not_keep_is_removed_and_no_other() {
    let host = Host::start(MemoryEngine::new(true));
    let asked = |docker: &str, third: u8| NetworkRequest {
        subnets: vec![format!("10.{third}.0.0/16").parse().unwrap()],
        docker: Some(DockerNetwork { id: docker.to_owned() }),
        ..NetworkRequest::default()
    };
    let abandoned = host.api.create_network(asked("a1", 61)).await.unwrap();
    let slow = host.api.create_network(asked("b2", 62)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(host.cluster.networks().len(), 2, "Docker may yet list it");
    host.engine.user_makes("b2", "slow", DRIVER);
    let removed = async {
        while host.cluster.networks().contains_key(&abandoned.id) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(DEADLINE, removed).await.unwrap();
    tokio::time::sleep(DEADLINE).await;
    let left = host.cluster.networks();
    let left: Vec<_> = left.values().map(|network| (network.id, network.name.as_str())).collect();
    assert_eq!(left, [(slow.id, "slow")]);
}

#[tokio::test]
async fn a_host_without_docker_is_told_from_one_whose_docker_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let docker = folder.path().join("docker.sock");
    let plugin = folder.path().join("hopsack.sock");
    let api = FakeCluster::new().host(NoWires);
    let door = hopsack_docker::serve(&plugin, Arc::new(DockerEngine::new(docker.clone())), api).unwrap();
    let mut status = door.status();
    let absent = status.wait_for(|status| status.engine == EngineState::Absent);
    timeout(Duration::from_secs(20), absent).await.unwrap().unwrap();
    drop(std::os::unix::net::UnixListener::bind(&docker).unwrap());
    let silent = status.wait_for(|status| matches!(status.engine, EngineState::Unreachable(_)));
    timeout(Duration::from_secs(20), silent).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_is_removed_while_docker_does_not_answer() {
    let host = Host::start(MemoryEngine::new(false));
    let network = host.declare("web", 1).await;
    attach(&host, &network, &"bb".repeat(16), "bbbbbbbbbbbb").await;
    tokio::time::sleep(DEADLINE).await;
    assert_eq!(host.cluster.endpoints().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_gets_its_containers_name_once_docker_lists_it_and_a_new_one_when_it_is_renamed() {
    let host = Host::start(MemoryEngine::new(true));
    let network = host.declare("web", 1).await;
    let id = attach(&host, &network, &"aa".repeat(16), "aaaaaaaaaaaa").await;
    let until_named = async |name: &str| {
        let named = async {
            while host.cluster.endpoints()[0]
                .container
                .as_ref()
                .is_none_or(|container| container.name != name)
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(DEADLINE, named)
            .await
            .unwrap_or_else(|_| panic!("never {name}: {:?}", host.cluster.endpoints()));
    };
    for name in ["c1", "renamed"] {
        let container = ContainerRef { id: "4f2a".repeat(16), name: name.to_owned() };
        let (labels, endpoints) = (Labels::new(), BTreeSet::from([id]));
        host.engine.room.lock().unwrap().containers = vec![EngineContainer { container, labels, endpoints }];
        host.engine.touch();
        until_named(name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_that_docker_removed_and_that_stays_comes_back_and_that_is_told() {
    let host = Host::start(MemoryEngine::new(true));
    host.declare("web", 1).await;
    host.engine.until("web listed", |room| room.networks.len() == 1).await;
    host.until_status("compared", |status| status.engine == EngineState::Connected).await;
    host.engine.room.lock().unwrap().networks.clear();
    host.engine.touch();
    host.engine.until("web back", |room| room.networks.contains_key("copy2")).await;
    let told = async {
        let events = host.api.events();
        while !events.after(0).iter().any(|e| e.kind == EventKind::NetworkBroughtBack && e.object == "web") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, told).await.unwrap();
    assert_eq!(host.api.events().after(0).len(), 1, "the first copy is none that was brought back");
}

#[tokio::test(start_paused = true)]
async fn the_later_of_two_under_one_name_goes_once_it_is_unused_and_both_are_told() {
    let host = Host::start(MemoryEngine::new(true));
    host.declare("web", 1).await;
    host.engine.until("web listed", |room| room.networks.len() == 1).await;
    // As if another host's web had won while Docker made one here.
    host.engine.room.lock().unwrap().endpoints.insert(EndpointId::from_bytes([9; 16]));
    host.engine.room.lock().unwrap().networks.clear();
    host.engine.user_makes("d1", "web", "hopsack");
    host.make(None, 2, Some("d1")).await;
    host.until_status("in use", |status| {
        status.faults.iter().any(|f| f.text.contains("docker network inspect d1"))
    })
    .await;
    assert!(host.engine.names().contains(&"web".to_owned()));
    host.engine.room.lock().unwrap().endpoints.clear();
    host.engine.touch();
    host.engine
        .until("the copy in its place", |room| {
            room.networks.values().all(|network| network.copy_of.is_some()) && room.networks.len() == 1
        })
        .await;
    host.until_status("told", |status| {
        status.faults.iter().any(|fault| fault.text.contains("(10.70.2.0/24)"))
    })
    .await;
    assert!(host.api.events().after(0).iter().any(|event| event.kind == EventKind::NetworkRefused));
}

/// A network `a` of another host, and beside it one that was made on this host's engine as `b` at the same moment, both
/// in one subnet out of the pools and with one gateway.
async fn two_in_one_subnet(gateway: &str) -> Host {
    let host = Host::start(MemoryEngine::new(true));
    let other = host.cluster.host(NoWires);
    let socket = host.folder.path().join("hopsack.sock");
    let pool =
        serde_json::json!({ "AddressSpace": "hopsack", "Pool": "10.210.0.0/24", "SubPool": "", "V6": false });
    call(&socket, "IpamDriver.RequestPool", &pool).await;
    let address = serde_json::json!({
        "PoolID": "10.210.0.0/24",
        "Address": gateway,
        "Options": { "RequestAddressType": "com.docker.network.gateway" },
    });
    call(&socket, "IpamDriver.RequestAddress", &address).await;
    let request = NetworkRequest {
        subnets: vec!["10.210.0.0/24".parse().unwrap()],
        gateways: [gateway.parse().unwrap()].into(),
        docker: Some(DockerNetwork { id: "far".to_owned() }),
        ..NetworkRequest::default()
    };
    let far = other.create_network(request).await.unwrap();
    let create = serde_json::json!({
        "NetworkID": "d1",
        "IPv4Data": [{ "AddressSpace": "hopsack", "Pool": "10.210.0.0/24", "Gateway": format!("{gateway}/24") }],
    });
    call(&socket, "NetworkDriver.CreateNetwork", &create).await;
    host.engine.user_makes("d1", "b", "hopsack");
    let name = NetworkName::new("a").unwrap();
    other.name_network(NameRequest { network: far.id, name, labels: Labels::new() }).await.unwrap();
    host
}

#[tokio::test]
async fn of_two_networks_that_found_the_same_free_subnet_the_later_is_made_again_in_another() {
    let host = two_in_one_subnet("10.210.0.1").await;
    host.engine
        .until("both in Docker's list, as copies", |room| {
            let names: BTreeSet<&str> = room.networks.values().map(|network| network.name.as_str()).collect();
            names == BTreeSet::from(["a", "b"]) && room.networks.values().all(|n| n.copy_of.is_some())
        })
        .await;
    assert_eq!(host.cluster.networks().len(), 2);
    assert_eq!(host.api.events().after(0), [], "nobody lost anything");
}

#[tokio::test(start_paused = true)]
async fn a_later_network_whose_user_chose_its_gateway_is_refused_and_not_made_again_without_it() {
    let host = two_in_one_subnet("10.210.0.7").await;
    host.engine
        .until("only the first in Docker's list, as a copy", |room| {
            room.networks.values().map(|n| (n.name.as_str(), n.copy_of.is_some())).eq([("a", true)])
        })
        .await;
    let kinds: Vec<EventKind> = host.api.events().after(0).into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::NetworkRefused]);
    assert_eq!(host.cluster.networks().len(), 1);
}
