//! Hosts that are removed: nobody gets an address that they may still use, and who comes back changes nothing.

use crate::machine::Machine;
use crate::world::{H1, H2, H3, World, play};
use hopsack_api::{AllocateRequest, Api, ApiError, ErrorCode, HostRemoved, RemoveHostRequest};
use hopsack_types::{Family, NetworkId};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::sleep;

const SEED: u64 = 17;
/// Until reserves are granted, paths chosen, routes told.
const SETTLED: Duration = Duration::from_secs(30);

async fn remove(world: &World, host: usize, name: &str, destroyed: bool) -> Result<HostRemoved, ApiError> {
    let request = RemoveHostRequest { host: name.to_owned(), destroyed };
    world.call(host, "remove host", |api| async move { api.remove_host(request).await }).await
}

async fn allocate(world: &World, network: NetworkId, address: Option<IpAddr>) -> Result<IpAddr, ApiError> {
    let request = AllocateRequest { network, family: Family::V4, address, holder: String::new() };
    world.call(H1, "allocate", |api| async move { api.allocate(request).await }).await
}

async fn until_silent(world: &World, name: &str) {
    world
        .until(&format!("{name} is silent"), |world| {
            let status = hopsack_agent::report::status(&world.hosts[H1].member()).0;
            status.hosts.iter().any(|host| host.name.as_str() == name && !host.alive)
        })
        .await;
}

/// A network with a container on the last host.
async fn begin(world: &mut World, subnet: &str) -> (NetworkId, IpAddr) {
    world.cluster().await;
    let web = world.network(H1, "web", &[subnet]).await.unwrap().id;
    let address = world.container(H3, web).await.unwrap().addresses[0];
    sleep(SETTLED).await;
    (web, address)
}

#[test]
fn addresses_of_a_removed_host_are_nobodys_until_it_is_destroyed() {
    play(SEED, |mut world| async move {
        let (web, address) = begin(&mut world, "10.99.0.0/24").await;
        let gone = world.hosts[H3].member().identity.host;
        world.hosts[H3].crash().await;
        until_silent(&world, "h3").await;
        let removed = remove(&world, H2, "h3", false).await.unwrap();
        let expected = HostRemoved {
            id: gone,
            name: Some("h3".parse().unwrap()),
            set_aside: vec!["web".parse().unwrap()],
        };
        assert_eq!(removed, expected);
        sleep(SETTLED).await;
        assert!(world.each_status(|status| status.hosts.len() == 2));
        let error = allocate(&world, web, Some(address)).await.unwrap_err();
        assert!(error.message.contains(&gone.short()), "{error}");
        let error =
            world.call(H1, "rm", |api| async move { api.remove_network(web).await }).await.unwrap_err();
        let text = format!(
            "network web stays, because the removed host {0} may still use addresses of it: once it can never run \
             again, say so with `hopsack host rm {0} --destroyed`",
            gone.short()
        );
        assert_eq!(error, ApiError::new(ErrorCode::Conflict, text));
        let removed = remove(&world, H1, &gone.short(), true).await.unwrap();
        assert_eq!(removed, HostRemoved { id: gone, name: None, set_aside: Vec::new() });
        assert_eq!(allocate(&world, web, Some(address)).await, Ok(address));
        let error = remove(&world, H1, &gone.short(), true).await.unwrap_err();
        let text = format!("there is no host {:?}: `hopsack host ls` lists them", gone.short());
        assert_eq!(error, ApiError::new(ErrorCode::NotFound, text));
        world
    });
}

#[test]
fn a_machine_that_was_destroyed_gives_its_name_address_and_networks_free_at_once() {
    play(SEED, |mut world| async move {
        let (web, _) = begin(&mut world, "10.99.0.0/24").await;
        let underlay = world.hosts[H3].underlay;
        world.hosts[H3].crash().await;
        until_silent(&world, "h3").await;
        let removed = remove(&world, H1, "h3", true).await.unwrap();
        assert_eq!(removed.set_aside, []);
        sleep(SETTLED).await;
        world.call(H1, "rm", |api| async move { api.remove_network(web).await }).await.unwrap();
        let mut fresh = Machine::new("h3", underlay, 24, world.around.clone());
        fresh.start().await.unwrap();
        world.hosts[H3] = fresh;
        let token = world.token(H1, 60, None).await.unwrap();
        assert_eq!(world.join(H3, H1, &token).await, Ok(3));
        world
    });
}

#[test]
fn a_removed_host_that_comes_back_keeps_what_runs_changes_nothing_and_says_so() {
    play(SEED, |mut world| async move {
        let (web, _) = begin(&mut world, "10.99.0.0/26").await;
        world.isolate(H3);
        until_silent(&world, "h3").await;
        remove(&world, H1, "h3", false).await.unwrap();
        // It does not know yet, and goes on out of its reserve.
        world.container(H3, web).await.unwrap();
        // The others use up all that is left meanwhile: none of it is what h3 has.
        let mut last = Ok(());
        while last.is_ok() {
            last = world.container(H2, web).await.map(drop);
        }
        assert_eq!(last.unwrap_err().code, ErrorCode::Exhausted);
        world.heal();
        world
            .until("it says so", |world| {
                let faults = hopsack_agent::report::status(&world.hosts[H3].member()).1;
                faults.iter().any(|fault| fault.text.starts_with("this host was removed from the cluster"))
            })
            .await;
        let before = world.hosts[H3].kernel.state();
        let error = world.network(H3, "mine", &[]).await.unwrap_err();
        assert!(error.message.contains("this host was removed from the cluster"), "{error}");
        assert!(world.container(H3, web).await.is_err());
        sleep(SETTLED).await;
        assert_eq!(world.hosts[H3].kernel.state(), before, "its containers lost their network");
        let kept = world.held().values().filter(|container| container.host == H3).count();
        assert_eq!(world.hosts[H3].member().addresses.in_use(web).len(), kept);
        assert!(world.hosts[H1].member().intent.borrow().intent.hosts.len() == 2);
        world
    });
}

#[test]
fn hosts_that_are_needed_or_answer_are_not_removed() {
    play(SEED, |mut world| async move {
        begin(&mut world, "10.99.0.0/24").await;
        for (asked, name, code, text) in [
            (
                H2,
                "h1",
                ErrorCode::Conflict,
                "host h1 is the voter, whose disk is the cluster's memory: it cannot be removed",
            ),
            (
                H2,
                "h2",
                ErrorCode::Conflict,
                "this is host h2: stop its agent, then remove it from another host",
            ),
            (
                H1,
                "h3",
                ErrorCode::Conflict,
                "the agent of host h3 answers: end its containers and stop its agent first",
            ),
            (H1, "h9", ErrorCode::NotFound, "there is no host \"h9\": `hopsack host ls` lists them"),
        ] {
            for destroyed in [false, true] {
                let error = remove(&world, asked, name, destroyed).await.unwrap_err();
                assert_eq!(error, ApiError::new(code, text));
            }
        }
        assert!(world.each_status(|status| status.hosts.len() == 3));
        world
    });
}
