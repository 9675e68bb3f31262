//! The hopsack program: one binary that is the agent, the command line that asks it, and the lab.
//!
//! Here is only the dispatch and what becomes of an error. What must not live in this crate: meaning, which is the
//! agent's.

mod agent;
mod attach;
mod cli;
mod cluster;
mod demo;
mod doctor;
mod endpoint;
mod error;
mod events;
mod ipam;
mod lab;
mod manifest;
mod manual;
mod network;
mod output;
mod parse;
mod path;
mod pool;
mod port;
mod program;
mod report;
mod resource;
mod status;
mod table;
mod token;
mod uninstall;
mod usage;

use clap::Parser;
use clap::error::ErrorKind;
use cli::{Cli, Command};
use error::CommandError;
use hopsack_api::RemoveHostRequest;
use hopsack_api::WriteMode;
use hopsack_api::client::Client;
use hopsack_lab::LabError;
use output::Output;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let mut stdout = std::io::stdout();
    let colour = output::takes_colour(&stdout);
    match run(cli, &mut Output::new(&mut stdout, colour)) {
        Ok(status) => ExitCode::from(status),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(CommandError::Lab(LabError::Usage(error))) => refuse(&error),
        Err(error) => {
            // A closed standard error leaves nobody to tell; the exit status still does.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

/// Does what was asked and gives the exit status.
fn run(cli: Cli, out: &mut Output<'_>) -> Result<u8, CommandError> {
    let client = Client::new(&cli.socket);
    match cli.command {
        Command::Agent(arguments) => agent::run(*arguments, cli.socket)?,
        Command::Init(arguments) => cluster::init(&client, arguments, out)?,
        Command::Join(arguments) => cluster::join(&client, arguments, out)?,
        Command::Token(command) => token::run(&client, &command, out)?,
        Command::Host(cli::Host::Ls(listing)) => cluster::hosts(&client, listing.output, out)?,
        Command::Host(cli::Host::Rm { host, destroyed, listing }) => {
            cluster::remove(&client, RemoveHostRequest { host, destroyed }, listing.output, out)?;
        }
        Command::Host(cli::Host::Label(arguments)) => cluster::label(&client, arguments, out)?,
        Command::Get(arguments) => resource::get(&client, arguments, out)?,
        Command::Create(arguments) => resource::write(&client, WriteMode::Create, &arguments, out)?,
        Command::Apply(arguments) => resource::write(&client, WriteMode::Apply, &arguments, out)?,
        Command::Replace(arguments) => resource::write(&client, WriteMode::Replace, &arguments, out)?,
        Command::Delete(arguments) => resource::delete(&client, arguments, out)?,
        Command::Pool(command) => pool::run(&client, command, out)?,
        Command::Status(listing) => status::run(&client, listing.output, out)?,
        Command::Doctor(arguments) => return doctor::run(&client, &arguments, out),
        Command::Report(arguments) => report::run(&client, &arguments, out)?,
        Command::Events(arguments) => events::run(&client, arguments, out)?,
        Command::Network(command) => network::run(&client, command, out)?,
        Command::Ipam(command) => ipam::run(&client, command, out)?,
        Command::Attach(arguments) => attach::attach(&client, arguments, out)?,
        Command::Detach(arguments) => attach::detach(&client, arguments, out)?,
        Command::Endpoint(command) => endpoint::run(&client, command, out)?,
        Command::Port(arguments) => port::list(&client, arguments, out)?,
        Command::Path(cli::Path::Ls(listing)) => path::list(&client, listing.output, out)?,
        Command::Uninstall(arguments) => uninstall::run(arguments, cli.socket, out)?,
        Command::Completions { shell } => manual::completions(shell, out)?,
        Command::Manual { folder } => manual::pages(&folder)?,
        Command::Lab { command } => return lab::run(&command, out),
        Command::Demo(arguments) => demo::run(arguments)?,
        Command::LabHost { config } => lab::host(&config)?,
        Command::LabTraffic { arguments } => lab::traffic(&arguments, out)?,
    }
    Ok(0)
}

/// Tells what is wrong with the command line in one line, or the help that was asked for, by missing words as well.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let _ = error.print();
    } else {
        let _ = writeln!(std::io::stderr(), "{}", usage::line(error));
    }
    ExitCode::from(if error.use_stderr() { error::USAGE } else { 0 })
}
