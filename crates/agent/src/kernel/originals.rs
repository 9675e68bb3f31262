//! What settings of the host were before the agent first changed them, on disk before it does: the only trace of ours
//! that its removal cannot find in the kernel.
//!
//! Settings of our own links are left out, for they go with the links. Those of an earlier boot went with it. What must
//! not live here: writing settings.

use crate::error::AgentError;
use crate::statedir::StateDir;
use hopsack_plan::HostState;
use hopsack_plan::delta::DeltaTable;
use hopsack_types::IfName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const FILE: &str = "settings.json";

/// A setting that is no longer what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Its value before.
    pub before: String,
    /// What the agent wrote last.
    pub ours: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    boot: String,
    settings: BTreeMap<String, Original>,
}

/// The settings of one host, by path below `/proc/sys`.
#[derive(Debug)]
pub struct Originals {
    dir: StateDir,
    record: Record,
    /// Whether the file says the same.
    saved: bool,
}

impl Originals {
    /// Reads what is known of this boot.
    pub fn load(dir: StateDir, boot: &str) -> Result<Self, AgentError> {
        let known = dir.read_json(FILE)?.filter(|record: &Record| record.boot == boot);
        let saved = known.is_some();
        let record = known.unwrap_or_else(|| Record { boot: boot.to_owned(), ..Record::default() });
        Ok(Self { dir, record, saved })
    }

    /// Whether it takes a look at the settings to know what an apply is about to change.
    pub fn lacks(&self, observed: &HostState, desired: &HostState) -> bool {
        let known = |name| self.record.settings.contains_key(name);
        let mut added = DeltaTable::new(&observed.sysctls, &desired.sysctls).add();
        added.any(|(name, _)| !known(name) && !is_of_ours(name, observed, desired))
    }

    /// Takes in what is about to be changed. What could not be written is kept in memory and tried again next time.
    pub fn keep(&mut self, observed: &HostState, desired: &HostState) -> Result<(), AgentError> {
        for (setting, now, ours) in DeltaTable::new(&observed.sysctls, &desired.sysctls).change() {
            if is_of_ours(setting, observed, desired) {
                continue;
            }
            let known = self.record.settings.get_mut(setting);
            match known {
                Some(known) if known.ours == *ours => continue,
                Some(known) => known.ours.clone_from(ours),
                None => {
                    let original = Original { before: now.clone(), ours: ours.clone() };
                    self.record.settings.insert(setting.clone(), original);
                }
            }
            self.saved = false;
        }
        if !self.saved && !self.record.settings.is_empty() {
            self.dir.write_json(FILE, &self.record)?;
            self.saved = true;
        }
        Ok(())
    }

    /// All that was changed.
    pub const fn all(&self) -> &BTreeMap<String, Original> {
        &self.record.settings
    }

    /// Everything is as it was.
    pub fn forget(&mut self) -> Result<(), AgentError> {
        self.record.settings.clear();
        self.dir.remove(FILE)
    }
}

/// Whether a setting is one of a link of ours.
fn is_of_ours(setting: &str, observed: &HostState, desired: &HostState) -> bool {
    let is_link = |part: &str| {
        IfName::new(part)
            .is_ok_and(|name| observed.links.contains_key(&name) || desired.links.contains_key(&name))
    };
    setting.split('/').any(is_link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const FORWARDING: &str = "net/ipv4/ip_forward";
    const FILTER: &str = "net/ipv4/conf/eth0/rp_filter";

    fn open(folder: &TempDir, boot: &str) -> Originals {
        Originals::load(StateDir::open(folder.path()).unwrap(), boot).unwrap()
    }

    fn state(settings: &[(&str, &str)]) -> HostState {
        let sysctls =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HostState { sysctls, ..HostState::default() }
    }

    fn known(originals: &Originals) -> Vec<(&str, &str, &str)> {
        let all = originals.all().iter();
        all.map(|(name, original)| (name.as_str(), original.before.as_str(), original.ours.as_str()))
            .collect()
    }

    #[test]
    fn the_value_before_the_first_change_outlives_the_agent_and_what_others_write_later() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = state(&[(FORWARDING, "1"), (FILTER, "2")]);
        open(&folder, "a").keep(&state(&[(FORWARDING, "0"), (FILTER, "2")]), &wanted).unwrap();
        let mut again = open(&folder, "a");
        assert_eq!(known(&again), [(FORWARDING, "0", "1")]);
        again.keep(&state(&[(FORWARDING, "3"), (FILTER, "1")]), &wanted).unwrap();
        assert_eq!(known(&open(&folder, "a")), [(FILTER, "1", "2"), (FORWARDING, "0", "1")]);
        again.keep(&state(&[(FORWARDING, "1")]), &state(&[(FORWARDING, "4")])).unwrap();
        assert_eq!(known(&open(&folder, "a"))[1], (FORWARDING, "0", "4"));
    }

    #[test]
    fn another_boot_has_values_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder, "a").keep(&state(&[(FORWARDING, "0")]), &state(&[(FORWARDING, "1")])).unwrap();
        let mut next = open(&folder, "b");
        assert!(next.lacks(&state(&[]), &state(&[(FORWARDING, "1")])), "nobody has looked");
        assert_eq!(known(&next), []);
        next.keep(&state(&[(FORWARDING, "1")]), &state(&[(FORWARDING, "1")])).unwrap();
        assert_eq!(known(&open(&folder, "b")), []);
    }

    #[test]
    fn settings_of_our_own_links_and_missing_ones_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut originals = open(&folder, "a");
        let link = hopsack_plan::state::Link {
            kind: hopsack_plan::state::LinkKind::Holder,
            alias: String::new(),
            mtu: 1500,
            mac: None,
            up: true,
        };
        let mut wanted = state(&[("net/ipv4/conf/hop0/rp_filter", "0"), (FORWARDING, "1")]);
        wanted.links.insert("hop0".parse().unwrap(), link);
        originals.keep(&state(&[("net/ipv4/conf/hop0/rp_filter", "1")]), &wanted).unwrap();
        assert_eq!(known(&originals), []);
    }
}
