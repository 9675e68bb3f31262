//! Why a command failed, and with which exit status.

use crate::manifest::ManifestError;
use hopsack_agent::error::AgentError;
use hopsack_agent::trust::token::TokenError;
use hopsack_api::client::ClientError;
use hopsack_lab::LabError;
use hopsack_types::option::OptionError;
use std::io;
use std::path::PathBuf;

/// Exit status of a command that could not do what it was asked.
pub const FAILURE: u8 = 1;
/// Exit status of a command line that makes no sense.
pub const USAGE: u8 = 2;
/// Exit status where the agent could not be asked at all.
pub const NO_AGENT: u8 = 3;

/// Exit status of what a signal has ended, as shells have it for SIGINT.
pub const INTERRUPTED: u8 = 130;

/// Every failure of a command. The text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The agent could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Documents of resources are wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The agent could not run.
    #[error("{}", .0.chain())]
    Agent(#[from] AgentError),
    /// The agent's runtime could not be made.
    #[error("cannot start the agent's runtime: {0}")]
    Runtime(#[source] io::Error),
    /// The lab failed.
    #[error("{}", .0.chain())]
    Lab(#[from] LabError),
    /// This host is in no cluster.
    #[error("this host is in no cluster: make one with `hopsack init`, or enter one with `hopsack join`")]
    NoCluster,
    /// The address to join at names no host.
    #[error("cannot find the address of {name}: {reason}; give an IP address instead")]
    Resolve {
        /// What was given.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The token cannot be read.
    #[error("cannot read the token from {}: {source}", path.display())]
    ReadToken {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The token is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No token has an id that begins so.
    #[error("there is no token {0:?}: `hopsack token ls` lists them")]
    NoToken(String),
    /// Several tokens have ids that begin so.
    #[error("more than one token begins with {0:?}: give more of its id (`hopsack token ls`)")]
    ManyTokens(String),
    /// An option of a network that there is not.
    #[error("--opt: {0}")]
    Option(#[from] OptionError),
    /// No network has this name or id.
    #[error("there is no network {0:?}: `hopsack network ls` lists them")]
    NoNetwork(String),
    /// No container and no endpoint has this name or id.
    #[error(
        "there is no container or endpoint {0:?} on this host: `docker ps` and `hopsack endpoint ls` list them"
    )]
    NoContainer(String),
    /// A namespace's path cannot be made absolute.
    #[error("cannot tell what the path {} means from here: {source}; give it from / on", path.display())]
    Namespace {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The running program cannot be found, which the lab runs in its hosts.
    #[error("cannot find this program's own file: {0}")]
    Program(#[source] io::Error),
    /// The archive of a report cannot be written.
    #[error("cannot write the report to {}: {source}; choose another file with -f", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Write(#[source] io::Error),
    /// Nobody has said yes.
    #[error("nothing was done: give --yes to do it")]
    Unconfirmed,
    /// Something is left on this host.
    #[error("this is left on the host: {}", .0.join("; "))]
    NotRemoved(Vec<String>),
    /// A page of the manual cannot be written.
    #[error("cannot write the manual into {}: {source}; give a folder that is there", folder.display())]
    Manual {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What the demo shows is not so.
    #[error("the demo stopped: `{command}` {problem}")]
    Demo {
        /// What was typed.
        command: String,
        /// What came of it.
        problem: String,
    },
    /// The demo did not clean up after itself.
    #[error("the demo left this on the machine: {}", .0.join("; "))]
    Leftovers(Vec<String>),
    /// Somebody asked to end.
    #[error("interrupted")]
    Interrupted,
    /// An answer has no JSON form.
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[source] serde_json::Error),
}

impl CommandError {
    /// The exit status, as `hopsack --help` tells.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Client(ClientError::NoAgent { .. } | ClientError::NotAllowed { .. }) => NO_AGENT,
            Self::Token(_) | Self::Option(_) | Self::Lab(LabError::Usage(_) | LabError::Argument { .. }) => {
                USAGE
            }
            Self::Interrupted => INTERRUPTED,
            _ => FAILURE,
        }
    }

    /// Whether the reader of the output has gone, as `head` does: no error of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }
}
