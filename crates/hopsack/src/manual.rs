//! What is made from the description of the command line: pages of the manual, and completions for shells. The package
//! installs both. Hidden commands are in neither.
//!
//! What must not live here: what the commands are (`cli`).

use crate::cli::{Cli, Shell};
use crate::error::CommandError;
use crate::output::Output;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::io;
use std::path::Path;

const PROGRAM: &str = "hopsack";
const SOURCE: &str = concat!("hopsack ", env!("CARGO_PKG_VERSION"));
const TITLE: &str = "Hopsack's manual";

/// `hopsack completions`
pub fn completions(shell: Shell, out: &mut Output<'_>) -> Result<(), CommandError> {
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut visible(), PROGRAM, &mut script);
    out.writer().write_all(&script).map_err(CommandError::Write)
}

/// The command line without hidden commands, which the generators would tell of.
fn visible() -> Command {
    let all = Cli::command();
    Command::new(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments())
        .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()))
}

/// `hopsack manual`: a page a command, like `hopsack-network-create.1`.
pub fn pages(folder: &Path) -> Result<(), CommandError> {
    let mut program = Cli::command().disable_help_subcommand(true);
    // Gives every command the name that it is called by, and what all commands take.
    program.build();
    write_pages(&program, folder).map_err(|source| CommandError::Manual { folder: folder.to_owned(), source })
}

fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        write_pages(inner, folder)?;
    }
    Man::new(command.clone()).source(SOURCE).manual(TITLE).generate_to(folder).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text_of;
    use std::collections::BTreeSet;
    use std::fs;

    /// The names of the pages that commands should have, by what is typed.
    fn expected(command: &Command, name: &str, names: &mut BTreeSet<String>) {
        names.insert(format!("{name}.1"));
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            expected(inner, &format!("{name}-{}", inner.get_name()), names);
        }
    }

    #[test]
    fn every_command_that_help_shows_has_a_page_of_the_manual_and_no_other_has() {
        let folder = tempfile::tempdir().unwrap();
        pages(folder.path()).unwrap();
        let names = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let made: BTreeSet<String> = fs::read_dir(folder.path()).unwrap().map(names).collect();
        let mut wanted = BTreeSet::new();
        expected(&Cli::command(), PROGRAM, &mut wanted);
        assert!(wanted.contains("hopsack-network-create.1") && wanted.len() > 20, "{wanted:#?}");
        assert_eq!(made, wanted);
        let page = fs::read_to_string(folder.path().join("hopsack-agent.1")).unwrap();
        assert!(page.contains("HOPSACK_STATE_DIR") && page.contains("/var/lib/hopsack"), "{page}");
        let page = fs::read_to_string(folder.path().join("hopsack.1")).unwrap();
        assert!(page.contains("Exit status"), "{page}");
    }

    #[test]
    fn every_shell_completes_the_commands_that_help_shows_and_no_other() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = text_of(|out| completions(shell, out));
            for command in Cli::command().get_subcommands() {
                let name = command.get_name();
                assert_eq!(script.contains(name), !command.is_hide_set(), "{shell:?}: {name}");
            }
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap().path().join("manual");
        let error = pages(&folder).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot write the manual into {}: ", folder.display())),
            "{error}"
        );
    }
}
