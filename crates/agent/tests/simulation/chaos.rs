//! Anything may happen, in any order: what must never be, never is, and in the end all is as if nothing had been.

use crate::world::{H1, World, play};
use hopsack_api::ErrorCode;
use hopsack_kernel::{Fault, Table};
use hopsack_types::NetworkId;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::sleep;

const SEEDS: std::ops::Range<u64> = 100..112;
const STEPS: u64 = 40;
/// The longest pause between two steps, milliseconds.
const PAUSE: u64 = 4_000;

/// Why a call may fail while hosts are away and kernels refuse: nothing else is an excuse.
const EXCUSES: [ErrorCode; 5] = [
    ErrorCode::Unavailable,
    ErrorCode::OutcomeUnknown,
    ErrorCode::NotReady,
    ErrorCode::Exhausted,
    ErrorCode::Host,
];

async fn chaos(mut world: World) -> World {
    world.cluster().await;
    let mut networks: Vec<NetworkId> = vec![world.network(H1, "first", &["10.99.0.0/26"]).await.unwrap().id];
    for step in 0..STEPS {
        let host = usize::try_from(world.throw(3)).unwrap();
        let network = networks[usize::try_from(world.throw(networks.len() as u64)).unwrap()];
        match (world.throw(13), world.hosts[host].runs()) {
            (0, true) => world.hosts[host].crash().await,
            (0..=3, false) => world.hosts[host].start().await.unwrap(),
            (1, _) => world.isolate(host),
            (2, _) => world.heal(),
            (7, _) => world.cut(host, (host + 1) % world.hosts.len()),
            (3, true) => match world.network(host, &format!("n{step}"), &[]).await {
                Ok(made) => networks.push(made.id),
                Err(error) => assert!(EXCUSES.contains(&error.code), "{error:?}"),
            },
            (4..=5, true) => {
                let here = world.held().iter().filter(|(_, container)| container.host == host);
                let here: Vec<IpAddr> = here.map(|(address, _)| *address).collect();
                if !here.is_empty() {
                    let number = usize::try_from(world.throw(here.len() as u64)).unwrap();
                    world.end(here[number]).await.unwrap();
                }
            }
            (6, _) => {
                let tables = [Table::Routes, Table::Neighbours, Table::Rules, Table::Sysctls];
                let table = tables[usize::try_from(world.throw(4)).unwrap()];
                world.hosts[host].kernel.fail(Fault { table, object: None, times: Some(2) });
            }
            (_, true) => {
                if let Err(error) = world.container(host, network).await {
                    assert!(EXCUSES.contains(&error.code), "{error:?}");
                }
            }
            (_, false) => {}
        }
        sleep(Duration::from_millis(world.throw(PAUSE))).await;
    }
    world.heal();
    for host in &mut world.hosts {
        host.kernel.heal();
        if !host.runs() {
            host.start().await.unwrap();
        }
    }
    world.until("all know all", World::is_settled).await;
    world.until("all reach all", World::all_reach_all).await;
    world
        .until("all is well", |world| {
            world.each_status(|status| {
                status.kernel.failures.is_empty() && status.hosts.iter().all(|host| host.alive)
            })
        })
        .await;
    world
}

#[test]
fn whatever_happens_no_address_is_given_twice_and_all_hosts_agree_in_the_end() {
    for seed in SEEDS {
        play(seed, chaos);
    }
}
