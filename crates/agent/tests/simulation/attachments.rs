//! Bare namespaces: attached once, wholly or not at all, and detached whatever became of their network.

use crate::world::{H1, H2, World, play};
use hopsack_api::{AllocateRequest, Api, ApiError, AttachRequest, DetachRequest, EndpointStatus, ErrorCode};
use hopsack_kernel::{Fault, Table};
use hopsack_store::Txn;
use hopsack_types::intent::Key;
use hopsack_types::{Family, NetworkId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

const SEED: u64 = 12;
/// A namespace, of another kind, that every machine has: a fake kernel does not mind.
const NAMESPACE: &str = "/proc/self/ns/uts";
/// Longer than an address that nobody came for is kept.
const LONG: Duration = Duration::from_secs(150);

/// Longer than the five seconds that were too short for one of 150 containers that started at once on two cores.
const BUSY: Duration = Duration::from_secs(8);
/// How long Docker tries to reach an agent that is away.
const DOCKER_TRIES: Duration = Duration::from_secs(30);

fn to(namespace: &str, addresses: &[&str]) -> AttachRequest {
    AttachRequest {
        namespace: namespace.into(),
        network: "web".parse().unwrap(),
        interface: "eth0".parse().unwrap(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        name: "c1".to_owned(),
        labels: BTreeMap::new(),
        ports: Vec::new(),
    }
}

async fn attach(world: &World, request: AttachRequest) -> Result<EndpointStatus, ApiError> {
    world.call(H1, "attach", |api| async move { api.attach(request).await }).await
}

async fn with_network(world: &mut World) -> NetworkId {
    world.cluster().await;
    let web = world.network(H1, "web", &["10.99.0.0/24"]).await.unwrap().id;
    world.until("there is a reserve", |world| world.reserve(H1, web) > 8).await;
    web
}

fn in_use(world: &World, network: NetworkId) -> usize {
    world.hosts[H1].member().addresses.in_use(network).len()
}

#[test]
fn of_two_that_attach_one_interface_at_once_one_is_refused_and_nothing_is_left_of_it() {
    play(SEED, |mut world| async move {
        let web = with_network(&mut world).await;
        let (one, two) = tokio::join!(attach(&world, to(NAMESPACE, &[])), attach(&world, to(NAMESPACE, &[])));
        let (made, refused) = if one.is_ok() { (one, two) } else { (two, one) };
        made.unwrap();
        let text = format!(
            "eth0 in {NAMESPACE} is attached already: detach it first, or choose another interface name"
        );
        assert_eq!(refused.unwrap_err(), ApiError::new(ErrorCode::Conflict, text));
        assert_eq!(in_use(&world, web), 1);
        world
    });
}

#[test]
fn two_addresses_of_one_family_and_files_that_are_no_namespace_are_refused() {
    play(SEED, |mut world| async move {
        let web = with_network(&mut world).await;
        for (request, text) in [
            (
                to(NAMESPACE, &["10.99.0.7", "10.99.0.8"]),
                "10.99.0.7, 10.99.0.8 are several IPv4 addresses: give one per family",
            ),
            (
                to("/proc/self/status", &[]),
                "/proc/self/status is a file but no network namespace: make one with `ip netns add`, or give its path",
            ),
        ] {
            let error = attach(&world, request).await.unwrap_err();
            assert_eq!(error, ApiError::new(ErrorCode::Invalid, text));
        }
        assert_eq!(in_use(&world, web), 0);
        world
    });
}

#[test]
fn an_endpoint_whose_route_is_refused_is_not_made() {
    play(SEED, |mut world| async move {
        let web = with_network(&mut world).await;
        let kernel = world.hosts[H1].kernel.clone();
        kernel.fail(Fault { table: Table::Routes, object: Some("10.99.0.7/32".to_owned()), times: None });
        let error = attach(&world, to(NAMESPACE, &["10.99.0.7"])).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Host, "{error}");
        assert!(error.message.starts_with("10.99.0.7/32: "), "{error}");
        assert_eq!(in_use(&world, web), 0);
        kernel.heal();
        attach(&world, to(NAMESPACE, &["10.99.0.7"])).await.unwrap();
        world
    });
}

#[test]
fn an_endpoint_whose_policy_is_refused_is_not_made_and_its_link_never_up() {
    play(SEED, |mut world| async move {
        let web = with_network(&mut world).await;
        let kernel = world.hosts[H1].kernel.clone();
        kernel.fail(Fault { table: Table::Firewall, object: None, times: None });
        let told = |error: ApiError| {
            assert_eq!(error.code, ErrorCode::Host, "{error}");
            let text = "the endpoint's policy cannot be put in place: table inet hopsack: ";
            assert!(error.message.starts_with(text), "{error}");
        };
        told(attach(&world, to(NAMESPACE, &[])).await.unwrap_err());
        told(world.container(H1, web).await.unwrap_err());
        assert_eq!(in_use(&world, web), 0);
        let raised = kernel.trace().iter().filter(|done| done.starts_with("links up hopc")).count();
        assert_eq!(raised, 0, "{:?}", kernel.trace());
        kernel.heal();
        attach(&world, to(NAMESPACE, &[])).await.unwrap();
        assert!(kernel.trace().iter().any(|done| done.starts_with("links up hopc")), "{:?}", kernel.trace());
        world
    });
}

#[test]
fn a_kernel_that_is_busy_for_seconds_is_waited_for() {
    play(SEED, |mut world| async move {
        let web = with_network(&mut world).await;
        let (kernel, api) = (world.hosts[H1].kernel.clone(), world.hosts[H1].api());
        kernel.blind(u32::MAX);
        world.hosts[H1].dirty.notify_one();
        let free_again = async {
            sleep(BUSY).await;
            kernel.heal();
        };
        let (attached, ()) = tokio::join!(api.attach(to(NAMESPACE, &[])), free_again);
        attached.unwrap();
        assert_eq!(in_use(&world, web), 1);
        world
    });
}

#[test]
fn a_kernel_that_cannot_be_read_holds_no_endpoint_and_lets_no_address_go() {
    play(SEED, |mut world| async move {
        let web = with_network(&mut world).await;
        let kernel = world.hosts[H1].kernel.clone();
        kernel.blind(u32::MAX);
        world.hosts[H1].dirty.notify_one();
        // Both the attempt and its end wait for the kernel, together longer than other calls may take.
        let error = world.hosts[H1].api().attach(to(NAMESPACE, &[])).await.unwrap_err();
        let text = "the kernel did not take the change in time: see `hopsack status`";
        assert_eq!(error, ApiError::new(ErrorCode::Host, text));
        sleep(LONG).await;
        assert_eq!(in_use(&world, web), 1, "nobody knows whether the kernel still has it");
        kernel.heal();
        world
            .until("the kernel is seen again", |world| {
                let member = world.hosts[H1].member();
                member.kernel.borrow().failures.is_empty()
            })
            .await;
        sleep(LONG).await;
        assert_eq!(in_use(&world, web), 0);
        world
    });
}

#[test]
fn an_endpoint_whose_network_is_gone_is_listed_is_a_fault_and_can_be_detached() {
    play(SEED, |mut world| async move {
        let web = with_network(&mut world).await;
        attach(&world, to(NAMESPACE, &[])).await.unwrap();
        let member = world.hosts[H1].member();
        // As a version did that did not wait for the hosts.
        let gone = Txn::new().delete(Key::Network(web).to_string()).delete(Key::Ledger(web).to_string());
        member.store.txn(gone).await.unwrap();
        world.until("it is gone", |_| member.intent.borrow().intent.networks.is_empty()).await;
        let listed = world.call(H1, "list", |api| async move { api.endpoints().await }).await.unwrap();
        assert_eq!(listed[0].network_name.as_str(), web.short());
        let end = format!("hopsack detach {NAMESPACE} --network {}", web.short());
        let fault = hopsack_api::Fault::new("the network of c1 was removed and it reaches nobody", end);
        assert!(hopsack_agent::report::status(&member).1.contains(&fault));
        let request = DetachRequest { namespace: NAMESPACE.into(), network: web.short().parse().unwrap() };
        world.call(H1, "detach", |api| async move { api.detach(request).await }).await.unwrap();
        assert_eq!(in_use(&world, web), 0);
        world
    });
}

#[test]
fn an_address_whose_container_never_came_is_kept_for_as_long_as_docker_tries_and_given_back_then() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let web = world.network(H1, "web", &["10.99.0.0/24"]).await.unwrap().id;
        let request =
            AllocateRequest { network: web, family: Family::V4, address: None, holder: String::new() };
        world.call(H2, "allocate", |api| async move { api.allocate(request).await }).await.unwrap();
        let held = |world: &World| world.hosts[H2].member().addresses.in_use(web).len();
        // Its engine has died, its agent does too.
        world.hosts[H2].crash().await;
        world.hosts[H2].start().await.unwrap();
        sleep(DOCKER_TRIES).await;
        assert_eq!(held(&world), 1);
        world.until("it is given back", |world| held(world) == 0).await;
        world
    });
}
