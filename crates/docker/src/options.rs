//! What users say by `-o` and `--ipam-opt`. An option that nobody reads is refused, not ignored.

use crate::error::DockerError;
use crate::wire;
use hopsack_types::{Isolation, NetworkId};
use serde_json::Value;
use std::collections::BTreeMap;

/// Marks Docker's copy of a network that exists in intent; its value is the network's id. As an option of the
/// network and of its IPAM alike, since each kind of call carries only its own.
pub(crate) const NETWORK: &str = "hopsack.network";
/// Sets [`Isolation`].
const ISOLATION: &str = "hopsack.isolation";

/// A network's options.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkOptions {
    /// Set on a mirrored copy.
    pub(crate) network: Option<NetworkId>,
    pub(crate) isolation: Isolation,
}

impl NetworkOptions {
    /// Reads the `Options` of a `CreateNetwork` call.
    pub(crate) fn read(options: &BTreeMap<String, Value>) -> Result<Self, DockerError> {
        if options.get(wire::INTERNAL) == Some(&Value::Bool(true)) {
            return Err(DockerError::Unsupported { flag: "--internal" });
        }
        let mut read = Self::default();
        let Some(Value::Object(given)) = options.get(wire::GENERIC) else { return Ok(read) };
        for (key, value) in given {
            let value = value.as_str().unwrap_or_default();
            match key.as_str() {
                NETWORK => read.network = Some(value.parse()?),
                ISOLATION => read.isolation = isolation(value)?,
                _ => {
                    let option = key.clone();
                    return Err(DockerError::UnknownOption { flag: "-o", option, known: ISOLATION });
                }
            }
        }
        Ok(read)
    }
}

fn isolation(value: &str) -> Result<Isolation, DockerError> {
    match value {
        "full" => Ok(Isolation::Full),
        "none" => Ok(Isolation::None),
        _ => Err(DockerError::OptionValue {
            option: ISOLATION,
            value: value.to_owned(),
            rule: "write none (reachable from all networks that say none) or full (from its own containers only)",
        }),
    }
}

/// Reads a `RequestPool` call's options: the network that a mirrored copy's pool belongs to.
pub(crate) fn pool_network(options: &wire::Options) -> Result<Option<NetworkId>, DockerError> {
    let mut network = None;
    for (key, value) in options.iter().flatten() {
        if key != NETWORK {
            let option = key.clone();
            return Err(DockerError::UnknownOption { flag: "--ipam-opt", option, known: "none" });
        }
        network = Some(value.parse()?);
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(options: Value) -> Result<NetworkOptions, String> {
        let options = serde_json::from_value(options).unwrap();
        NetworkOptions::read(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_known_ones() {
        let error = read(json!({ wire::GENERIC: { "foo": "bar" } })).unwrap_err();
        assert_eq!(error, "unknown option -o foo; known: hopsack.isolation");
        let error = pool_network(&Some(BTreeMap::from([("k".to_owned(), "v".to_owned())]))).unwrap_err();
        assert!(error.to_string().contains("--ipam-opt k"));
    }

    #[test]
    fn isolation_is_full_unless_told_otherwise() {
        assert_eq!(read(json!({})).unwrap().isolation, Isolation::Full);
        assert_eq!(read(json!({ wire::GENERIC: null })).unwrap().isolation, Isolation::Full);
        assert_eq!(read(json!({ wire::GENERIC: { ISOLATION: "none" } })).unwrap().isolation, Isolation::None);
        assert!(read(json!({ wire::GENERIC: { ISOLATION: "some" } })).unwrap_err().contains("write none"));
    }

    #[test]
    fn an_internal_network_is_refused_rather_than_made_an_open_one() {
        assert!(read(json!({ wire::INTERNAL: true })).unwrap_err().contains("--internal"));
        read(json!({ wire::INTERNAL: false })).unwrap();
    }
}
