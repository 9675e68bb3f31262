//! What bad input gets: a line that says what to do, and nothing is changed anywhere.

use crate::machine::Machine;
use crate::world::{H1, H2, H3, World, play};
use hopsack_agent::agent::Service;
use hopsack_agent::trust::token::JoinToken;
use hopsack_api::{
    AllocateRequest, Api, ApiError, AttachRequest, DetachRequest, EndpointRequest, ErrorCode, InitRequest,
    JoinRequest, NetworkRequest, SubnetRequest, TokenStatus,
};
use hopsack_plan::HostState;
use hopsack_types::intent::Intent;
use hopsack_types::{Cidr, EndpointId, Family, NetworkId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

const SEED: u64 = 5;
/// Until reserves are granted, paths chosen, routes told.
const SETTLED: Duration = Duration::from_secs(30);

/// What a host holds: its kernel, and inside a cluster its intent and its addresses in use.
type Holding = (HostState, Option<(Arc<Intent>, BTreeMap<NetworkId, Vec<IpAddr>>)>);

fn holdings(world: &World) -> Vec<Holding> {
    let of = |machine: &Machine| {
        let member = machine.agent().member().map(|member| {
            let known = member.addresses.known().into_iter();
            let in_use =
                known.map(|network| (network, member.addresses.in_use(network).into_keys().collect()));
            let in_use = in_use.filter(|(_, addresses): &(_, Vec<IpAddr>)| !addresses.is_empty()).collect();
            (member.intent.borrow().intent.clone(), in_use)
        });
        (machine.kernel.state(), member)
    };
    world.hosts.iter().map(of).collect()
}

/// A call that must be refused with a code and a text, and change nothing.
async fn refused<T: Debug, F: Future<Output = Result<T, ApiError>>>(
    world: &World,
    host: usize,
    code: ErrorCode,
    text: &str,
    call: impl FnOnce(Service) -> F,
) {
    let before = holdings(world);
    let error = world.call(host, "refused", call).await.unwrap_err();
    assert_eq!(error.message, text);
    assert_eq!(error.code, code, "{text}");
    assert!(holdings(world) == before, "it was refused and yet something changed: {text}");
}

fn joining(world: &World, through: usize, token: &str) -> JoinRequest {
    let address = world.hosts[through].control();
    JoinRequest { address, token: token.to_owned(), name: None, advertise: None, without_vxlan: false }
}

async fn join_refused(world: &World, host: usize, code: ErrorCode, text: &str, request: JoinRequest) {
    refused(world, host, code, text, |api| async move { api.join(request).await }).await;
}

/// The same token with another secret.
fn forged(token: &str) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

#[test]
fn tokens_that_are_wrong_expired_or_used_up_let_nobody_in() {
    play(SEED, |mut world| async move {
        world.start().await;
        let token = world.init(H1).await.unwrap();
        sleep(SETTLED).await;
        let denied = ErrorCode::Denied;
        let garbage = "this is not a join token: copy the whole of what `hopsack token create` printed (it begins \
                       with hopsack1.)";
        join_refused(&world, H2, ErrorCode::Invalid, garbage, joining(&world, H1, "hopsack1.abc")).await;
        let wrong = "the token is not valid here, or was revoked: make a new one with `hopsack token create`";
        join_refused(&world, H2, denied, wrong, joining(&world, H1, &forged(&token))).await;
        let short = world.token(H1, 5, None).await.unwrap();
        sleep(Duration::from_secs(6)).await;
        let expired = "the token has expired: make a new one with `hopsack token create`";
        join_refused(&world, H2, denied, expired, joining(&world, H1, &short)).await;
        let once = world.token(H1, 60, Some(1)).await.unwrap();
        world.join(H2, H1, &once).await.unwrap();
        sleep(SETTLED).await;
        let used =
            "the token has been used as often as it may be: make a new one with `hopsack token create`";
        join_refused(&world, H3, denied, used, joining(&world, H1, &once)).await;
        // Through a host that has to ask the voter itself.
        join_refused(&world, H3, denied, used, joining(&world, H2, &once)).await;
        assert_eq!(world.join(H3, H2, &token).await, Ok(3));
        world
    });
}

#[test]
fn a_token_that_was_revoked_lets_nobody_in_any_more() {
    play(SEED, |mut world| async move {
        world.start().await;
        let first = world.init(H1).await.unwrap();
        let second = world.token(H1, 3600, Some(3)).await.unwrap();
        let id = |token: &str| token.parse::<JoinToken>().unwrap().id;
        world.join(H2, H1, &second).await.unwrap();
        sleep(SETTLED).await;
        // Listed and revoked on a host that has to ask the voter.
        let listed = world.hosts[H2].api().tokens().await.unwrap();
        let uses: Vec<_> = listed.iter().map(|token| (token.id, token.uses_left)).collect();
        assert_eq!(uses, [(id(&second), Some(2)), (id(&first), None)], "what expires first is first");
        let gone = id(&second);
        world.call(H2, "revoke", |api| async move { api.revoke_token(gone).await }).await.unwrap();
        sleep(SETTLED).await;
        let wrong = "the token is not valid here, or was revoked: make a new one with `hopsack token create`";
        join_refused(&world, H3, ErrorCode::Denied, wrong, joining(&world, H1, &second)).await;
        let text = format!("there is no token {}: `hopsack token ls` lists them", gone.short());
        refused(&world, H1, ErrorCode::NotFound, &text, |api| async move { api.revoke_token(gone).await })
            .await;
        let left: Vec<_> = world.hosts[H1].api().tokens().await.unwrap();
        assert_eq!(left.iter().map(|token| token.id).collect::<Vec<_>>(), [id(&first)]);
        // Who has joined with it stays, and the other token is as good as it was.
        assert_eq!(world.join(H3, H2, &first).await, Ok(3));
        world
    });
}

#[test]
fn tokens_that_have_expired_are_listed_for_a_day() {
    play(SEED, |mut world| async move {
        world.start().await;
        world.init(H1).await.unwrap();
        let old: JoinToken = world.token(H1, 60, None).await.unwrap().parse().unwrap();
        let expired = |tokens: Vec<TokenStatus>| {
            tokens.into_iter().filter(|token| token.expires_in == 0).map(|token| token.id).collect::<Vec<_>>()
        };
        world.around.clock.set_forward(3600);
        world.token(H1, 60, None).await.unwrap();
        sleep(SETTLED).await;
        assert_eq!(expired(world.hosts[H1].api().tokens().await.unwrap()), [old.id]);
        world.around.clock.set_forward(23 * 3600 + 61);
        let new: JoinToken = world.token(H1, 60, None).await.unwrap().parse().unwrap();
        sleep(SETTLED).await;
        let known = world.hosts[H1].api().tokens().await.unwrap();
        assert!(known.iter().all(|token| token.id != old.id), "{known:?}");
        assert!(known.iter().any(|token| token.id == new.id && token.expires_in > 0), "{known:?}");
        world
    });
}

#[test]
fn guessing_tokens_is_slowed_down() {
    play(SEED, |mut world| async move {
        world.start().await;
        let token = world.init(H1).await.unwrap();
        sleep(SETTLED).await;
        let wrong = "the token is not valid here, or was revoked: make a new one with `hopsack token create`";
        for _ in 0..10 {
            join_refused(&world, H2, ErrorCode::Denied, wrong, joining(&world, H1, &forged(&token))).await;
        }
        let slow = "too many wrong tokens from 10.77.1.2: wait a minute";
        join_refused(&world, H2, ErrorCode::Denied, slow, joining(&world, H1, &token)).await;
        assert_eq!(world.join(H3, H1, &token).await, Ok(2), "others are not held up");
        sleep(Duration::from_secs(61)).await;
        assert_eq!(world.join(H2, H1, &token).await, Ok(3));
        world
    });
}

#[test]
fn a_host_enters_one_cluster_once() {
    play(SEED, |mut world| async move {
        world.start().await;
        let outside =
            "this host is in no cluster: make one with `hopsack init`, or enter one with `hopsack join`";
        refused(&world, H2, ErrorCode::NotReady, outside, |api| async move { api.hosts().await }).await;
        let token = world.init(H1).await.unwrap();
        world.join(H2, H1, &token).await.unwrap();
        let cluster = world.hosts[H1].member().identity.cluster.short();
        let already = |name: &str| {
            format!(
                "this host is in cluster {cluster} already, as {name}: to move it to another, stop the agent and \
                 remove its state directory first"
            )
        };
        sleep(SETTLED).await;
        join_refused(&world, H2, ErrorCode::Conflict, &already("h2"), joining(&world, H1, &token)).await;
        let init = |api: Service| async move { api.init(InitRequest::default()).await };
        refused(&world, H1, ErrorCode::Conflict, &already("h1"), init).await;
        // Two that were made apart refuse each other.
        world.init(H3).await.unwrap();
        sleep(SETTLED).await;
        world.hosts[H2].crash().await;
        let other = "the host at 10.77.2.3:4677 belongs to another cluster than the token: check both";
        let mut stranger = Machine::new("h4", "10.77.1.4".parse().unwrap(), 24, world.around.clone());
        stranger.start().await.unwrap();
        world.hosts[H2] = stranger;
        join_refused(&world, H2, ErrorCode::Unavailable, other, joining(&world, H3, &token)).await;
        let nobody =
            JoinRequest { address: "10.77.9.9:4677".parse().unwrap(), ..joining(&world, H1, &token) };
        let silent = "no hopsack agent answers at 10.77.9.9:4677: check the address, and that TCP port 4677 is open: \
             connection refused";
        join_refused(&world, H2, ErrorCode::Unavailable, silent, nobody).await;
        world
    });
}

#[test]
fn a_host_whose_kernel_has_no_vxlan_enters_a_cluster_only_if_told_to() {
    play(SEED, |mut world| async move {
        for host in &mut world.hosts {
            host.features.vxlan = false;
        }
        world.start().await;
        let told = "this kernel has no vxlan, which reaches hosts outside of this host's segment: load it with \
                    `modprobe vxlan`, or install the distribution's full kernel (linux-image-amd64 on Debian), then \
                    restart the agent; where all hosts share one segment, give --without-vxlan";
        let untouched = world.hosts[H1].files();
        let init = |without_vxlan| {
            let request = InitRequest { without_vxlan, ..InitRequest::default() };
            |api: Service| async move { api.init(request).await }
        };
        refused(&world, H1, ErrorCode::Host, told, init(false)).await;
        assert_eq!(world.hosts[H1].files(), untouched);
        world.call(H1, "init", init(true)).await.unwrap();
        let once = world.token(H1, 600, Some(1)).await.unwrap();
        sleep(SETTLED).await;
        let request = joining(&world, H1, &once);
        join_refused(&world, H2, ErrorCode::Host, told, request.clone()).await;
        assert_eq!(world.hosts[H2].files(), untouched);
        // The token's one use is still there.
        let request = JoinRequest { without_vxlan: true, ..request };
        let joined = world.call(H2, "join", |api| async move { api.join(request).await }).await;
        assert_eq!(joined.unwrap().hosts, 2);
        world
    });
}

#[test]
fn a_host_that_does_not_fit_is_not_let_in() {
    play(SEED, |mut world| async move {
        world.start().await;
        let token = world.init(H1).await.unwrap();
        world.join(H2, H1, &token).await.unwrap();
        sleep(SETTLED).await;
        let request = joining(&world, H1, &token);
        let named = JoinRequest { name: Some("h2".parse().unwrap()), ..request.clone() };
        let taken = "host name h2 is taken by the host at 10.77.1.2: choose another with --name";
        join_refused(&world, H3, ErrorCode::Conflict, taken, named).await;
        let elsewhere = JoinRequest { advertise: Some("10.77.2.9".parse().unwrap()), ..request.clone() };
        let not_here =
            "10.77.2.9 is on no device of this host: give one of its own addresses with --advertise";
        join_refused(&world, H3, ErrorCode::Invalid, not_here, elsewhere).await;
        world.hosts[H3].crash().await;
        world.hosts[H3].routes.push("10.33.7.0/24".parse().unwrap());
        world.hosts[H3].start().await.unwrap();
        let pool = world.hosts[H1].member().intent.borrow().intent.pools.values().next().unwrap().cidr;
        let overlap = format!(
            "10.33.7.0/24, a route of host h3 overlaps {pool}, pool default-v4 of the cluster: remove it from this \
             host, or use a cluster with another pool"
        );
        join_refused(&world, H3, ErrorCode::Conflict, &overlap, request).await;
        world
    });
}

fn network(name: &str, subnets: &[&str]) -> NetworkRequest {
    NetworkRequest {
        name: Some(name.parse().unwrap()),
        subnets: subnets.iter().map(|subnet| subnet.parse().unwrap()).collect(),
        ..NetworkRequest::default()
    }
}

#[test]
fn networks_that_meet_something_are_not_made() {
    play(SEED, |mut world| async move {
        world.hosts[H2].routes.push("172.20.0.0/16".parse().unwrap());
        world.cluster().await;
        let web = world.network(H1, "web", &["10.99.0.0/24"]).await.unwrap().id;
        world.container(H2, web).await.unwrap();
        sleep(SETTLED).await;
        let (conflict, invalid) = (ErrorCode::Conflict, ErrorCode::Invalid);
        for (code, text, request) in [
            (
                conflict,
                "there is a network web already: choose another name, or remove that one",
                network("web", &[]),
            ),
            (
                conflict,
                "10.99.0.128/25 overlaps 10.99.0.0/24, the subnet of network web: choose another range",
                network("new", &["10.99.0.128/25"]),
            ),
            (
                conflict,
                "10.77.2.0/24 overlaps 10.77.2.3/32, the underlay of host h3: choose another range",
                network("new", &["10.77.2.0/24"]),
            ),
            (
                conflict,
                "172.20.5.0/24 overlaps 172.20.0.0/16, a route of host h2: choose another range",
                network("new", &["172.20.5.0/24"]),
            ),
            (
                conflict,
                "10.32.0.0/24 overlaps 10.32.0.0/22, the hosts' own addresses in pool default-v4: choose another \
                 range",
                network("new", &["10.32.0.0/24"]),
            ),
            (
                invalid,
                "subnets 10.98.0.0/23 and 10.98.1.0/24 overlap: give one of them, or two that are apart",
                network("new", &["10.98.0.0/23", "10.98.1.0/24"]),
            ),
            (
                invalid,
                "aux-address 192.0.2.1 is in none of the network's subnets: give one of 10.98.0.0/24",
                NetworkRequest {
                    reserved: BTreeMap::from([("192.0.2.1".parse().unwrap(), "gateway".to_owned())]),
                    ..network("new", &["10.98.0.0/24"])
                },
            ),
        ] {
            refused(&world, H1, code, text, |api| async move { api.create_network(request).await }).await;
        }
        let in_use = "network web is in use by c1 on h2: disconnect them first";
        refused(&world, H1, conflict, in_use, |api| async move { api.remove_network(web).await }).await;
        world
    });
}

fn wanted(network: NetworkId, address: &str, holder: &str) -> AllocateRequest {
    let address: IpAddr = address.parse().unwrap();
    AllocateRequest {
        network,
        family: Family::of(address),
        address: Some(address),
        holder: holder.to_owned(),
    }
}

#[test]
fn addresses_that_cannot_be_had_are_refused_with_who_has_them() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let web = world.network(H1, "web", &["10.99.0.0/24"]).await.unwrap().id;
        for host in [H1, H2] {
            let name = format!("docker:c{host}");
            let request = wanted(web, &format!("10.99.0.{}", 200 + host), &name);
            world.call(host, "allocate", |api| async move { api.allocate(request).await }).await.unwrap();
        }
        sleep(SETTLED).await;
        let (conflict, invalid) = (ErrorCode::Conflict, ErrorCode::Invalid);
        for (code, text, address) in [
            (
                conflict,
                "10.99.0.200 is in use on this host by docker:c0: release it first, or choose another",
                "10.99.0.200",
            ),
            (invalid, "10.99.1.7 is not in network web: its subnet is 10.99.0.0/24", "10.99.1.7"),
            (
                invalid,
                "10.99.0.255 of network web is the broadcast address: choose another address of 10.99.0.0/24",
                "10.99.0.255",
            ),
        ] {
            let request = wanted(web, address, "docker:new");
            refused(&world, H1, code, text, |api| async move { api.allocate(request).await }).await;
        }
        // The other host has to look first, and says so in the ledger.
        let request = wanted(web, "10.99.0.201", "docker:new");
        let error = world.call(H1, "allocate", |api| async move { api.allocate(request).await }).await;
        let text = "10.99.0.201 is in use on host h2: release it there, or choose another";
        assert_eq!(error.unwrap_err(), ApiError::new(conflict, text));

        let text = "10.99.0.77 was not allocated on this host: allocate it first";
        let request = EndpointRequest {
            id: EndpointId::from_bytes([9; 16]),
            network: web,
            addresses: vec!["10.99.0.77".parse().unwrap()],
            mac: None,
            name: "c9".to_owned(),
            labels: BTreeMap::new(),
        };
        refused(&world, H1, invalid, text, |api| async move { api.create_endpoint(request).await }).await;
        world
    });
}

