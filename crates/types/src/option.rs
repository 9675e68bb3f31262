//! What users say about a network by `KEY=VALUE`: Docker's `-o` and `hopsack network create --opt`. An option that
//! nobody reads is refused, not ignored.

use crate::nearest::nearest;
use crate::resource::{Exit, Isolation, Network};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Sets [`Isolation`].
pub const ISOLATION: &str = "hopsack.isolation";
/// Sets [`Exit`].
pub const GATEWAY: &str = "hopsack.gateway";
/// Sets the MTU; of Docker's own options, the one that all its drivers know.
pub const MTU: &str = "com.docker.network.driver.mtu";

/// All keys.
const KEYS: [&str; 3] = [ISOLATION, GATEWAY, MTU];

/// Every IPv4 host takes this much in one packet (RFC 791).
pub const LEAST_MTU_V4: u32 = 576;
/// Every IPv6 link carries this much in one packet (RFC 8200).
pub const LEAST_MTU_V6: u32 = 1280;
/// The largest packet there is.
pub const LARGEST_MTU: u32 = 65_535;

/// An option, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OptionKey {
    /// [`ISOLATION`]
    #[serde(rename = "hopsack.isolation")]
    Isolation,
    /// [`GATEWAY`]
    #[serde(rename = "hopsack.gateway")]
    Gateway,
    /// [`MTU`]
    #[serde(rename = "com.docker.network.driver.mtu")]
    Mtu,
}

/// A network's options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Reachability from other networks.
    pub isolation: Isolation,
    /// Where its containers' default route goes in Docker.
    pub exit: Exit,
    /// The largest packet that its containers send, bytes.
    pub mtu: Option<u32>,
    /// Those that the user has said, also where they say what is so anyway: engines show them, and Compose compares them
    /// with its file.
    pub said: BTreeSet<OptionKey>,
}

/// Why an option is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A key that nobody reads.
    #[error("unknown option {key}; {}", Hint(key))]
    Unknown {
        /// The key.
        key: String,
    },
    /// A value that the key does not take.
    #[error("{key}={value} is not valid: {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What would be right.
        rule: &'static str,
    },
}

impl NetworkOptions {
    /// Takes in one option; one that is given again counts as it was given last.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        let refuse = |key, rule| OptionError::Value { key, value: value.to_owned(), rule };
        let said = match key {
            ISOLATION => {
                self.isolation = match value {
                    "full" => Isolation::Full,
                    "none" => Isolation::None,
                    _ => {
                        return Err(refuse(
                            ISOLATION,
                            "write full (only its own containers) or none (all networks that say none)",
                        ));
                    }
                };
                OptionKey::Isolation
            }
            GATEWAY => {
                self.exit = match value {
                    "hopsack" => Exit::Hopsack,
                    "docker" => Exit::Docker,
                    _ => {
                        return Err(refuse(
                            GATEWAY,
                            "write hopsack or docker (a second interface on Docker's gateway bridge)",
                        ));
                    }
                };
                OptionKey::Gateway
            }
            MTU => {
                let bytes = value.parse().ok().filter(|bytes| (LEAST_MTU_V4..=LARGEST_MTU).contains(bytes));
                self.mtu = Some(
                    bytes.ok_or_else(|| refuse(MTU, "write bytes, from 576 (with IPv6: 1280) to 65535"))?,
                );
                OptionKey::Mtu
            }
            _ => return Err(OptionError::Unknown { key: key.to_owned() }),
        };
        self.said.insert(said);
        Ok(())
    }

    /// Those of a network.
    pub fn of(network: &Network) -> Self {
        let Network { isolation, exit, mtu, .. } = *network;
        Self { isolation, exit, mtu, said: network.said.clone() }
    }

    /// Keys and values that say the same: what was said, and what is not so anyway.
    pub fn shown(&self) -> Vec<(&'static str, String)> {
        let said = |key| self.said.contains(&key);
        let isolation = match self.isolation {
            Isolation::None => Some("none"),
            Isolation::Full => said(OptionKey::Isolation).then_some("full"),
        };
        let exit = match self.exit {
            Exit::Docker => Some("docker"),
            Exit::Hopsack => said(OptionKey::Gateway).then_some("hopsack"),
        };
        let words = [(ISOLATION, isolation), (GATEWAY, exit)].into_iter();
        let words = words.filter_map(|(key, value)| Some((key, value?.to_owned())));
        words.chain(self.mtu.map(|bytes| (MTU, bytes.to_string()))).collect()
    }
}

/// Shows which key was meant, if one is near, else all keys.
struct Hint<'a>(&'a str);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// So many letters may be wrong, of keys with more than a dozen.
        const NEAR: usize = 4;
        match nearest(self.0, &KEYS, NEAR) {
            Some(key) => write!(f, "did you mean {key}?"),
            None => write!(f, "known: {}", KEYS.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Result<NetworkOptions, String> {
        let mut options = NetworkOptions::default();
        options.set(key, value).map_err(|error| error.to_string())?;
        Ok(options)
    }

    #[test]
    fn what_is_said_is_read_back() {
        for (key, value) in [(ISOLATION, "none"), (GATEWAY, "docker"), (MTU, "1400")] {
            assert_eq!(set(key, value).unwrap().shown(), [(key, value.to_owned())]);
        }
        // What is so anyway is shown where it was said: Compose compares it with its file.
        for (key, value) in [(ISOLATION, "full"), (GATEWAY, "hopsack")] {
            let said = set(key, value).unwrap();
            assert_eq!(said.shown(), [(key, value.to_owned())]);
            assert_eq!(NetworkOptions { said: BTreeSet::new(), ..said }, NetworkOptions::default());
        }
        assert_eq!(NetworkOptions::default().shown(), []);
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_nearest_right_name() {
        for (wrong, right) in [
            ("hopsack.isolaton", "did you mean hopsack.isolation?"),
            ("isolation", "known: hopsack.isolation, hopsack.gateway, com.docker.network.driver.mtu"),
            ("hopsack.gatway", "did you mean hopsack.gateway?"),
            ("com.docker.network.mtu", "known:"),
            ("com.docker.network.driver.mtus", "did you mean com.docker.network.driver.mtu?"),
            ("", "known:"),
        ] {
            let told = set(wrong, "x").unwrap_err();
            assert!(told.starts_with(&format!("unknown option {wrong}; ")) && told.contains(right), "{told}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_right_ones() {
        for (key, values, words) in [
            (ISOLATION, &["", "some"][..], "write full"),
            (GATEWAY, &["10.0.0.1", ""][..], "write hopsack or docker"),
            (MTU, &["0", "575", "65536", "-1", "big"][..], "from 576"),
        ] {
            for value in values {
                let told = set(key, value).unwrap_err();
                assert!(told.contains(words), "{told}");
            }
        }
    }
}
