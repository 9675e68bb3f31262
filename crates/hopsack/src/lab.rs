//! `hopsack lab`, and the two hidden commands that run inside a lab.

use crate::error::CommandError;
use crate::output::Output;
use hopsack_lab::cli::{self, Command};
use std::ffi::OsString;
use std::path::Path;

/// Does what was asked and gives the exit status.
pub fn run(command: &Command, out: &mut Output<'_>) -> Result<u8, CommandError> {
    let program = std::env::current_exe().map_err(CommandError::Program)?;
    Ok(cli::run(command, program, out.writer())?)
}

/// The first process of a namespace of a lab.
pub fn host(config: &Path) -> Result<(), CommandError> {
    Ok(hopsack_lab::host::run(config)?)
}

/// A traffic tool.
pub fn traffic(arguments: &[OsString], out: &mut Output<'_>) -> Result<(), CommandError> {
    Ok(hopsack_lab::traffic::run(arguments, out.writer())?)
}
