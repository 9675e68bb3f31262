//! Every call through the real server and the real client, in front of an agent that notes what it was asked.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod answers;

use answers::*;
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use hopsack_api::client::{Client, ClientError};
use hopsack_api::server::{self, BindError};
use hopsack_api::*;
use hopsack_types::manifest::Kind;
use hopsack_types::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Notes each request and gives one fixed answer to each call.
struct Notebook {
    asked: Mutex<Vec<String>>,
    networks: watch::Sender<Arc<Networks>>,
    refusal: Option<ApiError>,
    events: Arc<Events>,
}

impl Notebook {
    fn new(refusal: Option<ApiError>) -> Arc<Self> {
        let networks = watch::channel(Arc::new(all_networks())).0;
        Arc::new(Self { asked: Mutex::default(), networks, refusal, events: Events::new(|| 7) })
    }

    fn answer<T>(&self, request: &impl Debug, answer: T) -> Result<T, ApiError> {
        self.asked.lock().unwrap().push(format!("{request:?}"));
        self.refusal.clone().map_or(Ok(answer), Err)
    }
}

#[async_trait]
impl Api for Notebook {
    async fn init(&self, request: InitRequest) -> Result<InitAnswer, ApiError> {
        self.answer(&request, init_answer())
    }
    async fn join(&self, request: JoinRequest) -> Result<JoinAnswer, ApiError> {
        self.answer(&request, join_answer())
    }
    async fn create_token(&self, request: TokenRequest) -> Result<TokenAnswer, ApiError> {
        self.answer(&request, token_answer())
    }
    async fn tokens(&self) -> Result<Vec<TokenStatus>, ApiError> {
        self.answer(&"tokens", vec![token_status()])
    }
    async fn revoke_token(&self, token: TokenId) -> Result<(), ApiError> {
        self.answer(&token, ())
    }
    async fn status(&self) -> Result<Status, ApiError> {
        self.answer(&"status", status())
    }
    async fn examine(&self) -> Result<Examination, ApiError> {
        self.answer(&"examine", examination())
    }
    async fn ipam(&self) -> Result<IpamStatus, ApiError> {
        self.answer(&"ipam", ipam())
    }
    fn events(&self) -> Arc<Events> {
        self.events.clone()
    }
    async fn hosts(&self) -> Result<Vec<HostStatus>, ApiError> {
        self.answer(&"hosts", vec![host_status()])
    }
    async fn remove_host(&self, request: RemoveHostRequest) -> Result<HostRemoved, ApiError> {
        self.answer(&request, host_removed())
    }
    async fn write_resources(&self, request: WriteRequest) -> Result<Vec<Written>, ApiError> {
        self.answer(&request, vec![written()])
    }
    async fn label_resource(&self, request: LabelRequest) -> Result<Written, ApiError> {
        self.answer(&request, written())
    }
    async fn list_resources(&self, request: ListRequest) -> Result<Vec<Value>, ApiError> {
        self.answer(&request, vec![document()])
    }
    fn follow_resources(&self, request: ListRequest) -> Result<BoxStream<'static, ResourceChange>, ApiError> {
        self.answer(&request, stream::iter([Change::Added, Change::Removed]).map(change).boxed())
    }
    async fn propose_subnet(&self, request: SubnetRequest) -> Result<Cidr, ApiError> {
        self.answer(&request, network().subnets[0])
    }
    async fn create_network(&self, request: NetworkRequest) -> Result<Network, ApiError> {
        self.answer(&request, network())
    }
    async fn name_network(&self, request: NameRequest) -> Result<Network, ApiError> {
        self.answer(&request, network())
    }
    async fn change_network(&self, request: ChangeRequest) -> Result<Network, ApiError> {
        self.answer(&request, network())
    }
    async fn remove_network(&self, network: NetworkId) -> Result<(), ApiError> {
        self.answer(&network, ())
    }
    fn networks(&self) -> watch::Receiver<Arc<Networks>> {
        self.networks.subscribe()
    }
    async fn allocate(&self, request: AllocateRequest) -> Result<IpAddr, ApiError> {
        self.answer(&request, address())
    }
    async fn release(&self, request: ReleaseRequest) -> Result<(), ApiError> {
        self.answer(&request, ())
    }
    async fn create_endpoint(&self, request: EndpointRequest) -> Result<EndpointStatus, ApiError> {
        self.answer(&request, endpoint())
    }
    async fn remove_endpoint(&self, endpoint: EndpointId) -> Result<(), ApiError> {
        self.answer(&endpoint, ())
    }
    async fn name_endpoint(&self, request: ContainerRequest) -> Result<(), ApiError> {
        self.answer(&request, ())
    }
    async fn endpoints(&self) -> Result<Vec<EndpointStatus>, ApiError> {
        self.answer(&"endpoints", vec![endpoint()])
    }
    async fn publish(&self, request: PublishRequest) -> Result<Vec<PublishedPort>, ApiError> {
        self.answer(&request, vec![published()])
    }
    async fn unpublish(&self, endpoint: EndpointId) -> Result<(), ApiError> {
        self.answer(&endpoint, ())
    }
    async fn attach(&self, request: AttachRequest) -> Result<EndpointStatus, ApiError> {
        self.answer(&request, endpoint())
    }
    async fn detach(&self, request: DetachRequest) -> Result<(), ApiError> {
        self.answer(&request, ())
    }
}

