//! Command lines about the program on its machine: what its package takes along, and how it goes.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// The shells that commands can be completed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// `bash` with its package bash-completion.
    Bash,
    /// `zsh`
    Zsh,
    /// `fish`
    Fish,
}

/// `hopsack uninstall`
#[derive(Debug, Args)]
pub struct Uninstall {
    /// Do it, rather than tell what would be done
    #[arg(long)]
    pub yes: bool,
    /// Keep who this host is in its cluster, so that an agent can go on
    #[arg(long)]
    pub keep_state: bool,
    /// What this host keeps
    #[arg(long, env = "HOPSACK_STATE_DIR", default_value = "/var/lib/hopsack", value_name = "PATH")]
    pub state_dir: PathBuf,
    /// The Docker engine's socket
    #[arg(long, env = "HOPSACK_DOCKER_SOCKET", default_value = hopsack_docker::ENGINE_SOCKET, value_name = "PATH")]
    pub docker_socket: PathBuf,
    /// Where the Docker engine looks for its driver
    #[arg(long, env = "HOPSACK_PLUGIN_SOCKET", default_value = hopsack_docker::PLUGIN_SOCKET, value_name = "PATH")]
    pub plugin_socket: PathBuf,
}
