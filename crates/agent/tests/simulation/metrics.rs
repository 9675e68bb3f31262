//! What Prometheus is told: every family by the conventions, as `docs/metrics.md` lists it, with the figures of what is so.

use crate::world::{H1, H2, H3, World, play};
use hopsack_agent::metrics::{page, unready};
use hopsack_kernel::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::sleep;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
const HEADER: &str = "| name | type | labels | what it tells |\n|---|---|---|---|\n";

/// One family of metrics, out of OpenMetrics text.
#[derive(Debug, Default, PartialEq)]
struct Told {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    /// By the text of the labels; of histograms the counts.
    samples: BTreeMap<String, f64>,
}

/// The families of a page, by the names that samples have.
fn families(text: &str) -> BTreeMap<String, Told> {
    let body = text.strip_suffix("# EOF\n").expect("an end");
    let mut families: BTreeMap<String, Told> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            let (name, help) = described.split_once(' ').unwrap();
            current = name.to_owned();
            families.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            families.get_mut(&current).unwrap().kind = typed.split_once(' ').unwrap().1.to_owned();
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let family = families.get_mut(&current).unwrap();
            let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{name} under {current}"));
            let labels = labels.trim_end_matches('}');
            let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            family.labels.extend(names.filter(|name| name != "le"));
            match (family.kind.as_str(), suffix) {
                ("gauge", "") | ("counter", "_total") | ("histogram", "_count") => {
                    family.samples.insert(labels.to_owned(), value.parse().unwrap());
                }
                ("histogram", "_sum" | "_bucket") => {}
                other => panic!("{line}: {other:?}"),
            }
        }
    }
    let whole = |(name, told): (String, Told)| {
        let suffix = if told.kind == "counter" { "_total" } else { "" };
        (name + suffix, told)
    };
    families.into_iter().map(whole).collect()
}

/// The table of the document, as it has to be.
fn table(families: &BTreeMap<String, Told>) -> String {
    let row = |(name, told): (&String, &Told)| {
        let labels: Vec<String> = told.labels.iter().map(|label| format!("`{label}`")).collect();
        let help = told.help.trim_end_matches('.');
        format!("| `{name}` | {} | {} | {help} |\n", told.kind, labels.join(", "))
    };
    HEADER.to_owned() + &families.iter().map(row).collect::<String>()
}

/// A cluster in which everything that is told has happened once.
async fn lively(world: &mut World) -> BTreeMap<String, Told> {
    world.cluster().await;
    let web = world.network(H1, "web", &["10.50.0.0/24"]).await.unwrap().id;
    world.until("there is a reserve", |world| world.reserve(H2, web) > 8).await;
    for _ in 0..3 {
        world.container(H2, web).await.unwrap();
    }
    world.until("all reach all", World::all_reach_all).await;
    sleep(Duration::from_secs(15)).await;
    assert!(world.hosts[H2].kernel.lose(Table::Links, "hop0"));
    world.hosts[H2].dirty.notify_one();
    sleep(Duration::from_secs(1)).await;
    families(&page(&world.hosts[H2].agent()).unwrap())
}

#[test]
fn every_metric_is_named_by_the_conventions_and_listed_in_the_document() {
    play(1, |mut world| async move {
        let told = lively(&mut world).await;
        for (name, family) in &told {
            assert!(name.starts_with("hopsack_"), "{name}");
            assert!(family.help.len() > 10, "{name}: {}", family.help);
            assert!(!family.samples.is_empty(), "{name} tells nothing");
            assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name} is a {}", family.kind);
            assert_eq!(name.ends_with("_duration_seconds"), family.kind == "histogram", "{name}");
            let odd = |word: &str| {
                ["ms", "us", "ns", "kb", "mb", "percent", "minutes", "milliseconds"].contains(&word)
            };
            assert!(!name.split('_').any(odd), "{name}: base units are seconds and bytes");
            let known = [
                "version", "source", "peer", "host", "path", "network", "family", "table", "look", "outcome",
            ];
            let strange: Vec<&String> =
                family.labels.iter().filter(|label| !known.contains(&label.as_str())).collect();
            assert!(strange.is_empty(), "{name} has labels whose number nothing bounds: {strange:?}");
        }
        let document = std::fs::read_to_string(DOCUMENT).unwrap();
        let table = table(&told);
        assert!(document.contains(&table), "docs/metrics.md has to have this table:\n{table}");
        world
    });
}

