//! Network namespaces. A thread enters one only here, and only a thread that ends afterwards, so that no error path
//! can leave a thread in a container's namespace.

use crate::error::{NetlinkError, errno_of};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells two network namespaces apart: device and inode of the namespace file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

/// An open network namespace. It lives at least as long as this value.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// Opens the namespace at a path (a bind mount or `/proc/PID/ns/net`).
    pub fn open(path: &Path) -> Result<Self, NetlinkError> {
        let wrap = |error| NetlinkError::Namespace { path: path.to_owned(), errno: errno_of(&error) };
        File::open(path).map(|file| Self { file }).map_err(wrap)
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetlinkError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The identity of the namespace.
    pub fn id(&self) -> Result<NamespaceId, NetlinkError> {
        self.file
            .metadata()
            .map(|data| NamespaceId { device: data.dev(), inode: data.ino() })
            .map_err(|error| NetlinkError::Thread { errno: errno_of(&error) })
    }

    /// The file, for moving links.
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.file)
    }
}

/// Runs the closure on a thread inside the namespace at `path`.
pub fn in_ns<T: Send>(path: &Path, closure: impl FnOnce() -> T + Send) -> Result<T, NetlinkError> {
    let namespace = Namespace::open(path)?;
    on_thread(
        || {
            setns(&namespace.file, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| NetlinkError::Namespace { path: path.to_owned(), errno })
        },
        closure,
    )
}

/// Runs the closure on a thread inside a network namespace of its own, which ends with the closure unless something
/// there still uses it.
pub fn in_new_ns<T: Send>(closure: impl FnOnce() -> T + Send) -> Result<T, NetlinkError> {
    on_thread(|| unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetlinkError::Thread { errno }), closure)
}

fn on_thread<T: Send>(
    enter: impl FnOnce() -> Result<(), NetlinkError> + Send,
    closure: impl FnOnce() -> T + Send,
) -> Result<T, NetlinkError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, || enter().map(|()| closure()))
            .map_err(|error| NetlinkError::Thread { errno: errno_of(&error) })?;
        match thread.join() {
            Ok(result) => result,
            // A panic in the closure goes on in the caller, as if there were no thread between.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
