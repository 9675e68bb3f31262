//! What users say by `-o` and `--ipam-opt`, and how Docker's copies of networks are marked. What an option of a network
//! means is in [`hopsack_types::option`]; Hopsack's addresses have none.

use crate::error::DockerError;
use crate::wire;
use hopsack_types::{NetworkId, NetworkOptions};
use serde_json::Value;
use std::collections::BTreeMap;

/// Marks Docker's copy of a network that exists in intent; its value is the network's id. Compose takes a network that has
/// another option than its file for another network, except for a few that engines add by themselves. This is one of
/// those, the network's id in another system, and engines on Linux leave it alone.
pub(crate) const COPY_OF: &str = "com.docker.network.windowsshim.hnsid";

/// What a `CreateNetwork` call asks for, beside addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Set on a mirrored copy.
    pub(crate) network: Option<NetworkId>,
    /// `--internal`.
    pub(crate) internal: bool,
    /// `-o`.
    pub(crate) options: NetworkOptions,
}

impl Asked {
    /// Reads the `Options` of a `CreateNetwork` call.
    pub(crate) fn read(options: &BTreeMap<String, Value>) -> Result<Self, DockerError> {
        let internal = options.get(wire::INTERNAL) == Some(&Value::Bool(true));
        let mut read = Self { internal, ..Self::default() };
        let Some(Value::Object(given)) = options.get(wire::GENERIC) else { return Ok(read) };
        for (key, value) in given {
            let value = value.as_str().unwrap_or_default();
            match key.as_str() {
                COPY_OF => read.network = Some(value.parse()?),
                key => read.options.set(key, value)?,
            }
        }
        Ok(read)
    }
}

/// Refuses what a `RequestPool` call has for options.
pub(crate) fn no_pool_options(options: &wire::Options) -> Result<(), DockerError> {
    match options.iter().flatten().next() {
        Some((option, _)) => Err(DockerError::UnknownIpamOption { option: option.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsack_types::{Exit, Isolation, OptionKey};
    use serde_json::json;

    fn read(options: Value) -> Result<Asked, String> {
        let options = serde_json::from_value(options).unwrap();
        Asked::read(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_option_is_refused_with_what_was_meant_or_can_be_said() {
        let error = read(json!({ wire::GENERIC: { "hopsack.isolate": "none" } })).unwrap_err();
        assert_eq!(error, "-o: unknown option hopsack.isolate; did you mean hopsack.isolation?");
        let error = no_pool_options(&Some(BTreeMap::from([("k".to_owned(), "v".to_owned())]))).unwrap_err();
        assert!(error.to_string().contains("--ipam-opt k"));
    }

    #[test]
    fn nothing_is_asked_for_unless_it_is_said() {
        for nothing in [json!({}), json!({ wire::GENERIC: null }), json!({ wire::INTERNAL: false })] {
            assert_eq!(read(nothing).unwrap(), Asked::default());
        }
        let all = json!({
            wire::INTERNAL: true,
            wire::GENERIC: {
                "hopsack.isolation": "none", "hopsack.gateway": "docker", "com.docker.network.driver.mtu": "1400",
            },
        });
        let options = NetworkOptions {
            isolation: Isolation::None,
            exit: Exit::Docker,
            mtu: Some(1400),
            said: [OptionKey::Isolation, OptionKey::Gateway, OptionKey::Mtu].into(),
        };
        assert_eq!(read(all).unwrap(), Asked { network: None, internal: true, options });
        assert!(
            read(json!({ wire::GENERIC: { "hopsack.isolation": "some" } }))
                .unwrap_err()
                .contains("write full")
        );
    }
}
