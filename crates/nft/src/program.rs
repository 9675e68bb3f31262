//! Runs `nft`: one process for a read, one process (one atomic transaction) for a write.

use crate::NftError;
use crate::difference::{Transaction, removal};
use crate::readback;
use hopsack_types::firewall::Firewall;
use hopsack_types::numbers::NFT_TABLE;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where `nft` is on systems whose `PATH` leaves out the directories for root.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];

/// How long a process may be the maker of a transaction whose notice is still on its way: far shorter than until its id is
/// another process's.
const NOTICED: Duration = Duration::from_secs(1);

/// The process that made our last transaction. `nft` lets the kernel choose its netlink port, which is its process id
/// (netlink(7)), so the notice of the transaction carries that.
#[derive(Debug, Clone, Default)]
pub struct LastCommit(Arc<Mutex<Option<(u32, Instant)>>>);

impl LastCommit {
    /// Whether a notice that carries this port is of our transaction.
    pub fn is(&self, port: u32) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|(pid, since)| pid == port && since.elapsed() < NOTICED)
    }

    fn note(&self, pid: u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((pid, Instant::now()));
    }
}

/// The `nft` program, found and new enough. Works on the network namespace of the calling thread.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
    last: LastCommit,
}

impl Nft {
    /// Looks for `nft` in `PATH` and the usual system directories, and checks that it is 1.0 or newer.
    pub fn find() -> Result<Self, NftError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = search(&path).ok_or(NftError::NotFound)?;
        let nft = Self { program, last: LastCommit::default() };
        let version = nft.spawn(&["--version"]).and_then(|child| nft.feed(child, ""))?;
        let found = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        if is_new_enough(&found) { Ok(nft) } else { Err(NftError::TooOld { found }) }
    }

    /// Who made our last transaction, now and later.
    pub fn last_commit(&self) -> LastCommit {
        self.last.clone()
    }

    /// Reads our table; an empty firewall if there is none. Rules come back with their digests only.
    pub fn observe(&self) -> Result<Firewall, NftError> {
        let output = self.feed(self.spawn(&["-j", "list", "table", "inet", NFT_TABLE])?, "")?;
        if output.status.success() {
            return readback::parse(&output.stdout);
        }
        let said = said(&output);
        // nft reports the errno of the table's look-up in words and has no exit status of its own for it.
        if said.contains("No such file or directory") {
            return Ok(Firewall::default());
        }
        Err(NftError::List { said })
    }

    /// Makes `observed` into `desired` in one transaction, and returns the number of changed objects (chains, sets,
    /// elements). An empty `desired` removes the table. If the smallest change is refused, because somebody changed
    /// the table meanwhile, the table is replaced whole.
    pub fn apply(&self, observed: &Firewall, desired: &Firewall) -> Result<u64, NftError> {
        let transaction = Transaction::between(observed, desired);
        if transaction.changes == 0 {
            return Ok(0);
        }
        match self.commit(&transaction.text) {
            Err(NftError::Refused { said }) if !transaction.whole => {
                tracing::warn!(%said, "a change of the firewall was refused; replacing the whole table");
                let whole = Transaction::replacing(observed, desired);
                self.commit(&whole.text).map(|()| whole.changes)
            }
            result => result.map(|()| transaction.changes),
        }
    }

    /// Removes our table, if it is there.
    pub fn remove(&self) -> Result<(), NftError> {
        self.commit(&removal())
    }

    /// Gives `nft` one transaction.
    pub(crate) fn commit(&self, text: &str) -> Result<(), NftError> {
        tracing::trace!(text, "nft transaction");
        let child = self.spawn(&["-f", "-"])?;
        let pid = child.id();
        // Noted again at its end: a large transaction may take longer than its notice.
        self.last.note(pid);
        let output = self.feed(child, text)?;
        self.last.note(pid);
        if output.status.success() { Ok(()) } else { Err(NftError::Refused { said: said(&output) }) }
    }

    fn failed(&self, source: std::io::Error) -> NftError {
        NftError::Run { program: self.program.clone(), source }
    }

    fn spawn(&self, arguments: &[&str]) -> Result<Child, NftError> {
        let mut command = Command::new(&self.program);
        // Its messages are compared.
        command.args(arguments).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|source| self.failed(source))
    }

    /// Gives it its input and waits for its end.
    fn feed(&self, mut child: Child, input: &str) -> Result<Output, NftError> {
        if let Some(mut stdin) = child.stdin.take() {
            // A child that ended before it read everything says why on stderr.
            let written = stdin.write_all(input.as_bytes());
            tracing::trace!(?written, "wrote to nft");
        }
        child.wait_with_output().map_err(|source| self.failed(source))
    }
}

fn search(path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join("nft"))
        .find(|candidate| Path::is_file(candidate))
}

/// What `nft` printed, the first lines: it repeats the faulty input below its messages.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<_> = text.lines().filter(|line| line.contains("Error:")).take(3).collect();
    if errors.is_empty() { format!("{} ({})", text.trim(), output.status) } else { errors.join("; ") }
}

/// Reads `nftables v1.0.6 (Lester Gooch #5)`.
fn is_new_enough(version: &str) -> bool {
    version
        .split_whitespace()
        .find_map(|word| word.strip_prefix('v'))
        .and_then(|number| number.split('.').next()?.parse::<u32>().ok())
        .is_some_and(|major| major >= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_one_on_are_new_enough() {
        assert!(is_new_enough("nftables v1.0.6 (Lester Gooch #5)"));
        assert!(is_new_enough("nftables v2.1 (x)"));
        assert!(!is_new_enough("nftables v0.9.8 (E.D.S.)"));
        assert!(!is_new_enough("bash: nft"));
    }

    #[test]
    fn a_missing_program_is_told_with_the_remedy() {
        assert_eq!(NftError::NotFound.to_string(), "nft not found: apt-get install nftables");
    }
}
