//! The command line: what there is to type, and the values in it. Values are checked here, by their own types, so that
//! what cannot be right never reaches the agent.

use crate::output::Format;
use crate::parse::{self, ControlAddress, Namespace};
use crate::port;
use clap::builder::{BoolishValueParser, NonEmptyStringValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use hopsack_api::{PortRequest, SOCKET};
use hopsack_types::numbers::CONTROL_PORT;
use hopsack_types::{Cidr, HostName, IfName, Isolation, NetworkName};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use tracing_subscriber::filter::Targets;

const EXIT_STATUS: &str = "Exit status: 0 done, 1 failed, 2 wrong command line, 3 the agent cannot be asked (it does not run, or its socket \
     is another user's). `hopsack lab exec` gives the status of what it ran.";

/// What is logged by default: ours, and of the Raft library only what is wrong, since it tells every step.
const LOG: &str = "info,openraft=warn";

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
    /// List what has happened on this host and around it
    Events(Events),
    /// Networks
    #[command(subcommand)]
    Network(Network),
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
    /// Hosts as namespaces on this machine, to try things out
    Lab {
        /// What to do.
        #[command(subcommand)]
        command: hopsack_lab::cli::Command,
    },
    /// Show three hosts' containers talk, as `make demo` does
    #[command(hide = true)]
    Demo(Demo),
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

/// `hopsack agent`
#[derive(Debug, Args)]
pub struct Agent {
    /// What this host keeps
    #[arg(long, env = "HOPSACK_STATE_DIR", default_value = "/var/lib/hopsack", value_name = "PATH")]
    pub state_dir: PathBuf,
    /// Where other hosts reach this one, TCP and UDP; for a cluster that is made or entered from now on
    #[arg(long, env = "HOPSACK_CONTROL_PORT", default_value_t = CONTROL_PORT, value_name = "PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
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

/// How this host is known to the others.
#[derive(Debug, Args)]
pub struct Identity {
    /// This host's name [default: the machine's]
    #[arg(long)]
    pub name: Option<HostName>,
    /// The address of this host that the others reach [default: the default route's source]
    #[arg(long, value_name = "ADDRESS")]
    pub advertise: Option<IpAddr>,
    /// Go on where this kernel has no VXLAN: only hosts of one segment are reached
    #[arg(long)]
    pub without_vxlan: bool,
}

/// `hopsack init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    pub identity: Identity,
    /// Where subnets and host addresses come from, one per family [default: a free v4 one, a random v6 one]
    #[arg(long = "pool", value_name = "CIDR")]
    pub pools: Vec<Cidr>,
    /// Let what leaves the cluster keep its own source [default: it takes its host's address]
    #[arg(long)]
    pub no_nat: bool,
    #[command(flatten)]
    pub listing: Listing,
}

/// `hopsack join`
#[derive(Debug, Args)]
pub struct Join {
    /// Any host of the cluster: ADDRESS or ADDRESS:PORT
    #[arg(value_parser = ControlAddress::parse)]
    pub address: ControlAddress,
    #[command(flatten)]
    pub token: JoinToken,
    #[command(flatten)]
    pub identity: Identity,
    #[command(flatten)]
    pub listing: Listing,
}

/// Where a token is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct JoinToken {
    /// The token that `hopsack init` or `hopsack token create` printed
    #[arg(long)]
    pub token: Option<String>,
    /// A file with the token in it, - for standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// `hopsack token`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token and print the command that other hosts join with
    Create(CreateToken),
    /// List tokens: how long each is good, and for how many hosts
    Ls(Listing),
    /// Take tokens back; who has joined stays
    Revoke {
        /// Ids, or as much of them as is needed
        #[arg(required = true, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
        tokens: Vec<String>,
    },
}

/// `hopsack token create`
#[derive(Debug, Args)]
pub struct CreateToken {
    /// How long it is good: a number and s, m, h or d
    #[arg(long, default_value = "24h", value_parser = parse::duration)]
    pub ttl: u64,
    /// How many hosts may join with it [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: Option<u32>,
    /// Print the token alone
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,
    #[command(flatten)]
    pub listing: Listing,
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

/// `hopsack host`
#[derive(Debug, Subcommand)]
pub enum Host {
    /// List the cluster's hosts
    Ls(Listing),
    /// Remove a host whose agent does not answer; its addresses are set aside, for it may still use them
    Rm {
        /// Its name, or the beginning of its id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        host: String,
        /// It can never run again with what it had: its addresses are free
        #[arg(long)]
        destroyed: bool,
    },
}

/// `hopsack network`
#[derive(Debug, Subcommand)]
pub enum Network {
    /// Make a network that spans all hosts
    Create(CreateNetwork),
    /// List networks
    Ls(Listing),
    /// Change a network; its containers stay connected
    Set(SetNetwork),
    /// Remove networks that have no endpoint any more
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
    },
    /// Show all about a network
    Inspect {
        /// Name or id
        network: String,
        #[command(flatten)]
        listing: Listing,
    },
}