#[test]
fn a_subnet_is_used_to_its_last_address_and_then_says_who_holds_it() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let tiny = world.network(H1, "tiny", &["10.99.0.0/29"]).await.unwrap().id;
        for host in [H1, H2, H3, H1, H2] {
            world.container(host, tiny).await.unwrap();
        }
        let request = AllocateRequest {
            network: tiny,
            family: Family::V4,
            address: None,
            holder: "docker:sixth".to_owned(),
        };
        let error = world.call(H3, "allocate", |api| async move { api.allocate(request).await }).await;
        let error = error.unwrap_err();
        assert_eq!(error.code, ErrorCode::Exhausted, "{error}");
        assert!(error.message.starts_with("network tiny has no free IPv4 address: "), "{error}");
        assert!(error.message.ends_with("; stop containers there, or use a larger subnet"), "{error}");
        world.until("all know all", World::is_settled).await;
        world
    });
}

#[test]
fn namespaces_and_networks_that_are_not_there_cannot_be_attached() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        world.network(H1, "web", &[]).await.unwrap();
        sleep(SETTLED).await;
        let attach = |network: &str| AttachRequest {
            namespace: "/run/netns/hopsack-no-such".into(),
            network: network.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
            addresses: Vec::new(),
            name: "c1".to_owned(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
        };
        let missing = ErrorCode::NotFound;
        let text = "there is no network namespace at /run/netns/hopsack-no-such: make one with `ip netns add`, or \
                    give its path";
        let request = attach("web");
        refused(&world, H1, missing, text, |api| async move { api.attach(request).await }).await;
        let text = "there is no network nowhere: `hopsack network ls` lists them";
        let request = attach("nowhere");
        refused(&world, H1, missing, text, |api| async move { api.attach(request).await }).await;
        let text =
            "/run/netns/hopsack-no-such is not attached to network web: `hopsack endpoint ls` lists what is";
        let request =
            DetachRequest { namespace: "/run/netns/hopsack-no-such".into(), network: "web".parse().unwrap() };
        refused(&world, H1, missing, text, |api| async move { api.detach(request).await }).await;
        world
    });
}

#[test]
fn hosts_that_are_asked_at_once_for_a_subnet_propose_different_ones() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        for family in Family::BOTH {
            let mut avoid: Vec<Cidr> = Vec::new();
            for _ in 0..5 {
                let mut proposed = Vec::new();
                for host in [H1, H2, H3] {
                    let request = SubnetRequest { family, wanted: None, avoid: avoid.clone() };
                    let call = |api: Service| async move { api.propose_subnet(request).await };
                    proposed.push(world.call(host, "propose", call).await.unwrap());
                }
                let different: BTreeSet<Cidr> = proposed.iter().copied().collect();
                assert_eq!(different.len(), proposed.len(), "{proposed:?}");
                avoid.extend(different);
            }
        }
        world
    });
}
