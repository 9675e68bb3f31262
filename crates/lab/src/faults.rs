//! What is broken on purpose, as data, and the switches' nftables rules that break it. Rules stand in the switches
//! only: a host's own tables are the business of what is under test.

use crate::error::{LabError, Result};
use crate::lab::Lab;
use crate::topology::{NodeName, Segment, Topology};
use crate::wiring;
use hopsack_types::Family;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The only table of a switch.
const TABLE: &str = "bridge hopsack_lab";

/// Loss from one host to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Way {
    /// Sender.
    pub(crate) from: NodeName,
    /// Receiver.
    pub(crate) to: NodeName,
    /// How many of 100 packets are lost.
    pub(crate) percent: u8,
}

/// Frames on a segment that are dropped, in nft's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Block {
    /// On which segment.
    pub(crate) segment: NodeName,
    /// Which frames, like `udp dport 4678`.
    pub(crate) matching: String,
}

/// Everything that is broken in a lab now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Hosts whose cables are pulled.
    pub(crate) down: BTreeSet<NodeName>,
    /// How many of 100 frames each of these hosts loses, in each direction.
    pub(crate) loss: BTreeMap<NodeName, u8>,
    /// Loss between pairs, one entry per direction; 100 is a cut.
    pub(crate) ways: Vec<Way>,
    /// Dropped by their content.
    pub(crate) blocks: Vec<Block>,
    /// Segments whose MTU is not the topology's, in bytes.
    #[serde(default)]
    pub(crate) mtu: BTreeMap<NodeName, u32>,
}

impl Faults {
    /// Sets what is lost from one host to another; 0 forgets the entry.
    pub(crate) fn set_way(&mut self, from: &NodeName, to: &NodeName, percent: u8) {
        self.ways.retain(|way| (&way.from, &way.to) != (from, to));
        if percent > 0 {
            self.ways.push(Way { from: from.clone(), to: to.clone(), percent });
        }
    }

    /// The MTU of a segment as it is now, in bytes.
    pub(crate) fn mtu(&self, segment: &Segment) -> u32 {
        self.mtu.get(&segment.name).copied().unwrap_or(segment.mtu)
    }

    /// The rules of one segment's switch as one nft transaction that replaces all before.
    pub(crate) fn rules(&self, topology: &Topology, segment: &Segment) -> String {
        let mut rules = String::new();
        for (host, percent) in self.loss.iter().filter(|(host, _)| segment.hosts.contains(host)) {
            let drop = drop(*percent);
            let _ = writeln!(rules, "    iifname \"{host}\" {drop}\n    oifname \"{host}\" {drop}");
        }
        for way in &self.ways {
            let drop = drop(way.percent);
            for selector in selectors(topology, segment, way) {
                let _ = writeln!(rules, "    {selector} {drop}");
            }
        }
        for block in self.blocks.iter().filter(|block| block.segment == segment.name) {
            let _ = writeln!(rules, "    {} drop", block.matching);
        }
        let guard = if segment.anti_spoofing { guard(topology, segment) } else { String::new() };
        format!(
            "table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n  chain faults {{\n    \
             type filter hook forward priority 0; policy accept;\n{rules}  }}\n{guard}}}\n"
        )
    }
}

fn drop(percent: u8) -> String {
    if percent >= 100 { "drop".into() } else { format!("numgen random mod 100 < {percent} drop") }
}

