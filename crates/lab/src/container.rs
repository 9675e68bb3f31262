//! Plain containers: named network namespaces on a host, as `ip netns` makes them.

use crate::error::Result;
use crate::host::Host;
use crate::place::{Inside, Place};
use std::path::{Path, PathBuf};

/// A named network namespace on a host. It stays until [`Container::remove`] or the host's end.
#[derive(Debug, Clone)]
pub struct Container {
    name: String,
    path: PathBuf,
    host: Host,
    place: Place,
}

impl Inside for Container {
    fn place(&self) -> &Place {
        &self.place
    }
}

impl Container {
    pub(crate) fn make(host: &Host, name: &str) -> Result<Self> {
        let path = Path::new("/run/netns").join(name);
        let place = host.in_network(&path);
        let container = Self { name: name.into(), path, host: host.clone(), place };
        let listed = host.run(&["ip", "netns", "list"])?;
        // The line may go on with the namespace's number.
        if !listed.lines().any(|line| line.split(' ').next() == Some(name)) {
            host.run(&["ip", "netns", "add", name])?;
            container.run(&["ip", "link", "set", "lo", "up"])?;
        }
        Ok(container)
    }

    /// Its name, which `hopsack attach` takes on its host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of its network namespace on its host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The host that it is on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Removes it.
    pub fn remove(self) -> Result<()> {
        self.host.run(&["ip", "netns", "del", &self.name]).map(drop)
    }
}
