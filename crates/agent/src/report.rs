//! What a member tells about itself: hosts, paths, store, kernel, and what is wrong, worst first.
//!
//! What must not live here: how it is printed.

use crate::endpoints::ports;
use crate::kernel::underlay::rule;
use crate::member::Member;
use hopsack_api::{ClusterStatus, HostStatus, PathStatus, StoreStatus, UnderlayStatus};
use hopsack_path::Reason;
use hopsack_plan::view::Attachment;
use hopsack_types::Host;
use hopsack_types::numbers::VXLAN_PORT;
use std::sync::PoisonError;

/// All hosts as this one sees them, by name.
pub fn hosts(member: &Member) -> Vec<HostStatus> {
    let intent = member.intent.borrow().intent.clone();
    let active = member.members.active().borrow().clone();
    let mut hosts: Vec<HostStatus> = intent
        .hosts
        .values()
        .map(|host| HostStatus {
            id: host.id,
            name: host.name.clone(),
            underlay: host.underlay,
            addresses: host.addresses.clone(),
            voter: host.voter,
            alive: host.id == member.identity.host || active.contains(&host.id),
            path: path(member, host),
        })
        .collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts
}

fn path(member: &Member, host: &Host) -> Option<PathStatus> {
    let explained = member.paths.explain(host.id)?;
    let choice = explained.choice?;
    Some(PathStatus {
        kind: choice.kind,
        mtu: choice.mtu,
        round_trip: explained.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
        answered: explained.answered,
        reason: explained.reason.to_string(),
    })
}

/// This host inside its cluster, and what is wrong.
pub fn status(member: &Member) -> (ClusterStatus, Vec<String>) {
    let intent = member.intent.borrow().clone();
    let underlay = member.planner.underlay();
    let connected = member.replica.as_ref().is_none_or(|replica| replica.contact().connected_since.is_some());
    let me = intent.intent.hosts.get(&member.identity.host);
    let mut kernel = member.kernel.borrow().clone();
    kernel.wanted = member.planner.generation();
    let status = ClusterStatus {
        id: member.identity.cluster,
        host: member.identity.host,
        name: member.identity.name.clone(),
        underlay: UnderlayStatus {
            device: underlay.device,
            address: underlay.address,
            mtu: underlay.mtu,
            found_by: rule(member.identity.advertise).to_owned(),
        },
        addresses: me.map(|host| host.addresses.clone()).unwrap_or_default(),
        pools: intent.intent.pools.values().map(|pool| pool.cidr).collect(),
        store: StoreStatus {
            revision: intent.revision,
            role: if member.identity.voter { "voter" } else { "copy" }.to_owned(),
            connected,
        },
        kernel,
        networks: intent.intent.networks.len(),
        endpoints: member.endpoints.lock().unwrap_or_else(PoisonError::into_inner).all().len(),
        hosts: hosts(member),
    };
    let faults = faults(member, &status);
    (status, faults)
}

fn faults(member: &Member, status: &ClusterStatus) -> Vec<String> {
    // A path that is still being tried for the first time is no fault.
    let tried = |host| member.paths.explain(host).is_some_and(|path| path.reason != Reason::JustStarted);
    let mut faults: Vec<String> = status
        .kernel
        .failures
        .iter()
        .map(|failure| format!("the kernel refused a change: {failure}"))
        .collect();
    if !member.parts.features.vxlan {
        faults.push(
            "this kernel has no vxlan, so only hosts of one segment reach each other: load or build the module vxlan, \
             then restart the agent"
                .to_owned(),
        );
    }
    if status.store.connected && !member.intent.borrow().intent.hosts.contains_key(&status.host) {
        faults.push(
            "this host was removed from the cluster and changes nothing any more: end its containers, stop its agent, \
             remove its state directory, then join again"
                .to_owned(),
        );
    }
    if !status.store.connected {
        faults.push(
            "the cluster's state cannot be written from here and may be out of date: check the network to the voters \
             (`hopsack host ls`)"
                .to_owned(),
        );
    }
    faults.extend(left_over(member));
    faults.extend(ports::faults(member));
    let intent = member.intent.borrow().intent.clone();
    faults.extend(member.removals.look(&intent).into_iter().map(|network| {
        format!(
            "the removal of network {network} was interrupted, and it gives no addresses: end the removal with \
             `hopsack network rm {network}`"
        )
    }));
    for host in &status.hosts {
        if !host.alive {
            faults.push(format!(
                "the agent of host {} does not answer: look at it on that host with `hopsack status`",
                host.name
            ));
        }
        if let Some(path) = &host.path
            && !path.answered
            && tried(host.id)
        {
            faults.push(format!(
                "no path to host {} is answered ({}): check that UDP port {VXLAN_PORT} and ICMP echo pass between the hosts",
                host.name, path.reason
            ));
        }
    }
    faults
}

/// Endpoints of this host whose network is gone: they reach nobody any more.
fn left_over(member: &Member) -> Vec<String> {
    let intent = member.intent.borrow().intent.clone();
    // A copy of intent that does not name this host has only begun to arrive.
    if !intent.hosts.contains_key(&member.identity.host) {
        return Vec::new();
    }
    let endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
    let left = endpoints.all().values().filter(|endpoint| !intent.networks.contains_key(&endpoint.network));
    left.map(|endpoint| {
        let end = match &endpoint.attachment {
            Attachment::Namespace { path, .. } => {
                format!("`hopsack detach {} --network {}`", path.display(), endpoint.network.short())
            }
            Attachment::Docker => "stop its container, or connect that to another network".to_owned(),
        };
        format!("the network of {} was removed and it reaches nobody: {end}", endpoint.shown_name())
    })
    .collect()
}
