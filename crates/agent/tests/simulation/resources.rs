//! Resources as documents: written together or not at all, read back as they were written, from any host.

use crate::world::{H1, H2, H3, World, play};
use futures::StreamExt;
use hopsack_api::{
    Api, ApiError, Change, ErrorCode, InitRequest, LabelRequest, ListRequest, Outcome, ResourceChange,
    WriteMode, WriteRequest, Written,
};
use hopsack_types::intent::Intent;
use hopsack_types::manifest::{Kind, named};
use hopsack_types::{Family, HostName, NetworkName, Revision};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const SEED: u64 = 23;
/// A change is told in this time.
const TOLD: Duration = Duration::from_secs(2);

fn document(kind: Kind, name: &str, spec: Value) -> Value {
    let mut document = named(kind, name);
    document["spec"] = spec;
    document
}

fn pool(name: &str, cidr: &str) -> Value {
    document(Kind::Pool, name, json!({ "cidr": cidr }))
}

fn network(name: &str, spec: Value) -> Value {
    document(Kind::Network, name, spec)
}

fn labelled(mut document: Value, labels: Value) -> Value {
    document["metadata"]["labels"] = labels;
    document
}

async fn send(
    world: &World,
    host: usize,
    mode: WriteMode,
    dry_run: bool,
    documents: &[Value],
) -> Result<Vec<Written>, ApiError> {
    let request = WriteRequest { mode, dry_run, documents: documents.to_vec() };
    world.call(host, "write", |api| async move { api.write_resources(request).await }).await
}

async fn write(
    world: &World,
    host: usize,
    mode: WriteMode,
    documents: &[Value],
) -> Result<Vec<Outcome>, ApiError> {
    let written = send(world, host, mode, false, documents).await?;
    Ok(written.into_iter().map(|written| written.outcome).collect())
}

async fn apply(world: &World, documents: &[Value]) -> Result<Vec<Outcome>, ApiError> {
    write(world, H1, WriteMode::Apply, documents).await
}

/// What a refusal says: the document, the field, the text.
async fn refused(
    world: &World,
    mode: WriteMode,
    documents: &[Value],
) -> (Option<usize>, Option<String>, String) {
    let error = write(world, H2, mode, documents).await.unwrap_err();
    (error.document, error.field, error.message)
}

async fn all(world: &World, host: usize, kinds: &[Kind]) -> Vec<Value> {
    let request = ListRequest { kinds: kinds.to_vec(), names: Vec::new() };
    world.call(host, "list", |api| async move { api.list_resources(request).await }).await.unwrap()
}

fn at(world: &World, host: usize) -> (Revision, Arc<Intent>) {
    let at = world.hosts[host].member().intent.borrow().clone();
    (at.revision, at.intent)
}

fn intent(world: &World) -> Arc<Intent> {
    at(world, H1).1
}

#[test]
fn documents_are_written_together_and_later_ones_see_earlier_ones() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let h3 = labelled(named(Kind::Host, "h3"), json!({ "rack": "b" }));
        // The network needs the pool that stands behind it.
        let documents = [
            network("web", json!({ "subnets": ["10.99.4.0/24"], "isolation": "none" })),
            h3,
            pool("lab", "10.99.0.0/16"),
            network("db", json!({ "ipv6": true })),
        ];
        assert_eq!(
            apply(&world, &documents).await.unwrap(),
            [Outcome::Created, Outcome::Configured, Outcome::Created, Outcome::Created]
        );
        assert_eq!(apply(&world, &documents).await.unwrap(), [Outcome::Unchanged; 4]);
        world.until("all know all", World::is_settled).await;
        let shown = all(&world, H2, &Kind::WRITTEN).await;
        let names: Vec<&str> = shown.iter().map(|d| d["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["default-v4", "default-v6", "lab", "db", "web", "h1", "h2", "h3"]);
        assert_eq!(shown[2]["status"]["networks"], json!(["web"]));
        assert_eq!(shown[7]["metadata"]["labels"], json!({ "rack": "b" }));
        // What is shown is taken back, and changes nothing.
        assert_eq!(write(&world, H3, WriteMode::Apply, &shown).await.unwrap(), [Outcome::Unchanged; 8]);
        assert_eq!(write(&world, H3, WriteMode::Replace, &shown).await.unwrap(), [Outcome::Unchanged; 8]);
        world
    });
}

