//! `hopsack uninstall`: tells what there is of Hopsack on this host, and takes it away.

use crate::cli::Uninstall;
use crate::error::CommandError;
use crate::output::Output;
use hopsack_agent::linux::uninstall::{Found, Places};
use std::path::PathBuf;

/// Tells, and with `--yes` does it.
pub fn run(arguments: Uninstall, socket: PathBuf, out: &mut Output<'_>) -> Result<(), CommandError> {
    let Uninstall { yes, keep_state, state_dir, docker_socket, plugin_socket } = arguments;
    let there = state_dir.exists().then(|| state_dir.display().to_string());
    let places = Places { state_dir, socket, engine_socket: docker_socket, plugin_socket };
    let found = Found::look(places)?;
    let name = found.name().cloned();
    let objects: Vec<String> = found
        .objects()
        .into_iter()
        .chain(there.filter(|_| !keep_state).map(|path| format!("all of {path}")))
        .collect();
    if objects.is_empty() {
        out.line("nothing of Hopsack is on this host")?;
    }
    for object in &objects {
        out.line(format_args!("{}: {object}", if yes { "removing" } else { "to be removed" }))?;
    }
    if !yes {
        return if objects.is_empty() { Ok(()) } else { Err(CommandError::Unconfirmed) };
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let left = runtime.map_err(CommandError::Runtime)?.block_on(found.remove(keep_state))?;
    if !left.is_empty() {
        return Err(CommandError::NotRemoved(left));
    }
    if let Some(name) = name.filter(|_| !keep_state) {
        out.line(format_args!(
            "the other hosts still know this one: tell one of them `hopsack host rm {name} --destroyed`"
        ))?;
    }
    Ok(())
}
