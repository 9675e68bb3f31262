//! What is known about this host's Docker engine, for `hopsack status`.

use std::fmt;

/// The engine and the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerStatus {
    /// The engine.
    pub engine: EngineState,
    /// What the mirror could not do, each a line that says what to do.
    pub faults: Vec<String>,
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
