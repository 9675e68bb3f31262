//! Which hosts, segments and routers a lab has, and the addresses and routes that follow. Pure data: nothing here
//! touches the machine.

mod check;
mod spec;

pub use spec::{DEFAULT_MTU, HostKind, HostSpec, NodeName, RouterSpec, SegmentSpec, TopologyBuilder};

use crate::error::{LabError, Result};
use hopsack_types::{Cidr, Family};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A checked segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its name.
    pub name: NodeName,
    /// Its prefixes, v4 first.
    pub prefixes: Vec<Cidr>,
    /// MTU of its links in bytes.
    pub mtu: u32,
    /// Whether its switch drops foreign sources.
    pub anti_spoofing: bool,
    /// Hosts on it, in order.
    pub hosts: Vec<NodeName>,
    /// Routers on it, in order.
    pub routers: Vec<NodeName>,
}

/// A checked host or router: a name and the segments that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// What runs its containers; routers are plain.
    pub kind: HostKind,
    /// Its segments, in the order of its interfaces.
    pub segments: Vec<NodeName>,
}

/// A topology in which every name resolves, every address fits and every host can reach the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TopologyBuilder", into = "TopologyBuilder")]
pub struct Topology {
    segments: Vec<Segment>,
    hosts: Vec<Member>,
    routers: Vec<Member>,
    source: TopologyBuilder,
}

impl Topology {
    /// Begins an empty topology.
    pub fn builder() -> TopologyBuilder {
        TopologyBuilder::default()
    }

    /// The demo's: h1 and h2 on lan1 (10.77.1.0/24), h3 in another subnet (lan2, 10.77.2.0/24) behind router r1.
    pub fn demo(kind: HostKind) -> Result<Self> {
        Self::numbered(3, &[3], kind)
    }

    /// Hosts h1 to h`count` of one kind on lan1; those whose number is in `routed` are on lan2 behind r1 instead.
    /// At most 250 per segment.
    pub fn numbered(count: usize, routed: &[usize], kind: HostKind) -> Result<Self> {
        let mut builder = Self::builder().segment(SegmentSpec::new("lan1", &["10.77.1.0/24"]));
        if !routed.is_empty() {
            builder =
                builder.segment(SegmentSpec::new("lan2", &["10.77.2.0/24"])).router("r1", &["lan1", "lan2"]);
        }
        for number in 1..=count {
            let lan = if routed.contains(&number) { "lan2" } else { "lan1" };
            builder = builder.host(HostSpec { kind, ..HostSpec::plain(&format!("h{number}"), &[lan]) });
        }
        builder.build()
    }

    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The hosts.
    pub fn hosts(&self) -> &[Member] {
        &self.hosts
    }

    /// The routers.
    pub fn routers(&self) -> &[Member] {
        &self.routers
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> Result<&Member> {
        find(&self.hosts, |host| &host.name, "host", name)
    }

    /// The segment of that name.
    pub fn segment(&self, name: &str) -> Result<&Segment> {
        find(&self.segments, |segment| &segment.name, "segment", name)
    }

    /// The address with its prefix length that a host or router has on a segment, per family of the segment.
    pub fn addresses_on(&self, member: &NodeName, segment: &Segment) -> Vec<IpNet> {
        let place = |names: &[NodeName]| names.iter().position(|name| name == member);
        segment
            .prefixes
            .iter()
            .filter_map(|prefix| {
                let address = match (place(&segment.hosts), place(&segment.routers)) {
                    (Some(i), _) => from_start(*prefix, i + 1),
                    (None, Some(i)) => from_end(*prefix, i + 1),
                    (None, None) => return None,
                };
                IpNet::new(address, prefix.length()).ok()
            })
            .collect()
    }

    /// All underlay addresses of a host, in the order of its interfaces.
    pub fn addresses(&self, host: &Member) -> Vec<IpAddr> {
        host.segments
            .iter()
            .filter_map(|name| self.segment(name.as_str()).ok())
            .flat_map(|segment| self.addresses_on(&host.name, segment))
            .map(|net| net.addr())
            .collect()
    }

    /// Where hosts of a segment send what is elsewhere: its first router, or an address of the switch itself, since
    /// every host needs a default route and nothing lies behind that one.
    pub fn gateway(&self, segment: &Segment, family: Family) -> Option<IpNet> {
        let prefix = segment.prefixes.iter().find(|prefix| prefix.family() == family)?;
        IpNet::new(from_end(*prefix, 1), prefix.length()).ok()
    }

    /// What a router needs besides its own segments: prefix and next hop, by the fewest routers between.
    pub fn routes(&self, router: &Member) -> Vec<(Cidr, IpAddr)> {
        let mut found = Vec::new();
        let mut seen: BTreeSet<&NodeName> = router.segments.iter().collect();
        // A segment to look at, and the segment of `router` and the neighbour on it that lead there.
        let mut queue: VecDeque<(&NodeName, Option<(&NodeName, &NodeName)>)> =
            router.segments.iter().map(|segment| (segment, None)).collect();
        while let Some((here, first_hop)) = queue.pop_front() {
            for next in self.routers.iter().filter(|r| r.name != router.name && r.segments.contains(here)) {
                for there in &next.segments {
                    if !seen.insert(there) {
                        continue;
                    }
                    let hop = first_hop.unwrap_or((here, &next.name));
                    queue.push_back((there, Some(hop)));
                    let (Ok(target), Ok(via)) = (self.segment(there.as_str()), self.segment(hop.0.as_str()))
                    else {
                        continue;
                    };
                    let next_hops = self.addresses_on(hop.1, via);
                    for prefix in &target.prefixes {
                        let same = |net: &&IpNet| Family::of(net.addr()) == prefix.family();
                        if let Some(next_hop) = next_hops.iter().find(same) {
                            found.push((*prefix, next_hop.addr()));
                        }
                    }
                }
            }
        }
        found
    }
}

fn find<'a, T>(
    all: &'a [T],
    name_of: impl Fn(&T) -> &NodeName,
    kind: &'static str,
    name: &str,
) -> Result<&'a T> {
    all.iter().find(|item| name_of(item).as_str() == name).ok_or_else(|| LabError::Unknown {
        kind,
        name: name.into(),
        known: all.iter().map(|item| name_of(item).as_str()).collect::<Vec<_>>().join(", "),
    })
}

