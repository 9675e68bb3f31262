//! Metrics of an agent inside its cluster: hosts and paths, intent and facts, addresses, the kernel.

use super::page::{Labels, Page};
use crate::addresses::Count;
use crate::member::Member;
use crate::trust::authority::expires_at;
use hopsack_api::{ClusterStatus, PathStatus};
use hopsack_path::ProbeCount;
use hopsack_types::{Family, HostId, HostName, NetworkId, PathKind};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use tokio::time::Instant;

fn label(name: &'static str, value: impl ToString) -> Labels {
    vec![(name, value.to_string())]
}

fn labels(first: (&'static str, impl ToString), second: (&'static str, impl ToString)) -> Labels {
    vec![(first.0, first.1.to_string()), (second.0, second.1.to_string())]
}

/// Everything about a member.
pub fn tell(member: &Member, status: &ClusterStatus, page: &mut Page) {
    if let Some(expires) = expires_at(&member.credentials.certificate()) {
        page.gauge(
            "certificate_expiry_time_seconds",
            "When this host's certificate ends, in seconds since 1970; it is renewed at half of its life",
            expires as f64,
        );
    }
    hosts(status, page);
    paths(status, page);
    probes_and_facts(member, status, page);
    intent(member, status, page);
    networks(member, page);
    kernel(status, page);
}

fn hosts(status: &ClusterStatus, page: &mut Page) {
    page.gauge("hosts", "Hosts of the cluster, this one included", status.hosts.len() as f64);
    let peers = status.hosts.iter().filter(|host| host.id != status.host);
    page.gauges(
        "peer_alive",
        "1 while the agent of the other host answers",
        peers.map(|host| (label("peer", &host.name), host.alive.into())),
    );
}

fn paths(status: &ClusterStatus, page: &mut Page) {
    let paths: Vec<(&HostName, &PathStatus)> =
        status.hosts.iter().filter_map(|host| Some((&host.name, host.path.as_ref()?))).collect();
    let of_each = |value: fn(&PathStatus) -> Option<f64>| {
        paths.iter().filter_map(move |(peer, path)| Some((label("peer", peer), value(path)?)))
    };
    page.gauges(
        "path_in_use",
        "1 for the kind of path that packets to the other host take, 0 for the other kinds",
        paths.iter().flat_map(|(peer, path)| {
            [PathKind::Direct, PathKind::Vxlan]
                .map(|kind| (labels(("peer", peer), ("path", kind)), (path.kind == kind).into()))
        }),
    );
    page.gauges(
        "path_answered",
        "1 while probes over the path in use are answered",
        of_each(|path| Some(path.answered.into())),
    );
    page.gauges(
        "path_round_trip_seconds",
        "Smoothed round trip of probes over the path in use",
        of_each(|path| path.round_trip.map(|microseconds| microseconds as f64 / 1e6)),
    );
    page.gauges(
        "path_mtu_bytes",
        "The largest packet that passes the path in use",
        of_each(|path| Some(path.mtu.into())),
    );
}

fn probes_and_facts(member: &Member, status: &ClusterStatus, page: &mut Page) {
    let names: BTreeMap<HostId, &HostName> = status.hosts.iter().map(|host| (host.id, &host.name)).collect();
    let counts = member.paths.probe_counts();
    let of_each = |value: fn(&ProbeCount) -> u64| {
        let names = &names;
        counts.iter().filter_map(move |((peer, kind), count)| {
            Some((labels(("peer", names.get(peer)?), ("path", kind)), value(count)))
        })
    };
    page.counters("probes", "Probes sent to the other host", of_each(|count| count.sent));
    page.counters("probes_lost", "Probes that were not answered in time", of_each(|count| count.lost));
    let sequences = member.facts.sequences();
    page.gauges(
        "facts_sequence",
        "The newest fact of a host that is known here; counted from each start of its agent",
        sequences.iter().filter_map(|(host, seq)| Some((label("host", names.get(host)?), seq.0 as f64))),
    );
}

fn intent(member: &Member, status: &ClusterStatus, page: &mut Page) {
    let store = &status.store;
    page.gauge("intent_epoch", "Epoch of the cluster's state as it is here", store.revision.epoch as f64);
    page.gauge(
        "intent_revision",
        "Revision of the cluster's state as it is here, in its epoch",
        store.revision.index as f64,
    );
    page.gauge(
        "intent_connected",
        "1 while writes of the cluster's state can be expected to work",
        store.connected.into(),
    );
    // A voter has it from itself.
    let heard =
        member.replica.as_ref().map_or(Some(Instant::now()), |replica| replica.contact().last_contact);
    if let Some(heard) = heard {
        page.gauge(
            "intent_age_seconds",
            "Time since this host last heard of the cluster's state; 0 on a voter",
            heard.elapsed().as_secs_f64(),
        );
    }
}

fn networks(member: &Member, page: &mut Page) {
    let networks = member.intent.borrow().intent.networks.clone();
    page.gauge("networks", "Networks of the cluster", networks.len() as f64);
    let mut endpoints: BTreeMap<NetworkId, u32> = BTreeMap::new();
    for endpoint in member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().values() {
        *endpoints.entry(endpoint.network).or_default() += 1;
    }
    page.gauges(
        "endpoints",
        "Endpoints of this host",
        networks.iter().map(|(id, network)| {
            (label("network", &network.name), endpoints.get(id).copied().unwrap_or_default().into())
        }),
    );
    let counts: Vec<(Labels, Count)> = networks
        .values()
        .flat_map(|network| Family::BOTH.map(|family| (network, family)))
        .filter(|(network, family)| network.subnets_of(*family).next().is_some())
        .map(|(network, family)| {
            let labels = labels(("network", &network.name), ("family", family));
            (labels, member.addresses.count(network.id, family))
        })
        .collect();
    let of_each =
        |value: fn(&Count) -> f64| counts.iter().map(move |(labels, count)| (labels.clone(), value(count)));
    let journal = member.addresses.journal_count();
    page.counter(
        "journal_appends",
        "Changes of this host's addresses that had to get to disk",
        journal.appends,
    );
    page.counter(
        "journal_syncs",
        "Writes that brought them there; fewer, where callers shared one",
        journal.syncs,
    );
    page.gauges("blocks", "Blocks that this host was granted", of_each(|count| count.blocks as f64));
    page.gauges(
        "addresses_granted",
        "Addresses in the blocks that this host was granted",
        of_each(|count| count.granted),
    );
    page.gauges("addresses_used", "Addresses in use on this host", of_each(|count| count.used as f64));
    page.gauges(
        "addresses_spare",
        "Addresses that this host can give without asking anybody and without breaking a cool-down",
        of_each(|count| count.spare as f64),
    );
}

fn kernel(status: &ClusterStatus, page: &mut Page) {
    let kernel = &status.kernel;
    let behind = kernel.wanted.0.saturating_sub(kernel.applied.0);
    page.gauge(
        "kernel_behind",
        "Changes that are wanted and that the kernel does not hold yet",
        behind as f64,
    );
    let failures = kernel.failures.len() as f64;
    page.gauge("kernel_failures", "Kernel objects that could not be changed at the last try", failures);
    page.counters(
        "kernel_repairs",
        "Changes of others in the kernel that were undone",
        kernel.repaired.iter().map(|(table, count)| (label("table", table), *count)),
    );
}
