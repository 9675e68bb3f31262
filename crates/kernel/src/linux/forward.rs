//! The forward chains of others (the exception in "we touch nothing but our own"): Docker, and firewalls of the
//! `iptables` kind and firewalld, may drop what is forwarded, and an accept in our own table cannot undo that. So what our
//! table has accepted, and marked, is accepted first thing there by one labelled rule.
//!
//! What must not live here: our own table (the `nft` crate), what is accepted (the plan).

mod firewalld;
mod iptables;

use crate::KernelError;
use firewalld::Firewalld;
use hopsack_types::Family;
use iptables::IpTables;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Labels our rules.
const LABEL: &str = "hopsack";
/// Where the programs are on systems whose `PATH` leaves out the directories for root.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];

/// The forward chains of others in both families.
pub struct ForwardChains {
    iptables: IpTables,
    firewalld: Option<Firewalld>,
}

impl ForwardChains {
    /// Looks for the programs. Without any, nobody has made rules with them.
    pub fn find() -> Self {
        Self { iptables: IpTables::find(), firewalld: Firewalld::find() }
    }

    /// The families in which our mark passes; of those that are not asked for, the ones in which a rule of ours is
    /// there. `generation` is that of nftables now.
    pub fn observe(&mut self, desired: &BTreeSet<Family>, generation: u32) -> BTreeSet<Family> {
        let firewalld = self.firewalld.as_mut().map(|firewalld| firewalld.look(generation));
        Family::BOTH
            .into_iter()
            .filter(|family| {
                let iptables = self.iptables.in_use(*family, generation);
                if desired.contains(family) {
                    iptables.iter().all(|chains| chains.let_pass())
                        && firewalld.as_ref().is_none_or(|chain| chain.lets_pass(*family))
                } else {
                    iptables.iter().any(|chains| chains.has_ours())
                        || firewalld.as_ref().is_some_and(|chain| chain.has_ours(*family))
                }
            })
            .collect()
    }

    /// Nothing of others has changed between two generations of nftables.
    pub fn unchanged(&mut self, before: u32, after: u32) {
        self.iptables.unchanged(before, after);
        if let Some(firewalld) = &mut self.firewalld {
            firewalld.unchanged(before, after);
        }
    }

    /// Puts our rules first where something could stand in the way, or takes them away wherever they are.
    pub fn set(&mut self, family: Family, accept: bool) -> Result<(), KernelError> {
        self.iptables.set(family, accept)?;
        self.firewalld.as_mut().map_or(Ok(()), |firewalld| firewalld.set(family, accept))
    }
}

fn search(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Runs a program that must succeed, and gives what it wrote.
fn run(program: &Path, arguments: &[&str]) -> Result<String, KernelError> {
    feed(program, arguments, "")
}

/// The same with a text, of less than a pipe holds (64 KiB), on its standard input.
fn feed(program: &Path, arguments: &[&str], text: &str) -> Result<String, KernelError> {
    let started = Command::new(program)
        .args(arguments)
        // What it says is compared.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let output = started.and_then(|mut child| {
        // One that has not read it tells why.
        let _ = child.stdin.take().map(|mut input| input.write_all(text.as_bytes()));
        child.wait_with_output()
    });
    let output = output.map_err(|source| KernelError::Run { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(KernelError::Forward { program: program.to_owned(), said })
}
