//! Takes our networks out of an engine for good, where no agent runs any more: an engine removes no network whose
//! driver does not answer, and would wait for the driver at each of its starts.
//!
//! What must not live here: intent. The cluster's other engines keep their networks.

use crate::engine::{DRIVER, Engine};
use crate::error::DockerError;
use axum::Router;
use axum::http::Uri;
use axum::response::{IntoResponse, Json, Response};
use hopsack_api::server;
use serde_json::{Value, json};
use std::path::Path;

/// Removes every network of ours that no container uses from an engine; answers the names of the others. Listens at the
/// plugin's socket meanwhile. Must be called inside a tokio runtime.
pub async fn take_out(socket: &Path, engine: &dyn Engine) -> Result<Vec<String>, DockerError> {
    let ours = |network: &crate::EngineNetwork| network.driver == DRIVER;
    let networks: Vec<_> = engine.networks().await?.into_iter().filter(ours).collect();
    if networks.is_empty() {
        return Ok(Vec::new());
    }
    let listener = server::bind(socket)?;
    let calls = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(agree)).await });
    let mut kept = Vec::new();
    for network in networks {
        match engine.remove(&network.id).await {
            Ok(()) => {}
            Err(DockerError::Engine { .. }) => kept.push(network.name),
            Err(error) => {
                calls.abort();
                return Err(error);
            }
        }
    }
    calls.abort();
    // A socket file that nobody listens at makes each of Docker's calls wait for 15 s.
    if let Err(error) = std::fs::remove_file(socket) {
        tracing::debug!(%error, "the plugin's socket was not removed");
    }
    Ok(kept)
}

/// Agrees to whatever the engine says goodbye to.
async fn agree(uri: Uri) -> Response {
    let answer: Value = match uri.path() {
        "/Plugin.Activate" => json!({ "Implements": ["NetworkDriver", "IpamDriver"] }),
        "/NetworkDriver.GetCapabilities" => json!({ "Scope": "local", "ConnectivityScope": "global" }),
        "/IpamDriver.GetCapabilities" => {
            json!({ "RequiresMACAddress": false, "RequiresRequestReplay": true })
        }
        _ => json!({}),
    };
    Json(answer).into_response()
}
