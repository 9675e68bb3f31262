//! The command line of networks.

use crate::cli::Listing;
use crate::parse;
use clap::{Args, Subcommand, ValueEnum};
use hopsack_types::{Cidr, Isolation, NetworkName};
use std::net::IpAddr;

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
        #[command(flatten)]
        listing: Listing,
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
    #[arg(long = "gateway", value_name = "ADDRESS", value_parser = parse::address)]
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
