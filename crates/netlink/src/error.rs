//! The crate's error: which operation on which object failed, and the kernel's number for it.

use nix::errno::Errno;
use std::path::PathBuf;

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused it.
    #[error("cannot {operation} {object}: {}{}", .errno.desc(), explained(.detail.as_deref()))]
    Refused {
        /// What was tried, like `add route`.
        operation: &'static str,
        /// On what, like `10.32.4.0/29`.
        object: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own words, where it has any (`NLMSGERR_ATTR_MSG`).
        detail: Option<String>,
    },
    /// The socket itself failed.
    #[error("cannot {operation} a netlink socket: {}", .errno.desc())]
    Socket {
        /// What was tried, like `open`.
        operation: &'static str,
        /// The kernel's error number.
        errno: Errno,
    },
    /// A table changed during each of several tries to read it.
    #[error("cannot read {what}: they changed during each of {tries} tries")]
    Unsteady {
        /// Which table.
        what: &'static str,
        /// How often it was tried.
        tries: u32,
    },
    /// A network namespace could not be entered.
    #[error("cannot enter the network namespace {}: {}", .path.display(), .errno.desc())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// The kernel's error number: `ENOENT` if the path is gone, `EINVAL` if it is something else.
        errno: Errno,
    },
    /// A thread of its own for a namespace could not be had.
    #[error("cannot start a thread for a network namespace: {}", .errno.desc())]
    Thread {
        /// The kernel's error number.
        errno: Errno,
    },
    /// A kernel setting could not be read or written.
    #[error("cannot {operation} the kernel setting /proc/sys/{name}: {}", .errno.desc())]
    Setting {
        /// `read` or `write`.
        operation: &'static str,
        /// Path below `/proc/sys`.
        name: String,
        /// The kernel's error number.
        errno: Errno,
    },
}

fn explained(detail: Option<&str>) -> String {
    detail.map_or_else(String::new, |text| format!(" ({text})"))
}

impl NetlinkError {
    /// The kernel's error number, where there is one.
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. }
            | Self::Socket { errno, .. }
            | Self::Namespace { errno, .. }
            | Self::Thread { errno }
            | Self::Setting { errno, .. } => Some(*errno),
            Self::Unsteady { .. } => None,
        }
    }

    /// Whether what was to be made is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Whether what was to be changed or removed is not there (or the device that it was on).
    pub fn is_gone(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::ENOENT | Errno::ESRCH | Errno::ENODEV | Errno::ENXIO | Errno::EADDRNOTAVAIL)
        )
    }

    /// Whether this kernel does not have the feature.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT | Errno::ENOPROTOOPT)
        )
    }

    /// Whether the caller lacks the right to do it.
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(Errno::EPERM | Errno::EACCES))
    }
}

/// The error number inside an I/O error; `EIO` for one that has none.
pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
