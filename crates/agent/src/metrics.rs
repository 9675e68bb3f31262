//! What an agent tells Prometheus, and whether it is ready. [`page`] writes what the agent's parts publish at the
//! moment of asking, and what the [`Meters`] have measured.
//!
//! Nothing is kept of a host or a network that is gone, so the number of lines is bounded by those that there are.
//! `docs/metrics.md` lists every name, which a test compares. What must not live here: the socket.

mod cluster;
mod metered_store;
mod meters;
mod page;

pub use metered_store::MeteredStore;
pub use meters::Meters;

use crate::agent::Agent;
use crate::report;
use hopsack_types::Generation;
use page::Page;
use std::fmt;

/// All metrics of an agent, as OpenMetrics 1.0 text.
pub fn page(agent: &Agent) -> Result<String, fmt::Error> {
    let mut page = Page::new();
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    page.gauges("build_info", "The program that runs; always 1", [(version, 1.0)]);
    let started = agent.started() as f64;
    page.gauge("start_time_seconds", "When this agent started, in seconds since 1970", started);
    page.gauge("ready", "1 while /readyz answers 200", unready(agent).is_empty().into());
    let events = *agent.events().newest().borrow();
    page.counter("events", "Events told since the agent started", events);
    let docker = agent.docker();
    page.gauge("docker_connected", "1 while this host's Docker engine answers", docker.connected.into());
    agent.meters().tell(&mut page);
    let member = agent.member();
    let cluster = member.as_ref().map(|member| report::status(member));
    let in_cluster = cluster.as_ref().map_or(0, |(_, faults)| faults.len());
    let sources = [("cluster", in_cluster), ("docker", docker.faults.len()), ("agent", agent.faults().len())];
    page.gauges(
        "faults",
        "What is wrong now, as `hopsack status` lists it, by who has found it",
        sources.map(|(source, count)| (vec![("source", source.to_owned())], count as f64)),
    );
    if let (Some(member), Some((status, _))) = (&member, &cluster) {
        cluster::tell(member, status, &mut page);
    }
    page.text()
}

/// Why an agent is not ready for containers, a line each; nothing, if it is. Faults are no reason: it does what can be
/// done in spite of them, and another start would not help.
pub fn unready(agent: &Agent) -> Vec<String> {
    let Some(member) = agent.member() else {
        return vec!["this host is in no cluster".to_owned()];
    };
    let mut reasons = Vec::new();
    if !member.intent.borrow().intent.hosts.contains_key(&member.identity.host) {
        reasons.push("the copy of the cluster's state does not name this host".to_owned());
    }
    if member.kernel.borrow().applied == Generation(0) {
        reasons.push("the kernel has not been given what the cluster's state asks for".to_owned());
    }
    reasons
}
