//! HTTP/1.1 over the unix socket, in front of an [`Api`]: one path per call, JSON both ways. A refusal is an HTTP
//! error status with an [`ApiError`] as its body.

use crate::{Api, ApiError, ErrorCode, Event, Events, EventsRequest, route};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;

/// Why a socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("somebody already answers at {}: stop that agent first (systemctl stop hopsack)", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Makes a listening unix socket that only root can connect to (mode 0600, never wider even for a moment). Makes the
/// folder if there is none; replaces a socket that a dead process left behind, and refuses to replace a living
/// one's. Must be called inside a tokio runtime.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let io = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| BindError::Io { operation, path, source }
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io("create the folder", folder))?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(BindError::InUse { path: path.to_owned() });
    }
    // Bound under another name first: between bind and chmod the mode is what the umask left.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io("remove the old socket", &new)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(io("listen at", &new))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(io("set the mode of", &new))?;
    fs::rename(&new, path).map_err(io("create the socket", path))?;
    Ok(listener)
}

/// Answers on the socket until dropped; requests that are being answered then are dropped too.
pub async fn serve(listener: UnixListener, api: Arc<dyn Api>) -> io::Result<()> {
    axum::serve(listener, router(api)).await
}

type Agent = State<Arc<dyn Api>>;

fn router(api: Arc<dyn Api>) -> Router {
    Router::new()
        .route(route::INIT, post(async |State(api): Agent, Asked(r)| answer(api.init(r).await)))
        .route(route::JOIN, post(async |State(api): Agent, Asked(r)| answer(api.join(r).await)))
        .route(
            route::CREATE_TOKEN,
            post(async |State(api): Agent, Asked(r)| answer(api.create_token(r).await)),
        )
        .route(route::TOKENS, get(async |State(api): Agent| answer(api.tokens().await)))
        .route(
            route::REVOKE_TOKEN,
            post(async |State(api): Agent, Asked(r)| answer(api.revoke_token(r).await)),
        )
        .route(route::STATUS, get(async |State(api): Agent| answer(api.status().await)))
        .route(route::EXAMINE, get(async |State(api): Agent| answer(api.examine().await)))
        .route(route::IPAM, get(async |State(api): Agent| answer(api.ipam().await)))
        .route(route::EVENTS, post(async |State(api): Agent, Asked(r)| answer(Ok(events(&api.events(), &r)))))
        .route(route::FOLLOW_EVENTS, post(async |State(api): Agent, Asked(r)| follow(api.events(), r)))
        .route(route::HOSTS, get(async |State(api): Agent| answer(api.hosts().await)))
        .route(route::REMOVE_HOST, post(async |State(api): Agent, Asked(r)| answer(api.remove_host(r).await)))
        .route(
            route::WRITE_RESOURCES,
            post(async |State(api): Agent, Asked(r)| answer(api.write_resources(r).await)),
        )
        .route(
            route::LABEL_RESOURCE,
            post(async |State(api): Agent, Asked(r)| answer(api.label_resource(r).await)),
        )
        .route(
            route::RESOURCES,
            post(async |State(api): Agent, Asked(r)| answer(api.list_resources(r).await)),
        )
        .route(
            route::FOLLOW_RESOURCES,
            post(async |State(api): Agent, Asked(r)| match api.follow_resources(r) {
                Ok(changes) => lines(changes.map(|change| line(&change))),
                Err(error) => refuse(&error),
            }),
        )
        .route(
            route::PROPOSE_SUBNET,
            post(async |State(api): Agent, Asked(r)| answer(api.propose_subnet(r).await)),
        )
        .route(route::NETWORKS, get(async |State(api): Agent| answer(Ok(&**api.networks().borrow()))))
        .route(
            route::CREATE_NETWORK,
            post(async |State(api): Agent, Asked(r)| answer(api.create_network(r).await)),
        )
        .route(
            route::NAME_NETWORK,
            post(async |State(api): Agent, Asked(r)| answer(api.name_network(r).await)),
        )
        .route(
            route::CHANGE_NETWORK,
            post(async |State(api): Agent, Asked(r)| answer(api.change_network(r).await)),
        )
        .route(
            route::REMOVE_NETWORK,
            post(async |State(api): Agent, Asked(r)| answer(api.remove_network(r).await)),
        )
        .route(route::ALLOCATE, post(async |State(api): Agent, Asked(r)| answer(api.allocate(r).await)))
        .route(route::RELEASE, post(async |State(api): Agent, Asked(r)| answer(api.release(r).await)))
        .route(route::ENDPOINTS, get(async |State(api): Agent| answer(api.endpoints().await)))
        .route(
            route::CREATE_ENDPOINT,
            post(async |State(api): Agent, Asked(r)| answer(api.create_endpoint(r).await)),
        )
        .route(
            route::REMOVE_ENDPOINT,
            post(async |State(api): Agent, Asked(r)| answer(api.remove_endpoint(r).await)),
        )
        .route(
            route::NAME_ENDPOINT,
            post(async |State(api): Agent, Asked(r)| answer(api.name_endpoint(r).await)),
        )
        .route(route::PUBLISH, post(async |State(api): Agent, Asked(r)| answer(api.publish(r).await)))
        .route(route::UNPUBLISH, post(async |State(api): Agent, Asked(r)| answer(api.unpublish(r).await)))
        .route(route::ATTACH, post(async |State(api): Agent, Asked(r)| answer(api.attach(r).await)))
        .route(route::DETACH, post(async |State(api): Agent, Asked(r)| answer(api.detach(r).await)))
        .fallback(async |uri: Uri| refuse(&ApiError::new(ErrorCode::Version, route::mismatch(uri.path()))))
        .method_not_allowed_fallback(async |uri: Uri| {
            refuse(&ApiError::new(ErrorCode::Version, route::mismatch(uri.path())))
        })
        .with_state(api)
}