/// Matches what goes from one host to another on this segment: by port where both are on it; by port and address
/// at the sender's switch where routers are between.
fn selectors(topology: &Topology, segment: &Segment, way: &Way) -> Vec<String> {
    let (from, to) = (&way.from, &way.to);
    if !segment.hosts.contains(from) {
        return Vec::new();
    }
    if segment.hosts.contains(to) {
        return vec![format!("iifname \"{from}\" oifname \"{to}\"")];
    }
    let Ok(target) = topology.host(to.as_str()) else { return Vec::new() };
    let addresses = topology.addresses(target);
    let word = |address: &std::net::IpAddr| match Family::of(*address) {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    addresses.iter().map(|address| format!("iifname \"{from}\" {} daddr {address}", word(address))).collect()
}

/// Drops what a host sends with a source that is not its own: IPv4, ARP, IPv6 and, in neighbour advertisements,
/// the target. Link-local and unspecified sources pass, since addresses are found with them.
fn guard(topology: &Topology, segment: &Segment) -> String {
    let own = |member: &NodeName, family| {
        let nets = topology.addresses_on(member, segment);
        nets.into_iter().map(|net| net.addr()).find(|address| Family::of(*address) == family)
    };
    let pairs = |family| {
        let pair = |host: &NodeName| Some(format!("\"{host}\" . {}", own(host, family)?));
        segment.hosts.iter().filter_map(pair).collect::<Vec<_>>().join(", ")
    };
    let ports = segment.hosts.iter().map(|host| format!("\"{host}\"")).collect::<Vec<_>>().join(", ");
    let mut sets = String::new();
    for (name, kind, elements) in
        [("own4", "ipv4_addr", pairs(Family::V4)), ("own6", "ipv6_addr", pairs(Family::V6))]
    {
        let elements = if elements.is_empty() { elements } else { format!("elements = {{ {elements} }}") };
        let _ = writeln!(sets, "  set {name} {{\n    type ifname . {kind}\n    {elements}\n  }}");
    }
    if ports.is_empty() {
        return String::new();
    }
    format!(
        "{sets}  chain guard {{\n    type filter hook prerouting priority -300; policy accept;\n    \
         iifname != {{ {ports} }} accept\n    \
         ether type ip ip saddr != 0.0.0.0 iifname . ip saddr != @own4 counter drop\n    \
         ether type arp arp saddr ip != 0.0.0.0 iifname . arp saddr ip != @own4 counter drop\n    \
         ether type ip6 ip6 saddr != {{ ::, fe80::/10 }} iifname . ip6 saddr != @own6 counter drop\n  }}\n"
    )
}

/// What can be broken. Everything holds until it is undone or [`Lab::heal`]ed, also when a host is restarted.
impl Lab {
    /// Pulls a host's cables: its interfaces have no carrier.
    pub fn link_down(&self, host: &str) -> Result<()> {
        self.set_link(host, true)
    }

    /// Puts a host's cables back.
    pub fn link_up(&self, host: &str) -> Result<()> {
        self.set_link(host, false)
    }

    /// Loses `percent` (0 to 100) of what a host sends and of what it receives.
    pub fn set_loss(&self, host: &str, percent: u8) -> Result<()> {
        check_percent(percent)?;
        self.change(|topology, faults| {
            let host = topology.host(host)?.name.clone();
            faults.loss.remove(&host);
            if percent > 0 {
                faults.loss.insert(host, percent);
            }
            Ok(())
        })
    }

    /// Loses `percent` (0 to 100) of what two hosts send each other. Across routers only what is addressed to a host
    /// itself is theirs, tunnels included.
    pub fn set_loss_between(&self, one: &str, other: &str, percent: u8) -> Result<()> {
        self.set_loss_one_way(one, other, percent)?;
        self.set_loss_one_way(other, one, percent)
    }

    /// Loses `percent` (0 to 100) of what one host sends to another.
    pub fn set_loss_one_way(&self, from: &str, to: &str, percent: u8) -> Result<()> {
        check_percent(percent)?;
        self.change(|topology, faults| {
            let (from, to) = (topology.host(from)?.name.clone(), topology.host(to)?.name.clone());
            faults.set_way(&from, &to, percent);
            Ok(())
        })
    }

    /// Cuts every host of one set off from every host of the other.
    pub fn partition(&self, one: &[&str], other: &[&str]) -> Result<()> {
        self.change(|topology, faults| {
            for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
                let (a, b) = (topology.host(a)?.name.clone(), topology.host(b)?.name.clone());
                faults.set_way(&a, &b, 100);
                faults.set_way(&b, &a, 100);
            }
            Ok(())
        })
    }

    /// Drops on a segment what matches, in nft's words for a bridge: `udp dport 4678`.
    pub fn block(&self, segment: &str, matching: &str) -> Result<()> {
        self.change(|topology, faults| {
            let segment = topology.segment(segment)?.name.clone();
            faults.blocks.push(Block { segment, matching: matching.into() });
            Ok(())
        })
    }

    /// Sets the MTU of a segment's switch and of all interfaces on it, in bytes. [`Lab::heal`] sets it back.
    pub fn set_mtu(&self, segment: &str, mtu: u32) -> Result<()> {
        self.change(|topology, faults| {
            faults.mtu.insert(topology.segment(segment)?.name.clone(), mtu);
            Ok(())
        })
    }

    /// Makes everything whole again.
    pub fn heal(&self) -> Result<()> {
        self.change(|_, faults| {
            *faults = Faults::default();
            Ok(())
        })
    }

    fn set_link(&self, host: &str, down: bool) -> Result<()> {
        self.change(|topology, faults| {
            let host = topology.host(host)?.name.clone();
            if down {
                faults.down.insert(host);
            } else {
                faults.down.remove(&host);
            }
            Ok(())
        })
    }

    /// Changes what is broken, in the switches and then in the state; only what differs is touched.
    fn change(&self, edit: impl FnOnce(&Topology, &mut Faults) -> Result<()>) -> Result<()> {
        let mut state = self.state();
        let before = state.faults.clone();
        let mut after = state.clone();
        edit(&after.topology, &mut after.faults)?;
        for segment in after.topology.segments() {
            if before.rules(&after.topology, segment) != after.faults.rules(&after.topology, segment) {
                wiring::apply_rules(&after, segment)?;
            }
            if before.mtu(segment) != after.faults.mtu(segment) {
                wiring::apply_mtu(&after, segment)?;
            }
            for host in &segment.hosts {
                let down = after.faults.down.contains(host);
                if before.down.contains(host) != down {
                    wiring::set_port(&after, segment, host, !down)?;
                }
            }
        }
        *state = after;
        state.write()
    }
}

fn check_percent(percent: u8) -> Result<()> {
    let rule = "use 0 to 100 percent";
    if percent <= 100 {
        Ok(())
    } else {
        Err(LabError::Argument { argument: format!("loss {percent}"), rule })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::HostKind;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    #[test]
    fn a_cut_goes_by_port_inside_a_segment_and_by_address_across_a_router() {
        let topology = Topology::demo(HostKind::Plain).unwrap();
        let mut faults = Faults::default();
        faults.set_way(&name("h1"), &name("h2"), 100);
        faults.set_way(&name("h1"), &name("h3"), 20);
        let rules = faults.rules(&topology, topology.segment("lan1").unwrap());
        assert!(rules.contains("iifname \"h1\" oifname \"h2\" drop\n"), "{rules}");
        assert!(
            rules.contains("iifname \"h1\" ip daddr 10.77.2.1 numgen random mod 100 < 20 drop\n"),
            "{rules}"
        );
        let far = faults.rules(&topology, topology.segment("lan2").unwrap());
        assert!(
            !far.contains("drop"),
            "what is dropped at the sender's switch must not be dropped twice: {far}"
        );
        faults.set_way(&name("h1"), &name("h2"), 0);
        faults.set_way(&name("h1"), &name("h3"), 0);
        assert_eq!(faults, Faults::default());
    }
}