#[test]
fn one_wrong_document_leaves_all_unwritten() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        apply(&world, &[pool("lab", "10.99.0.0/16"), network("web", json!({}))]).await.unwrap();
        world.until("all know all", World::is_settled).await;
        let before = intent(&world);
        let good = network("new", json!({ "subnets": ["10.98.0.0/24"] }));
        for (mode, wrong, field, words) in [
            (WriteMode::Apply, json!({ "kind": "Pool" }), "apiVersion", "is missing"),
            (
                WriteMode::Apply,
                network("x", json!({ "subnets": ["10.98.0.0/25"] })),
                "spec.subnets",
                "10.98.0.0/25 overlaps 10.98.0.0/24, the subnet of network new",
            ),
            (WriteMode::Apply, network("new", json!({})), "metadata.name", "network new is there twice"),
            (
                WriteMode::Apply,
                network("x", json!({ "gateways": ["10.1.1.1"] })),
                "spec.gateways",
                "gateway 10.1.1.1 is in none",
            ),
            (
                WriteMode::Apply,
                network("web", json!({ "internal": true })),
                "spec.internal",
                "found true, but network web has false",
            ),
            (
                WriteMode::Apply,
                pool("x", "10.99.128.0/17"),
                "spec.cidr",
                "10.99.128.0/17 overlaps 10.99.0.0/16, pool lab",
            ),
            (WriteMode::Apply, pool("x", "10.77.1.0/24"), "spec.cidr", "10.77.1.0/24 overlaps"),
            (WriteMode::Apply, pool("x", "10.97.0.0/28"), "spec.cidr", "is too small"),
            (
                WriteMode::Apply,
                pool("default-v4", "10.97.0.0/16"),
                "spec.cidr",
                "cannot be changed while network web has addresses of it and hosts h1, h2, h3 have",
            ),
            (WriteMode::Apply, named(Kind::Pool, "x"), "spec.cidr", "is missing"),
            (WriteMode::Create, network("web", json!({})), "metadata.name", "there is a network web already"),
            (WriteMode::Replace, good.clone(), "metadata.name", "there is no network new to replace"),
        ] {
            let first = if mode == WriteMode::Replace {
                network("web", json!({ "isolation": "none" }))
            } else {
                good.clone()
            };
            let (document, at, told) = refused(&world, mode, &[first, wrong.clone()]).await;
            assert_eq!((document, at.as_deref()), (Some(1), Some(field)), "{wrong}: {told}");
            assert!(told.contains(words), "{wrong}: {told}");
        }
        for (wrong, field, words) in [
            (
                named(Kind::Host, "h9"),
                None,
                "there is no host h9, and a document makes none: run `hopsack join`",
            ),
            (
                named(Kind::Endpoint, "ab".repeat(16)),
                Some("kind"),
                "an endpoint is made and removed with its container",
            ),
        ] {
            let (document, at, told) = refused(&world, WriteMode::Apply, &[good.clone(), wrong]).await;
            assert_eq!((document, at.as_deref()), (Some(1), field), "{told}");
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(intent(&world), before);
        world
    });
}

#[test]
fn a_dry_run_tells_what_would_come_of_it_and_writes_nothing() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        apply(&world, &[network("web", json!({}))]).await.unwrap();
        world.until("all know all", World::is_settled).await;
        let before = at(&world, H1);
        let documents = [pool("lab", "10.99.0.0/16"), network("web", json!({ "isolation": "none" }))];
        for host in [H1, H3] {
            let told = send(&world, host, WriteMode::Apply, true, &documents).await.unwrap();
            let outcomes: Vec<_> =
                told.iter().map(|written| (written.name.as_str(), written.outcome)).collect();
            assert_eq!(outcomes, [("lab", Outcome::Created), ("web", Outcome::Configured)]);
        }
        send(&world, H2, WriteMode::Delete, true, &[named(Kind::Network, "web")]).await.unwrap();
        let refusal = send(&world, H2, WriteMode::Delete, true, &[named(Kind::Pool, "default-v4")]).await;
        assert_eq!(refusal.unwrap_err().code, ErrorCode::Conflict);
        assert_eq!(at(&world, H1), before, "not even the count of writes has moved");
        world
    });
}

