//! Resources as documents: a folder applied on one host is so on all, is shown as it was written, is followed and
//! removed.

use crate::scene::{PROGRAM, SETTLED, Scene};
use hopsack_lab::{HostKind, Inside, Topology, require, wait};
use std::fs;

const POOL: &str = "\
apiVersion: hopsack/v1
kind: Pool
metadata:
  name: lab
spec:
  cidr: 10.99.0.0/16
";

/// Names its pool's addresses before the pool is read.
const NETWORKS: &str = "\
# Two in one file.
apiVersion: hopsack/v1
kind: Network
metadata:
  name: web
  labels:
    tier: front
spec:
  subnets: [10.99.4.0/24]
---
{\"apiVersion\": \"hopsack/v1\", \"kind\": \"Network\", \"metadata\": {\"name\": \"db\"}, \"spec\": {\"internal\": true}}
---
apiVersion: hopsack/v1
kind: Host
metadata: {name: h3, labels: {rack: b}}
";

#[test]
fn a_folder_of_documents_is_applied_shown_followed_and_removed() {
    require!(Root);
    let scene = Scene::cluster(Topology::numbered(3, &[], HostKind::Plain).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::write(place("1-networks.yaml"), NETWORKS).unwrap();
    fs::write(place("2-pool.yml"), POOL).unwrap();
    fs::write(place("notes.txt"), "no document").unwrap();
    let path = folder.path().to_str().unwrap();
    let mut watch = scene.host("h2").spawn(&[PROGRAM, "get", "networks,endpoints", "--watch"]).unwrap();

    let dry = scene.hopsack("h1", &["apply", "-f", path, "--dry-run"]);
    assert_eq!(dry.matches("(dry run: nothing was changed)").count(), 4, "{dry}");
    assert_eq!(scene.hopsack("h1", &["get", "network"]), "NAME  SUBNETS  ISOLATION  INTERNAL  MADE BY\n");
    let told = scene.hopsack("h1", &["apply", "-f", path]);
    assert_eq!(told, "network web created\nnetwork db created\nhost h3 configured\npool lab created\n");
    let told = scene.hopsack("h1", &["apply", "-f", path]);
    assert_eq!(told.matches(" unchanged\n").count(), 4, "{told}");
    watch.await_line("added    network  web  10.99.4.0/24  full  false  hopsack", SETTLED).unwrap();

    let arrived = || scene.hopsack("h2", &["get", "all"]).contains("lab");
    wait::until("the documents have arrived on h2", SETTLED, arrived).unwrap();
    for shape in ["yaml", "json"] {
        let shown = scene.hopsack("h2", &["get", "all", "-o", shape]);
        let taken =
            scene.host("h3").program(&[PROGRAM, "apply", "-f", "-"]).input(shown.clone()).run().unwrap();
        let (lines, same) = (taken.lines().count(), taken.matches(" unchanged\n").count());
        assert_eq!((lines, same), (8, 8), "{taken}\n{shown}");
    }
    let wide = scene.hopsack("h2", &["get", "host", "h3", "-o", "wide"]);
    assert!(wide.contains("rack=b"), "{wide}");
    let missing = scene.refused("h2", 1, &["get", "network", "nobody"]);
    assert_eq!(missing, "error: there is no network nobody: `hopsack get network` lists them");

    nouns(&scene);

    // An endpoint of another host is known, and keeps its network, and with it all that shall go together.
    let container = scene.attach("h3", "c1", "web", &[]);
    watch.await_line(&format!("added    endpoint  {}", container.container.name()), SETTLED).unwrap();
    let all = scene.hopsack("h2", &["endpoint", "ls", "--all"]);
    assert!(all.contains("h3") && all.contains("10.99.4."), "{all}");
    let shown = scene.hopsack("h2", &["endpoint", "inspect", container.container.name()]);
    assert!(shown.contains("kind: Endpoint") && shown.contains("host: h3"), "{shown}");
    fs::write(place("1-networks.yaml"), NETWORKS.split("---\napi").next().unwrap()).unwrap();
    let kept = scene.refused("h1", 1, &["delete", "-f", path]);
    let begin = format!(
        "error: {}, document 1, line 2: network web is in use by ",
        place("1-networks.yaml").display()
    );
    assert!(kept.starts_with(&begin), "{kept}");
    assert!(scene.hopsack("h1", &["get", "network", "db"]).contains("db"));
    scene.hopsack("h3", &["detach", container.container.name(), "--network", "web"]);
    let free = || scene.host("h1").exec(&[PROGRAM, "delete", "-f", path]).unwrap().success();
    wait::until("the networks can go", SETTLED, free).unwrap();
    watch.await_line("removed  network  web", SETTLED).unwrap();
    watch.stop().unwrap();
    assert!(!scene.hopsack("h1", &["get", "pool"]).contains("lab"));
    scene.end();
}

/// The day-to-day words for the same.
fn nouns(scene: &Scene) {
    let said = scene.hopsack("h2", &["pool", "create", "extra", "10.98.0.0/16", "--label", "a=b"]);
    assert_eq!(said, "pool extra created\n");
    assert_eq!(
        scene.hopsack("h2", &["pool", "set", "extra", "--disabled", "true"]),
        "pool extra configured\n"
    );
    let said = scene.hopsack("h2", &["pool", "set", "extra", "--no-label", "a", "--label", "c=d"]);
    assert_eq!(said, "pool extra configured\n");
    let shown = scene.hopsack("h2", &["pool", "inspect", "extra"]);
    assert!(shown.contains("disabled: true") && shown.contains("c: d") && !shown.contains("a: b"), "{shown}");
    assert!(scene.hopsack("h2", &["pool", "ls"]).contains("extra       10.98.0.0/16"));
    assert_eq!(scene.hopsack("h2", &["pool", "rm", "extra"]), "pool extra deleted\n");
    let kept = scene.refused("h2", 1, &["pool", "rm", "lab"]);
    assert_eq!(
        kept,
        "error: pool lab stays, because network web has addresses of it: remove those first, or write disabled: true, \
         and it gives no more"
    );
    assert_eq!(scene.hopsack("h2", &["host", "label", "h2", "rack=a"]), "host h2 configured\n");
    assert_eq!(scene.hopsack("h2", &["host", "label", "h2", "--no-label", "rack"]), "host h2 configured\n");
    let unknown = scene.refused("h2", 1, &["pool", "set", "nobody", "--disabled", "true"]);
    assert_eq!(unknown, "error: there is no pool nobody: `hopsack get pool` lists them");
}
