//! One data structure for every kernel table: desired against observed.

use std::collections::BTreeMap;

/// What has to be done to make an observed table into a desired one. Order is that of the keys.
#[derive(Debug)]
pub struct DeltaTable<'a, K, V> {
    observed: &'a BTreeMap<K, V>,
    desired: &'a BTreeMap<K, V>,
}

impl<'a, K: Ord, V: PartialEq> DeltaTable<'a, K, V> {
    /// Compares the two.
    pub const fn new(observed: &'a BTreeMap<K, V>, desired: &'a BTreeMap<K, V>) -> Self {
        Self { observed, desired }
    }

    /// What is desired and not there.
    pub fn add(&self) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let observed = self.observed;
        self.desired.iter().filter(move |(key, _)| !observed.contains_key(*key))
    }

    /// What is there and desired otherwise: key, observed, desired.
    pub fn change(&self) -> impl Iterator<Item = (&'a K, &'a V, &'a V)> + use<'a, K, V> {
        let observed = self.observed;
        self.desired.iter().filter_map(move |(key, desired)| {
            let observed = observed.get(key)?;
            (observed != desired).then_some((key, observed, desired))
        })
    }

    /// What is there and not desired.
    pub fn remove(&self) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let desired = self.desired;
        self.observed.iter().filter(move |(key, _)| !desired.contains_key(*key))
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.observed == self.desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> impl Strategy<Value = BTreeMap<u8, u8>> {
        proptest::collection::btree_map(0..20u8, 0..3u8, 0..20)
    }

    proptest! {
        #[test]
        fn adding_changing_and_removing_makes_the_observed_into_the_desired(observed in table(), desired in table()) {
            let delta = DeltaTable::new(&observed, &desired);
            let mut result = observed.clone();
            for (key, value) in delta.remove() {
                prop_assert_eq!(result.remove(key), Some(*value));
            }
            for (key, value) in delta.add() {
                prop_assert_eq!(result.insert(*key, *value), None);
            }
            for (key, before, after) in delta.change() {
                prop_assert_eq!(result.insert(*key, *after), Some(*before));
            }
            prop_assert_eq!(&result, &desired);
            prop_assert_eq!(delta.is_empty(), observed == desired);
        }

        #[test]
        fn a_table_that_is_as_desired_needs_nothing(table in table()) {
            let delta = DeltaTable::new(&table, &table);
            prop_assert!(delta.is_empty());
            prop_assert_eq!(delta.add().count() + delta.change().count() + delta.remove().count(), 0);
        }
    }
}
