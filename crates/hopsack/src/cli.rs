//! The command line: what there is to type, and the values in it. Values are checked here, by their own types, so that
//! what cannot be right never reaches the agent.

mod agent;
mod cluster;
mod endpoint;
mod install;
mod network;
mod resource;
mod seeing;

pub use agent::{Agent, LogFormat};
pub use cluster::{CreateToken, Host, Identity, Init, Join, JoinToken, Token};
pub use endpoint::{Attach, Detach, Endpoint, Port};
pub use install::{Shell, Uninstall};
pub use network::{CreateNetwork, Network, NetworkChange, SetNetwork};
pub use resource::{Delete, Get, HowToWrite, LabelHost, Pool, PoolChange, PoolSettings, Shape, WriteFiles};
pub use seeing::{Doctor, Ipam, Places, Report};

use crate::output::Format;
use crate::parse;
use clap::{Args, Parser, Subcommand};
use hopsack_api::SOCKET;
use std::ffi::OsString;
use std::path::PathBuf;

const EXIT_STATUS: &str = "Exit status: 0 done, 1 failed (so does `hopsack doctor` if one of its checks does), 2 wrong \
     command line, 3 the agent cannot be asked (it does not run, or its socket is another user's). `hopsack lab exec` gives \
     the status of what it ran.";

/// Networks for containers on many hosts.
#[derive(Debug, Parser)]
#[command(name = "hopsack", version, after_help = EXIT_STATUS, arg_required_else_help = true)]
pub struct Cli {
    /// The agent's socket: where it listens, and where it is asked
    #[arg(long, global = true, env = "HOPSACK_SOCKET", default_value = SOCKET, value_name = "PATH")]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent of this host
    Agent(Box<Agent>),
    /// Make a cluster with this host as its first
    Init(Init),
    /// Enter a cluster through one of its hosts
    Join(Join),
    /// Tokens, with which other hosts join
    #[command(subcommand)]
    Token(Token),
    /// Hosts of the cluster
    #[command(subcommand)]
    Host(Host),
    /// Show this host, its peers, and first what is wrong
    Status(Listing),
    /// Look whether this host, and the way to the others, has all that Hopsack needs
    Doctor(Doctor),
    /// Make one archive for a bug report, without secrets
    Report(Report),
    /// List what has happened on this host and around it
    Events(Events),
    /// Show resources: pools, networks, hosts, endpoints
    Get(Get),
    /// Make resources out of documents; none may be there
    Create(WriteFiles),
    /// Make or change resources as documents say; what they leave out stays
    Apply(WriteFiles),
    /// Change resources to what documents say, with defaults for the rest
    Replace(WriteFiles),
    /// Remove resources, all or none
    Delete(Delete),
    /// Pools, which subnets and hosts' addresses come from
    #[command(subcommand)]
    Pool(Pool),
    /// Networks
    #[command(subcommand)]
    Network(Network),
    /// Addresses: where they come from, and who has them
    #[command(subcommand)]
    Ipam(Ipam),
    /// Give a network namespace an interface in a network
    Attach(Attach),
    /// Take the interface away again and free its addresses
    Detach(Detach),
    /// Endpoints: interfaces of this host's containers
    #[command(subcommand)]
    Endpoint(Endpoint),
    /// Show which ports of this host lead to its containers
    Port(Port),
    /// Paths: how packets get to the other hosts
    #[command(subcommand)]
    Path(Path),
    /// Take Hopsack off this host, whose agent does not run: its network, its state, settings back to what they were
    Uninstall(Uninstall),
    /// Print what lets a shell complete this program's commands
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Hosts as namespaces on this machine, to try things out
    Lab {
        /// What to do.
        #[command(subcommand)]
        command: hopsack_lab::cli::Command,
    },
    /// Show three hosts' containers talk, as `make demo` does
    #[command(hide = true)]
    Demo(Demo),
    /// Write the manual's pages, one a command
    #[command(hide = true)]
    Manual {
        /// Into which folder.
        folder: PathBuf,
    },
    /// The first process of each of a lab's namespaces
    #[command(hide = true)]
    LabHost {
        /// What to be.
        config: PathBuf,
    },
    /// Packets for tests
    #[command(hide = true, disable_help_flag = true)]
    LabTraffic {
        /// The tool and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// `hopsack demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Leave the hosts up at the end
    #[arg(long)]
    pub keep: bool,
    /// The name of the lab that is made for it
    #[arg(long, default_value = "demo")]
    pub name: String,
}

/// What every command that lists something takes.
#[derive(Debug, Clone, Copy, Args)]
pub struct Listing {
    /// Text for people or JSON for programs
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// `hopsack events`
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only what happened so long ago or later: a number and s, m, h or d [default: all that the agent remembers]
    #[arg(long, value_name = "AGO", value_parser = parse::duration)]
    pub since: Option<u64>,
    #[command(flatten)]
    pub listing: Listing,
}

/// `hopsack path`
#[derive(Debug, Subcommand)]
pub enum Path {
    /// List the path to every other host, and why it is the one in use
    Ls(Listing),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn refusal(words: &[&str]) -> String {
        Cli::try_parse_from([&["hopsack"], words].concat()).unwrap_err().to_string()
    }

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_values_are_refused_in_the_words_of_their_types() {
        let told = refusal(&["network", "create", "web", "--subnet", "10.32.0.1/24"]);
        assert!(told.contains("did you mean 10.32.0.0/24?"), "{told}");
        let told = refusal(&["init", "--name", "H1"]);
        assert!(told.contains("a-z"), "{told}");
        let told = refusal(&["attach", "blue", "--network", "-"]);
        assert!(told.contains("beginning with a letter or digit"), "{told}");
        let told = refusal(&["token", "create", "--ttl", "soon"]);
        assert!(told.contains("like 24h"), "{told}");
        let told = refusal(&["join", "10.0.0", "--token", "x"]);
        assert!(told.contains("192.0.2.1:4677"), "{told}");
    }

    #[test]
    fn a_join_needs_one_token_and_takes_no_second() {
        assert!(refusal(&["join", "10.0.0.1"]).contains("--token"));
        assert!(
            refusal(&["join", "10.0.0.1", "--token", "x", "--token-file", "y"]).contains("cannot be used")
        );
    }

    #[test]
    fn the_socket_may_stand_on_either_side_of_the_command() {
        for words in [["--socket", "/s", "status"], ["status", "--socket", "/s"]] {
            let cli = Cli::try_parse_from([&["hopsack"][..], &words].concat()).unwrap();
            assert_eq!(cli.socket, PathBuf::from("/s"));
        }
    }

    #[test]
    fn the_tools_of_the_lab_get_their_arguments_as_they_are() {
        let cli = Cli::try_parse_from(["hopsack", "lab-traffic", "udp-send", "--help"]).unwrap();
        let Command::LabTraffic { arguments } = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(arguments, ["udp-send", "--help"]);
    }
}
