//! The plugin's socket: which call goes where, and the dialect of answers. Errors are HTTP 200 with `Err` or
//! `Error`; HTTP 404 means "not implemented" to Docker.

use crate::error::DockerError;
use crate::ipam::{ADDRESS_SPACE, IpamDriver};
use crate::network::NetworkDriver;
use crate::wire;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::{debug, warn};

/// Both drivers behind one socket.
pub(crate) struct Plugin {
    pub(crate) network: NetworkDriver,
    pub(crate) ipam: IpamDriver,
}

/// An answer in the form of the call's own half of the protocol.
type Answer = Result<Value, DockerError>;

impl Plugin {
    /// Answers one call; none if there is no such method.
    pub(crate) async fn call(&self, method: &str, body: &[u8]) -> Option<Value> {
        let (answer, error_key) = match method.split_once('.')? {
            ("Plugin", "Activate") => (Ok(json!({ "Implements": ["NetworkDriver", "IpamDriver"] })), "Err"),
            ("NetworkDriver", call) => (self.network_call(call, method, body).await?, "Err"),
            ("IpamDriver", call) => (self.ipam_call(call, method, body).await?, "Error"),
            _ => return None,
        };
        Some(answer.unwrap_or_else(|error| {
            warn!(method, %error, "refused a call of Docker");
            json!({ error_key: error.to_string() })
        }))
    }

    async fn network_call(&self, call: &str, method: &str, body: &[u8]) -> Option<Answer> {
        let driver = &self.network;
        Some(match call {
            // Local: each engine has its networks; the mirror makes them the same. Global: they reach other hosts.
            "GetCapabilities" => Ok(json!({ "Scope": "local", "ConnectivityScope": "global" })),
            "CreateNetwork" => run(method, body, async |r| driver.create_network(r).await).await,
            "DeleteNetwork" => run(method, body, async |r| driver.delete_network(r).await).await,
            "CreateEndpoint" => run(method, body, async |r| driver.create_endpoint(r).await).await,
            "DeleteEndpoint" => run(method, body, async |r| driver.delete_endpoint(r).await).await,
            "Join" => run(method, body, async |r| driver.join(r).await).await,
            "ProgramExternalConnectivity" => run(method, body, async |r| driver.publish(r).await).await,
            "RevokeExternalConnectivity" => run(method, body, async |r| driver.unpublish(r).await).await,
            "EndpointOperInfo" => Ok(json!({ "Value": {} })),
            // Docker replaces the user's options by the answer.
            "AllocateNetwork" => run(method, body, async |r: wire::AllocateNetwork| Ok(r)).await,
            "FreeNetwork" | "Leave" | "DiscoverNew" | "DiscoverDelete" => Ok(json!({})),
            _ => return None,
        })
    }

    async fn ipam_call(&self, call: &str, method: &str, body: &[u8]) -> Option<Answer> {
        let driver = &self.ipam;
        Some(match call {
            "GetCapabilities" => Ok(json!({ "RequiresMACAddress": false, "RequiresRequestReplay": true })),
            "GetDefaultAddressSpaces" => Ok(json!({
                "LocalDefaultAddressSpace": ADDRESS_SPACE,
                "GlobalDefaultAddressSpace": ADDRESS_SPACE,
            })),
            "RequestPool" => run(method, body, async |r| driver.request_pool(r).await).await,
            "ReleasePool" => run(method, body, async |r| driver.release_pool(r)).await,
            "RequestAddress" => run(method, body, async |r| driver.request_address(r).await).await,
            "ReleaseAddress" => run(method, body, async |r| driver.release_address(r).await).await,
            _ => return None,
        })
    }
}

/// Reads a body, makes the call and writes its answer. An engine that asks again because an answer did not come has spent the
/// body on its first try (seen up to 20.10): what it wants is not known, and must not be guessed.
async fn run<Q, A>(method: &str, body: &[u8], call: impl AsyncFnOnce(Q) -> Result<A, DockerError>) -> Answer
where
    Q: DeserializeOwned,
    A: Serialize,
{
    let method = || method.to_owned();
    let malformed = |source| DockerError::Call { method: method(), source };
    let request = match body.trim_ascii() {
        b"" => None,
        body => serde_json::from_slice::<Option<Q>>(body).map_err(malformed)?,
    };
    let answer = call(request.ok_or_else(|| DockerError::Bodiless { method: method() })?).await?;
    match serde_json::to_value(answer).map_err(malformed)? {
        Value::Null => Ok(json!({})),
        answer => Ok(answer),
    }
}

/// The HTTP side.
pub(crate) fn router(plugin: Arc<Plugin>) -> Router {
    Router::new().fallback(serve_call).with_state(plugin)
}

async fn serve_call(State(plugin): State<Arc<Plugin>>, uri: Uri, body: Bytes) -> Response {
    let method = uri.path().trim_start_matches('/');
    let answer = plugin.call(method, &body).await;
    debug!(method, body = %String::from_utf8_lossy(&body), ?answer, "a call of Docker");
    let (status, text) = match answer {
        Some(answer) => (StatusCode::OK, answer.to_string()),
        None => (StatusCode::NOT_FOUND, String::new()),
    };
    (status, [(CONTENT_TYPE, wire::CONTENT_TYPE)], text).into_response()
}