/// `hopsack network create`
#[derive(Debug, Args)]
pub struct CreateNetwork {
    /// Its name
    pub name: NetworkName,
    /// Its addresses; may be given again, of one family too [default: the next free /24 of a v4 pool]
    #[arg(long = "subnet", value_name = "CIDR")]
    pub subnets: Vec<Cidr>,
    /// The part of a subnet that containers get addresses from unless they ask for one; once for each subnet
    #[arg(long = "ip-range", value_name = "CIDR")]
    pub ranges: Vec<Cidr>,
    /// The address of a subnet that each host answers to its containers; once for each [default: the first]
    #[arg(long = "gateway", value_name = "ADDRESS")]
    pub gateways: Vec<IpAddr>,
    /// An address that no container gets, NAME=ADDRESS; may be given again
    #[arg(long = "aux-address", value_name = "NAME=ADDRESS", value_parser = parse::named_address)]
    pub reserved: Vec<(String, IpAddr)>,
    /// Also the next free /64 of a v6 pool
    #[arg(long)]
    pub ipv6: bool,
    /// No way out of the network, and none in
    #[arg(long)]
    pub internal: bool,
    /// What Docker takes by -o: hopsack.isolation, hopsack.gateway, com.docker.network.driver.mtu; may be given again
    #[arg(long = "opt", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub options: Vec<(String, String)>,
    /// Who reaches its containers: with full, no other network; with none, networks that have none too [default: full]
    #[arg(long, value_enum)]
    pub isolation: Option<IsolationLevel>,
    /// A label, key=value; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub labels: Vec<(String, String)>,
    #[command(flatten)]
    pub listing: Listing,
}

/// `hopsack network set`
#[derive(Debug, Args)]
pub struct SetNetwork {
    /// Name or id
    pub network: String,
    #[command(flatten)]
    pub change: NetworkChange,
    #[command(flatten)]
    pub listing: Listing,
}

/// What to change of a network.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct NetworkChange {
    /// Who reaches its containers: with full, no other network; with none, networks that have none too
    #[arg(long, value_enum)]
    pub isolation: Option<IsolationLevel>,
    /// A label to set, key=value; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub labels: Vec<(String, String)>,
    /// A label to take away; may be given again
    #[arg(long = "no-label", value_name = "KEY")]
    pub no_labels: Vec<String>,
}

/// [`Isolation`] as the command line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IsolationLevel {
    /// [`Isolation::None`]
    None,
    /// [`Isolation::Full`]
    Full,
}

impl From<IsolationLevel> for Isolation {
    fn from(level: IsolationLevel) -> Self {
        match level {
            IsolationLevel::None => Self::None,
            IsolationLevel::Full => Self::Full,
        }
    }
}

/// `hopsack attach`
#[derive(Debug, Args)]
pub struct Attach {
    /// A namespace as `ip netns` lists it, its path, or pid:1234 for that of a process
    #[arg(value_parser = Namespace::parse)]
    pub namespace: Namespace,
    /// The network
    #[arg(long)]
    pub network: NetworkName,
    /// A certain address, at most one per family [default: the next free ones]
    #[arg(long = "ip", value_name = "ADDRESS")]
    pub addresses: Vec<IpAddr>,
    /// The interface inside
    #[arg(long, default_value = "eth0")]
    pub interface: IfName,
    /// What people call it [default: the namespace's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Let a port of this host lead to it, [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp]; may be given again
    #[arg(short, long = "publish", value_name = "PORTS", value_parser = port::parse)]
    pub ports: Vec<PortRequest>,
    /// A label, key=value; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub labels: Vec<(String, String)>,
    #[command(flatten)]
    pub listing: Listing,
}

/// `hopsack detach`
#[derive(Debug, Args)]
pub struct Detach {
    /// The namespace as it was given to attach
    #[arg(value_parser = Namespace::parse)]
    pub namespace: Namespace,
    /// The network
    #[arg(long)]
    pub network: NetworkName,
}

/// `hopsack endpoint`
#[derive(Debug, Subcommand)]
pub enum Endpoint {
    /// List this host's endpoints
    Ls(Listing),
}

/// `hopsack port`
#[derive(Debug, Args)]
pub struct Port {
    /// A container as Docker knows it, or an endpoint, by name or id [default: all of this host]
    pub container: Option<String>,
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
