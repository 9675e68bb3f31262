//! What a member tells about itself: hosts, paths, store, kernel, and what is wrong, worst first.
//!
//! What must not live here: how it is printed.

mod examination;
mod ipam;

pub use examination::peers;
pub use ipam::ipam;

use crate::endpoints::ports;
use crate::kernel::underlay::rule;
use crate::member::Member;
use hopsack_api::{ClusterStatus, Fault, HostStatus, PathStatus, StoreStatus, UnderlayStatus};
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
        round_trip: explained.rtt.map(examination::microseconds),
        answered: explained.answered,
        reason: explained.reason.to_string(),
    })
}

/// This host inside its cluster, and what is wrong.
pub fn status(member: &Member) -> (ClusterStatus, Vec<Fault>) {
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

fn faults(member: &Member, status: &ClusterStatus) -> Vec<Fault> {
    let refused = status.kernel.failures.iter();
    let mut faults: Vec<Fault> = refused
        .map(|failure| Fault::new(format!("the kernel refused a change: {failure}"), "hopsack doctor"))
        .collect();
    if !member.parts.features.vxlan {
        let text = "this kernel has no vxlan, so only hosts of one segment reach each other: load or build the module \
                    vxlan, then restart the agent";
        faults.push(Fault::new(text, "modprobe vxlan && systemctl restart hopsack"));
    }
    if status.store.connected && !member.intent.borrow().intent.hosts.contains_key(&status.host) {
        let text = format!(
            "this host was removed from the cluster and changes nothing any more: end its containers, stop its agent, \
             remove its state directory {}, then join again",
            member.parts.dir.root().display()
        );
        faults.push(Fault::new(text, "systemctl stop hopsack"));
    }
    if member.store.has_stopped() {
        let text = format!(
            "this voter's store has stopped after an error of its disk, so nothing in the cluster can be changed: see              to it that {} can be written, then restart the agent",
            member.parts.dir.root().display()
        );
        faults.push(Fault::new(text, "systemctl restart hopsack"));
    }
    if !status.store.connected {
        let text = "the cluster's state cannot be written from here and may be out of date: check the network to the voters, and \
                    whether this host's disk is full";
        faults.push(Fault::new(text, "hopsack host ls"));
    }
    faults.extend(left_over(member));
    faults.extend(ports::faults(member));
    let intent = member.intent.borrow().intent.clone();
    faults.extend(member.removals.look(&intent).into_iter().map(|network| {
        let text = format!(
            "the removal of network {network} was interrupted, and it gives no addresses: end the removal"
        );
        Fault::new(text, format!("hopsack network rm {network}"))
    }));
    faults.extend(status.hosts.iter().flat_map(|host| unreached(member, host)));
    faults
}

/// What is wrong with the way to another host.
fn unreached(member: &Member, host: &HostStatus) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !host.alive {
        let text = format!("the agent of host {} does not answer", host.name);
        faults.push(Fault::new(text, format!("on {}: hopsack status", host.name)));
    }
    // A path that is still being tried for the first time is no fault.
    let tried = || member.paths.explain(host.id).is_some_and(|path| path.reason != Reason::JustStarted);
    if let Some(path) = &host.path
        && !path.answered
        && tried()
    {
        let text = format!(
            "no path to host {} is answered ({}): UDP port {VXLAN_PORT} and ICMP echo have to pass between the hosts",
            host.name, path.reason
        );
        faults.push(Fault::new(text, "hopsack doctor"));
    }
    faults
}

/// Endpoints of this host whose network is gone: they reach nobody any more.
fn left_over(member: &Member) -> Vec<Fault> {
    let intent = member.intent.borrow().intent.clone();
    // A copy of intent that does not name this host has only begun to arrive.
    if !intent.hosts.contains_key(&member.identity.host) {
        return Vec::new();
    }
    let endpoints = member.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
    let left = endpoints.all().values().filter(|endpoint| !intent.networks.contains_key(&endpoint.network));
    left.map(|endpoint| {
        let name = endpoint.shown_name();
        let text = format!("the network of {name} was removed and it reaches nobody");
        match &endpoint.attachment {
            Attachment::Namespace { path, .. } => {
                let network = endpoint.network.short();
                Fault::new(text, format!("hopsack detach {} --network {network}", path.display()))
            }
            Attachment::Docker => {
                let text = format!("{text}: stop its container, or connect that to another network");
                Fault {
                    next: endpoint.container.as_ref().map(|known| format!("docker stop {}", known.name)),
                    text,
                }
            }
        }
    })
    .collect()
}
