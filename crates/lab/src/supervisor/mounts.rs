//! What a host has of its own in the file system: /run, /var/lib, /proc, /sys. The rest is the machine's.

use crate::control::HOST_FOLDER;
use crate::error::{LabError, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::path::Path;

const CGROUPS: &str = "/sys/fs/cgroup";
const NOTHING: Option<&str> = None;

/// The folder inside a host's folder that is the host's `/var/lib`, and so survives the host.
pub(crate) const VAR_LIB: &str = "lib";

/// Mounts everything, privately, for this mount namespace.
pub(super) fn make_own(folder: &Path) -> Result<()> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NOTHING, "/", NOTHING, private, NOTHING).map_err(LabError::errno("make private", "/"))?;

    // The folder of this host is opened first and reached by its descriptor, since /run or /var/lib may hide it.
    let own = fs::File::open(folder).map_err(LabError::io("open", folder.display()))?;
    let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&own));
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), plain, Some("mode=755"))
        .map_err(LabError::errno("mount", "/run"))?;
    for name in ["/run/docker/plugins", "/run/lock", "/run/netns", "/run/cgroups", HOST_FOLDER] {
        fs::create_dir_all(name).map_err(LabError::io("make", name))?;
    }
    bind(&own, HOST_FOLDER, false)?;
    bind(&format!("{HOST_FOLDER}/{VAR_LIB}"), "/var/lib", false)?;

    // A fresh /sys shows this network namespace in /sys/class/net, but would hide the cgroups: they wait aside.
    let cgroups = Path::new(CGROUPS).exists();
    if cgroups {
        bind(CGROUPS, "/run/cgroups", true)?;
    }
    let kernel = plain | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), "/sys", Some("sysfs"), kernel, NOTHING).map_err(LabError::errno("mount", "/sys"))?;
    if cgroups {
        bind("/run/cgroups", CGROUPS, true)?;
        umount2("/run/cgroups", MntFlags::MNT_DETACH).map_err(LabError::errno("unmount", "/run/cgroups"))?;
    }
    fs::remove_dir("/run/cgroups").map_err(LabError::io("remove", "/run/cgroups"))?;
    mount(Some("proc"), "/proc", Some("proc"), kernel, NOTHING).map_err(LabError::errno("mount", "/proc"))
}

fn bind(from: &str, to: &str, with_mounts_below: bool) -> Result<()> {
    let below = if with_mounts_below { MsFlags::MS_REC } else { MsFlags::empty() };
    mount(Some(from), to, NOTHING, MsFlags::MS_BIND | below, NOTHING).map_err(LabError::errno("bind", to))
}
