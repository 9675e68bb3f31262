//! The end of networks: no address of one that is gone may be in use anywhere, however the hosts are cut apart.

use crate::world::{H1, H2, H3, World, play};
use hopsack_api::{AllocateRequest, Api, ApiError, ErrorCode};
use hopsack_types::{Family, NetworkId};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const SEED: u64 = 11;
const SUBNET: &str = "10.99.0.0/24";
/// With all hosts up nobody waits for the end of a network; `docker network rm` waits for it.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn remove(world: &World, host: usize, network: NetworkId) -> Result<(), ApiError> {
    world.call(host, "remove", |api| async move { api.remove_network(network).await }).await
}

async fn with_reserves(world: &mut World) -> NetworkId {
    world.cluster().await;
    let web = world.network(H1, "web", &[SUBNET]).await.unwrap().id;
    world.until("all have a reserve", |world| (0..3).all(|host| world.reserve(host, web) > 8)).await;
    web
}

/// A network with reserves that h2 is removing and cannot: h3 is cut off, so that the ledger stays closed.
async fn begin_to_remove(world: &mut World) -> (NetworkId, JoinHandle<Result<(), ApiError>>) {
    let web = with_reserves(world).await;
    world.isolate(H3);
    let api = world.hosts[H2].api();
    let removal = tokio::spawn(async move { api.remove_network(web).await });
    world.until("it is closed", |world| is_closing(world, H1, web)).await;
    (web, removal)
}

fn is_closing(world: &World, host: usize, network: NetworkId) -> bool {
    let intent = world.hosts[host].member().intent.borrow().intent.clone();
    intent.ledgers.get(&network).is_some_and(|ledger| ledger.closing)
}

#[test]
fn a_network_that_nobody_uses_is_removed_at_once_and_its_subnet_is_free() {
    play(SEED, |mut world| async move {
        let web = with_reserves(&mut world).await;
        let container = world.container(H3, web).await.unwrap();
        world.until("all know all", World::is_settled).await;
        world.end(container.addresses[0]).await.unwrap();
        world.until("all know all", World::is_settled).await;
        let begin = Instant::now();
        remove(&world, H2, web).await.unwrap();
        assert!(begin.elapsed() < AT_ONCE, "took {:?}", begin.elapsed());
        let intent = world.hosts[H1].member().intent.borrow().intent.clone();
        assert!(!intent.networks.contains_key(&web) && !intent.ledgers.contains_key(&web));
        world.network(H3, "web", &[SUBNET]).await.unwrap();
        assert_eq!(remove(&world, H1, web).await, Ok(()), "what is gone is removed");
        world
    });
}

#[test]
fn a_network_stays_while_a_host_that_is_cut_off_may_give_its_addresses() {
    play(SEED, |mut world| async move {
        let web = with_reserves(&mut world).await;
        world.isolate(H3);
        let hidden = world.container(H3, web).await.unwrap().addresses[0];
        let error = remove(&world, H1, web).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
        assert!(
            error.message.starts_with(
                "network web stays, because h3 did not hand back the addresses held there: wait for"
            ),
            "{error}"
        );
        let overlap = world.network(H1, "new", &[SUBNET]).await.unwrap_err();
        assert_eq!(overlap.code, ErrorCode::Conflict, "{overlap}");
        // It is as it was.
        world
            .until("all have a reserve", |world| [H1, H2].iter().all(|host| world.reserve(*host, web) > 8))
            .await;
        let other = world.container(H2, web).await.unwrap().addresses[0];
        world.heal();
        world.until("all know all", World::is_settled).await;
        world.until("all reach all", World::all_reach_all).await;
        let error = remove(&world, H1, web).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict, "{error}");
        for address in [hidden, other] {
            world.end(address).await.unwrap();
        }
        world.until("all know all", World::is_settled).await;
        remove(&world, H1, web).await.unwrap();
        world
    });
}

#[test]
fn nobody_gets_an_address_of_a_network_that_is_being_removed() {
    play(SEED, |mut world| async move {
        let web = with_reserves(&mut world).await;
        world.isolate(H3);
        let late = async {
            sleep(Duration::from_secs(1)).await;
            let holder = "docker:late".to_owned();
            let request = AllocateRequest { network: web, family: Family::V4, address: None, holder };
            world.call(H2, "allocate", |api| async move { api.allocate(request).await }).await
        };
        let (removed, late) = tokio::join!(remove(&world, H1, web), late);
        assert_eq!(removed.unwrap_err().code, ErrorCode::Unavailable);
        let text =
            "network web is being removed: choose another, or end the removal with `hopsack network rm web`";
        assert_eq!(late.unwrap_err(), ApiError::new(ErrorCode::Conflict, text));
        world.until("it is open again", |world| !is_closing(world, H2, web)).await;
        world.container(H2, web).await.unwrap();
        world
    });
}

#[test]
fn a_removal_that_was_broken_off_can_be_ended_from_any_host() {
    play(SEED, |mut world| async move {
        let (web, removal) = begin_to_remove(&mut world).await;
        removal.abort();
        assert!(removal.await.unwrap_err().is_cancelled());
        world.heal();
        world
            .until("all see each other", |world| {
                world.each_status(|status| status.hosts.iter().all(|host| host.alive))
            })
            .await;
        remove(&world, H1, web).await.unwrap();
        world
    });
}

#[test]
fn a_host_that_crashes_in_the_middle_of_a_removal_while_cut_off_leaves_nothing_behind() {
    play(SEED, |mut world| async move {
        let (web, removal) = begin_to_remove(&mut world).await;
        world.isolate(H2);
        world.hosts[H2].crash().await;
        assert_eq!(removal.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
        world.heal();
        world.hosts[H2].start().await.unwrap();
        world
            .until("all see each other", |world| {
                world.each_status(|status| status.hosts.iter().all(|host| host.alive))
            })
            .await;
        remove(&world, H3, web).await.unwrap();
        world
    });
}
