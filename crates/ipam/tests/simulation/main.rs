//! Contract C2, simulated: many hosts with real books, journals and stewards, behind a network, a store, disks and an
//! operator that misbehave, all from one seed. A failure names its seed.

mod host;
mod world;

use hopsack_ipam::IpamError;
use hopsack_types::Family;
use hopsack_types::resource::Wanted;
use host::{Crashes, Sabotage};
use rand::Rng;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Mood, World, host_id, network};

/// One random schedule on a network so small that hosts get into each other's way all the time; afterwards
/// everything must come to rest.
fn play(seed: u64, sabotage: Sabotage) -> World {
    let network = network(&["10.32.0.0/27", "fd00::/123"], &["10.32.0.1"]);
    let hosts = 2 + (seed % 5) as usize;
    let mut world = World::new(seed, network, hosts, sabotage, Crashes(0.01));
    let mood = Mood::of(&mut world.rng);
    world.late = world.rng.random_range(0..40);
    for _ in 0..400 {
        world.step();
        world.mischief(&mood, &Family::BOTH);
    }
    world.settle();
    world
}

/// Whether the schedule of a seed ran into a broken invariant. The panic's message is in the test's output.
fn fails(seed: u64, sabotage: Sabotage) -> bool {
    catch_unwind(AssertUnwindSafe(|| drop(play(seed, sabotage)))).is_err()
}

#[test]
fn no_address_is_given_out_twice_in_any_random_schedule() {
    for seed in 0..300 {
        assert!(!fails(seed, Sabotage::None), "the schedule of seed {seed} failed, see above");
    }
}

#[test]
fn the_simulation_catches_every_way_to_break_the_protocol() {
    for sabotage in [
        Sabotage::UnlendWithoutAnswer,
        Sabotage::LendInMemoryOnly,
        Sabotage::NoFence,
        Sabotage::NoRebuild,
        Sabotage::FreeWithoutQuarantine,
    ] {
        let caught = (0..300).any(|seed| fails(seed, sabotage));
        assert!(caught, "{sabotage:?} does no harm: the simulation is blind to it");
    }
}

#[test]
fn one_seed_makes_one_history() {
    assert_eq!(play(7, Sabotage::None).history, play(7, Sabotage::None).history);
}

/// Twenty hosts on one /24, as far as the subnet's reserves allow at rest.
fn twenty() -> World {
    let mut world =
        World::new(1, network(&["10.32.0.0/24"], &["10.32.0.1"]), 20, Sabotage::None, Crashes(0.0));
    world.settle();
    world
}

fn any_v4() -> Wanted {
    Wanted::Any(Family::V4)
}

#[test]
fn twenty_hosts_use_a_shared_24_to_its_last_address() {
    let mut world = twenty();
    let mut given = BTreeSet::new();
    // All load on few hosts at the end, so that the last addresses must come out of others' reserves.
    for round in 0..253 {
        let id = host_id(if round < 100 { round % 20 } else { round % 3 });
        let handle = world.start(id, any_v4()).expect("the agent lives");
        world.settle();
        match &world.hosts[&id].answers[&handle] {
            Ok(address) => assert!(given.insert(*address)),
            refused => panic!("container {round} got {refused:?} with {} addresses in use", given.len()),
        }
    }
    let handle = world.start(host_id(5), any_v4()).expect("the agent lives");
    world.settle();
    let refusal = world.hosts[&host_id(5)].answers[&handle].clone();
    let Err(Some(error @ IpamError::Exhausted { .. })) = refusal else {
        panic!("the 254th container got {refusal:?}");
    };
    assert!(error.to_string().contains("0 free, 1 reserved"), "{error}");
}

#[test]
fn twenty_hosts_that_all_start_at_once_share_the_last_addresses() {
    let mut world = twenty();
    for round in 0..260 {
        world.start(host_id(round % 20), any_v4());
        if round % 7 == 0 {
            world.step();
        }
    }
    world.settle();
    let given: usize = world.hosts.values().map(|host| host.runtime.len()).sum();
    assert_eq!(given, 253, "seven of 260 must be refused");
}

#[test]
fn a_host_that_is_cut_off_allocates_from_its_reserve() {
    let mut world = twenty();
    let alone = host_id(4);
    world.cut(alone);
    let reserve = world.hosts[&alone].available(Family::V4);
    assert!(reserve >= 3, "a reserve of {reserve}");
    for _ in 0..reserve {
        let handle = world.start(alone, any_v4()).expect("the agent lives");
        assert!(world.hosts[&alone].answers[&handle].is_ok(), "within its reserve a host needs nobody");
    }
    for _ in 0..100 {
        world.step();
    }
}

#[test]
fn any_given_address_is_got_or_refused_with_who_holds_it() {
    let mut world = twenty();
    let mut users = Vec::new();
    for round in 0..60 {
        let id = host_id(round % 20);
        let handle = world.start(id, any_v4()).expect("the agent lives");
        world.settle();
        users.push((world.hosts[&id].runtime[&handle], id));
    }
    let asker = host_id(9);
    for last in 0..=255_u8 {
        let address = IpAddr::from([10, 32, 0, last]);
        let handle = world.start(asker, Wanted::Address(address)).expect("the agent lives");
        world.settle();
        let answer = world.hosts[&asker].answers[&handle].clone();
        let user = users.iter().find(|(used, _)| *used == address).map(|(_, host)| *host);
        match (answer, user) {
            (Ok(got), None) => assert_eq!(got, address),
            (Err(Some(IpamError::InUse { .. })), Some(host)) => assert_eq!(host, asker),
            (Err(Some(IpamError::InUseElsewhere { host: told, .. })), Some(host)) => assert_eq!(told, host),
            (Err(Some(IpamError::Unusable { .. })), None) => assert!([0, 1, 255].contains(&last)),
            (answer, user) => panic!("{address}, used by {user:?}: {answer:?}"),
        }
    }
}
