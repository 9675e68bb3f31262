//! What a host's supervisor and the lab say to each other: one JSON line each way over a unix socket.

use crate::error::{LabError, Result};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where a host finds its own folder of the lab's work folder.
pub const HOST_FOLDER: &str = "/run/lab";
/// The supervisor's socket, in the host's folder.
pub(crate) const SOCKET: &str = "control.sock";
/// How long either side waits for the other's line.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A program that a host's supervisor keeps running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name in requests; its output goes to `NAME.log` in the host's folder.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of the supervisor's.
    #[serde(default)]
    pub env: Vec<(String, String)>,
}

/// What the lab asks of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(crate) enum Request {
    /// Tell about all services.
    Status,
    /// Know this service from now on. One of the same name that runs goes on until it ends.
    Define {
        /// The service.
        service: ServiceSpec,
    },
    /// Run it, now and whenever it ends.
    Start {
        /// Which.
        service: String,
    },
    /// Send it a signal.
    Signal {
        /// Which.
        service: String,
        /// The signal's number.
        signal: i32,
        /// Whether it is to be run again when it has ended.
        respawn: bool,
    },
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// All services as they are after the request.
    Services(Vec<ServiceStatus>),
    /// The request could not be followed.
    Refused(String),
}

/// A service as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its process id inside the host, while it runs.
    pub pid: Option<i32>,
    /// Whether the supervisor runs it (again) when it is not running.
    pub wanted: bool,
    /// How often it was started since the host booted.
    pub starts: u64,
    /// How it ended last: exit status, or the negative number of the signal.
    pub last_end: Option<i32>,
}

/// Asks the supervisor that listens at `socket`.
pub(crate) fn ask(host: &str, socket: &Path, request: &Request) -> Result<Vec<ServiceStatus>> {
    let about = || format!("the supervisor of {host}");
    let io = |operation| LabError::io(operation, about());
    let json = |source| LabError::Json { object: about(), source };
    let mut stream = UnixStream::connect(socket).map_err(io("reach"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io("set a deadline for"))?;
    let mut line = serde_json::to_string(request).map_err(json)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(io("write to"))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(io("read from"))?;
    match serde_json::from_str(&answer).map_err(json)? {
        Answer::Services(services) => Ok(services),
        Answer::Refused(reason) => Err(LabError::Refused { host: host.into(), reason }),
    }
}
