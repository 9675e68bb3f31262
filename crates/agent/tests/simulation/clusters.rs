//! What a cluster does, from `init` to a partition that heals: one story, told by many seeds.

use crate::world::{H1, H2, H3, World, play};
use hopsack_api::ErrorCode;
use hopsack_kernel::{Fault, Table};
use hopsack_plan::state::{MAIN_TABLE, RouteKey};
use hopsack_types::{Cidr, NetworkId};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SEEDS: std::ops::Range<u64> = 1..21;
/// Drift is repaired in this time.
const REPAIR: Duration = Duration::from_secs(1);
/// A write that cannot be done fails in this time.
const REFUSAL: Duration = Duration::from_secs(6);
/// Long enough that an agent which would do something wrong after its start, does.
const A_WHILE: Duration = Duration::from_secs(15);

async fn whole_story(mut world: World) -> World {
    world.cluster().await;
    let web = world.network(H1, "web", &[]).await.unwrap().id;
    world.until("all have a reserve", |world| (0..3).all(|host| world.reserve(host, web) > 8)).await;
    for host in [H1, H2, H3] {
        for _ in 0..=world.throw(2) {
            world.container(host, web).await.unwrap();
        }
    }
    world.until("all reach all", World::all_reach_all).await;
    world.until("all know all", World::is_settled).await;
    // Paths are chosen, reserves are filled: nothing moves any more.
    sleep(A_WHILE).await;

    for host in [H2, H1] {
        crash_and_restart(&mut world, host).await;
    }
    voter_away(&mut world, web).await;
    partition(&mut world, web).await;
    refused_changes(&mut world).await;
    drift(&mut world).await;
    world.until("all know all", World::is_settled).await;
    world
}

/// Neither the end of an agent nor its start changes any kernel.
async fn crash_and_restart(world: &mut World, host: usize) {
    let moment = world.around.trace.len();
    let kernels: Vec<_> = world.hosts.iter().map(|machine| machine.kernel.state()).collect();
    world.hosts[host].crash().await;
    sleep(A_WHILE).await;
    world.hosts[host].start().await.unwrap();
    world
        .until("the host is back", |world| {
            world.each_status(|status| status.store.connected && status.hosts.iter().all(|host| host.alive))
        })
        .await;
    sleep(A_WHILE).await;
    for (index, before) in kernels.iter().enumerate() {
        let operations = world.operations_since(index, moment);
        assert!(operations.is_empty(), "restart of {host} changed {index}: {operations:#?}");
        assert_eq!(world.hosts[index].kernel.state(), *before);
    }
}

/// Without the voter containers start from the reserve, and a write is refused in time.
async fn voter_away(world: &mut World, web: NetworkId) {
    world.hosts[H1].crash().await;
    world.container(H2, web).await.unwrap();
    refuses_writes(world, H2, "lonely").await;
    world.hosts[H1].start().await.unwrap();
    world.until("all know all", World::is_settled).await;
    world.until("all reach all", World::all_reach_all).await;
}

async fn refuses_writes(world: &World, host: usize, name: &str) {
    let begin = Instant::now();
    let refused = world.network(host, name, &[]).await.unwrap_err();
    assert!(begin.elapsed() < REFUSAL, "took {:?}: {refused}", begin.elapsed());
    assert!(matches!(refused.code, ErrorCode::Unavailable | ErrorCode::OutcomeUnknown), "{refused:?}");
}

/// A host that is cut off goes on from its reserve, and everybody learns of it when it is back.
async fn partition(world: &mut World, web: NetworkId) {
    world.isolate(H3);
    refuses_writes(world, H3, "cut-off").await;
    for _ in 0..=world.throw(4) {
        world.container(H3, web).await.unwrap();
    }
    let elsewhere = if world.throw(2) == 0 { H1 } else { H2 };
    world.container(elsewhere, web).await.unwrap();
    let other = world.network(elsewhere, &format!("other{elsewhere}"), &[]).await.unwrap().id;
    world.container(elsewhere, other).await.unwrap();
    world
        .until("the host is missed", |world| {
            let status = hopsack_agent::report::status(&world.hosts[H1].member()).0;
            status.hosts.iter().any(|host| !host.alive)
        })
        .await;
    world.heal();
    world.until("all know all", World::is_settled).await;
    world.until("all reach all", World::all_reach_all).await;
    world
        .until("all is well", |world| {
            world.each_status(|status| {
                let paths = status.hosts.iter().filter_map(|host| host.path.as_ref());
                status.hosts.iter().all(|host| host.alive) && paths.into_iter().all(|path| path.answered)
            })
        })
        .await;
    world.container(H3, other).await.unwrap();
}

