//! What users can say of a network, in the calls of a real engine (20.10.24): subnets, ranges, gateways, options.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "fake/caller.rs"]
mod caller;
#[path = "fake/agent.rs"]
mod fake;

use caller::Docker;
use hopsack_api::{Api, NetworkRequest};
use hopsack_types::{ChosenBy, Exit, Family, Isolation, Network};
use serde_json::{Value, json};

const ENDPOINT: &str = "aa11223344556677889900aabbccddeeff11223344556677889900aabbccddee";

/// One subnet as Docker asks for it: `--subnet`, `--ip-range`, `--gateway`, each possibly left out.
fn request(docker: &Docker, subnet: &str, range: &str, gateway: &str) -> (String, String) {
    let pool = json!({"Pool": subnet, "SubPool": range, "Options": null, "V6": subnet.contains(':')});
    let pool = docker.call("IpamDriver.RequestPool", pool)["PoolID"].as_str().unwrap().to_owned();
    let options = json!({"RequestAddressType": "com.docker.network.gateway"});
    let address = json!({"PoolID": pool, "Address": gateway, "Options": options});
    let answer = docker.call("IpamDriver.RequestAddress", address);
    (pool, answer["Address"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
}

/// `CreateNetwork` with what was requested; `generic` is what `-o` says.
fn create(requested: &[(String, String)], generic: Value, internal: bool) -> Value {
    let data = |v6: bool| {
        let of_family = requested.iter().filter(|(pool, _)| pool.contains(':') == v6);
        let data = of_family.map(
            |(pool, gateway)| json!({"AddressSpace": "hopsack", "Pool": pool, "Gateway": gateway, "AuxAddresses": null}),
        );
        data.collect::<Vec<Value>>()
    };
    json!({
        "NetworkID": "1d46",
        "Options": {"com.docker.network.generic": generic, "com.docker.network.internal": internal},
        "IPv4Data": data(false), "IPv6Data": data(true),
    })
}

fn only(docker: &Docker) -> Network {
    docker.cluster.networks().into_values().next().unwrap()
}

/// Makes the network of a call and a container in it; what `Join` answers, and the container's next hops.
fn joined(docker: &Docker, create: Value, addresses: [&str; 2]) -> (Value, Vec<String>) {
    assert_eq!(docker.call("NetworkDriver.CreateNetwork", create), json!({}));
    let interface = json!({"Address": addresses[0], "AddressIPv6": addresses[1], "MacAddress": ""});
    let endpoint = json!({"NetworkID": "1d46", "EndpointID": ENDPOINT, "Interface": interface});
    docker.call("NetworkDriver.CreateEndpoint", endpoint);
    let hops = docker.cluster.endpoints()[0].next_hops.iter().map(ToString::to_string).collect();
    (docker.call("NetworkDriver.Join", json!({"NetworkID": "1d46", "EndpointID": ENDPOINT})), hops)
}

fn destinations(answer: &Value) -> Vec<&str> {
    answer["StaticRoutes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route["Destination"].as_str().unwrap())
        .collect()
}

#[test]
fn several_subnets_each_have_their_range_and_their_gateway() {
    let docker = Docker::start();
    let requested = [
        request(&docker, "10.60.0.0/24", "10.60.0.64/28", "10.60.0.200"),
        request(&docker, "10.61.0.0/24", "", ""),
        request(&docker, "fd60::/64", "fd60::8:0/112", ""),
    ];
    let gateways = requested.each_ref().map(|(_, gateway)| gateway.as_str());
    assert_eq!(gateways, ["10.60.0.200/24", "10.61.0.1/24", "fd60::1/64"]);
    docker.call("NetworkDriver.CreateNetwork", create(&requested, json!({}), false));
    let made = only(&docker);
    assert_eq!(made.subnets_of(Family::V4).count(), 2);
    let ranges: Vec<String> = made.ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.60.0.64/28", "fd60::8:0/112"]);
    let chosen = made.gateways.iter().map(|(gateway, by)| (gateway.to_string(), *by)).collect::<Vec<_>>();
    let expected =
        [("10.60.0.200", ChosenBy::User), ("10.61.0.1", ChosenBy::Default), ("fd60::1", ChosenBy::Default)];
    assert_eq!(chosen, expected.map(|(gateway, by)| (gateway.to_owned(), by)));

    // A full subnet is no error while the next has room, though Docker asks for the first; it gives the address back
    // as one of the first.
    let any = json!({"PoolID": "10.60.0.0/24", "Address": "", "Options": null});
    let given: Vec<Value> =
        (0..5).map(|_| docker.call("IpamDriver.RequestAddress", any.clone())["Address"].clone()).collect();
    assert_eq!(given[3..], ["10.60.0.5/32", "10.61.0.2/32"], "{given:?}");
    docker.call("IpamDriver.ReleaseAddress", json!({"PoolID": "10.60.0.0/24", "Address": "10.61.0.2"}));
    assert!(!docker.cluster.taken().contains(&"10.61.0.2".parse().unwrap()));

    // What Docker repeats when it starts again.
    docker.api.calls();
    for (pool, gateway) in &requested {
        let again = json!({"Pool": pool, "SubPool": "10.60.0.64/28", "Options": null});
        assert_eq!(docker.call("IpamDriver.RequestPool", again)["PoolID"], *pool);
        let options = json!({"RequestAddressType": "com.docker.network.gateway"});
        for address in ["", gateway.split('/').next().unwrap()] {
            let again = json!({"PoolID": pool, "Address": address, "Options": options});
            assert_eq!(docker.call("IpamDriver.RequestAddress", again)["Address"], *gateway);
        }
    }
    assert_eq!(docker.api.calls(), Vec::<String>::new());
}

#[test]
fn no_container_gets_a_gateway() {
    let docker = Docker::start();
    let requested = [request(&docker, "10.60.0.0/24", "", "10.60.0.3")];
    docker.call("NetworkDriver.CreateNetwork", create(&requested, json!({}), false));
    let given = json!({"PoolID": "10.60.0.0/24", "Address": "10.60.0.3", "Options": null});
    docker.call("IpamDriver.RequestAddress", given);
    let interface = json!({"Address": "10.60.0.3/32", "AddressIPv6": "", "MacAddress": ""});
    let endpoint = json!({"NetworkID": "1d46", "EndpointID": ENDPOINT, "Interface": interface});
    let refused = docker.refused("NetworkDriver.CreateEndpoint", endpoint);
    assert!(refused.contains("10.60.0.3 is kept") && refused.contains("the gateway"), "{refused}");
}

#[test]
fn what_docker_said_before_the_agent_was_restarted_is_not_forgotten_in_silence() {
    let docker = Docker::start();
    let requested = [("10.60.0.0/24".to_owned(), "10.60.0.1/24".to_owned())];
    let refused = docker.refused("NetworkDriver.CreateNetwork", create(&requested, json!({}), false));
    assert!(refused.contains("10.60.0.0/24: try again"), "{refused}");
    assert!(docker.cluster.networks().is_empty());
}

#[test]
fn a_subnet_without_room_for_a_gateway_is_refused() {
    let docker = Docker::start();
    let pool = json!({"Pool": "10.60.0.0/31", "Options": null});
    docker.call("IpamDriver.RequestPool", pool);
    let options = json!({"RequestAddressType": "com.docker.network.gateway"});
    let refused = docker.refused(
        "IpamDriver.RequestAddress",
        json!({"PoolID": "10.60.0.0/31", "Address": "", "Options": options}),
    );
    assert!(refused.contains("too small for Docker"), "{refused}");
}

#[test]
fn options_are_the_networks() {
    let docker = Docker::start();
    let requested = [request(&docker, "10.60.0.0/24", "", "")];
    let options = json!({"hopsack.isolation": "none", "com.docker.network.driver.mtu": "1400"});
    docker.call("NetworkDriver.CreateNetwork", create(&requested, options, true));
    let made = only(&docker);
    assert_eq!((made.isolation, made.mtu, made.internal), (Isolation::None, Some(1400), true));
}

#[test]
fn an_internal_network_has_no_gateway_and_no_interface_of_dockers() {
    let docker = Docker::start();
    let requested = [request(&docker, "10.60.0.0/24", "", ""), request(&docker, "fd60::/64", "", "")];
    let (answer, hops) =
        joined(&docker, create(&requested, json!({}), true), ["10.60.0.5/32", "fd60::5/128"]);
    assert_eq!((&answer["Gateway"], &answer["GatewayIPv6"]), (&json!(""), &json!("")));
    assert_eq!(answer["DisableGatewayService"], true);
    let on_link = [format!("{}/32", hops[0]), format!("{}/128", hops[1])];
    assert_eq!(destinations(&answer), [&on_link[0], &on_link[1], "10.60.0.0/24", "fd60::/64"]);
}

#[test]
fn with_dockers_gateway_docker_adds_its_interface_and_the_cluster_is_behind_ours() {
    for (isolation, behind) in [
        ("full", &["10.60.0.0/24", "fd60::/64"][..]),
        ("none", &["10.60.0.0/24", "fd60::/64", "10.210.0.0/16", "fd21::/48"][..]),
    ] {
        let docker = Docker::start();
        let requested = [request(&docker, "10.60.0.0/24", "", ""), request(&docker, "fd60::/64", "", "")];
        let options = json!({"hopsack.gateway": "docker", "hopsack.isolation": isolation});
        let (answer, _) =
            joined(&docker, create(&requested, options, false), ["10.60.0.5/32", "fd60::5/128"]);
        assert_eq!((&answer["Gateway"], &answer["GatewayIPv6"]), (&json!(""), &json!("")));
        assert_eq!(answer["DisableGatewayService"], false);
        assert_eq!(destinations(&answer)[2..], *behind);
        assert_eq!(only(&docker).exit, Exit::Docker);
    }
}

#[test]
fn an_engine_without_networks_of_ipv6_alone_is_told_so() {
    let docker = Docker::start();
    let declared = NetworkRequest {
        name: Some("six".parse().unwrap()),
        subnets: vec!["fd60::/64".parse().unwrap()],
        ..NetworkRequest::default()
    };
    let network = docker.run(docker.api.create_network(declared)).unwrap();
    // Docker before 28 asks for IPv4 in any case.
    let requested = [request(&docker, "", "", ""), request(&docker, "fd60::/64", "", "")];
    let mark = json!({"com.docker.network.windowsshim.hnsid": network.id});
    let refused = docker.refused("NetworkDriver.CreateNetwork", create(&requested, mark, false));
    assert!(refused.contains("network six has IPv6 only"), "{refused}");
}
