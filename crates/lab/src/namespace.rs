//! Entering and making namespaces. Each entry is a thread of its own that ends with the closure, so that no other
//! code of the process ever finds itself in the wrong place.

use crate::error::{LabError, Result};
use crate::process::ProcessId;
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

/// What a host has of its own.
pub(crate) const HOST: CloneFlags = CloneFlags::CLONE_NEWNET
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWPID);

/// What a switch or router has of its own.
pub(crate) const NETWORK: CloneFlags = CloneFlags::CLONE_NEWNET;

/// Runs `work` on a thread in new namespaces; the first process that it starts is the first of a new process
/// namespace.
pub(crate) fn in_new<T: Send>(kinds: CloneFlags, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_thread(|| {
        unshare(kinds).map_err(LabError::errno("make namespaces", format!("{kinds:?}")))?;
        work()
    })
}

/// The namespaces of a process, to be entered any number of times while it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// For messages.
    pub(crate) node: String,
    /// Whose namespaces.
    pub(crate) first: ProcessId,
    /// Which of them.
    pub(crate) kinds: CloneFlags,
    /// A network namespace to enter after those, by its path as seen from inside them.
    pub(crate) then_network: Option<PathBuf>,
}

impl Namespaces {
    /// Runs `work` on a thread inside.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let targets = self.open()?;
        on_thread(|| {
            if self.kinds.contains(CloneFlags::CLONE_NEWNS) {
                // A thread shares its root and working folder with its process and cannot change them before this.
                unshare(CloneFlags::CLONE_FS)
                    .map_err(LabError::errno("leave the file system of", "a thread"))?;
            }
            for (kind, file) in &targets {
                setns(file, *kind).map_err(LabError::errno("enter a namespace of", &self.node))?;
            }
            if let Some(path) = &self.then_network {
                let file = open(path)?;
                setns(&file, NETWORK).map_err(LabError::errno("enter", path.display()))?;
            }
            work()
        })
    }

    /// All files before any is entered: the mount namespace changes what `/proc` shows, so it is the last.
    fn open(&self) -> Result<Vec<(CloneFlags, File)>> {
        const NAMES: [(CloneFlags, &str); 5] = [
            (CloneFlags::CLONE_NEWNET, "net"),
            (CloneFlags::CLONE_NEWUTS, "uts"),
            (CloneFlags::CLONE_NEWIPC, "ipc"),
            (CloneFlags::CLONE_NEWPID, "pid"),
            (CloneFlags::CLONE_NEWNS, "mnt"),
        ];
        let dead = || LabError::Dead { node: self.node.clone(), pid: self.first.pid };
        let mut files = Vec::new();
        for (kind, name) in NAMES.into_iter().filter(|(kind, _)| self.kinds.contains(*kind)) {
            let path = PathBuf::from(format!("/proc/{}/ns/{name}", self.first.pid));
            files.push((
                kind,
                open(&path).map_err(|error| if self.first.is_alive() { error } else { dead() })?,
            ));
        }
        // Looked at after opening: what was opened before its process ended belongs to that process.
        if self.first.is_alive() { Ok(files) } else { Err(dead()) }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(LabError::io("open", path.display()))
}

fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
