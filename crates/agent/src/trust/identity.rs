//! Who this host is: read at start, written by `init` and `join`, counted up at every start.

use crate::error::AgentError;
use crate::statedir::StateDir;
use hopsack_types::{ClusterId, HostId, HostName, Incarnation};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

const FILE: &str = "identity.json";
/// Newest format of the state directory that this program writes and reads.
pub const FORMAT: u32 = 1;

/// A host's identity in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Format of the whole state directory.
    pub format: u32,
    /// The cluster.
    pub cluster: ClusterId,
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Counts starts; facts of an older one are overruled by those of a newer.
    pub incarnation: Incarnation,
    /// Whether this host votes on intent and keeps the CA's key.
    pub voter: bool,
    /// The underlay address that was given with `--advertise`; none: found by the default route at every start.
    pub advertise: Option<IpAddr>,
    /// Control port.
    pub control_port: u16,
    /// Hosts that were known at the last start, to be asked first when nobody else is known.
    pub seeds: Vec<SocketAddr>,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Identity {
    /// Reads the identity; none on a host that is in no cluster yet.
    pub fn load(dir: &StateDir) -> Result<Option<Self>, AgentError> {
        let Some(FormatOnly { format }) = dir.read_json(FILE)? else { return Ok(None) };
        if format > FORMAT {
            return Err(AgentError::NewerState { path: dir.path(FILE), found: format, known: FORMAT });
        }
        dir.read_json(FILE)
    }

    /// Writes the identity durably.
    pub fn save(&self, dir: &StateDir) -> Result<(), AgentError> {
        dir.write_json(FILE, self)
    }

    /// Reads the identity and counts this start, durably, before anything is said in its name.
    pub fn load_for_start(dir: &StateDir) -> Result<Option<Self>, AgentError> {
        let Some(mut identity) = Self::load(dir)? else { return Ok(None) };
        identity.incarnation = identity.incarnation.next();
        identity.save(dir)?;
        Ok(Some(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            format: FORMAT,
            cluster: ClusterId::from_bytes([1; 16]),
            host: HostId::from_bytes([2; 16]),
            name: "h1".parse().unwrap(),
            incarnation: Incarnation(1),
            voter: true,
            advertise: None,
            control_port: 4677,
            seeds: vec![],
        }
    }

    #[test]
    fn every_start_is_counted_before_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        assert_eq!(Identity::load_for_start(&dir).unwrap(), None);
        identity().save(&dir).unwrap();
        assert_eq!(Identity::load_for_start(&dir).unwrap().unwrap().incarnation, Incarnation(2));
        assert_eq!(Identity::load(&dir).unwrap().unwrap().incarnation, Incarnation(2));
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        dir.write(FILE, br#"{"format": 2, "colour": "red"}"#).unwrap();
        let error = Identity::load_for_start(&dir).unwrap_err().to_string();
        assert!(error.contains("newer hopsack"), "{error}");
        assert_eq!(dir.read(FILE).unwrap().unwrap(), br#"{"format": 2, "colour": "red"}"#);
    }
}