/// An agent that listens in a folder of its own.
struct Agent {
    _runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    api: Arc<Notebook>,
}

impl Agent {
    fn start(refusal: Option<ApiError>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let api = Notebook::new(refusal);
        let listener = {
            let _inside = runtime.enter();
            server::bind(&folder.path().join("new/api.sock")).unwrap()
        };
        runtime.spawn(server::serve(listener, api.clone()));
        Self { _runtime: runtime, folder, api }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("new/api.sock")
    }

    fn client(&self) -> Client {
        Client::new(self.socket()).with_timeout(Duration::from_secs(10))
    }

    fn last_asked(&self) -> String {
        self.api.asked.lock().unwrap().pop().unwrap()
    }

    /// Sends raw text and gives back all that is answered.
    fn raw(&self, text: &str) -> String {
        let mut stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn every_call_arrives_as_it_was_sent_and_its_answer_returns() {
    let agent = Agent::start(None);
    let client = agent.client();
    macro_rules! passes {
        ($call:ident($request:expr) => $answer:expr) => {{
            let request = $request;
            assert_eq!(client.$call(&request).unwrap(), $answer);
            assert_eq!(agent.last_asked(), format!("{request:?}"));
        }};
        ($call:ident() => $answer:expr) => {{
            assert_eq!(client.$call().unwrap(), $answer);
            assert_eq!(agent.last_asked(), format!("{:?}", stringify!($call)));
        }};
    }
    let name = Some(HostName::new("h1").unwrap());
    let advertise = Some(address());
    let pools = vec!["10.32.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()];
    passes!(init(InitRequest { name: name.clone(), advertise, pools, no_nat: true, without_vxlan: true }) => init_answer());
    let (target, token) = ("[fd00::1]:4677".parse().unwrap(), "t".to_owned());
    passes!(join(JoinRequest { address: target, token, name, advertise, without_vxlan: true }) => join_answer());
    passes!(create_token(TokenRequest { valid_for: 60, uses: Some(1) }) => token_answer());
    passes!(tokens() => vec![token_status()]);
    client.revoke_token(token_status().id).unwrap();
    assert_eq!(agent.last_asked(), format!("{:?}", token_status().id));
    passes!(status() => status());
    passes!(examine() => examination());
    passes!(ipam() => ipam());
    passes!(hosts() => vec![host_status()]);
    passes!(remove_host(RemoveHostRequest { host: "h2".to_owned(), destroyed: true }) => host_removed());
    let documents = vec![document()];
    passes!(write_resources(WriteRequest { mode: WriteMode::Replace, dry_run: true, documents }) => vec![written()]);
    let changed = BTreeMap::from([("a".to_owned(), Some("b".to_owned())), ("c".to_owned(), None)]);
    passes!(label_resource(LabelRequest { kind: Kind::Host, name: "h1".to_owned(), labels: changed }) => written());
    let listed = ListRequest { kinds: vec![Kind::Network, Kind::Pool], names: vec!["web".to_owned()] };
    passes!(list_resources(listed) => vec![document()]);
    let avoid = network().subnets;
    passes!(propose_subnet(SubnetRequest { family: Family::V6, wanted: None, avoid }) => network().subnets[0]);
    let Network {
        id,
        name,
        subnets,
        ranges,
        gateways,
        reserved,
        isolation,
        internal,
        exit,
        mtu,
        said,
        labels,
        docker: _,
    } = network();
    passes!(create_network(NetworkRequest {
        name: Some(name.clone()),
        subnets,
        both_families: false,
        ranges,
        gateways: gateways.into_keys().collect(),
        reserved,
        isolation,
        internal,
        exit,
        mtu,
        said,
        labels: labels.clone(),
        docker: Some(DockerNetwork { id: "1d46".to_owned() }),
    }) => network());
    passes!(name_network(NameRequest { network: id, name: name.clone(), labels: labels.clone() }) => network());
    let changed = BTreeMap::from([("a".to_owned(), Some("b".to_owned())), ("c".to_owned(), None)]);
    let isolation = Some(Isolation::None);
    passes!(change_network(ChangeRequest { network: id, isolation, labels: changed }) => network());
    passes!(allocate(AllocateRequest {
        network: id,
        family: Family::V4,
        address: Some(address()),
        holder: "docker".to_owned(),
    }) => address());
    passes!(release(ReleaseRequest { network: id, address: address() }) => ());
    passes!(create_endpoint(EndpointRequest {
        id: endpoint().id,
        network: id,
        addresses: vec![address()],
        mac: Some(endpoint().mac),
        name: "c1".to_owned(),
        labels: labels.clone(),
    }) => endpoint());
    let (endpoint_id, container) = (endpoint().id, container());
    passes!(name_endpoint(ContainerRequest { endpoint: endpoint_id, container, labels: labels.clone() }) => ());
    passes!(endpoints() => vec![endpoint()]);
    passes!(attach(AttachRequest {
        namespace: "/run/netns/blue".into(),
        network: name.clone(),
        interface: IfName::new("eth0").unwrap(),
        addresses: vec![],
        name: "blue".to_owned(),
        labels,
        ports: vec![port_request()],
    }) => endpoint());
    passes!(publish(PublishRequest { endpoint: endpoint().id, ports: vec![port_request()] }) => vec![published()]);
    client.unpublish(endpoint().id).unwrap();
    assert_eq!(agent.last_asked(), format!("{:?}", endpoint().id));
    passes!(detach(DetachRequest { namespace: "/run/netns/blue".into(), network: name }) => ());
    client.remove_network(id).unwrap();
    assert_eq!(agent.last_asked(), format!("{id:?}"));
    client.remove_endpoint(endpoint().id).unwrap();
    assert_eq!(agent.last_asked(), format!("{:?}", endpoint().id));
    assert_eq!(client.networks().unwrap(), all_networks());
}

#[test]
fn events_are_answered_as_they_are_remembered_and_followed_as_they_happen() {
    let agent = Agent::start(None);
    let events = &agent.api.events;
    events.tell(EventKind::NetworkMade, "web", "10.32.1.0/24");
    let client = agent.client();
    let remembered = client.events(&EventsRequest::default()).unwrap();
    assert_eq!(remembered.iter().map(|event| event.object.as_str()).collect::<Vec<_>>(), ["web"]);
    assert_eq!(client.events(&EventsRequest { since: Some(8) }).unwrap(), []);

    let mut followed = client.follow_events(&EventsRequest::default()).unwrap();
    assert_eq!(followed.next().unwrap().unwrap(), remembered[0]);
    for number in 2..100 {
        events.tell(EventKind::HostDown, format!("h{number}"), "no \"answer\"\nfrom it");
        let event = followed.next().unwrap().unwrap();
        assert_eq!((event.number, event.object), (number, format!("h{number}")));
    }
    drop(agent);
    assert!(matches!(followed.next(), Some(Err(ClientError::Ended { .. }))));
}

#[test]
fn changes_of_resources_are_followed_until_the_agent_ends_them() {
    let agent = Agent::start(None);
    let followed = agent.client().follow_resources(&ListRequest::default()).unwrap();
    let told: Vec<_> = followed.take(3).collect();
    let [Ok(added), Ok(removed), Err(ClientError::Ended { .. })] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((added, removed), (&change(Change::Added), &change(Change::Removed)));
    let refusal =
        ApiError::new(ErrorCode::NotFound, "no such kind").in_document(3).at_field("spec.subnets[1]");
    let agent = Agent::start(Some(refusal.clone()));
    let refused = agent.client().follow_resources(&ListRequest::default()).unwrap_err();
    assert!(matches!(refused, ClientError::Refused(error) if error == refusal));
}

#[test]
fn a_refusal_returns_with_its_code_and_its_line() {
    for code in [
        ErrorCode::Invalid,
        ErrorCode::NotFound,
        ErrorCode::Conflict,
        ErrorCode::Exhausted,
        ErrorCode::NotReady,
        ErrorCode::Denied,
        ErrorCode::Unavailable,
        ErrorCode::OutcomeUnknown,
        ErrorCode::Host,
        ErrorCode::Version,
    ] {
        let refusal = ApiError::new(code, "no address is left in web");
        let agent = Agent::start(Some(refusal.clone()));
        match agent.client().remove_network(network().id) {
            Err(ClientError::Refused(error)) => assert_eq!(error, refusal),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_socket_is_for_root_alone_and_is_not_taken_from_a_living_agent() {
    let agent = Agent::start(None);
    let mode = std::fs::metadata(agent.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = server::bind(&agent.socket()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    agent.client().status().unwrap();
}

#[test]
fn a_dead_agents_socket_says_how_to_start_one_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let expected = format!("no agent answers at {}: start one with `hopsack agent`", socket.display());
    assert_eq!(Client::new(&socket).status().unwrap_err().to_string(), expected);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(Client::new(&socket).status().unwrap_err().to_string(), expected);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    server::bind(&socket).unwrap();
}

#[test]
fn an_agent_of_another_version_says_so() {
    let agent = Agent::start(None);
    let ask = |path: &str| agent.raw(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let newer = ask("/v2/status");
    assert!(
        newer.starts_with("HTTP/1.1 404") && newer.contains("this hopsack is newer than the agent"),
        "{newer}"
    );
    assert!(ask("/v0/status").contains("this hopsack is older than the agent"));
    assert!(ask("/v1/tea").contains("the agent that runs knows no /v1/tea"));
    assert!(ask("/v1/networks/create").contains("\"code\":\"version\""), "a call with the wrong method");
}

#[test]
fn a_request_that_is_not_understood_is_refused_as_invalid() {
    let agent = Agent::start(None);
    let body = r#"{"validFor":60,"surprise":1}"#;
    let answer = agent.raw(&format!(
        "POST /v1/tokens/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("surprise"), "{answer}");
}

/// A peer that accepts one connection and does with it what the closure says.
fn peer(socket: &Path, act: impl FnOnce(std::os::unix::net::UnixStream) + Send + 'static) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || act(listener.accept().unwrap().0));
}

#[test]
fn an_agent_that_never_answers_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let (done, wait) = std::sync::mpsc::channel::<()>();
    peer(&socket, move |stream| {
        let _closed = wait.recv();
        drop(stream);
    });
    let error = Client::new(&socket).with_timeout(Duration::from_millis(50)).status().unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    drop(done);
}

#[test]
fn an_agent_that_ends_in_the_middle_may_have_done_what_was_asked() {
    for said in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        peer(&socket, move |mut stream| {
            let mut head = [0; 4];
            stream.read_exact(&mut head).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _rest = stream.read_to_end(&mut Vec::new());
        });
        let error = Client::new(&socket).status().unwrap_err();
        assert!(matches!(error, ClientError::Ended { .. }), "{said:?}: {error}");
        assert!(error.to_string().contains("`hopsack status`"), "{error}");
    }
}
