//! One data structure for every kernel table: desired against observed.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Iter;
use std::iter::Peekable;

/// What has to be done to make an observed table into a desired one. Order is that of the keys.
#[derive(Debug)]
pub struct DeltaTable<'o, 'd, K, V> {
    observed: &'o BTreeMap<K, V>,
    desired: &'d BTreeMap<K, V>,
}

impl<'o, 'd, K: Ord, V: PartialEq> DeltaTable<'o, 'd, K, V> {
    /// Compares the two.
    pub const fn new(observed: &'o BTreeMap<K, V>, desired: &'d BTreeMap<K, V>) -> Self {
        Self { observed, desired }
    }

    /// What is desired and not there.
    pub fn add(&self) -> impl Iterator<Item = (&'d K, &'d V)> + use<'o, 'd, K, V> {
        self.walk().filter_map(|pair| match pair {
            Pair::Desired(key, desired) => Some((key, desired)),
            Pair::Observed(_) | Pair::Both(..) => None,
        })
    }

    /// What is there and desired otherwise: key, observed, desired.
    pub fn change(&self) -> impl Iterator<Item = (&'d K, &'o V, &'d V)> + use<'o, 'd, K, V> {
        self.walk().filter_map(|pair| match pair {
            Pair::Both(key, observed, desired) => (observed != desired).then_some((key, observed, desired)),
            Pair::Observed(_) | Pair::Desired(..) => None,
        })
    }

    /// What is desired and not there as it should be: what [`Self::add`] and [`Self::change`] tell together.
    pub fn set(&self) -> impl Iterator<Item = (&'d K, &'d V)> + use<'o, 'd, K, V> {
        self.walk().filter_map(|pair| match pair {
            Pair::Desired(key, desired) => Some((key, desired)),
            Pair::Both(key, observed, desired) => (observed != desired).then_some((key, desired)),
            Pair::Observed(_) => None,
        })
    }

    /// What is there and not desired.
    pub fn remove(&self) -> impl Iterator<Item = &'o K> + use<'o, 'd, K, V> {
        self.walk().filter_map(|pair| match pair {
            Pair::Observed(key) => Some(key),
            Pair::Desired(..) | Pair::Both(..) => None,
        })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.observed == self.desired
    }

    fn walk(&self) -> Walk<'o, 'd, K, V> {
        Walk { observed: self.observed.iter().peekable(), desired: self.desired.iter().peekable() }
    }
}

/// What two tables have of one key.
enum Pair<'o, 'd, K, V> {
    Observed(&'o K),
    Desired(&'d K, &'d V),
    Both(&'d K, &'o V, &'d V),
}

/// Both tables side by side. Looking each key of one up in the other would cost many times as much, and each pass over
/// the kernel compares tables of thousands.
struct Walk<'o, 'd, K, V> {
    observed: Peekable<Iter<'o, K, V>>,
    desired: Peekable<Iter<'d, K, V>>,
}

impl<'o, 'd, K: Ord, V> Iterator for Walk<'o, 'd, K, V> {
    type Item = Pair<'o, 'd, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.observed.peek(), self.desired.peek()) {
            (Some((observed, _)), Some((desired, _))) => (*observed).cmp(*desired),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => self.observed.next().map(|(key, _)| Pair::Observed(key)),
            Ordering::Greater => self.desired.next().map(|(key, value)| Pair::Desired(key, value)),
            Ordering::Equal => {
                let ((_, observed), (key, desired)) = (self.observed.next()?, self.desired.next()?);
                Some(Pair::Both(key, observed, desired))
            }
        }
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
            for key in delta.remove() {
                prop_assert_eq!(result.remove(key), observed.get(key).copied());
            }
            for (key, value) in delta.add() {
                prop_assert_eq!(result.insert(*key, *value), None);
            }
            for (key, before, after) in delta.change() {
                prop_assert_eq!(result.insert(*key, *after), Some(*before));
            }
            prop_assert_eq!(&result, &desired);
            let set: BTreeMap<&u8, &u8> = delta.set().collect();
            let added = delta.add().chain(delta.change().map(|(key, _, desired)| (key, desired)));
            prop_assert_eq!(set, added.collect());
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
