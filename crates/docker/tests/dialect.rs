//! The protocol as a real engine (20.10.24) speaks it: recorded calls go in over the socket, and the answers are
//! compared to the letter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "fake/caller.rs"]
mod caller;
#[path = "fake/agent.rs"]
mod fake;

use caller::{Docker, QuietEngine};
use fake::NoWires;
use hopsack_api::{Api, NetworkRequest};
use hopsack_types::{Network, NetworkName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Docker {
    /// A network 10.50.0.0/16 that Docker made.
    fn with_network(self) -> Self {
        let pool = json!({"AddressSpace": "hopsack", "Pool": "10.50.0.0/16", "SubPool": "", "Options": null, "V6": false});
        self.call("IpamDriver.RequestPool", pool);
        assert_eq!(self.call("NetworkDriver.CreateNetwork", create_network("1d46")), json!({}));
        self.api.calls();
        self
    }
}

fn create_network(id: &str) -> Value {
    json!({
        "NetworkID": id,
        "Options": {"com.docker.network.enable_ipv6": false, "com.docker.network.generic": {}},
        "IPv4Data": [{"AddressSpace": "hopsack", "AuxAddresses": {"rtr": "10.50.0.9/16"},
                      "Gateway": "10.50.0.1/16", "Pool": "10.50.0.0/16"}],
        "IPv6Data": [],
    })
}

fn request_address(address: &str) -> Value {
    json!({"PoolID": "10.50.0.0/16", "Address": address, "Options": null})
}

const ENDPOINT: &str = "aa11223344556677889900aabbccddeeff11223344556677889900aabbccddee";

fn create_endpoint(id: &str, address: &str, mac: &str) -> Value {
    json!({
        "NetworkID": "1d46", "EndpointID": id,
        "Interface": {"Address": address, "AddressIPv6": "", "MacAddress": mac},
        "Options": {"com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
                    "com.docker.network.endpoint.macaddress": "AhEiM0RV"},
    })
}

#[test]
fn the_plugin_introduces_itself() {
    let docker = Docker::start();
    for empty in ["", "null", "{}"] {
        let (status, answer) = docker.raw("Plugin.Activate", empty);
        assert_eq!((status, answer.as_str()), (200, r#"{"Implements":["NetworkDriver","IpamDriver"]}"#));
    }
    assert_eq!(
        docker.call("NetworkDriver.GetCapabilities", Value::Null),
        json!({"Scope": "local", "ConnectivityScope": "global"})
    );
    assert_eq!(
        docker.call("IpamDriver.GetCapabilities", Value::Null),
        json!({"RequiresMACAddress": false, "RequiresRequestReplay": true})
    );
    assert_eq!(
        docker.call("IpamDriver.GetDefaultAddressSpaces", Value::Null),
        json!({"LocalDefaultAddressSpace": "hopsack", "GlobalDefaultAddressSpace": "hopsack"})
    );
    for unknown in ["NetworkDriver.GwAllocCheck", "VolumeDriver.Create", "nonsense", ""] {
        assert_eq!(docker.raw(unknown, "{}").0, 404, "{unknown}");
    }
}

#[test]
fn a_call_that_is_not_json_is_an_error_in_the_dialect_of_its_half() {
    let docker = Docker::start();
    let (status, answer) = docker.raw("NetworkDriver.Join", "{");
    assert!(status == 200 && answer.contains(r#"{"Err":"hopsack does not understand"#), "{answer}");
    let (status, answer) = docker.raw("IpamDriver.RequestPool", r#"{"Pool":7}"#);
    assert!(status == 200 && answer.contains(r#"{"Error":"hopsack does not understand"#), "{answer}");
}

#[test]
fn a_network_is_made_with_its_gateway_and_auxiliary_addresses_reserved() {
    let docker = Docker::start();
    let pool =
        json!({"AddressSpace": "hopsack", "Pool": "10.50.0.0/16", "SubPool": "", "Options": {}, "V6": false});
    assert_eq!(
        docker.call("IpamDriver.RequestPool", pool),
        json!({"PoolID": "10.50.0.0/16", "Pool": "10.50.0.0/16", "Data": {}})
    );
    let gateway = json!({"PoolID": "10.50.0.0/16", "Address": "",
                         "Options": {"RequestAddressType": "com.docker.network.gateway"}});
    assert_eq!(
        docker.call("IpamDriver.RequestAddress", gateway),
        json!({"Address": "10.50.0.1/16", "Data": {}})
    );
    assert_eq!(
        docker.call("IpamDriver.RequestAddress", request_address("10.50.0.9")),
        json!({"Address": "10.50.0.9/16", "Data": {}})
    );
    assert_eq!(docker.call("NetworkDriver.CreateNetwork", create_network("1d46")), json!({}));
    assert_eq!(
        docker.api.calls(),
        [r#"create_network [10.50.0.0/16] ranges {} gateways {} reserved {10.50.0.9: "rtr"}"#]
    );
    let made = docker.cluster.networks().into_values().next().unwrap();
    assert_eq!(made.docker.as_ref().unwrap().network, "1d46");
    // What Docker repeats when it starts again, or when our answer was lost.
    assert_eq!(docker.call("NetworkDriver.CreateNetwork", create_network("1d46")), json!({}));
    let pool = json!({"AddressSpace": "hopsack", "Pool": "10.50.0.0/16", "V6": false});
    assert_eq!(docker.call("IpamDriver.RequestPool", pool)["PoolID"], "10.50.0.0/16");
    let gateway = json!({"PoolID": "10.50.0.0/16", "Address": "10.50.0.1",
                         "Options": {"RequestAddressType": "com.docker.network.gateway"}});
    assert_eq!(docker.call("IpamDriver.RequestAddress", gateway)["Address"], "10.50.0.1/16");
    assert_eq!(
        docker.call("IpamDriver.RequestAddress", request_address("10.50.0.9"))["Address"],
        "10.50.0.9/16"
    );
    assert!(docker.api.calls().is_empty());
    assert_eq!(docker.cluster.networks().len(), 1);
}

#[test]
fn two_networks_that_are_made_at_once_get_different_subnets() {
    let docker = Docker::start();
    let any = json!({"AddressSpace": "hopsack", "Pool": "", "SubPool": "", "Options": null, "V6": false});
    let first = docker.call("IpamDriver.RequestPool", any.clone())["Pool"].clone();
    let second = docker.call("IpamDriver.RequestPool", any.clone())["Pool"].clone();
    assert_ne!(first, second);
    docker.call("IpamDriver.ReleasePool", json!({"PoolID": first}));
    assert_eq!(docker.call("IpamDriver.RequestPool", any)["Pool"], first, "a released promise is free again");
}

#[test]
fn a_network_that_was_made_elsewhere_at_the_same_moment_is_taken_for_the_same_unless_a_copy_of_it_is_here() {
    let docker = Docker::start();
    let other = docker.cluster.host(NoWires);
    let request = NetworkRequest {
        name: Some(NetworkName::new("web").unwrap()),
        subnets: vec!["10.50.0.0/16".parse().unwrap()],
        reserved: BTreeMap::from([("10.50.0.9".parse().unwrap(), "rtr".to_owned())]),
        ..NetworkRequest::default()
    };
    let made = docker.run(other.create_network(request)).unwrap();
    assert_eq!(docker.call("NetworkDriver.CreateNetwork", create_network("d1")), json!({}));
    assert_eq!(docker.cluster.networks().len(), 1);
    // It is the network that an address says.
    let address = docker.call("IpamDriver.RequestAddress", request_address("10.50.3.3"));
    assert_eq!(address["Address"], "10.50.3.3/32");
    docker.call("NetworkDriver.CreateEndpoint", create_endpoint(ENDPOINT, "10.50.3.3/32", ""));
    assert_eq!(docker.cluster.endpoints()[0].network, made.id);
    // What this engine has, nobody makes a second time.
    let refused = docker.refused("NetworkDriver.CreateNetwork", create_network("d2"));
    assert_eq!(refused, "10.50.0.0/16 overlaps 10.50.0.0/16");
}

#[test]
fn a_network_with_another_gateway_or_range_is_not_taken_for_the_same() {
    for different in [
        NetworkRequest { gateways: ["10.50.0.2".parse().unwrap()].into(), ..NetworkRequest::default() },
        NetworkRequest { ranges: ["10.50.4.0/24".parse().unwrap()].into(), ..NetworkRequest::default() },
    ] {
        let docker = Docker::start();
        let request = NetworkRequest {
            name: Some(NetworkName::new("web").unwrap()),
            subnets: vec!["10.50.0.0/16".parse().unwrap()],
            reserved: BTreeMap::from([("10.50.0.9".parse().unwrap(), "rtr".to_owned())]),
            ..different
        };
        docker.run(docker.cluster.host(NoWires).create_network(request)).unwrap();
        let refused = docker.refused("NetworkDriver.CreateNetwork", create_network("d1"));
        assert_eq!(refused, "10.50.0.0/16 overlaps 10.50.0.0/16");
    }
}

#[test]
fn an_ipv6_subnet_is_found_as_well() {
    let docker = Docker::start();
    let any = json!({"AddressSpace": "hopsack", "Pool": "", "SubPool": "", "Options": null, "V6": true});
    let answer = docker.call("IpamDriver.RequestPool", any);
    assert_eq!(answer["Pool"], "fd21::/64");
    let gateway = json!({"PoolID": "fd21::/64", "Address": "",
                         "Options": {"RequestAddressType": "com.docker.network.gateway"}});
    assert_eq!(docker.call("IpamDriver.RequestAddress", gateway)["Address"], "fd21::1/64");
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_do_instead() {
    let docker = Docker::start().with_network();
    let pool =
        |pool: &str, sub: &str, options: Value| json!({"Pool": pool, "SubPool": sub, "Options": options});
    let refused = docker.refused("IpamDriver.RequestPool", pool("10.60.0.0/16", "", json!({"k": "v"})));
    assert!(refused.contains("--ipam-opt k"), "{refused}");
    let refused = docker.refused("IpamDriver.RequestPool", pool("10.60.0.7/16", "", Value::Null));
    assert!(refused.contains("did you mean 10.60.0.0/16"), "{refused}");
    let refused = docker.refused("IpamDriver.RequestPool", pool("10.50.3.0/24", "", Value::Null));
    assert_eq!(refused, "10.50.3.0/24 overlaps 10.50.0.0/16");

    let mut foreign = create_network("2");
    foreign["IPv4Data"][0]["AddressSpace"] = json!("LocalDefault");
    let refused = docker.refused("NetworkDriver.CreateNetwork", foreign);
    assert!(refused.contains("docker network create -d hopsack --ipam-driver hopsack"), "{refused}");
    let mut option = create_network("2");
    option["Options"]["com.docker.network.generic"] = json!({"foo": "bar"});
    let refused = docker.refused("NetworkDriver.CreateNetwork", option);
    assert!(refused.contains("-o: unknown option foo; known: hopsack.isolation"), "{refused}");

    let refused = docker.refused("NetworkDriver.CreateNetwork", create_network("2"));
    assert_eq!(refused, "10.50.0.0/16 overlaps 10.50.0.0/16", "not a replay, so the same subnet is refused");
    let refused = docker.refused("IpamDriver.RequestAddress", request_address("10.99.0.1"));
    assert!(refused.contains("10.99.0.1 is not in 10.50.0.0/16"), "{refused}");
    let refused = docker.refused("NetworkDriver.Join", json!({"NetworkID": "1d46", "EndpointID": ENDPOINT}));
    assert!(refused.contains("start the container again"), "{refused}");
    assert_eq!(docker.cluster.networks().len(), 1);
}

#[test]
fn a_container_is_started_and_stopped() {
    let docker = Docker::start().with_network();
    assert_eq!(
        docker.call("IpamDriver.RequestAddress", request_address("10.50.3.3")),
        json!({"Address": "10.50.3.3/32", "Data": {}})
    );
    assert_eq!(
        docker.call(
            "NetworkDriver.CreateEndpoint",
            create_endpoint(ENDPOINT, "10.50.3.3/32", "02:11:22:33:44:55")
        ),
        json!({"Interface": {}}),
        "what was given is not answered"
    );
    let endpoint = docker.cluster.endpoints().remove(0);
    assert_eq!(endpoint.mac.to_string(), "02:11:22:33:44:55");
    assert_eq!(endpoint.name, "aa1122334455", "Docker's short id");
    let join =
        json!({"NetworkID": "1d46", "EndpointID": ENDPOINT, "SandboxKey": "/run/docker/netns/588667b11d69"});
    let hop = endpoint.next_hops[0];
    assert_eq!(
        docker.call("NetworkDriver.Join", join),
        json!({
            "InterfaceName": {"SrcName": "hopeaa11223344", "DstPrefix": "eth"},
            "Gateway": hop.to_string(),
            "GatewayIPv6": "",
            "StaticRoutes": [
                {"Destination": format!("{hop}/32"), "RouteType": 1},
                {"Destination": "10.50.0.0/16", "RouteType": 0, "NextHop": hop.to_string()},
            ],
            "DisableGatewayService": false,
        })
    );
    let of = json!({"NetworkID": "1d46", "EndpointID": ENDPOINT, "Options": {}});
    for call in ["ProgramExternalConnectivity", "RevokeExternalConnectivity", "Leave"] {
        assert_eq!(docker.call(&format!("NetworkDriver.{call}"), of.clone()), json!({}));
    }
    assert_eq!(docker.call("NetworkDriver.EndpointOperInfo", of.clone()), json!({"Value": {}}));
    for _ in 0..2 {
        assert_eq!(docker.call("NetworkDriver.DeleteEndpoint", of.clone()), json!({}));
        assert_eq!(docker.call("IpamDriver.ReleaseAddress", request_address("10.50.3.3")), json!({}));
    }
    assert!(docker.cluster.endpoints().is_empty() && docker.cluster.taken().is_empty());
}

/// A call about ports, as an engine makes it for the endpoint that has its container's default route.
fn program(docker: &Docker, ports: Value) -> Value {
    let options = json!({
        "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
        "com.docker.network.portmap": ports,
    });
    let body = json!({"NetworkID": "1d46", "EndpointID": ENDPOINT, "Options": options});
    docker.call("NetworkDriver.ProgramExternalConnectivity", body)
}

fn binding(proto: u8, host_ip: &str, host_port: u16, host_port_end: u16) -> Value {
    json!({"Proto": proto, "IP": "", "Port": 80, "HostIP": host_ip, "HostPort": host_port, "HostPortEnd": host_port_end})
}

#[test]
fn published_ports_are_the_endpoints_until_they_are_revoked() {
    let docker = Docker::start().with_network();
    docker.call("IpamDriver.RequestAddress", request_address("10.50.3.3"));
    docker.call("NetworkDriver.CreateEndpoint", create_endpoint(ENDPOINT, "10.50.3.3/32", ""));
    docker.api.calls();
    for nothing in [json!([]), Value::Null] {
        assert_eq!(program(&docker, nothing), json!({}));
    }
    assert_eq!(docker.api.calls(), Vec::<String>::new(), "a container without ports costs no call");
    let ports = json!([
        binding(6, "", 8080, 8080),
        binding(17, "127.0.0.1", 5300, 5310),
        binding(132, "::1", 9999, 0),
        binding(6, "", 0, 0),
    ]);
    for _ in 0..2 {
        assert_eq!(program(&docker, ports.clone()), json!({}));
        let asked = docker.api.calls();
        let [asked] = &asked[..] else { panic!("not one call: {asked:?}") };
        for part in [
            "protocol: Tcp, host_address: None, host_ports: Some((8080, 8080)), container_port: 80",
            "protocol: Udp, host_address: Some(127.0.0.1), host_ports: Some((5300, 5310)), container_port: 80",
            "protocol: Sctp, host_address: Some(::1), host_ports: Some((9999, 9999)), container_port: 80",
            "protocol: Tcp, host_address: None, host_ports: None, container_port: 80",
        ] {
            assert!(asked.contains(part), "{part} is not in {asked}");
        }
    }
    assert_eq!(docker.cluster.endpoints()[0].ports.len(), 4);
    let of = json!({"NetworkID": "1d46", "EndpointID": ENDPOINT});
    for _ in 0..2 {
        assert_eq!(docker.call("NetworkDriver.RevokeExternalConnectivity", of.clone()), json!({}));
    }
    assert_eq!(docker.cluster.endpoints()[0].ports, []);
}

#[test]
fn ports_that_cannot_be_published_are_an_error_that_says_why() {
    let docker = Docker::start().with_network();
    let refused = |ports: Value| program(&docker, ports)["Err"].as_str().unwrap().to_owned();
    assert!(refused(json!([binding(1, "", 80, 80)])).contains("use tcp, udp or sctp"));
    assert!(refused(json!([binding(6, "here", 80, 80)])).contains("\"here\""));
    assert!(
        refused(json!([{"Proto": 6, "Port": 0, "HostPort": 80}])).contains("publish one from 1 to 65535")
    );
    let error = refused(json!([binding(6, "", 80, 80)]));
    assert_eq!(error, "there is no such endpoint", "the agent's own words reach Docker's user");
}

#[test]
fn an_endpoint_without_a_mac_address_learns_its_own() {
    let docker = Docker::start().with_network();
    let address = docker.call("IpamDriver.RequestAddress", request_address(""))["Address"].clone();
    assert_eq!(address, "10.50.0.2/32");
    let create = create_endpoint(ENDPOINT, "10.50.0.2/32", "");
    let first = docker.call("NetworkDriver.CreateEndpoint", create.clone());
    assert_eq!(first, json!({"Interface": {"MacAddress": "02:02:03:04:05:01"}}));
    docker.api.calls();
    assert_eq!(docker.call("NetworkDriver.CreateEndpoint", create), first, "a repeated call");
    assert!(docker.api.calls().is_empty());
}

#[test]
fn an_endpoint_that_the_kernel_refused_leaves_nothing() {
    let docker = Docker::start().with_network();
    docker.call("IpamDriver.RequestAddress", request_address("10.50.3.3"));
    docker.api.broken.store(true, Ordering::Relaxed);
    let create = create_endpoint(ENDPOINT, "10.50.3.3/32", "");
    assert_eq!(docker.refused("NetworkDriver.CreateEndpoint", create), "cannot make the link: no memory");
    docker.call("IpamDriver.ReleaseAddress", request_address("10.50.3.3"));
    assert!(docker.cluster.endpoints().is_empty() && docker.cluster.taken().is_empty());
}

#[test]
fn a_replayed_address_is_granted_and_a_second_container_does_not_get_it() {
    let docker = Docker::start().with_network();
    let request = || docker.call("IpamDriver.RequestAddress", request_address("10.50.3.3"));
    request();
    docker.call("NetworkDriver.CreateEndpoint", create_endpoint(ENDPOINT, "10.50.3.3/32", ""));
    docker.api.calls();
    assert_eq!(request(), json!({"Address": "10.50.3.3/32", "Data": {}}));
    let other = ENDPOINT.replace("aa", "bb");
    let refused = docker.refused("NetworkDriver.CreateEndpoint", create_endpoint(&other, "10.50.3.3/32", ""));
    assert!(refused.contains("in use") && refused.contains("aa1122334455"), "{refused}");
    // Docker then gives back what it believes it was granted; the first container keeps its address.
    docker.call("IpamDriver.ReleaseAddress", request_address("10.50.3.3"));
    assert!(docker.api.calls().is_empty());
    assert_eq!(docker.cluster.taken().len(), 1);
}

#[test]
fn no_container_gets_a_reserved_address() {
    let docker = Docker::start().with_network();
    docker.call("IpamDriver.RequestAddress", request_address("10.50.0.9"));
    let refused =
        docker.refused("NetworkDriver.CreateEndpoint", create_endpoint(ENDPOINT, "10.50.0.9/16", ""));
    assert!(refused.contains("kept") && refused.contains("rtr"), "{refused}");
    docker.call("IpamDriver.ReleaseAddress", request_address("10.50.0.9"));
    docker.call("IpamDriver.ReleaseAddress", request_address("10.50.0.1"));
    assert!(docker.api.calls().is_empty());
}

#[test]
fn a_network_that_docker_made_goes_when_docker_removes_it_unless_it_is_in_use() {
    let docker = Docker::start().with_network();
    docker.call("IpamDriver.RequestAddress", request_address("10.50.3.3"));
    docker.call("NetworkDriver.CreateEndpoint", create_endpoint(ENDPOINT, "10.50.3.3/32", ""));
    let delete = json!({"NetworkID": "1d46"});
    assert_eq!(docker.refused("NetworkDriver.DeleteNetwork", delete.clone()), "the network is in use");
    docker.call("NetworkDriver.DeleteEndpoint", json!({"NetworkID": "1d46", "EndpointID": ENDPOINT}));
    for _ in 0..2 {
        assert_eq!(docker.call("NetworkDriver.DeleteNetwork", delete.clone()), json!({}));
    }
    assert!(docker.cluster.networks().is_empty());
}

#[test]
fn a_call_without_its_arguments_is_refused_and_changes_nothing() {
    let docker = Docker::start().with_network();
    docker.api.calls();
    for method in [
        "NetworkDriver.CreateNetwork",
        "NetworkDriver.CreateEndpoint",
        "NetworkDriver.DeleteNetwork",
        "IpamDriver.RequestPool",
        "IpamDriver.RequestAddress",
    ] {
        for body in ["", "null"] {
            let (_, answer) = docker.raw(method, body);
            assert!(
                answer.contains(&format!("answer to {method}")) && answer.contains("do it once more"),
                "{answer}"
            );
        }
    }
    assert!(docker.api.calls().is_empty());
    assert_eq!(docker.cluster.networks().len(), 1);
}

#[test]
fn a_pool_that_is_asked_for_again_before_it_is_a_network_is_promised_again() {
    let docker = Docker::start();
    let request =
        json!({"AddressSpace": "hopsack", "Pool": "10.50.0.0/16", "SubPool": "", "Options": {}, "V6": false});
    for _ in 0..2 {
        assert_eq!(docker.call("IpamDriver.RequestPool", request.clone())["PoolID"], "10.50.0.0/16");
    }
    docker.call("NetworkDriver.CreateNetwork", create_network("1d46"));
    assert_eq!(docker.cluster.networks().len(), 1);
}

#[test]
fn a_subnet_whose_network_goes_while_docker_makes_another_of_it_is_that_ones() {
    let docker = Docker::start();
    let before = declare(&docker);
    let request = json!({"Pool": "10.70.0.0/24", "SubPool": "10.70.0.64/26", "Options": null});
    assert_eq!(docker.call("IpamDriver.RequestPool", request)["PoolID"], "10.70.0.0/24");
    docker.run(docker.api.remove_network(before.id)).unwrap();
    let mut create = create_network("1d46");
    create["IPv4Data"] =
        json!([{"AddressSpace": "hopsack", "Gateway": "10.70.0.1/24", "Pool": "10.70.0.0/24"}]);
    assert_eq!(docker.call("NetworkDriver.CreateNetwork", create), json!({}));
    let ranges: Vec<_> = docker.cluster.networks().into_values().map(|network| network.ranges).collect();
    assert_eq!(ranges, [["10.70.0.64/26".parse().unwrap()].into()]);
}

/// A network that `hopsack network create` made.
fn declare(docker: &Docker) -> Network {
    let request = NetworkRequest {
        name: Some(NetworkName::new("db").unwrap()),
        subnets: vec!["10.70.0.0/24".parse().unwrap()],
        ..NetworkRequest::default()
    };
    docker.run(docker.api.create_network(request)).unwrap()
}

#[test]
fn a_copy_of_a_network_is_only_linked_to_it() {
    let docker = Docker::start();
    let network = declare(&docker);
    docker.api.calls();
    let mark = json!({"com.docker.network.windowsshim.hnsid": network.id});
    let create = |pool: &str| {
        let request = json!({"Pool": pool, "Options": null});
        assert_eq!(docker.call("IpamDriver.RequestPool", request)["PoolID"], pool);
        json!({
            "NetworkID": "c0b1",
            "Options": {"com.docker.network.generic": mark.clone()},
            "IPv4Data": [{"AddressSpace": "hopsack", "Gateway": "10.70.0.1/24", "Pool": pool}],
            "IPv6Data": [],
        })
    };
    let refused = docker.refused("NetworkDriver.CreateNetwork", create("10.71.0.0/24"));
    assert!(refused.contains("other subnets"), "{refused}");
    assert_eq!(docker.call("NetworkDriver.CreateNetwork", create("10.70.0.0/24")), json!({}));
    assert!(docker.api.calls().is_empty(), "nothing was made in intent");
    // Docker's removal of its copy does not remove what was declared in Hopsack.
    assert_eq!(docker.call("NetworkDriver.DeleteNetwork", json!({"NetworkID": "c0b1"})), json!({}));
    assert_eq!(docker.cluster.networks().len(), 1);
    let mut gone = create("10.70.0.0/24");
    gone["Options"]["com.docker.network.generic"] =
        json!({"com.docker.network.windowsshim.hnsid": "ff".repeat(16)});
    assert!(docker.refused("NetworkDriver.CreateNetwork", gone).contains("it was removed"));
}

#[test]
fn an_engine_at_boot_starts_containers_though_its_network_id_is_not_known_yet() {
    let docker = Docker::start();
    declare(&docker);
    let request = json!({"PoolID": "10.70.0.0/24", "Address": ""});
    assert_eq!(docker.call("IpamDriver.RequestAddress", request)["Address"], "10.70.0.2/32");
    let created = docker.call("NetworkDriver.CreateEndpoint", create_endpoint(ENDPOINT, "10.70.0.2/32", ""));
    assert!(created.get("Err").is_none(), "{created}");
}

#[test]
fn the_socket_is_gone_when_the_agent_stops() {
    let mut docker = Docker::start();
    assert!(docker.socket.exists());
    docker.door = None;
    assert!(!docker.socket.exists());
    // One that a killed agent left is replaced.
    drop(std::os::unix::net::UnixListener::bind(&docker.socket).unwrap());
    let _inside = docker.runtime.enter();
    docker.door =
        Some(hopsack_docker::serve(&docker.socket, Arc::new(QuietEngine), docker.api.clone()).unwrap());
    assert_eq!(docker.raw("Plugin.Activate", "").0, 200);
}
