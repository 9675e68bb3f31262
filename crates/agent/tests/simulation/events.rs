//! What is told of what happens.

use crate::world::{H1, World, play};
use hopsack_api::{Api, ContainerRequest, EventKind};
use hopsack_types::{ContainerRef, Labels};
use std::time::Duration;
use tokio::time::sleep;

const SEED: u64 = 14;
/// Longer than changes are gathered for, shorter than the time between looks that nothing has called for.
const SOON: Duration = Duration::from_millis(60);
/// All that comes of a new container has been seen.
const SEEN: Duration = Duration::from_millis(250);
/// Paths have been compared and chosen.
const SETTLED: Duration = Duration::from_secs(10);

#[test]
fn a_container_that_ends_soon_after_it_was_named_is_told_under_its_name() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let web = world.network(H1, "web", &["10.99.0.0/24"]).await.unwrap().id;
        world.until("paths are found", World::all_reach_all).await;
        sleep(SETTLED).await;
        let made = world.container(H1, web).await.unwrap();
        sleep(SEEN).await;
        let container = ContainerRef { id: "4f2a".repeat(16), name: "shop".to_owned() };
        let named = ContainerRequest { endpoint: made.id, container, labels: Labels::new() };
        world.call(H1, "name", |api| async move { api.name_endpoint(named).await }).await.unwrap();
        sleep(SOON).await;
        world.end(made.addresses[0]).await.unwrap();
        sleep(SEEN).await;
        let told = world.hosts[H1].api().events().after(0);
        let ended: Vec<_> = told.iter().filter(|event| event.kind == EventKind::EndpointRemoved).collect();
        assert_eq!(ended.len(), 1, "{told:#?}");
        assert_eq!(ended[0].object, "shop");
        world
    });
}
