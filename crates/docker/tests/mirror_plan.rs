//! Laws of the mirror's plan, over any intent and any list of an engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use hopsack_api::Networks;
use hopsack_docker::{Action, EngineNetwork, MirrorFault, mirror_plan};
use hopsack_types::resource::DockerOrigin;
use hopsack_types::{HostId, Labels, Network, NetworkId, NetworkName};
use proptest::prelude::*;
use std::collections::BTreeSet;

const ME: HostId = HostId::from_bytes([1; 16]);
const OTHER: HostId = HostId::from_bytes([2; 16]);

fn id(n: u8) -> NetworkId {
    NetworkId::from_bytes([n; 16])
}

fn network(n: u8, docker: Option<DockerOrigin>) -> Network {
    let subnets = vec![format!("10.{n}.0.0/24").parse().unwrap()];
    Network { docker, ..Network::new(id(n), NetworkName::new(format!("n{n}")).unwrap(), subnets) }
}

fn made_on(host: HostId, docker: &str, named: bool) -> Option<DockerOrigin> {
    Some(DockerOrigin { host, network: docker.to_owned(), named })
}

fn intent(networks: impl IntoIterator<Item = Network>) -> Networks {
    let networks = networks.into_iter().map(|network| (network.id, network)).collect();
    Networks { me: Some(ME), networks, pools: Vec::new() }
}

fn listed(docker: &str, name: &str, driver: &str, copy_of: Option<NetworkId>) -> EngineNetwork {
    let (docker, name, driver) = (docker.to_owned(), name.to_owned(), driver.to_owned());
    EngineNetwork { id: docker, name, driver, copy_of, twin_of: None, labels: Labels::new() }
}

fn removed(actions: &[Action]) -> Vec<&str> {
    let ids = actions.iter().filter_map(|action| match action {
        Action::Remove { docker, .. } => Some(docker.as_str()),
        _ => None,
    });
    ids.collect()
}

#[test]
fn a_network_from_elsewhere_is_copied_once_it_has_its_name() {
    let from = |origin| mirror_plan(&intent([network(3, origin)]), &[]).actions;
    assert_eq!(from(None), [Action::Copy(id(3))], "declared in Hopsack");
    assert_eq!(from(made_on(OTHER, "d", true)), [Action::Copy(id(3))]);
    assert_eq!(from(made_on(OTHER, "d", false)), []);
    assert_eq!(from(made_on(ME, "d", false)), [], "Docker is just making it here");
    assert_eq!(from(made_on(ME, "d", true)), [Action::Copy(id(3))], "removed here while in use elsewhere");
}

#[test]
fn a_network_made_here_gets_the_engines_name_and_labels() {
    let mut here = listed("d", "web", "hopsack", None);
    here.labels.insert("com.docker.compose.network".to_owned(), "web".to_owned());
    let plan = mirror_plan(&intent([network(3, made_on(ME, "d", false))]), &[here.clone()]);
    let [Action::Name(request)] = plan.actions.as_slice() else { panic!("{plan:?}") };
    assert_eq!((request.network, request.name.as_str(), &request.labels), (id(3), "web", &here.labels));
    let labels = here.labels.clone();
    let named = Network { labels, ..network(3, made_on(ME, "d", true)) };
    let named = mirror_plan(&intent([named]), &[here]);
    assert!(named.actions.is_empty());
}

#[test]
fn a_name_that_only_docker_allows_is_a_fault() {
    let here = listed("d", "my web", "hopsack", None);
    let plan = mirror_plan(&intent([network(3, made_on(ME, "d", false))]), &[here]);
    assert!(plan.actions.is_empty());
    let faults: Vec<&MirrorFault> = plan.faults.iter().collect();
    assert!(matches!(&faults[..], [MirrorFault::BadName { name, .. }] if name == "my web"));
}

#[test]
fn a_name_in_use_is_reported_and_left_alone() {
    let plan = mirror_plan(&intent([network(3, None)]), &[listed("b", "n3", "bridge", None)]);
    assert!(plan.actions.is_empty());
    let fault = plan.faults.first().unwrap().told();
    assert!(fault.text.contains("bridge network n3"), "{fault}");
    assert_eq!(fault.next.as_deref(), Some("docker network rm b"));
}