#[test]
fn metrics_are_the_figures_of_what_is_so() {
    play(2, |mut world| async move {
        let told = lively(&mut world).await;
        let value = |name: &str, labels: &str| {
            let family = told.get(name).unwrap_or_else(|| panic!("no {name}"));
            *family.samples.get(labels).unwrap_or_else(|| panic!("{name} {labels}: {:?}", family.samples))
        };
        let v4 = r#"network="web",family="IPv4""#;
        assert_eq!(value("hopsack_addresses_used", v4), 3.0);
        assert_eq!(value("hopsack_endpoints", r#"network="web""#), 3.0);
        let (granted, spare) = (value("hopsack_addresses_granted", v4), value("hopsack_addresses_spare", v4));
        assert!(spare > 8.0 && spare + 3.0 <= granted, "{spare} of {granted}");
        assert!(value("hopsack_blocks", v4) >= 1.0);
        assert_eq!(value("hopsack_allocation_duration_seconds", r#"outcome="done""#), 3.0);
        assert_eq!(value("hopsack_endpoint_create_duration_seconds", r#"outcome="done""#), 3.0);
        assert_eq!(value("hopsack_hosts", ""), 3.0);
        assert_eq!(value("hopsack_peer_alive", r#"peer="h1""#), 1.0);
        assert_eq!(value("hopsack_path_in_use", r#"peer="h1",path="direct""#), 1.0);
        assert_eq!(value("hopsack_path_in_use", r#"peer="h3",path="direct""#), 0.0);
        assert_eq!(value("hopsack_path_mtu_bytes", r#"peer="h1""#), 1500.0);
        assert!(value("hopsack_probes_total", r#"peer="h1",path="direct""#) > 10.0);
        assert_eq!(value("hopsack_probes_lost_total", r#"peer="h1",path="direct""#), 0.0);
        assert!(value("hopsack_kernel_repairs_total", r#"table="links""#) >= 1.0);
        assert_eq!(value("hopsack_kernel_behind", ""), 0.0);
        assert!(value("hopsack_reconcile_duration_seconds", r#"look="silent""#) > 10.0);
        let intent = world.hosts[H1].member().intent.borrow().revision;
        assert_eq!(value("hopsack_intent_revision", ""), intent.index as f64);
        assert_eq!(value("hopsack_ready", ""), 1.0);

        world.isolate(H2);
        world
            .until("silence is told", |world| {
                let told = families(&page(&world.hosts[H2].agent()).unwrap());
                let now = |name: &str, labels: &str| told[name].samples[labels];
                now("hopsack_faults", r#"source="cluster""#) >= 2.0
                    && now("hopsack_peer_alive", r#"peer="h3""#) == 0.0
                    && now("hopsack_intent_connected", "") == 0.0
                    && now("hopsack_intent_age_seconds", "") > 5.0
                    && now("hopsack_probes_lost_total", r#"peer="h1",path="direct""#) > 0.0
            })
            .await;
        // Containers start from what this host has.
        assert_eq!(unready(&world.hosts[H2].agent()), Vec::<String>::new());
        world
    });
}

#[test]
fn an_agent_is_ready_once_it_is_in_a_cluster_and_its_kernel_was_told() {
    play(3, |mut world| async move {
        world.start().await;
        let outside = world.hosts[H3].agent();
        assert_eq!(unready(&outside), ["this host is in no cluster"]);
        let told = families(&page(&outside).unwrap());
        assert_eq!((told["hopsack_ready"].samples[""], told.contains_key("hopsack_hosts")), (0.0, false));
        let token = world.init(H1).await.unwrap();
        let kernel = world.hosts[H3].kernel.clone();
        kernel.blind(u32::MAX);
        world.join(H3, H1, &token).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(unready(&outside), ["the kernel has not been given what the cluster's state asks for"]);
        kernel.heal();
        world.until("it is ready", |world| unready(&world.hosts[H3].agent()).is_empty()).await;
        world
    });
}
