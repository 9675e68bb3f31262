//! Docker's side of the plugin socket: calls as Go's client writes them, and an engine that lists nothing.

#![allow(dead_code, reason = "each test program uses its own part")]

use crate::fake::{FakeApi, FakeCluster, NoWires};
use async_trait::async_trait;
use futures::stream::BoxStream;
use hopsack_docker::{DockerError, Engine, EngineContainer, EngineNetwork, FrontDoor, NetworkCopy};
use hopsack_types::EndpointId;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

/// A Docker that lists nothing and never changes.
pub struct QuietEngine;

#[async_trait]
impl Engine for QuietEngine {
    async fn networks(&self) -> Result<Vec<EngineNetwork>, DockerError> {
        Ok(Vec::new())
    }
    async fn endpoints(&self, _: &str) -> Result<BTreeSet<EndpointId>, DockerError> {
        Ok(BTreeSet::new())
    }
    async fn create(&self, _: &NetworkCopy) -> Result<(), DockerError> {
        Ok(())
    }
    async fn remove(&self, _: &str) -> Result<(), DockerError> {
        Ok(())
    }
    fn changes(&self) -> BoxStream<'static, Result<(), DockerError>> {
        Box::pin(futures::stream::pending())
    }
    async fn containers(&self) -> Result<Vec<EngineContainer>, DockerError> {
        Ok(Vec::new())
    }
    fn starts(&self) -> BoxStream<'static, Result<(), DockerError>> {
        Box::pin(futures::stream::pending())
    }
}

/// Docker as it calls the plugin.
pub struct Docker {
    pub cluster: Arc<FakeCluster>,
    pub api: Arc<FakeApi>,
    pub runtime: tokio::runtime::Runtime,
    pub door: Option<FrontDoor>,
    pub socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Docker {
    pub fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("plugins/hopsack.sock");
        let cluster = FakeCluster::new();
        let api = cluster.host(NoWires);
        let opened = async { hopsack_docker::serve(&socket, Arc::new(QuietEngine), api.clone()) };
        let door = Some(runtime.block_on(opened).unwrap());
        Self { cluster, api, runtime, door, socket, _folder: folder }
    }

    /// One call as Go's client writes it; the status and the body of its answer.
    pub fn raw(&self, method: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST /{method} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {length}\r\n\
             Accept: application/vnd.docker.plugins.v1.2+json\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub fn call(&self, method: &str, body: Value) -> Value {
        let (status, answer) = self.raw(method, &body.to_string());
        assert_eq!(status, 200, "{method}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// A call that must be refused; what the user reads.
    pub fn refused(&self, method: &str, body: Value) -> String {
        let key = if method.starts_with("Ipam") { "Error" } else { "Err" };
        self.call(method, body)[key].as_str().unwrap().to_owned()
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}