/// What the kernel refuses is told by object, stops nothing else, and is done once the kernel gives in.
async fn refused_changes(world: &mut World) {
    let kernel = world.hosts[H2].kernel.clone();
    kernel.fail(Fault { table: Table::Routes, object: Some("10.99.7.0/24".to_owned()), times: None });
    let third = world.network(H1, "third", &["10.99.7.0/24"]).await.unwrap().id;
    world.container(H1, third).await.unwrap();
    world
        .until("the refusal is told", |world| {
            let failures = hopsack_agent::report::status(&world.hosts[H2].member()).0.kernel.failures;
            failures.len() == 1 && failures[0].contains("10.99.7.0/24")
        })
        .await;
    world.until("the rest is done", World::all_reach_all).await;
    kernel.heal();
    world.until("nothing is refused", nothing_is_refused).await;

    kernel.blind(u32::MAX);
    world.hosts[H2].dirty.notify_one();
    world
        .until("blindness is told", |world| {
            let failures = hopsack_agent::report::status(&world.hosts[H2].member()).0.kernel.failures;
            failures.iter().any(|failure| failure.contains("cannot be read"))
        })
        .await;
    kernel.heal();
    world.until("the kernel is seen again", nothing_is_refused).await;
}

fn nothing_is_refused(world: &World) -> bool {
    world.each_status(|status| {
        status.kernel.failures.is_empty() && status.kernel.applied == status.kernel.wanted
    })
}

/// What somebody else takes away is back within a second, and counted.
async fn drift(world: &mut World) {
    let host = usize::try_from(world.throw(3)).unwrap();
    let container = *world.held().iter().find(|(_, container)| container.host == host).unwrap().0;
    let container = RouteKey::new(MAIN_TABLE, Cidr::host(container));
    sleep(A_WHILE).await;
    let kernel = world.hosts[host].kernel.clone();
    let before = kernel.state();
    let repaired = |world: &World, table: Table| {
        let status = hopsack_agent::report::status(&world.hosts[host].member()).0;
        status.kernel.repaired.get(&table.to_string()).copied().unwrap_or_default()
    };
    let sysctl = before.sysctls.keys().next().unwrap().clone();
    let mac = before.fdb.keys().next().unwrap().1;
    let neighbour = before.neighbours.keys().next().unwrap().1;
    let own = before.addresses.first().unwrap().1;
    for (table, object) in [
        (Table::Links, "hop0".to_owned()),
        (Table::Addresses, own.to_string()),
        (Table::Sysctls, sysctl),
        (Table::Neighbours, neighbour.to_string()),
        (Table::Fdb, mac.to_string()),
        (Table::Firewall, String::new()),
        (Table::Routes, container.destination.to_string()),
    ] {
        let count = repaired(world, table);
        assert!(kernel.lose(table, &object), "{table} {object} was not there");
        // Settings change in silence; of all else the kernel tells.
        if table != Table::Sysctls {
            world.hosts[host].dirty.notify_one();
        }
        sleep(REPAIR).await;
        assert_eq!(kernel.state(), before, "{table} {object} was not repaired");
        assert!(repaired(world, table) > count, "the repair of {table} {object} was not counted");
    }
}

#[test]
fn a_cluster_lives_through_crashes_partitions_and_faults_by_any_seed() {
    for seed in SEEDS {
        play(seed, whole_story);
    }
}

#[test]
fn a_setting_comes_back_within_a_second_however_often_something_else_is_wanted() {
    play(7, |mut world| async move {
        world.cluster().await;
        let web = world.network(H1, "web", &[]).await.unwrap().id;
        world.until("there is a reserve", |world| world.reserve(H1, web) > 8).await;
        let kernel = world.hosts[H1].kernel.clone();
        let (setting, value) = kernel.state().sysctls.into_iter().next().unwrap();
        assert!(kernel.lose(Table::Sysctls, &setting));
        for _ in 0..10 {
            world.container(H1, web).await.unwrap();
            sleep(REPAIR / 10).await;
        }
        assert_eq!(kernel.state().sysctls.get(&setting), Some(&value), "{setting} was not repaired");
        world
    });
}

#[test]
fn one_seed_gives_one_trace() {
    let (first, again) = (play(7, whole_story), play(7, whole_story));
    let differs = first.iter().zip(&again).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(first.len(), again.len());
    assert_ne!(first, play(8, whole_story), "the seed decides nothing");
}