fn offset(address: IpAddr, by: i128) -> IpAddr {
    match address {
        IpAddr::V4(a) => Ipv4Addr::from((i128::from(u32::from(a)) + by) as u32).into(),
        IpAddr::V6(a) => Ipv6Addr::from(u128::from(a).wrapping_add_signed(by)).into(),
    }
}

fn from_start(prefix: Cidr, n: usize) -> IpAddr {
    offset(prefix.first(), n as i128)
}

fn from_end(prefix: Cidr, n: usize) -> IpAddr {
    offset(prefix.last(), -(n as i128))
}

impl From<Topology> for TopologyBuilder {
    fn from(topology: Topology) -> Self {
        topology.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(topology: &Topology, host: &str) -> Vec<String> {
        topology.addresses(topology.host(host).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_demo_puts_the_third_host_behind_a_router() {
        let demo = Topology::demo(HostKind::Docker).unwrap();
        assert_eq!(addresses(&demo, "h1"), ["10.77.1.1"]);
        assert_eq!(addresses(&demo, "h2"), ["10.77.1.2"]);
        assert_eq!(addresses(&demo, "h3"), ["10.77.2.1"]);
        let lan2 = demo.segment("lan2").unwrap();
        assert_eq!(demo.gateway(lan2, Family::V4).unwrap().to_string(), "10.77.2.254/24");
        assert!(demo.routes(&demo.routers()[0]).is_empty(), "a router between two segments knows both");
    }

    #[test]
    fn routers_in_a_row_know_the_far_segments_by_the_next_router() {
        let row = Topology::builder()
            .segment(SegmentSpec::new("a", &["10.1.0.0/24", "fd01::/64"]))
            .segment(SegmentSpec::new("b", &["10.2.0.0/24", "fd02::/64"]))
            .segment(SegmentSpec::new("c", &["10.3.0.0/24", "fd03::/64"]))
            .segment(SegmentSpec::new("d", &["10.4.0.0/24", "fd04::/64"]))
            .router("ab", &["a", "b"])
            .router("bc", &["b", "c"])
            .router("cd", &["c", "d"])
            .build()
            .unwrap();
        let routes: Vec<_> =
            row.routes(&row.routers()[0]).iter().map(|(to, via)| format!("{to} {via}")).collect();
        assert_eq!(
            routes,
            [
                "10.3.0.0/24 10.2.0.253",
                "fd03::/64 fd02::ffff:ffff:ffff:fffd",
                "10.4.0.0/24 10.2.0.253",
                "fd04::/64 fd02::ffff:ffff:ffff:fffd"
            ]
        );
    }

    #[test]
    fn a_topology_survives_json() {
        let demo = Topology::demo(HostKind::Plain).unwrap();
        let text = serde_json::to_string(&demo).unwrap();
        assert_eq!(serde_json::from_str::<Topology>(&text).unwrap(), demo);
    }

    #[test]
    fn contradictions_are_refused_with_the_name_of_the_culprit() {
        let lan = || Topology::builder().segment(SegmentSpec::new("lan", &["10.0.0.0/30"]));
        let cases = [
            (lan().host(HostSpec::plain("h1", &["wan"])), "h1"),
            (lan().host(HostSpec::plain("h1", &[])), "h1"),
            (lan().host(HostSpec::plain("lan", &["lan"])), "lan"),
            (lan().host(HostSpec::plain("h1", &["lan", "lan"])), "h1"),
            (lan().host(HostSpec::plain("h1", &["lan"])).host(HostSpec::plain("h2", &["lan"])), "lan"),
            (lan().segment(SegmentSpec::new("b", &["10.0.0.0/8"])), "b"),
            (lan().segment(SegmentSpec::new("b", &["11.0.0.0/8", "12.0.0.0/8"])), "b"),
            (lan().segment(SegmentSpec::new("b", &["11.0.0.0/8"]).mtu(100)), "b"),
        ];
        for (builder, culprit) in cases {
            match builder.build() {
                Err(LabError::Topology { object, .. }) => assert_eq!(object, culprit),
                other => panic!("{culprit}: {other:?}"),
            }
        }
    }

    #[test]
    fn names_that_no_interface_can_have_are_refused() {
        for text in ["", "1h", "H1", "lo", "br0", "a-very-long-name", "h 1", "h/1"] {
            assert!(NodeName::new(text).is_err(), "{text:?}");
        }
        assert!(NodeName::new("h1-a").is_ok());
    }
}