#[test]
fn a_network_whose_intent_is_gone_is_removed_before_its_name_is_used_again() {
    let old = listed("d", "n3", "hopsack", Some(id(9)));
    let first = mirror_plan(&intent([network(3, None)]), std::slice::from_ref(&old));
    assert_eq!(removed(&first.actions), ["d"]);
    assert_eq!(first.actions.len(), 1);
    assert!(first.faults.is_empty());
    assert_eq!(mirror_plan(&intent([network(3, None)]), &[]).actions, [Action::Copy(id(3))]);
}

#[test]
fn the_users_own_network_is_kept_rather_than_a_copy_of_it() {
    let list = [listed("a", "n3", "hopsack", Some(id(3))), listed("z", "n3", "hopsack", None)];
    let plan = mirror_plan(&intent([network(3, made_on(ME, "z", true))]), &list);
    assert_eq!(removed(&plan.actions), ["a"]);
}

#[test]
fn of_two_networks_that_were_made_under_one_name_the_later_one_gives_way_to_a_copy_of_the_other() {
    let both = [network(3, made_on(OTHER, "far", true)), network(4, made_on(ME, "late", false))];
    let intent = intent(both);
    let late = listed("late", "n3", "hopsack", None);
    let (docker, name, labels) = ("late".to_owned(), "n3".parse().unwrap(), Labels::new());
    let refused = Action::Refuse { docker, name, labels, winner: id(3) };
    let plan = mirror_plan(&intent, std::slice::from_ref(&late));
    assert_eq!(
        plan.actions,
        std::slice::from_ref(&refused),
        "neither a copy beside it nor a name that would be refused"
    );
    assert!(plan.faults.is_empty(), "{plan:?}");
    let copy = listed("copy", "n3", "hopsack", Some(id(3)));
    let both = mirror_plan(&intent, &[copy, late]);
    assert_eq!(removed(&both.actions), ["copy"], "a container shall not get either by chance");
    assert!(both.actions.contains(&refused) && both.actions.len() == 2, "{both:?}");
    assert_eq!(mirror_plan(&intent, &[]).actions, [Action::Copy(id(3))], "once the later one is removed");
}

#[test]
fn the_twin_of_a_network_waits_for_its_name_and_then_becomes_a_copy_or_is_refused() {
    let twin = |name: &str| EngineNetwork { twin_of: Some(id(3)), ..listed("twin", name, "hopsack", None) };
    let unnamed = intent([network(3, made_on(OTHER, "far", false))]);
    assert_eq!(mirror_plan(&unnamed, &[twin("n3")]), Default::default());
    let named = intent([network(3, made_on(OTHER, "far", true))]);
    let same = mirror_plan(&named, &[twin("n3")]);
    assert_eq!((removed(&same.actions), same.actions.len()), (vec!["twin"], 1));
    assert_eq!(mirror_plan(&named, &[]).actions, [Action::Copy(id(3))], "in its place");
    let (docker, name, labels) = ("twin".to_owned(), "other".parse().unwrap(), Labels::new());
    let refused = Action::Refuse { docker, name, labels, winner: id(3) };
    assert_eq!(mirror_plan(&named, &[twin("other")]).actions, [refused, Action::Copy(id(3))]);
}

#[test]
fn what_stands_for_a_network_whose_labels_have_changed_is_made_anew() {
    let changed = Network { labels: Labels::from([("a".to_owned(), "b".to_owned())]), ..network(3, None) };
    let old = listed("copy", "n3", "hopsack", Some(id(3)));
    let new = EngineNetwork { labels: changed.labels.clone(), ..old.clone() };
    let intent = intent([changed]);
    let renewed = Action::Renew { docker: "copy".to_owned(), network: id(3) };
    assert_eq!(mirror_plan(&intent, &[old]).actions, [renewed]);
    assert_eq!(mirror_plan(&intent, &[new]).actions, []);
}