#[test]
fn writers_at_the_same_time_do_not_lose_each_others_changes() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        apply(&world, &[network("web", json!({}))]).await.unwrap();
        world.until("all know all", World::is_settled).await;
        let label = |host: usize, key: &str| {
            let labels = BTreeMap::from([(key.to_owned(), Some("x".to_owned()))]);
            let request = LabelRequest { kind: Kind::Network, name: "web".to_owned(), labels };
            world.call(host, "label", |api| async move { api.label_resource(request).await })
        };
        // All ask for the next free subnet: nobody may get another's.
        let documents =
            |name: &str| [network(&format!("{name}-1"), json!({})), network(&format!("{name}-2"), json!({}))];
        let (one, two, three) = (documents("one"), documents("two"), documents("three"));
        let (a, b, c, d, e) = tokio::join!(
            write(&world, H1, WriteMode::Apply, &one),
            write(&world, H2, WriteMode::Create, &two),
            write(&world, H3, WriteMode::Apply, &three),
            label(H2, "b"),
            label(H3, "c"),
        );
        for written in [a, b, c] {
            assert_eq!(written.unwrap(), [Outcome::Created; 2]);
        }
        assert_eq!((d.unwrap().outcome, e.unwrap().outcome), (Outcome::Configured, Outcome::Configured));
        world.until("all know all", World::is_settled).await;
        let intent = intent(&world);
        let web = intent.networks.values().find(|network| network.name.as_str() == "web").unwrap();
        assert_eq!(web.labels.keys().collect::<Vec<_>>(), ["b", "c"]);
        let mut subnets: Vec<_> = intent.networks.values().flat_map(|network| &network.subnets).collect();
        subnets.sort();
        subnets.dedup();
        assert_eq!(subnets.len(), 7);
        world
    });
}

#[test]
fn networks_and_the_pool_below_them_go_together_or_stay_together() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let lab = [
            pool("lab", "10.99.0.0/16"),
            network("web", json!({ "subnets": ["10.99.4.0/24"] })),
            network("db", json!({ "subnets": ["10.99.5.0/24"] })),
        ];
        apply(&world, &lab).await.unwrap();
        let id = |world: &World, name: &str| {
            let name: NetworkName = name.parse().unwrap();
            intent(world).networks.values().find(|network| network.name == name).unwrap().id
        };
        let (web, db) = (id(&world, "web"), id(&world, "db"));
        world
            .until("all have a reserve", |world| {
                (0..3).all(|host| world.reserve(host, web) > 8 && world.reserve(host, db) > 8)
            })
            .await;
        let container = world.container(H3, db).await.unwrap().addresses[0];
        world.until("all know all", World::is_settled).await;
        let before = intent(&world);
        let (document, _, told) = refused(&world, WriteMode::Delete, &lab).await;
        assert_eq!(document, Some(2), "{told}");
        assert!(told.starts_with("network db is in use by c1 on h3"), "{told}");
        let (document, _, told) = refused(&world, WriteMode::Delete, &lab[..2]).await;
        assert_eq!(document, Some(0), "{told}");
        assert!(told.starts_with("pool lab stays, because network db has addresses of it: remove"), "{told}");
        let missing = [lab[1].clone(), named(Kind::Network, "nobody")];
        assert_eq!(refused(&world, WriteMode::Delete, &missing).await.0, Some(1));
        assert_eq!(intent(&world), before, "nothing was even closed");

        // A host that is cut off keeps its part: then all are open again.
        world.end(container).await.unwrap();
        world.until("all know all", World::is_settled).await;
        world.isolate(H3);
        let (document, _, told) = refused(&world, WriteMode::Delete, &lab).await;
        assert_eq!(document, Some(1), "{told}");
        assert!(told.starts_with("network web stays, because h3 did not hand back"), "{told}");
        world
            .until("both are open", |world| intent(world).ledgers.values().all(|ledger| !ledger.closing))
            .await;
        world.heal();
        world
            .until("all see each other", |world| {
                world.each_status(|status| status.hosts.iter().all(|host| host.alive))
            })
            .await;
        world.until("all know all", World::is_settled).await;
        assert_eq!(write(&world, H2, WriteMode::Delete, &lab).await.unwrap(), [Outcome::Deleted; 3]);
        let left = intent(&world);
        assert!(left.networks.is_empty() && left.ledgers.is_empty() && left.pools.len() == 2, "{left:?}");
        world
    });
}

