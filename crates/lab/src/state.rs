//! What a lab is, on disk: enough for another process to enter it and to take it down.

use crate::error::{LabError, Result};
use crate::faults::Faults;
use crate::namespace::{HOST, NETWORK, Namespaces};
use crate::process::ProcessId;
use crate::supervisor::mounts::VAR_LIB;
use crate::topology::{NodeName, Topology};
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where state files are unless the options say otherwise.
pub const RUN_FOLDER: &str = "/run/hopsack-lab";
/// Where labs keep their hosts' folders unless the options say otherwise.
pub const WORK_FOLDER: &str = "/var/lib/hopsack-lab";
/// The longest path of a unix socket, less its final zero byte (unix(7)).
const SOCKET_PATH: usize = 107;

/// Everything about a lab that stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// The lab's name.
    pub(crate) name: String,
    /// The binary with the hidden subcommands.
    pub(crate) program: PathBuf,
    /// The folder with this file.
    pub(crate) run_folder: PathBuf,
    /// The folder with one folder per node, all of this lab.
    pub(crate) work_folder: PathBuf,
    /// What was asked for.
    pub(crate) topology: Topology,
    /// What is broken on purpose.
    pub(crate) faults: Faults,
    /// The first process of each node.
    pub(crate) nodes: BTreeMap<NodeName, ProcessId>,
    /// The process that takes the lab down when its maker is gone.
    pub(crate) keeper: Option<ProcessId>,
}

impl State {
    /// The state file of a lab.
    pub(crate) fn file(run_folder: &Path, lab: &str) -> PathBuf {
        run_folder.join(format!("{lab}.json"))
    }

    /// Reads a lab's state.
    pub(crate) fn read(run_folder: &Path, lab: &str) -> Result<Self> {
        let file = Self::file(run_folder, lab);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LabError::NotUp(lab.into()));
            }
            Err(error) => return Err(LabError::io("read", file.display())(error)),
        };
        serde_json::from_str(&text)
            .map_err(|source| LabError::Json { object: file.display().to_string(), source })
    }

    /// Writes the state; a reader sees the old or the new, never half.
    pub(crate) fn write(&self) -> Result<()> {
        let file = Self::file(&self.run_folder, &self.name);
        let about = || file.display().to_string();
        let text =
            serde_json::to_vec_pretty(self).map_err(|source| LabError::Json { object: about(), source })?;
        let write = || {
            fs::create_dir_all(&self.run_folder)?;
            let mut new =
                tempfile::Builder::new().prefix(&draft_prefix(&self.name)).tempfile_in(&self.run_folder)?;
            new.write_all(&text)?;
            new.persist(&file)?;
            Ok(())
        };
        beside_other_labs(write).map_err(LabError::io("write", about()))
    }

    /// Makes the folder of a node, and the folder in it that is a host's `/var/lib`.
    pub(crate) fn make_folder(&self, node: &str) -> Result<PathBuf> {
        let folder = self.work_folder.join(node);
        beside_other_labs(|| fs::create_dir_all(folder.join(VAR_LIB)))
            .map_err(LabError::io("make", folder.display()))?;
        Ok(folder)
    }

    /// Removes all files of the lab, and the folders that are for all labs if this was the last.
    pub(crate) fn remove_files(&self) -> Result<()> {
        let gone = |result: std::io::Result<()>, path: &Path| match result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(LabError::io("remove", path.display())(error))
            }
            _ => Ok(()),
        };
        gone(fs::remove_dir_all(&self.work_folder), &self.work_folder)?;
        for entry in fs::read_dir(&self.run_folder).into_iter().flatten().flatten() {
            let draft = entry.file_name().to_string_lossy().starts_with(&draft_prefix(&self.name));
            if draft {
                gone(fs::remove_file(entry.path()), &entry.path())?;
            }
        }
        // The state file is the last: what fails before can be tried again.
        let file = Self::file(&self.run_folder, &self.name);
        gone(fs::remove_file(&file), &file)?;
        // These stay while other labs have anything in them.
        let _ = fs::remove_dir(&self.run_folder);
        if let Some(parent) = self.work_folder.parent() {
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }

    /// Names of all labs that have a state file.
    pub(crate) fn names(run_folder: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(run_folder) else { return Vec::new() };
        let name = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(".json").filter(|name| !name.starts_with('.'))?.to_owned())
        };
        let mut names: Vec<_> = entries.flatten().filter_map(name).collect();
        names.sort();
        names
    }

    /// A node's folder, from outside.
    pub(crate) fn folder(&self, node: &NodeName) -> PathBuf {
        self.work_folder.join(node.as_str())
    }

    /// The namespaces of a host, all of them or only its network's.
    pub(crate) fn host(&self, host: &NodeName, kinds: CloneFlags) -> Result<Namespaces> {
        self.topology.host(host.as_str())?;
        self.namespaces(host, kinds)
    }

    /// The network namespace of any node: host, switch (named as its segment) or router.
    pub(crate) fn network(&self, node: &NodeName) -> Result<Namespaces> {
        self.namespaces(node, NETWORK)
    }

    fn namespaces(&self, node: &NodeName, kinds: CloneFlags) -> Result<Namespaces> {
        let first = *self.nodes.get(node).ok_or_else(|| LabError::Unknown {
            kind: "running host, segment or router",
            name: node.to_string(),
            known: self.nodes.keys().map(NodeName::as_str).collect::<Vec<_>>().join(", "),
        })?;
        Ok(Namespaces { node: node.to_string(), first, kinds, then_network: None })
    }

    /// Which kinds of namespace a node has of its own.
    pub(crate) fn kinds(&self, node: &NodeName) -> CloneFlags {
        if self.topology.host(node.as_str()).is_ok() { HOST } else { NETWORK }
    }

    /// The name under which a host's containers are in the cgroup tree.
    pub(crate) fn cgroup(&self, host: &NodeName) -> String {
        format!("{}{host}", cgroup_prefix(&self.name))
    }

    /// Whether every socket of the lab can have its path.
    pub(crate) fn check_paths(&self) -> Result<()> {
        for host in self.topology.hosts() {
            let longest = self.folder(&host.name).join("control.sock");
            if longest.as_os_str().len() > SOCKET_PATH {
                return Err(LabError::Argument {
                    argument: format!("the path {}", longest.display()),
                    rule: "unix sockets have at most 107 bytes: use a shorter lab name or work folder",
                });
            }
        }
        Ok(())
    }
}

/// How a state file begins while it is written.
fn draft_prefix(lab: &str) -> String {
    format!(".{lab}.json.")
}

/// Does something that needs a folder of all labs, again if the last of the others takes the folder away meanwhile.
fn beside_other_labs(mut work: impl FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
    const TRIES: u32 = 20;
    for _ in 1..TRIES {
        match work() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    work()
}

/// How the cgroups of a lab's hosts begin.
pub(crate) fn cgroup_prefix(lab: &str) -> String {
    format!("hopsack-lab-{lab}-")
}
