//! The agent's command line.

use crate::parse::{self, MetricsAddress};
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use hopsack_types::numbers::CONTROL_PORT;
use std::path::PathBuf;
use tracing_subscriber::filter::Targets;

/// What is logged by default: ours, and of the Raft library only what is wrong, since it tells every step.
const LOG: &str = "info,openraft=warn";

/// `hopsack agent`
#[derive(Debug, Args)]
pub struct Agent {
    /// What this host keeps
    #[arg(long, env = "HOPSACK_STATE_DIR", default_value = "/var/lib/hopsack", value_name = "PATH")]
    pub state_dir: PathBuf,
    /// Where other hosts reach this one, TCP and UDP; for a cluster that is made or entered from now on
    #[arg(long, env = "HOPSACK_CONTROL_PORT", default_value_t = CONTROL_PORT, value_name = "PORT",
          value_parser = parse::port)]
    pub control_port: u16,
    /// The Docker engine's socket
    #[arg(long, env = "HOPSACK_DOCKER_SOCKET", default_value = hopsack_docker::ENGINE_SOCKET, value_name = "PATH")]
    pub docker_socket: PathBuf,
    /// Where the Docker engine looks for its driver
    #[arg(long, env = "HOPSACK_PLUGIN_SOCKET", default_value = hopsack_docker::PLUGIN_SOCKET, value_name = "PATH")]
    pub plugin_socket: PathBuf,
    /// Leave Docker alone
    #[arg(long, env = "HOPSACK_NO_DOCKER", value_parser = BoolishValueParser::new())]
    pub no_docker: bool,
    /// Where Prometheus finds metrics, and others whether this agent is healthy; off: nowhere
    #[arg(long, env = "HOPSACK_METRICS", default_value_t = MetricsAddress::default(), value_name = "ADDRESS:PORT",
          value_parser = MetricsAddress::parse)]
    pub metrics: MetricsAddress,
    /// Send what containers of one network say to each other through the host's IP stack, like all else
    #[arg(long, env = "HOPSACK_NO_FAST_PATH", value_parser = BoolishValueParser::new())]
    pub no_fast_path: bool,
    /// What to log: error, warn, info, debug or trace, also for parts: info,hopsack_agent=debug
    #[arg(long, env = "HOPSACK_LOG", default_value = LOG, value_name = "FILTER")]
    pub log: Targets,
    /// How to log, to standard error
    #[arg(long, env = "HOPSACK_LOG_FORMAT", value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}
