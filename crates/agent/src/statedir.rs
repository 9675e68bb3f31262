//! The state directory: files that are replaced whole and survive a power cut, and files that only root reads.
//!
//! What must not live here: what the files mean.

use crate::error::AgentError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that belongs to one agent.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the directory, making it with mode 0700 where it is missing, and checks that it can be written.
    pub fn open(root: &Path) -> Result<Self, AgentError> {
        let unusable = |source| AgentError::StateDir { path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(unusable)?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
        let dir = Self { root: root.to_owned() };
        let probe = dir.path(".writable");
        File::create(&probe).map_err(unusable)?;
        fs::remove_file(&probe).map_err(unusable)?;
        Ok(dir)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Reads a file; none if it does not exist.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, AgentError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AgentError::ReadState { path, source }),
        }
    }

    /// Reads a JSON file; none if it does not exist.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, AgentError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(AgentError::CorruptState { path: self.path(name), source }),
        }
    }

    /// Replaces a file whole: after a power cut it holds the old content or the new. Mode 0600.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), AgentError> {
        let path = self.path(name);
        let fresh = self.path(&format!(".{name}.new"));
        let failed = |source| AgentError::WriteState { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)?;
        self.sync().map_err(failed)
    }

    /// Replaces a JSON file whole.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), AgentError> {
        let path = self.path(name);
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|source| AgentError::WriteState { path, source: source.into() })?;
        self.write(name, &bytes)
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, name: &str) -> Result<(), AgentError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(AgentError::WriteState { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Makes renames and creations durable.
    pub fn sync(&self) -> std::io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        dir.write("secret", b"one").unwrap();
        dir.write("secret", b"two").unwrap();
        assert_eq!(dir.read("secret").unwrap().unwrap(), b"two");
        let mode = fs::metadata(dir.path("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_json_is_called_corrupt_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        dir.write("identity.json", b"{").unwrap();
        let error = dir.read_json::<u32>("identity.json").unwrap_err().to_string();
        assert!(error.contains("identity.json"), "{error}");
        assert_eq!(dir.read("identity.json").unwrap().unwrap(), b"{");
    }
}
