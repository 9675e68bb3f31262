//! The port that Prometheus asks, and whoever watches over the agent: HTTP/1.1, `/metrics`, `/healthz`, `/readyz`.
//!
//! What must not live here: what is answered (`metrics`).

use crate::agent::Agent;
use crate::metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hopsack_api::Fault;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// A port that another program has is tried again this much later.
const RETRY: Duration = Duration::from_secs(5);
/// What the text is (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers until dropped. A port that cannot be had is a fault of the agent, which does all else without it.
pub async fn serve(agent: Arc<Agent>, address: SocketAddr) {
    loop {
        let failure = match TcpListener::bind(address).await {
            Ok(listener) => {
                agent.set_unserved(None);
                tracing::info!(%address, "metrics are served");
                axum::serve(listener, router(agent.clone())).await.err()
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failure {
            let text = format!(
                "metrics are not served at {address} ({error}): end what has that port, or give the agent another with \
                 --metrics ADDRESS:PORT"
            );
            if agent.faults().is_empty() {
                tracing::warn!("{text}");
            }
            let next = format!("ss -lntp 'sport = :{}'", address.port());
            agent.set_unserved(Some(Fault::new(text, next)));
        }
        sleep(RETRY).await;
    }
}

fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/metrics", get(page))
        // Whoever gets this was answered by the thread that does all the agent's work.
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readiness))
        .with_state(agent)
}

async fn page(State(agent): State<Arc<Agent>>) -> Response {
    match metrics::page(&agent) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn readiness(State(agent): State<Arc<Agent>>) -> Response {
    let reasons = metrics::unready(&agent);
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}