fn any_intent() -> impl Strategy<Value = Networks> {
    let origin = prop_oneof![
        Just(None),
        (any::<bool>(), any::<bool>(), 0..4u8).prop_map(|(me, named, docker)| {
            made_on(if me { ME } else { OTHER }, &format!("d{docker}"), named)
        }),
    ];
    let networks = proptest::collection::btree_map(0..6u8, origin, 0..6);
    networks.prop_map(|networks| intent(networks.into_iter().map(|(n, origin)| network(n, origin))))
}

fn any_engine() -> impl Strategy<Value = Vec<EngineNetwork>> {
    let one = (0..8u8, 0..6u8, any::<bool>(), proptest::option::of(0..8u8));
    proptest::collection::vec(one, 0..8).prop_map(|all| {
        let mut ids = BTreeSet::new();
        let networks = all.into_iter().map(|(docker, name, ours, copy)| {
            let driver = if ours { "hopsack" } else { "bridge" };
            let copy = copy.map(id).filter(|_| ours);
            listed(&format!("d{docker}"), &format!("n{name}"), driver, copy)
        });
        networks.filter(|network| ids.insert(network.id.clone())).collect()
    })
}

/// What an engine and intent are after a plan was done.
fn perform(plan: &[Action], intent: &mut Networks, engine: &mut Vec<EngineNetwork>) {
    for action in plan {
        match action {
            Action::Remove { docker, .. } => engine.retain(|network| network.id != *docker),
            Action::Refuse { docker, .. } => {
                let loser = intent.made_here(docker).map(|loser| loser.id);
                intent.networks.retain(|id, _| Some(*id) != loser);
                engine.retain(|network| network.id != *docker);
            }
            Action::Renew { docker, network } => {
                engine.retain(|network| network.id != *docker);
                let name = intent.networks[network].name.as_str();
                engine.push(listed(&format!("new-{network}"), name, "hopsack", Some(*network)));
            }
            Action::Name(request) => {
                let taken =
                    intent.networks.values().any(|n| n.name == request.name && n.id != request.network);
                let network = intent.networks.get_mut(&request.network).unwrap();
                if !taken {
                    network.name = request.name.clone();
                    network.docker.as_mut().unwrap().named = true;
                }
            }
            Action::Copy(id) => {
                let name = &intent.networks[id].name;
                engine.push(listed(&format!("new-{id}"), name.as_str(), "hopsack", Some(*id)));
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_touched_that_is_not_ours(intent in any_intent(), engine in any_engine()) {
        let plan = mirror_plan(&intent, &engine);
        let others: BTreeSet<&str> =
            engine.iter().filter(|n| n.driver != "hopsack").map(|n| n.id.as_str()).collect();
        prop_assert!(removed(&plan.actions).iter().all(|docker| !others.contains(docker)));
    }

    #[test]
    fn a_host_in_no_cluster_changes_nothing(mut intent in any_intent(), engine in any_engine()) {
        intent.me = None;
        prop_assert_eq!(mirror_plan(&intent, &engine), Default::default());
    }

    #[test]
    fn a_few_rounds_end_with_every_named_network_there_once_or_a_fault(
        mut intent in any_intent(),
        mut engine in any_engine(),
    ) {
        for _ in 0..4 {
            let plan = mirror_plan(&intent, &engine);
            perform(&plan.actions, &mut intent, &mut engine);
        }
        let last = mirror_plan(&intent, &engine);
        prop_assert!(last.actions.is_empty(), "{last:?}");
        for network in intent.networks.values() {
            let named = network.docker.as_ref().is_none_or(|origin| origin.named);
            let stands_for = |n: &&EngineNetwork| {
                n.driver == "hopsack"
                    && (n.copy_of == Some(network.id)
                        || n.copy_of.is_none() && intent.made_here(&n.id).is_some_and(|made| made.id == network.id))
            };
            let there = engine.iter().filter(stands_for).count();
            let fault = last.faults.iter().any(
                |fault| matches!(fault, MirrorFault::NameTaken { name, .. } if *name == network.name),
            );
            prop_assert!(there <= 1);
            prop_assert!(!named || there == 1 || fault, "{network:?} in {engine:?}");
        }
    }
}
