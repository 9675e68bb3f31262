use super::*;
use hopsack_plan::view::Attachment;
use hopsack_types::{ContainerRef, Isolation, Labels, Mac};

fn network() -> Network {
    let subnets = vec!["10.32.4.0/24".parse().unwrap()];
    Network::new(NetworkId::from_bytes([3; 16]), "web".parse().unwrap(), subnets)
}

fn host(alive: bool) -> HostStatus {
    HostStatus {
        id: HostId::from_bytes([2; 16]),
        name: "h2".parse().unwrap(),
        underlay: "10.77.0.2".parse().unwrap(),
        addresses: Vec::new(),
        voter: false,
        alive,
        path: None,
    }
}

fn endpoint(container: Option<&str>) -> Endpoint {
    Endpoint {
        id: EndpointId::from_bytes([4; 16]),
        network: network().id,
        addresses: vec!["10.32.4.5".parse().unwrap()],
        mac: Mac::local([1, 2, 3, 4, 5, 6]),
        attachment: Attachment::Docker,
        name: "040404040404".to_owned(),
        labels: Labels::new(),
        ports: Vec::new(),
        container: container.map(|name| ContainerRef { id: "4f2a".repeat(16), name: name.to_owned() }),
    }
}

fn full() -> Fault {
    Fault::new("the disk is full", "df -h")
}

/// The events between two looks, a line each.
fn told(before: &Seen, after: &Seen) -> Vec<String> {
    let all = differences(before, after).into_iter();
    all.map(|(kind, object, text)| format!("{kind} {object}: {text}")).collect()
}

#[test]
fn every_change_between_two_looks_is_one_event_and_the_way_back_another() {
    let nothing = Seen::default();
    let made = Seen {
        networks: BTreeMap::from([(network().id, network())]),
        hosts: BTreeMap::from([(host(true).id, host(true))]),
        endpoints: BTreeMap::from([(endpoint(None).id, endpoint(None))]),
        repaired: BTreeMap::from([("routes".to_owned(), 2)]),
        faults: BTreeSet::from([full()]),
    };
    assert_eq!(told(&nothing, &nothing), Vec::<String>::new());
    assert_eq!(told(&made, &made), Vec::<String>::new());
    assert_eq!(
        told(&nothing, &made),
        [
            "host-joined h2: at 10.77.0.2",
            "host-up h2: its agent answers",
            "network-made web: 10.32.4.0/24 by hopsack",
            "endpoint-made 040404040404: 10.32.4.5 in web",
            "drift-repaired routes: put right what somebody else had changed (2)",
            "fault-came this host: the disk is full; next: df -h",
        ]
    );
    let gone = Seen { repaired: made.repaired.clone(), ..Seen::default() };
    assert_eq!(
        told(&made, &gone),
        [
            "host-removed h2: it left the cluster",
            "network-removed web: 10.32.4.0/24",
            "endpoint-removed 040404040404: 10.32.4.5 in web",
            "fault-went this host: the disk is full; next: df -h",
        ]
    );
}

#[test]
fn what_stays_and_changes_is_told_with_what_has_changed() {
    let mut before = Seen {
        networks: BTreeMap::from([(network().id, network())]),
        hosts: BTreeMap::from([(host(true).id, host(true))]),
        endpoints: BTreeMap::from([(endpoint(None).id, endpoint(None))]),
        ..Seen::default()
    };
    let mut after = before.clone();
    after.hosts.insert(host(false).id, host(false));
    after.endpoints.insert(endpoint(None).id, endpoint(Some("c1")));
    after.networks.insert(network().id, Network { isolation: Isolation::None, ..network() });
    assert_eq!(
        told(&before, &after),
        [
            "host-down h2: its agent does not answer",
            "network-changed web: isolation",
            "endpoint-named c1: was 040404040404"
        ]
    );
    before = after.clone();
    after.endpoints.clear();
    assert_eq!(told(&before, &after), ["endpoint-removed c1: 10.32.4.5 in web"]);
}

#[test]
fn an_engine_that_comes_and_goes_is_told_with_its_faults() {
    let events = Events::new(|| 0);
    let up = DockerStatus { engine: EngineState::Connected, faults: vec![full()] };
    tell_docker(&events, &DockerStatus::default(), &up);
    tell_docker(&events, &up, &DockerStatus { engine: EngineState::Absent, faults: Vec::new() });
    let kinds: Vec<EventKind> = events.after(0).into_iter().map(|event| event.kind).collect();
    use EventKind::{DockerConnected, DockerLost, FaultCame, FaultWent};
    assert_eq!(kinds, [DockerConnected, FaultCame, DockerLost, FaultWent]);
}

#[test]
fn a_fault_that_comes_and_goes_within_a_second_is_not_told() {
    let (mut lasting, begin) = (Lasting::default(), Instant::now());
    let mut told = |milliseconds, faults: &[Fault]| {
        lasting.of(begin + Duration::from_millis(milliseconds), faults.iter().cloned()).len()
    };
    assert_eq!(told(0, &[full()]), 0);
    assert_eq!(told(900, &[full()]), 0);
    assert_eq!(told(950, &[]), 0);
    assert_eq!(told(1000, &[full()]), 0, "it was gone in between");
    assert_eq!(told(2000, &[full()]), 1);
    let other = Fault::new("no room", "df -h");
    assert_eq!(told(2100, &[full(), other.clone()]), 1);
    assert_eq!(told(3100, &[other]), 1);
    assert_eq!(told(3200, &[]), 0);
}
