//! Sets of addresses of one family, kept as disjoint intervals of numbers.
//!
//! A v6 block has more addresses than could ever be listed, so nothing in this crate walks over addresses: it adds,
//! cuts and searches intervals. What must not live here: what the addresses mean.

use hopsack_types::{Cidr, Family};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as a number. Only meaningful together with its family.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address that a number stands for. Bits over the family's length are cut.
pub(crate) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// First and last address of a prefix.
pub(crate) fn bounds(prefix: Cidr) -> (u128, u128) {
    (number(prefix.first()), number(prefix.last()))
}

/// A mask of the lowest `bits` bits.
const fn low(bits: u8) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

/// A set of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// First of each interval to its last. Intervals neither overlap nor touch.
    spans: BTreeMap<u128, u128>,
    /// How many numbers there are; stays at the type's maximum for the whole of v6.
    count: u128,
}

impl Ranges {
    /// The addresses of one prefix.
    pub(crate) fn of(prefix: Cidr) -> Self {
        let mut ranges = Self::default();
        ranges.insert_prefix(prefix);
        ranges
    }

    pub(crate) const fn count(&self) -> u128 {
        self.count
    }

    pub(crate) fn spans(&self) -> impl DoubleEndedIterator<Item = (u128, u128)> + '_ {
        self.spans.iter().map(|(first, last)| (*first, *last))
    }

    pub(crate) fn insert_prefix(&mut self, prefix: Cidr) {
        let (first, last) = bounds(prefix);
        self.insert(first, last);
    }

    pub(crate) fn remove_prefix(&mut self, prefix: Cidr) {
        let (first, last) = bounds(prefix);
        self.remove(first, last);
    }

    pub(crate) fn insert(&mut self, first: u128, last: u128) {
        self.remove(first, last);
        let (mut from, mut to) = (first, last);
        if let Some((before, end)) = self.spans.range(..first).next_back().map(|(k, v)| (*k, *v))
            && end.checked_add(1) == Some(first)
        {
            from = before;
        }
        if let Some(after) = last.checked_add(1)
            && let Some(end) = self.spans.remove(&after)
        {
            to = end;
        }
        self.spans.insert(from, to);
        self.count = self.count.saturating_add((last - first).saturating_add(1));
    }

    pub(crate) fn remove(&mut self, first: u128, last: u128) {
        while let Some((&start, &end)) = self.spans.range(..=last).next_back()
            && end >= first
        {
            self.spans.remove(&start);
            if start < first {
                self.spans.insert(start, first - 1);
            }
            if end > last {
                self.spans.insert(last + 1, end);
            }
            let gone = end.min(last) - start.max(first);
            self.count = self.count.saturating_sub(gone.saturating_add(1));
        }
    }

    pub(crate) fn contains(&self, number: u128) -> bool {
        self.spans.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// The part of the set that lies in a prefix.
    pub(crate) fn within(&self, prefix: Cidr) -> Self {
        let (first, last) = bounds(prefix);
        let mut inside = Self::default();
        let begin = self.spans.range(..=first).next_back().map_or(first, |(start, _)| *start);
        for (start, end) in self.spans.range(begin..=last).filter(|(_, end)| **end >= first) {
            inside.insert((*start).max(first), (*end).min(last));
        }
        inside
    }

    pub(crate) fn first(&self) -> Option<u128> {
        self.spans.first_key_value().map(|(first, _)| *first)
    }

    /// The lowest number in a prefix.
    pub(crate) fn first_in(&self, prefix: Cidr) -> Option<u128> {
        let (first, last) = bounds(prefix);
        self.piece_from(first, 0).filter(|found| *found <= last)
    }

    /// The lowest start, not below `from`, of a whole piece of `2^bits` numbers that begins at a multiple of its size.
    pub(crate) fn piece_from(&self, from: u128, bits: u8) -> Option<u128> {
        let mask = low(bits);
        let around = self.spans.range(..from).next_back();
        let fits = |(first, last): (&u128, &u128)| {
            let start = (*first).max(from).checked_add(mask)? & !mask;
            (start | mask <= *last).then_some(start)
        };
        around.into_iter().chain(self.spans.range(from..)).find_map(fits)
    }

    /// The highest start of a whole piece of `2^bits` numbers that begins at a multiple of its size.
    pub(crate) fn last_piece(&self, bits: u8) -> Option<u128> {
        let mask = low(bits);
        self.spans().rev().find_map(|(first, last)| {
            let start = match last & mask == mask {
                true => last & !mask,
                false => (last & !mask).checked_sub(mask.checked_add(1)?)?,
            };
            (start >= first).then_some(start)
        })
    }

    /// The fewest prefixes that make up exactly this set.
    pub(crate) fn prefixes(&self, family: Family) -> Vec<Cidr> {
        let mut prefixes = Vec::new();
        for (first, last) in self.spans() {
            let mut start = first;
            loop {
                let aligned = (start.trailing_zeros() as u8).min(family.bits());
                let bits = (0..=aligned).rev().find(|bits| last - start >= low(*bits)).unwrap_or(0);
                prefixes.push(Cidr::around(address(family, start), family.bits() - bits));
                match (start | low(bits)).checked_add(1) {
                    Some(next) if next <= last => start = next,
                    _ => break,
                }
            }
        }
        prefixes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn listed(ranges: &Ranges) -> BTreeSet<u128> {
        ranges.spans().flat_map(|(first, last)| first..=last).collect()
    }

    proptest! {
        #[test]
        fn ranges_hold_what_a_plain_set_would_hold(
            steps in prop::collection::vec((any::<bool>(), 0_u128..200, 0_u128..40), 1..60),
        ) {
            let mut ranges = Ranges::default();
            let mut plain = BTreeSet::new();
            for (add, first, length) in steps {
                let last = first + length;
                if add {
                    ranges.insert(first, last);
                    plain.extend(first..=last);
                } else {
                    ranges.remove(first, last);
                    plain.retain(|n| !(first..=last).contains(n));
                }
                prop_assert_eq!(&listed(&ranges), &plain);
                prop_assert_eq!(ranges.count(), plain.len() as u128);
                let ends: Vec<_> = ranges.spans().collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "intervals touch: {:?}", ends);
            }
            for bits in 0..5_u8 {
                let whole = |start: &u128| (*start..*start + (1 << bits)).all(|n| plain.contains(&n));
                let starts: Vec<u128> = (0..256).step_by(1 << bits).filter(whole).collect();
                prop_assert_eq!(ranges.last_piece(bits), starts.last().copied());
                for from in [0, 17, 100] {
                    prop_assert_eq!(ranges.piece_from(from, bits), starts.iter().copied().find(|s| *s >= from));
                }
            }
            let mut again = Ranges::default();
            for prefix in ranges.prefixes(Family::V4) {
                let (first, last) = bounds(prefix);
                prop_assert!((first..=last).all(|n| !again.contains(n)), "prefixes overlap");
                again.insert(first, last);
            }
            prop_assert_eq!(again, ranges);
        }
    }

    #[test]
    fn the_whole_of_v6_is_one_prefix() {
        let all: Cidr = "::/0".parse().unwrap();
        assert_eq!(Ranges::of(all).prefixes(Family::V6), vec![all]);
    }
}
