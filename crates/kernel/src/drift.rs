//! What somebody else has changed, told apart from what is to be changed anyway.
//!
//! What must not live here: putting it right (`apply.rs`).

use crate::Table;
use hopsack_plan::HostState;
use hopsack_plan::delta::DeltaTable;
use std::collections::{BTreeMap, BTreeSet};

/// How many objects of each table are not as they were `left`. One that is desired otherwise by now does not count, since
/// nobody can tell whose change it would be, and no tracked flow does.
pub fn drift(left: &HostState, observed: &HostState, desired: &HostState) -> BTreeMap<Table, u64> {
    let fast_path = {
        let [left, observed, desired] = [left, observed, desired].map(|state| &state.fast_path);
        of_map(&left.hooks, &observed.hooks, &desired.hooks)
            + of_map(&left.endpoints, &observed.endpoints, &desired.endpoints)
            + of_map(&left.remotes, &observed.remotes, &desired.remotes)
            + of_set(&left.published, &observed.published, &desired.published)
    };
    let counts = [
        (Table::Links, of_map(&left.links, &observed.links, &desired.links)),
        (Table::Addresses, of_set(&left.addresses, &observed.addresses, &desired.addresses)),
        (Table::Sysctls, of_map(&left.sysctls, &observed.sysctls, &desired.sysctls)),
        (Table::Neighbours, of_map(&left.neighbours, &observed.neighbours, &desired.neighbours)),
        (Table::Fdb, of_map(&left.fdb, &observed.fdb, &desired.fdb)),
        // It is one object, which changes with each endpoint, and is observed whatever is desired.
        (Table::Firewall, u64::from(observed.firewall != left.firewall)),
        (Table::Forward, of_set(&left.forward_accept, &observed.forward_accept, &desired.forward_accept)),
        (Table::Rules, of_set(&left.rules, &observed.rules, &desired.rules)),
        (Table::Routes, of_map(&left.routes, &observed.routes, &desired.routes)),
        (Table::FastPath, fast_path),
    ];
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn of_map<K: Ord, V: PartialEq>(
    left: &BTreeMap<K, V>,
    observed: &BTreeMap<K, V>,
    desired: &BTreeMap<K, V>,
) -> u64 {
    let delta = DeltaTable::new(observed, desired);
    let changed = delta.set().map(|(key, _)| key).chain(delta.remove());
    changed.filter(|key| left.get(key) == desired.get(key)).count() as u64
}

fn of_set<K: Ord>(left: &BTreeSet<K>, observed: &BTreeSet<K>, desired: &BTreeSet<K>) -> u64 {
    let changed = observed.symmetric_difference(desired);
    changed.filter(|key| left.contains(key) == desired.contains(key)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsack_types::{Family, IfName, Mac};
    use std::net::IpAddr;

    fn neighbour(number: u8) -> ((IfName, IpAddr), Mac) {
        let address = IpAddr::from([10, 32, 0, number]);
        ((IfName::loopback(), address), Mac::local([0, 0, 0, 0, 0, number]))
    }

    fn state(neighbours: &[u8], families: &[Family]) -> HostState {
        HostState {
            neighbours: neighbours.iter().map(|number| neighbour(*number)).collect(),
            forward_accept: families.iter().copied().collect(),
            ..HostState::default()
        }
    }

    #[test]
    fn what_is_to_be_changed_anyway_does_not_count() {
        let left = state(&[1, 2, 3], &[]);
        // 2 was lost and 5 added; 3 shall go and 4 come.
        let observed = state(&[1, 3, 5], &[]);
        let desired = state(&[1, 2, 4], &[Family::V4]);
        assert_eq!(drift(&left, &observed, &desired), BTreeMap::from([(Table::Neighbours, 2)]));
        assert_eq!(drift(&left, &left, &desired), BTreeMap::new());
        let lost = state(&[1, 2], &[]);
        assert_eq!(drift(&left, &lost, &desired), BTreeMap::new(), "3 was to go");
    }

    #[test]
    fn where_nothing_else_is_desired_each_object_that_differs_counts() {
        let left = state(&[1, 2], &[Family::V4]);
        let mut observed = state(&[2, 3], &[Family::V6]);
        observed.neighbours.insert(neighbour(2).0, Mac::local([9; 6]));
        let counts = BTreeMap::from([(Table::Neighbours, 3), (Table::Forward, 2)]);
        assert_eq!(drift(&left, &observed, &left), counts);
    }
}
