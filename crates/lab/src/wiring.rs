//! Switches, cables, addresses and routes of the underlay, made with iproute2.

use crate::command::Program;
use crate::error::{LabError, Result};
use crate::faults::Faults;
use crate::namespace::Namespaces;
use crate::state::State;
use crate::topology::{Member, NodeName, Segment};
use crate::wait;
use hopsack_types::Family;
use std::fmt::Write;
use std::fs;
use std::time::Duration;

/// Runs a batch of `ip` commands in a network namespace, all or an error at the first that fails.
pub(crate) fn ip_batch(namespaces: &Namespaces, commands: &str) -> Result<()> {
    Program::new(["ip", "-batch", "-"]).inside(namespaces).input(commands).run()?;
    Ok(())
}

/// Sets what this kernel has; one without IPv6 or br_netfilter has not all.
fn set_sysctls(namespaces: &Namespaces, settings: &[(String, &str)]) -> Result<()> {
    namespaces.enter(|| {
        for (key, value) in settings {
            let path = format!("/proc/sys/net/{key}");
            if fs::exists(&path).unwrap_or(false) {
                fs::write(&path, value).map_err(LabError::io("set", &path))?;
            }
        }
        Ok(())
    })
}

/// Makes the bridge of a segment, with the gateway's address on it where there is no router.
pub(crate) fn make_switch(state: &State, segment: &Segment) -> Result<()> {
    let mtu = state.faults.mtu(segment);
    let mut batch =
        format!("link set lo up\nlink add br0 mtu {mtu} type bridge stp_state 0 mcast_snooping 0\n");
    if segment.routers.is_empty() {
        for family in [Family::V4, Family::V6] {
            if let Some(gateway) = state.topology.gateway(segment, family) {
                let _ = writeln!(batch, "addr add {gateway} dev br0{}", nodad(family));
            }
        }
    }
    batch.push_str("link set br0 up\n");
    let switch = state.network(&segment.name)?;
    ip_batch(&switch, &batch)?;
    // A switch looks at frames; br_netfilter would hand them to the IP layer's hooks.
    let off = ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"];
    set_sysctls(&switch, &off.map(|key| (key.to_owned(), "0")))?;
    apply_rules(state, segment)
}

/// Sets a switch's rules to what the state's faults and the segment's source check want.
pub(crate) fn apply_rules(state: &State, segment: &Segment) -> Result<()> {
    // A lab without faults or source checks works without nft.
    let plain = state.faults == Faults::default() && !segment.anti_spoofing;
    let rules = state.faults.rules(&state.topology, segment);
    let nft = Program::new(["nft", "-f", "-"]).inside(&state.network(&segment.name)?).input(rules);
    match nft.run() {
        Err(LabError::Io { .. }) if plain => Ok(()),
        other => other.map(drop),
    }
}

/// Connects a host or router to all its segments and gives it addresses and routes.
pub(crate) fn connect(state: &State, member: &Member, router: bool) -> Result<()> {
    let process = state.network(&member.name)?.first.pid;
    let mut own = String::from("link set lo up\n");
    let mut devices = Vec::new();
    for (index, name) in member.segments.iter().enumerate() {
        let segment = state.topology.segment(name.as_str())?;
        let device = if router { name.to_string() } else { format!("eth{index}") };
        plug(state, member, segment, &device, process)?;
        for net in state.topology.addresses_on(&member.name, segment) {
            let _ = writeln!(own, "addr add {net} dev {device}{}", nodad(Family::of(net.addr())));
        }
        let _ = writeln!(own, "link set dev {device} up");
        // Nothing here is there twice, and a router forwards nothing while it waits for its link-local address.
        devices.push((format!("ipv6/conf/{device}/accept_dad"), "0"));
        if index == 0 && !router {
            for family in [Family::V4, Family::V6] {
                if let Some(gateway) = state.topology.gateway(segment, family) {
                    let _ = writeln!(own, "route add default via {} dev {device}", gateway.addr());
                }
            }
        }
    }
    let namespaces = state.network(&member.name)?;
    if !router {
        // As on a fresh machine, whatever this one has.
        devices.push(("ipv4/ip_forward".to_owned(), "0"));
    }
    set_sysctls(&namespaces, &devices)?;
    if router {
        let settings = [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/default/send_redirects", "0"),
        ];
        set_sysctls(&namespaces, &settings.map(|(key, value)| (key.to_owned(), value)))?;
        for (to, via) in state.topology.routes(member) {
            let _ = writeln!(own, "route add {to} via {via}");
        }
    }
    ip_batch(&namespaces, &own)
}

/// One cable: a veth pair between the switch, where its port has the member's name, and the member.
fn plug(state: &State, member: &Member, segment: &Segment, device: &str, process: i32) -> Result<()> {
    let (port, mtu) = (&member.name, state.faults.mtu(segment));
    let mac = mac(state, segment, port);
    let switch = state.network(&segment.name)?;
    // The far end of a host that has just died takes its port along, as late as the kernel likes.
    wait::value(&format!("the old port {port} to go"), Duration::from_secs(10), || {
        let gone = switch.enter(|| Ok(nix::net::if_::if_nametoindex(port.as_str()).is_err()));
        if gone.map_err(|error| error.chain())? {
            return Ok(());
        }
        // Refused where it goes at this moment by itself.
        ip_batch(&switch, &format!("link del {port}\n")).map_err(|error| error.chain())?;
        Err("it is there".to_owned())
    })?;
    let state_of_port = if state.faults.down.contains(port) { "down" } else { "up" };
    let batch = format!(
        "link add name {port} mtu {mtu} type veth peer name {device} mtu {mtu} address {mac} netns {process}\n\
         link set dev {port} master br0 {state_of_port}\n"
    );
    ip_batch(&switch, &batch)
}

/// Sets the MTU of a segment, its members' interfaces included, to what the state wants.
pub(crate) fn apply_mtu(state: &State, segment: &Segment) -> Result<()> {
    let mtu = state.faults.mtu(segment);
    let mut switch = format!("link set br0 mtu {mtu}\n");
    for member in segment.hosts.iter().chain(&segment.routers) {
        let _ = writeln!(switch, "link set dev {member} mtu {mtu}");
    }
    ip_batch(&state.network(&segment.name)?, &switch)?;
    for host in &segment.hosts {
        let member = state.topology.host(host.as_str())?;
        let index = member.segments.iter().position(|name| *name == segment.name).unwrap_or_default();
        ip_batch(&state.network(host)?, &format!("link set eth{index} mtu {mtu}\n"))?;
    }
    for router in &segment.routers {
        ip_batch(&state.network(router)?, &format!("link set dev {} mtu {mtu}\n", segment.name))?;
    }
    Ok(())
}

/// Plugs a host's cable in at the switch, or pulls it.
pub(crate) fn set_port(state: &State, segment: &Segment, host: &NodeName, up: bool) -> Result<()> {
    let word = if up { "up" } else { "down" };
    ip_batch(&state.network(&segment.name)?, &format!("link set dev {host} {word}\n"))
}

/// The same for the same place in the topology, so that neighbours of a host that is made anew know it still.
fn mac(state: &State, segment: &Segment, member: &NodeName) -> String {
    let switches = state.topology.segments();
    let s = switches.iter().position(|other| other.name == segment.name).unwrap_or_default();
    let m =
        segment.hosts.iter().chain(&segment.routers).position(|other| other == member).unwrap_or_default()
            + 1;
    format!("02:4c:{:02x}:{:02x}:{:02x}:{:02x}", s >> 8 & 255, s & 255, m >> 8 & 255, m & 255)
}

const fn nodad(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => " nodad",
    }
}
