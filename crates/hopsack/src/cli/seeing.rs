//! Commands that only look.

use super::Listing;
use clap::{Args, Subcommand};
use hopsack_types::numbers::CONTROL_PORT;
use std::path::PathBuf;

/// `hopsack doctor`
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub places: Places,
    #[command(flatten)]
    pub listing: Listing,
}

/// `hopsack report`
#[derive(Debug, Clone, Args)]
pub struct Report {
    /// The file to make [default: hopsack-report-HOST-TIME.tar.gz in this folder]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub places: Places,
    #[command(flatten)]
    pub listing: Listing,
}

/// Where things are that the agent knows, for when it does not run.
#[derive(Debug, Clone, Args)]
pub struct Places {
    /// Where the agent keeps its state, if it does not run and cannot say so
    #[arg(long, env = "HOPSACK_STATE_DIR", default_value = "/var/lib/hopsack", value_name = "PATH")]
    pub state_dir: PathBuf,
    /// The agent's control port, if it does not run
    #[arg(long, env = "HOPSACK_CONTROL_PORT", default_value_t = CONTROL_PORT, value_name = "PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub control_port: u16,
    /// The Docker engine's socket
    #[arg(long, env = "HOPSACK_DOCKER_SOCKET", default_value = hopsack_docker::ENGINE_SOCKET, value_name = "PATH")]
    pub docker_socket: PathBuf,
    /// Where the Docker engine looks for its driver
    #[arg(long, env = "HOPSACK_PLUGIN_SOCKET", default_value = hopsack_docker::PLUGIN_SOCKET, value_name = "PATH")]
    pub plugin_socket: PathBuf,
}

/// `hopsack ipam`
#[derive(Debug, Subcommand)]
pub enum Ipam {
    /// Show pools, subnets, blocks with their hosts, free addresses, and who has which address
    Show {
        /// Only this network, by name or id [default: all]
        network: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
}
