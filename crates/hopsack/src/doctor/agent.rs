//! The agent: whether it can be asked, and what it says about itself.

use super::finding::{Finding, Subject};
use crate::output::count;
use hopsack_api::client::{Client, ClientError};
use hopsack_api::{Examination, Status};

/// What the agent has answered.
pub struct Asked {
    /// Its status, or why there is none.
    pub status: Result<Status, ClientError>,
    /// What it found out; none where it does not answer.
    pub examination: Option<Examination>,
}

impl Asked {
    /// Asks.
    pub fn ask(client: &Client) -> Self {
        let status = client.status();
        let examination = status.as_ref().ok().and_then(|_| client.examine().ok());
        Self { status, examination }
    }

    /// Whether an agent says that this host is in a cluster.
    pub fn in_cluster(&self) -> bool {
        self.status.as_ref().is_ok_and(|status| status.cluster.is_some())
    }
}

/// The agent itself.
pub fn check(client: &Client, asked: &Asked) -> Vec<Finding> {
    let status = match &asked.status {
        Ok(status) => status,
        Err(error @ ClientError::NotAllowed { .. }) => {
            return vec![Finding::fail(Subject::Agent, error.to_string(), "sudo hopsack doctor")];
        }
        Err(ClientError::NoAgent { socket }) => {
            let found = format!(
                "no agent answers at {}: clocks, peers, paths and kernel settings are not checked",
                socket.display()
            );
            return vec![Finding::warn(Subject::Agent, found, "systemctl start hopsack")];
        }
        Err(error) => {
            return vec![Finding::fail(Subject::Agent, error.to_string(), "systemctl restart hopsack")];
        }
    };
    let (own, socket) = (env!("CARGO_PKG_VERSION"), client.socket().display());
    let version = &status.version;
    let mut findings = vec![if version == own {
        Finding::ok(Subject::Agent, format!("hopsack {version} answers at {socket}"))
    } else {
        let found = format!("the agent at {socket} is hopsack {version}, this program {own}");
        Finding::warn(Subject::Agent, found, "systemctl restart hopsack")
    }];
    if asked.examination.is_none() {
        let found = "the agent cannot be examined: it may be of an older version".to_owned();
        findings.push(Finding::warn(Subject::Agent, found, "systemctl restart hopsack"));
    }
    if status.cluster.is_none() {
        let found = "this host is in no cluster: make one with `hopsack init`, or enter one".to_owned();
        findings.push(Finding::warn(Subject::Agent, found, "hopsack join --help"));
    }
    if !status.faults.is_empty() {
        let found = format!("the agent tells {}", count(status.faults.len(), "fault"));
        findings.push(Finding::fail(Subject::Agent, found, "hopsack status"));
    }
    findings
}
