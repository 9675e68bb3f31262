//! The command line of clusters: how they are made and entered, tokens, hosts.

use crate::cli::{LabelHost, Listing};
use crate::parse::{self, ControlAddress};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use hopsack_types::{Cidr, HostName};
use std::net::IpAddr;
use std::path::PathBuf;

/// How this host is known to the others.
#[derive(Debug, Args)]
pub struct Identity {
    /// This host's name [default: the machine's]
    #[arg(long)]
    pub name: Option<HostName>,
    /// The address of this host that the others reach [default: the default route's source]
    #[arg(long, value_name = "ADDRESS", value_parser = parse::address)]
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
        #[command(flatten)]
        listing: Listing,
    },
}

/// `hopsack token create`
#[derive(Debug, Args)]
pub struct CreateToken {
    /// How long it is good: a number and s, m, h or d
    #[arg(long, default_value = "24h", allow_hyphen_values = true, value_parser = parse::duration)]
    pub ttl: u64,
    /// How many hosts may join with it [default: any number]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse::count)]
    pub uses: Option<u32>,
    /// Print the token alone
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,
    #[command(flatten)]
    pub listing: Listing,
}

/// `hopsack host`
#[derive(Debug, Subcommand)]
pub enum Host {
    /// List the cluster's hosts
    Ls(Listing),
    /// Set and take away labels of a host
    Label(LabelHost),
    /// Remove a host whose agent does not answer; its addresses are set aside, for it may still use them
    Rm {
        /// Its name, or the beginning of its id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        host: String,
        /// It can never run again with what it had: its addresses are free
        #[arg(long)]
        destroyed: bool,
        #[command(flatten)]
        listing: Listing,
    },
}
