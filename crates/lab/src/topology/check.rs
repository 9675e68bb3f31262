//! From what a user wrote to a topology in which everything fits.

use super::{HostKind, Member, NodeName, Segment, Topology, TopologyBuilder};
use crate::error::{LabError, Result};
use hopsack_types::Cidr;
use std::collections::{BTreeMap, BTreeSet};

/// How many addresses lie between the first and the last of a prefix.
fn room(prefix: Cidr) -> usize {
    let bits = u32::from(prefix.family().bits() - prefix.length());
    1usize.checked_shl(bits).map_or(usize::MAX, |size| size.saturating_sub(2))
}

impl TryFrom<TopologyBuilder> for Topology {
    type Error = LabError;

    fn try_from(source: TopologyBuilder) -> Result<Self> {
        let wrong = |object: &str, problem| LabError::Topology { object: object.into(), problem };
        let mut names = BTreeSet::new();
        let mut take = |text: &str| {
            let name = NodeName::new(text)?;
            let fresh = names.insert(name.clone());
            if fresh {
                Ok(name)
            } else {
                Err(wrong(text, "is there twice; every node needs a name of its own"))
            }
        };
        let mut segments = Vec::new();
        for spec in &source.segments {
            let name = take(&spec.name)?;
            let mut prefixes = Vec::new();
            for text in &spec.prefixes {
                let prefix: Cidr = text
                    .parse()
                    .map_err(|cause| LabError::Prefix { segment: spec.name.clone(), source: cause })?;
                prefixes.push(prefix);
            }
            prefixes.sort();
            if prefixes.is_empty() || prefixes.windows(2).any(|two| two[0].family() == two[1].family()) {
                return Err(wrong(&spec.name, "needs one prefix, or one of each family"));
            }
            if !(576..=65_535).contains(&spec.mtu) {
                return Err(wrong(&spec.name, "has an MTU outside 576 to 65535"));
            }
            let (mtu, anti_spoofing) = (spec.mtu, spec.anti_spoofing);
            segments.push(Segment { name, prefixes, mtu, anti_spoofing, hosts: vec![], routers: vec![] });
        }
        let index: BTreeMap<String, usize> =
            source.segments.iter().enumerate().map(|(i, spec)| (spec.name.clone(), i)).collect();
        let mut join = |text: &str, on: &[String], kind, router: bool| {
            let name = take(text)?;
            if on.is_empty() {
                return Err(wrong(text, "is on no segment"));
            }
            let mut mine = Vec::new();
            for segment in on {
                let &i =
                    index.get(segment).ok_or_else(|| wrong(text, "is on a segment that is not there"))?;
                let segment: &mut Segment = &mut segments[i];
                if mine.contains(&segment.name) {
                    return Err(wrong(text, "is on the same segment twice"));
                }
                let list = if router { &mut segment.routers } else { &mut segment.hosts };
                list.push(name.clone());
                mine.push(segment.name.clone());
            }
            Ok(Member { name, kind, segments: mine })
        };
        let mut hosts = Vec::new();
        for spec in &source.hosts {
            hosts.push(join(&spec.name, &spec.segments, spec.kind, false)?);
        }
        let mut routers = Vec::new();
        for spec in &source.routers {
            routers.push(join(&spec.name, &spec.segments, HostKind::Plain, true)?);
        }
        for segment in &segments {
            // One more for the gateway that a segment without a router gets.
            let need = segment.hosts.len() + segment.routers.len().max(1);
            if segment.prefixes.iter().any(|&prefix| room(prefix) < need) {
                return Err(wrong(segment.name.as_str(), "has a prefix that is too small for its members"));
            }
        }
        for (i, a) in segments.iter().enumerate() {
            for b in &segments[i + 1..] {
                if a.prefixes.iter().any(|x| b.prefixes.iter().any(|y| x.overlaps(y))) {
                    return Err(wrong(b.name.as_str(), "has a prefix that overlaps another segment's"));
                }
            }
        }
        Ok(Self { segments, hosts, routers, source })
    }
}