fn events(events: &Events, request: &EventsRequest) -> Vec<Event> {
    events.after(0).into_iter().filter(|event| request.wants(event)).collect()
}

/// Answers with a line of JSON for each event, those to come as well, until the caller goes away.
fn follow(events: Arc<Events>, request: EventsRequest) -> Response {
    let newest = events.newest();
    let told =
        futures::stream::unfold((events, newest, 0), move |(events, mut newest, mut told)| async move {
            loop {
                newest.borrow_and_update();
                let fresh = events.after(told);
                told = fresh.last().map_or(told, |event| event.number);
                let mut text = String::new();
                for event in fresh.iter().filter(|event| request.wants(event)) {
                    match line(event) {
                        Ok(line) => text.push_str(&line),
                        Err(error) => return Some((Err(error), (events, newest, told))),
                    }
                }
                if !text.is_empty() {
                    return Some((Ok(text), (events, newest, told)));
                }
                // Ends with the agent.
                newest.changed().await.ok()?;
            }
        });
    lines(told)
}

/// An answer of lines that come as they come.
fn lines(lines: impl Stream<Item = Result<String, serde_json::Error>> + Send + 'static) -> Response {
    Body::from_stream(lines).into_response()
}

/// A line of JSON.
fn line(item: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(item)? + "\n")
}

/// A request's JSON body, whatever its content type says.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let body = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let message = format!("the agent does not understand the request: {error}");
            refuse(&ApiError::new(ErrorCode::Invalid, message))
        })
    }
}

fn answer<T: Serialize>(result: Result<T, ApiError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &ApiError) -> Response {
    let status = match error.code {
        ErrorCode::Invalid => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound | ErrorCode::Version => StatusCode::NOT_FOUND,
        ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::Exhausted => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::NotReady | ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Denied => StatusCode::FORBIDDEN,
        ErrorCode::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::Host => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(error)).into_response()
}
