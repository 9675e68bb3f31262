//! The command line of endpoints and their ports.

use crate::cli::Listing;
use crate::parse::{self, Namespace};
use crate::port;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use hopsack_api::PortRequest;
use hopsack_types::{IfName, NetworkName};
use std::net::IpAddr;

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
    #[arg(long = "ip", value_name = "ADDRESS", value_parser = parse::address)]
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
    #[command(flatten)]
    pub listing: Listing,
}

/// `hopsack endpoint`
#[derive(Debug, Subcommand)]
pub enum Endpoint {
    /// List this host's endpoints
    Ls {
        /// Those of all hosts, as this one has heard of them
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show all about an endpoint of any host
    Inspect {
        /// Its name, or its id or the beginning of it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        endpoint: String,
        #[command(flatten)]
        listing: Listing,
    },
}

/// `hopsack port`
#[derive(Debug, Args)]
pub struct Port {
    /// A container as Docker knows it, or an endpoint, by name or id [default: all of this host]
    pub container: Option<String>,
    #[command(flatten)]
    pub listing: Listing,
}
