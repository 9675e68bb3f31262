//! Containers as the runtime that runs them knows them.

use serde::{Deserialize, Serialize};

/// A container: how its runtime and how people call it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRef {
    /// The runtime's id: of Docker 64 hexadecimal digits.
    pub id: String,
    /// Its name on its host, which a user may change.
    pub name: String,
}

impl ContainerRef {
    /// The container that `wanted` names: by its whole name, else by the beginning of its id, as Docker takes both.
    /// None if nothing or more than one container fits.
    pub fn find<'a>(all: impl Iterator<Item = &'a Self> + Clone, wanted: &str) -> Option<&'a Self> {
        if wanted.is_empty() {
            return None;
        }
        if let Some(named) = all.clone().find(|container| container.name == wanted) {
            return Some(named);
        }
        // A container has as many endpoints as networks.
        let mut fitting = all.filter(|container| container.id.starts_with(wanted));
        let first = fitting.next()?;
        fitting.all(|other| other.id == first.id).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_by_its_name_before_the_beginning_of_its_id() {
        let container = |id: &str, name: &str| ContainerRef { id: id.to_owned(), name: name.to_owned() };
        let all = [
            container("ab12", "web"),
            container("ab12", "web"),
            container("ab34", "ab12"),
            container("c0", "db"),
        ];
        let find = |wanted: &str| ContainerRef::find(all.iter(), wanted).map(|found| found.name.as_str());
        assert_eq!(find("web"), Some("web"));
        assert_eq!(find("ab12"), Some("ab12"), "a name goes before an id");
        assert_eq!(find("ab1"), Some("web"), "one container with two endpoints");
        assert_eq!(find("ab"), None, "it might be either");
        assert_eq!(find("c"), Some("db"));
        assert_eq!((find(""), find("d")), (None, None));
    }
}
