//! Kernel settings below `/proc/sys`. Those of `net/` belong to the calling thread's network namespace.

use crate::error::{NetlinkError, errno_of};
use nix::errno::Errno;
use std::path::{Component, Path, PathBuf};

/// Reads a setting like `net/ipv4/ip_forward`; white space between several values becomes one space. None: this
/// kernel (or this link) has no such setting.
pub fn read(name: &str) -> Result<Option<String>, NetlinkError> {
    let path = path_of("read", name)?;
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" "))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(NetlinkError::Setting { operation: "read", name: name.to_owned(), errno: errno_of(&error) })
        }
    }
}

/// Writes a setting.
pub fn write(name: &str, value: &str) -> Result<(), NetlinkError> {
    let path = path_of("write", name)?;
    // Opened without O_CREAT, so that a missing setting says so.
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(|error| NetlinkError::Setting {
            operation: "write",
            name: name.to_owned(),
            errno: errno_of(&error),
        })
}

fn path_of(operation: &'static str, name: &str) -> Result<PathBuf, NetlinkError> {
    let relative = Path::new(name);
    if !name.is_empty() && relative.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(Path::new("/proc/sys").join(relative))
    } else {
        Err(NetlinkError::Setting { operation, name: name.to_owned(), errno: Errno::EINVAL })
    }
}