#[test]
fn hosts_get_an_address_of_a_pool_of_a_family_that_they_had_none_of() {
    play(SEED, |mut world| async move {
        world.start().await;
        let request = InitRequest { pools: vec!["10.32.0.0/16".parse().unwrap()], ..InitRequest::default() };
        let made = world.call(H1, "init", |api| async move { api.init(request).await }).await.unwrap();
        world.hosts[H1].watch_members();
        world.join(H2, H1, &made.token).await.unwrap();
        let second = [pool("second", "10.99.0.0/16"), pool("v6", "fd99::/48")];
        apply(&world, &second).await.unwrap();
        world.join(H3, H1, &made.token).await.unwrap();
        let intent = intent(&world);
        for host in intent.hosts.values() {
            let families: Vec<Family> = host.addresses.iter().map(|address| Family::of(*address)).collect();
            assert_eq!(families, Family::BOTH, "{host:?}");
        }
        let mut addresses: Vec<_> = intent.hosts.values().flat_map(|host| &host.addresses).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 6);
        world
    });
}

#[test]
fn a_host_whose_agent_answers_is_not_deleted_and_its_labels_are_all_that_is_written() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let (document, _, told) = refused(&world, WriteMode::Delete, &[named(Kind::Host, "h3")]).await;
        assert_eq!(document, Some(0));
        assert!(told.starts_with("the agent of host h3 answers"), "{told}");
        let h3 = labelled(named(Kind::Host, "h3"), json!({ "rack": "b", "disk": "ssd" }));
        assert_eq!(apply(&world, &[h3]).await.unwrap(), [Outcome::Configured]);
        let bare = [named(Kind::Host, "h3")];
        assert_eq!(apply(&world, &bare).await.unwrap(), [Outcome::Unchanged], "labels were not said");
        assert_eq!(write(&world, H1, WriteMode::Replace, &bare).await.unwrap(), [Outcome::Configured]);
        let name: HostName = "h3".parse().unwrap();
        assert!(intent(&world).hosts.values().find(|host| host.name == name).unwrap().labels.is_empty());
        world.isolate(H3);
        world.hosts[H3].crash().await;
        world
            .until("h3 is gone for h1", |world| {
                let (status, _) = hopsack_agent::report::status(&world.hosts[H1].member());
                status.hosts.iter().filter(|host| host.alive).count() == 2
            })
            .await;
        assert_eq!(write(&world, H1, WriteMode::Delete, &bare).await.unwrap(), [Outcome::Deleted]);
        assert_eq!(intent(&world).hosts.len(), 2);
        world
    });
}

#[test]
fn changes_are_followed_from_a_host_that_did_not_make_them() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        apply(&world, &[network("web", json!({}))]).await.unwrap();
        world.until("all know all", World::is_settled).await;
        let request = ListRequest { kinds: vec![Kind::Network, Kind::Endpoint], names: Vec::new() };
        let mut changes = world.hosts[H3].api().follow_resources(request).unwrap();
        let unknown = ListRequest { kinds: vec![Kind::Network], names: vec!["nobody".to_owned()] };
        let error = world.hosts[H3].api().follow_resources(unknown).err().unwrap();
        assert_eq!(error.message, "there is no network nobody: `hopsack get network` lists them");
        let mut next = async || {
            let ResourceChange { change, document } = timeout(TOLD, changes.next()).await.unwrap().unwrap();
            let name = document.pointer("/status/name").unwrap_or(&document["metadata"]["name"]);
            (change, name.as_str().unwrap().to_owned())
        };
        let web = "web".to_owned();
        assert_eq!(next().await, (Change::Added, web.clone()));
        apply(&world, &[network("web", json!({ "isolation": "none" }))]).await.unwrap();
        assert_eq!(next().await, (Change::Changed, web.clone()));
        let id = *intent(&world).networks.keys().next().unwrap();
        let address = world.container(H2, id).await.unwrap().addresses[0];
        assert_eq!(next().await, (Change::Added, "c1".to_owned()));
        world.end(address).await.unwrap();
        assert_eq!(next().await, (Change::Removed, "c1".to_owned()));
        write(&world, H2, WriteMode::Delete, &[named(Kind::Network, "web")]).await.unwrap();
        assert_eq!(next().await, (Change::Removed, web));
        world
    });
}
