//! What is known about this host's Docker engine, for `hopsack status`.

use hopsack_api::Fault;
use std::fmt;

/// The engine and the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerStatus {
    /// The engine.
    pub engine: EngineState,
    /// What the mirror could not do.
    pub faults: Vec<Fault>,
}

/// Whether the engine answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EngineState {
    /// Not asked yet.
    #[default]
    Unknown,
    /// Its socket does not exist: there is no Docker on this host, or it is stopped.
    Absent,
    /// It does not answer; why not.
    Unreachable(String),
    /// It answers.
    Connected,
}

impl EngineState {
    /// What is wrong with an engine that is there and does not answer.
    pub fn fault(&self) -> Option<Fault> {
        let Self::Unreachable(reason) = self else { return None };
        Some(Fault::new(format!("the Docker engine does not answer: {reason}"), "systemctl status docker"))
    }
}

impl fmt::Display for EngineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not asked yet"),
            Self::Absent => f.write_str("no Docker engine on this host"),
            Self::Unreachable(reason) => write!(f, "{reason}"),
            Self::Connected => f.write_str("connected"),
        }
    }
}
