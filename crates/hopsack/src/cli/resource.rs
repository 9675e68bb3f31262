//! The command line of resources: documents that are written, listed and followed, and pools by name.

use crate::cli::Listing;
use crate::parse;
use crate::resource::Kinds;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use hopsack_types::{Cidr, HostName, PoolName};
use std::path::PathBuf;

/// `hopsack get`
#[derive(Debug, Args)]
pub struct Get {
    /// pool, network, host or endpoint; several with commas between them; all: pools, networks and hosts
    #[arg(value_parser = Kinds::parse)]
    pub kind: Kinds,
    /// Only these; endpoints also by the beginning of their ids [default: all]
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub names: Vec<String>,
    /// A table, a wider one, or documents that `hopsack apply` takes
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Shape,
    /// Go on with every change
    #[arg(short, long)]
    pub watch: bool,
}

/// How resources are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// A table.
    #[default]
    Text,
    /// A table with all columns.
    Wide,
    /// Documents, for people and to be kept.
    Yaml,
    /// A list of documents; with --watch a change a line.
    Json,
}

/// `hopsack create`, `apply` and `replace`
#[derive(Debug, Args)]
pub struct WriteFiles {
    /// A file of YAML or JSON, a folder of such files, - for standard input; may be given again
    #[arg(short, long = "filename", required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub how: HowToWrite,
}

/// `hopsack delete`
#[derive(Debug, Args)]
#[command(override_usage = "hopsack delete [OPTIONS] <KIND NAME...|--filename <PATH>>")]
pub struct Delete {
    /// pool, network or host
    #[arg(value_name = "KIND", required_unless_present = "files", conflicts_with = "files", requires = "names",
          value_parser = Kinds::parse_one)]
    pub kind: Option<Kinds>,
    /// Names
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub names: Vec<String>,
    /// What the documents of a file or folder name, - for standard input; may be given again
    #[arg(short, long = "filename", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub how: HowToWrite,
}

/// What all commands take that write documents.
#[derive(Debug, Clone, Copy, Args)]
pub struct HowToWrite {
    /// Tell what would come of it, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub listing: Listing,
}

/// `hopsack pool`
#[derive(Debug, Subcommand)]
pub enum Pool {
    /// Add a range that networks' subnets and hosts' addresses come from
    Create {
        /// Its name
        name: PoolName,
        /// Its addresses
        cidr: Cidr,
        #[command(flatten)]
        settings: PoolSettings,
        /// A label, key=value; may be given again
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        how: HowToWrite,
    },
    /// List pools
    Ls(Listing),
    /// Show all about a pool
    Inspect {
        /// Name
        pool: PoolName,
        #[command(flatten)]
        listing: Listing,
    },
    /// Change a pool
    Set {
        /// Name
        pool: PoolName,
        #[command(flatten)]
        change: PoolChange,
    },
    /// Remove pools that nothing has an address of
    Rm {
        /// Names
        #[arg(required = true, value_name = "POOL")]
        pools: Vec<PoolName>,
    },
}

/// What a pool does.
#[derive(Debug, Clone, Copy, Args)]
pub struct PoolSettings {
    /// Whether what leaves the cluster takes its host's address [default: true]
    #[arg(long, value_name = "BOOL")]
    pub nat_outgoing: Option<bool>,
    /// Whether no new subnets come from it [default: false]
    #[arg(long, value_name = "BOOL")]
    pub disabled: Option<bool>,
}

/// What to change of a pool.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct PoolChange {
    /// Whether what leaves the cluster takes its host's address
    #[arg(long, value_name = "BOOL")]
    pub nat_outgoing: Option<bool>,
    /// Whether no new subnets come from it
    #[arg(long, value_name = "BOOL")]
    pub disabled: Option<bool>,
    /// A label to set, key=value; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub labels: Vec<(String, String)>,
    /// A label to take away; may be given again
    #[arg(long = "no-label", value_name = "KEY")]
    pub no_labels: Vec<String>,
}

/// `hopsack host label`
#[derive(Debug, Args)]
pub struct LabelHost {
    /// Its name
    pub host: HostName,
    /// A label to set, key=value; may be given again
    #[arg(value_name = "KEY=VALUE", value_parser = parse::label, required_unless_present = "no_labels")]
    pub labels: Vec<(String, String)>,
    /// A label to take away; may be given again
    #[arg(long = "no-label", value_name = "KEY")]
    pub no_labels: Vec<String>,
}
