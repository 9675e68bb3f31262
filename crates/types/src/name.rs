//! Names that people give. Each type accepts what every consumer of it accepts (DNS labels, Docker, the kernel).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Free key-value pairs on a resource, as Docker and Kubernetes have them.
pub type Labels = BTreeMap<String, String>;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} name {text:?} is not valid: {rule}")]
pub struct NameError {
    /// Which kind of name was expected.
    pub what: &'static str,
    /// What was found.
    pub text: String,
    /// What would be right.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:path, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses and checks the name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if $valid(&text) { Ok(Self(text)) } else { Err(NameError { what: $what, text, rule: $rule }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

const HOST_RULE: &str = "use 1 to 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit";
const DOCKER_RULE: &str =
    "use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit";
const IF_RULE: &str = "use 1 to 15 characters without '/', ':' or white space, and not '.' or '..'";

name!(
    /// A host's name: unique in its cluster, a DNS label sequence.
    HostName, "host", is_host_name, HOST_RULE
);
name!(
    /// A network's name, as `docker network create` accepts it.
    NetworkName, "network", is_docker_name, DOCKER_RULE
);
name!(
    /// A pool's name.
    PoolName, "pool", is_docker_name, DOCKER_RULE
);
name!(
    /// A network interface's name: what the kernel's `dev_valid_name` accepts.
    IfName, "interface", is_if_name, IF_RULE
);

impl IfName {
    /// The loopback device, which every network namespace has.
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }
}

fn is_host_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.chars().all(|c| edge(c) || c == '-' || c == '.')
        && text.starts_with(edge)
        && text.ends_with(edge)
}

fn is_docker_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_if_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_follow_the_kernels_rule() {
        assert!(IfName::new("hopc0123456789").is_ok());
        for bad in ["", "a/b", "sixteen-letters-", ".", "..", "a b", "a:b"] {
            assert!(IfName::new(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_wrong_name_is_told_with_its_rule() {
        let error = HostName::new("H1").unwrap_err().to_string();
        assert!(error.contains("\"H1\"") && error.contains("a-z"), "{error}");
    }
}
