//! Paths of the calls on the socket: the one table that server and client share.

use crate::VERSION;

pub(crate) const INIT: &str = "/v1/cluster/init";
pub(crate) const JOIN: &str = "/v1/cluster/join";
pub(crate) const CREATE_TOKEN: &str = "/v1/tokens/create";
pub(crate) const TOKENS: &str = "/v1/tokens";
pub(crate) const REVOKE_TOKEN: &str = "/v1/tokens/revoke";
pub(crate) const STATUS: &str = "/v1/status";
pub(crate) const EXAMINE: &str = "/v1/examine";
pub(crate) const IPAM: &str = "/v1/ipam";
pub(crate) const EVENTS: &str = "/v1/events";
pub(crate) const FOLLOW_EVENTS: &str = "/v1/events/follow";
pub(crate) const HOSTS: &str = "/v1/hosts";
pub(crate) const REMOVE_HOST: &str = "/v1/hosts/remove";
pub(crate) const RESOURCES: &str = "/v1/resources";
pub(crate) const WRITE_RESOURCES: &str = "/v1/resources/write";
pub(crate) const LABEL_RESOURCE: &str = "/v1/resources/label";
pub(crate) const FOLLOW_RESOURCES: &str = "/v1/resources/follow";
pub(crate) const PROPOSE_SUBNET: &str = "/v1/subnets/propose";
pub(crate) const NETWORKS: &str = "/v1/networks";
pub(crate) const CREATE_NETWORK: &str = "/v1/networks/create";
pub(crate) const NAME_NETWORK: &str = "/v1/networks/name";
pub(crate) const CHANGE_NETWORK: &str = "/v1/networks/change";
pub(crate) const REMOVE_NETWORK: &str = "/v1/networks/remove";
pub(crate) const ALLOCATE: &str = "/v1/addresses/allocate";
pub(crate) const RELEASE: &str = "/v1/addresses/release";
pub(crate) const ENDPOINTS: &str = "/v1/endpoints";
pub(crate) const CREATE_ENDPOINT: &str = "/v1/endpoints/create";
pub(crate) const REMOVE_ENDPOINT: &str = "/v1/endpoints/remove";
pub(crate) const NAME_ENDPOINT: &str = "/v1/endpoints/name";
pub(crate) const PUBLISH: &str = "/v1/endpoints/publish";
pub(crate) const UNPUBLISH: &str = "/v1/endpoints/unpublish";
pub(crate) const ATTACH: &str = "/v1/namespaces/attach";
pub(crate) const DETACH: &str = "/v1/namespaces/detach";

/// What an agent says about a path that it does not know.
pub(crate) fn mismatch(path: &str) -> String {
    let asked = path.strip_prefix("/v").and_then(|rest| rest.split('/').next()?.parse::<u32>().ok());
    match asked {
        Some(asked) if asked < VERSION => format!(
            "this hopsack is older than the agent that runs (interface {asked}, the agent's is {VERSION}): \
             restart the agent"
        ),
        Some(asked) if asked > VERSION => format!(
            "this hopsack is newer than the agent that runs (interface {asked}, the agent's is {VERSION}): \
             restart the agent"
        ),
        _ => {
            format!(
                "the agent that runs knows no {path}: if this hopsack is newer than it, restart the agent"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_begins_with_the_version() {
        let all = [
            INIT,
            JOIN,
            CREATE_TOKEN,
            TOKENS,
            REVOKE_TOKEN,
            STATUS,
            EXAMINE,
            IPAM,
            EVENTS,
            FOLLOW_EVENTS,
            HOSTS,
            REMOVE_HOST,
            RESOURCES,
            WRITE_RESOURCES,
            LABEL_RESOURCE,
            FOLLOW_RESOURCES,
            PROPOSE_SUBNET,
            NETWORKS,
            CREATE_NETWORK,
            NAME_NETWORK,
            CHANGE_NETWORK,
            REMOVE_NETWORK,
            ALLOCATE,
            RELEASE,
            ENDPOINTS,
            CREATE_ENDPOINT,
            REMOVE_ENDPOINT,
            NAME_ENDPOINT,
            PUBLISH,
            UNPUBLISH,
            ATTACH,
            DETACH,
        ];
        for path in all {
            assert!(path.starts_with(&format!("/v{VERSION}/")), "{path}");
        }
    }

    #[test]
    fn another_version_is_told_from_an_unknown_path() {
        assert!(mismatch("/v0/status").contains("older"));
        assert!(mismatch("/v2/status").contains("newer than the agent"));
        assert!(mismatch("/v1/nothing").contains("knows no /v1/nothing"));
        assert!(mismatch("nonsense").contains("knows no nonsense"));
    }
}
