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
use world::{Mood, World, host_id, network, with_ranges};

/// Networks so small that hosts get into each other's way all the time: one subnet of a family, several, with ranges.
fn small(seed: u64) -> hopsack_types::Network {
    match seed % 3 {
        0 => network(&["10.32.0.0/27", "fd00::/123"], &["10.32.0.1"]),
        1 => {
            let three =
                network(&["10.34.0.0/28", "fd00::/123", "10.32.0.0/28", "10.33.0.0/29"], &["10.32.0.1"]);
            with_ranges(three, &["10.32.0.8/29", "fd00::10/125"])
        }
        _ => with_ranges(network(&["10.32.0.0/26", "fd00::/122"], &["10.32.0.17"]), &["10.32.0.16/28"]),
    }
}

/// One random schedule; afterwards everything must come to rest.
fn play(seed: u64, sabotage: Sabotage) -> World {
    let network = small(seed);
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
        let caught = (0..900).any(|seed| fails(seed, sabotage));
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

#[test]
fn a_range_is_used_up_by_all_hosts_while_the_rest_of_the_subnet_is_for_who_asks_by_number() {
    let network = with_ranges(network(&["10.32.0.0/24"], &["10.32.0.65"]), &["10.32.0.64/28"]);
    let mut world = World::new(1, network, 5, Sabotage::None, Crashes(0.0));
    world.settle();
    let mut given = BTreeSet::new();
    for round in 0..15 {
        let id = host_id(round % 5);
        let handle = world.start(id, any_v4()).expect("the agent lives");
        world.settle();
        match &world.hosts[&id].answers[&handle] {
            Ok(address) => assert!(given.insert(*address)),
            refused => panic!("container {round} got {refused:?}"),
        }
    }
    let all: BTreeSet<IpAddr> =
        (64..80).filter(|last| *last != 65).map(|last| [10, 32, 0, last].into()).collect();
    assert_eq!(given, all);
    let handle = world.start(host_id(2), any_v4()).expect("the agent lives");
    world.settle();
    let refusal = world.hosts[&host_id(2)].answers[&handle].clone();
    let Err(Some(error @ IpamError::Exhausted { .. })) = refusal else { panic!("the 16th got {refusal:?}") };
    assert!(error.to_string().contains("0 free, 1 reserved"), "{error}");

    // By number, the same address goes from host to host, and is nobody else's meanwhile.
    for (round, last) in [7_u8, 63, 7, 80, 7].into_iter().enumerate() {
        let (id, address) = (host_id(round), IpAddr::from([10, 32, 0, last]));
        let handle = world.start(id, Wanted::Address(address)).expect("the agent lives");
        world.settle();
        assert_eq!(world.hosts[&id].answers[&handle], Ok(address));
        let host = world.hosts.get_mut(&id).expect("a host");
        host.stop(world.now, &handle, &mut world.rng).expect("the agent lives");
        world.settle();
    }
    let handle = world.start(host_id(2), any_v4()).expect("the agent lives");
    world.settle();
    assert!(
        world.hosts[&host_id(2)].answers[&handle].is_err(),
        "what was given back outside is given to anybody"
    );
}

#[test]
fn the_first_subnet_is_used_up_before_the_second() {
    let network = network(&["10.33.0.0/28", "10.32.0.0/28"], &[]);
    let mut world = World::new(1, network, 1, Sabotage::None, Crashes(0.0));
    let mut given = Vec::new();
    for _ in 0..28 {
        let handle = world.start(host_id(0), any_v4()).expect("the agent lives");
        world.settle();
        given.push(world.hosts[&host_id(0)].answers[&handle].clone().expect("there is one"));
    }
    let first = "10.33.0.0/28".parse::<hopsack_types::Cidr>().expect("a prefix");
    let (early, late) = given.split_at(14);
    assert!(early.iter().all(|address| first.contains(*address)), "{early:?}");
    assert!(!late.iter().any(|address| first.contains(*address)), "{late:?}");
}
