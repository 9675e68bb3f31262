use super::*;
use crate::id::NetworkId;
use crate::resource::{ChosenBy, Isolation, Network, Pool};

fn document(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

fn refusal(document: &Value) -> String {
    Resource::read(document).unwrap_err().to_string()
}

fn network(spec: Value) -> NetworkSpec {
    match Resource::read(&document("Network", "web", spec)).unwrap() {
        Resource::Network(document) => document.spec,
        other => panic!("{other:?}"),
    }
}

fn web() -> Network {
    let id = NetworkId::from_bytes([1; 16]);
    let subnets = vec!["10.1.0.0/24".parse().unwrap(), "fd01::/64".parse().unwrap()];
    let mut web = Network::new(id, "web".parse().unwrap(), subnets);
    web.gateways.insert("10.1.0.9".parse().unwrap(), ChosenBy::User);
    web.gateways.insert("fd01::1".parse().unwrap(), ChosenBy::Default);
    web.ranges.insert("10.1.0.128/25".parse().unwrap());
    web.reserved.insert("10.1.0.7".parse().unwrap(), "router".to_owned());
    web.mtu = Some(1400);
    web.labels.insert("tier".to_owned(), "front".to_owned());
    web
}

#[test]
fn what_is_shown_of_a_resource_is_read_back_and_changes_nothing() {
    let web = web();
    let shown = show(Kind::Network, &web.name, &web.labels, &NetworkSpec::of(&web), &NetworkStatus::of(&web))
        .unwrap();
    let Resource::Network(read) = Resource::read(&shown).unwrap() else { panic!("{shown}") };
    assert_eq!(read.spec, NetworkSpec::of(&web));
    assert_eq!(read.spec.change(&web, read.labels.as_ref()).unwrap(), web);

    let mut pool = Pool::new("lab".parse().unwrap(), "10.32.0.0/14".parse().unwrap());
    pool.disabled = true;
    let status = PoolStatus { host_range: pool.host_range(), networks: vec![web.name] };
    let shown = show(Kind::Pool, &pool.name, &pool.labels, &PoolSpec::of(&pool), &status).unwrap();
    let Resource::Pool(read) = Resource::read(&shown).unwrap() else { panic!("{shown}") };
    assert_eq!(read.labels, None, "none said: those that it has");
    assert_eq!(read.spec.change(&pool, read.labels.as_ref()), pool);
    assert_eq!(read.spec.make(read.name, None).unwrap(), pool);
}

#[test]
fn a_document_that_names_a_resource_is_enough_to_find_it() {
    for kind in Kind::ALL {
        let name = if kind == Kind::Endpoint { "ab".repeat(16) } else { "x1".to_owned() };
        let read = Resource::read(&named(kind, &name)).unwrap();
        assert_eq!((read.kind(), read.name()), (kind, name));
    }
}

#[test]
fn what_is_left_out_stays_and_what_is_said_is_changed() {
    let web = web();
    let open = network(json!({ "isolation": "none" })).change(&web, None).unwrap();
    assert_eq!(open, Network { isolation: Isolation::None, ..web.clone() });
    let bare = network(json!({})).change(&web, Some(&Labels::new())).unwrap();
    assert_eq!(bare, Network { labels: Labels::new(), ..web });
}

#[test]
fn what_a_pool_gave_may_be_left_out_where_it_was_asked_for() {
    let web = web();
    let both = json!({ "subnets": ["10.1.0.0/24"], "ipv6": true });
    assert_eq!(network(both).change(&web, None).unwrap(), web);
    let half = network(json!({ "subnets": ["10.1.0.0/24"] })).change(&web, None).unwrap_err();
    assert_eq!(half.field, "spec.subnets");
    let only_v4 = Network { subnets: vec![web.subnets[0]], ..web };
    let lacking = network(json!({ "ipv6": true })).change(&only_v4, None).unwrap_err().to_string();
    assert!(lacking.starts_with("spec.ipv6: found true, but network web has no IPv6 subnet"), "{lacking}");
}

#[test]
fn what_cannot_be_changed_of_a_network_is_refused_by_its_field() {
    for (spec, field, found, has) in [
        (json!({ "subnets": ["10.2.0.0/24"] }), "subnets", "10.2.0.0/24", "10.1.0.0/24, fd01::/64"),
        (json!({ "ranges": [] }), "ranges", "none", "10.1.0.128/25"),
        (json!({ "gateways": ["10.1.0.1"] }), "gateways", "10.1.0.1", "10.1.0.9, fd01::1"),
        (json!({ "gateways": [] }), "gateways", "none", "10.1.0.9, fd01::1"),
        (
            json!({ "reserved": { "10.1.0.7": "rooter" } }),
            "reserved",
            "10.1.0.7 (rooter)",
            "10.1.0.7 (router)",
        ),
        (json!({ "internal": true }), "internal", "true", "false"),
        (json!({ "exit": "docker" }), "exit", "docker", "hopsack"),
        (json!({ "mtu": 1300 }), "mtu", "1300", "1400"),
    ] {
        let told = network(spec).change(&web(), None).unwrap_err().to_string();
        let expected = format!(
            "spec.{field}: found {found}, but network web has {has}, which cannot be changed: write that, or remove \
             the network and make it anew"
        );
        assert_eq!(told, expected);
    }
    for same in [json!(["10.1.0.9"]), json!(["10.1.0.9", "fd01::1"])] {
        assert_eq!(network(json!({ "gateways": same })).change(&web(), None), Ok(web()));
    }
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest_right_one_before_a_missing_one() {
    assert_eq!(
        refusal(&document("Pool", "lab", json!({ "cidrs": "10.0.0.0/8" }))),
        "spec.cidrs: there is no such field; did you mean cidr?"
    );
    assert_eq!(
        refusal(&json!({ "services": {} })),
        "services: there is no such field; known: apiVersion, kind, metadata, spec, status"
    );
}

#[test]
fn what_hosts_say_is_not_read_from_users() {
    let mut shown = document("Host", "h1", json!({}));
    shown["status"] = json!({ "anything": [1, 2] });
    assert!(Resource::read(&shown).is_ok());
}
