//! Handles: who holds an address. What must not live here: what a holder is; only the front door that made it knows.

use crate::error::IpamError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest handle in bytes.
pub const MAX_HANDLE: usize = 255;

/// Who holds an address: the front door's kind and its own id of the holder, written `kind:id`, as in
/// `docker:4bf1…` or `cni:7c20…/eth0`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handle(Arc<str>);

impl Handle {
    /// Makes the handle. Neither part may be empty or hold blanks or control characters, the kind no colon; at most
    /// [`MAX_HANDLE`] bytes together.
    pub fn new(kind: &str, id: &str) -> Result<Self, IpamError> {
        format!("{kind}:{id}").parse()
    }

    /// The front door that made it.
    pub fn kind(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(kind, _)| kind)
    }

    /// The front door's own id of the holder.
    pub fn id(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, id)| id)
    }

    /// Both parts, as they are written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Handle {
    type Err = IpamError;
    fn from_str(text: &str) -> Result<Self, IpamError> {
        let printable = |c: char| !c.is_whitespace() && !c.is_control();
        let right = text.len() <= MAX_HANDLE
            && text.chars().all(printable)
            && text.split_once(':').is_some_and(|(kind, id)| !kind.is_empty() && !id.is_empty());
        if right { Ok(Self(text.into())) } else { Err(IpamError::BadHandle(text.to_owned())) }
    }
}

impl TryFrom<String> for Handle {
    type Error = IpamError;
    fn try_from(text: String) -> Result<Self, IpamError> {
        text.parse()
    }
}

impl From<Handle> for String {
    fn from(handle: Handle) -> String {
        handle.0.as_ref().to_owned()
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_reads_back_as_it_was_written() {
        let handle = Handle::new("cni", "7c20:x/eth0").unwrap();
        assert_eq!((handle.kind(), handle.id()), ("cni", "7c20:x/eth0"));
        assert_eq!(handle.as_str().parse::<Handle>().unwrap(), handle);
    }

    #[test]
    fn a_handle_without_a_kind_or_with_blanks_is_refused() {
        for text in ["", "abc", ":abc", "docker:", "docker:a b", "docker:a\n"] {
            assert!(text.parse::<Handle>().is_err(), "{text:?}");
        }
        assert!(Handle::new("docker", &"a".repeat(MAX_HANDLE)).is_err());
    }
}
