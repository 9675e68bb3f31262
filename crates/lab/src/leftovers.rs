//! What labs and the product could leave on the machine: finding it, and removing a lab's own part.

use crate::command::Program;
use crate::error::{LabError, Result};
use crate::process::marked;
use crate::state::{RUN_FOLDER, State, WORK_FOLDER, cgroup_prefix};
use hopsack_types::numbers;
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Everything of ours outside of labs: processes, cgroups, mounts and files of labs whose names begin with
/// `prefix`; and links, routes, rules, named namespaces and tables of the product in the caller's network
/// namespace, where none ever belongs. Empty when all is clean.
pub fn leftovers(prefix: &str) -> Result<Vec<String>> {
    let mut found =
        leftovers_of(|lab| lab.starts_with(prefix), Path::new(RUN_FOLDER), Path::new(WORK_FOLDER));
    found.extend(network()?);
    Ok(found)
}

/// What is left of one lab.
pub(crate) fn of_lab(state: &State) -> Vec<String> {
    let work_folder = state.work_folder.parent().unwrap_or(&state.work_folder);
    leftovers_of(|lab| lab == state.name, &state.run_folder, work_folder)
}

/// Processes, cgroups, mounts and files of labs whose names match.
fn leftovers_of(matches: impl Fn(&str) -> bool, run_folder: &Path, work_folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (id, lab) in marked(&matches) {
        let command = fs::read(format!("/proc/{}/cmdline", id.pid)).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        found.push(format!("process {} of lab {lab}: {}", id.pid, command.trim()));
    }
    for cgroup in cgroups(Path::new(CGROUPS)) {
        let name = cgroup.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // hopsack-lab-LAB-HOST; a host's name may have hyphens, so every cut is tried.
        let lab_and_host = name.strip_prefix("hopsack-lab-").unwrap_or_default();
        let cuts = lab_and_host.char_indices().filter(|(_, c)| *c == '-');
        if cuts.into_iter().any(|(at, _)| matches(&lab_and_host[..at])) {
            found.push(format!("cgroup {}", cgroup.display()));
        }
    }
    let in_work_folder = |path: &Path| {
        let lab = path.strip_prefix(work_folder).ok()?.components().next()?;
        matches(&lab.as_os_str().to_string_lossy()).then_some(())
    };
    let mounted = mounts().into_iter().filter(|mount| in_work_folder(mount).is_some());
    found.extend(mounted.map(|mount| format!("mount {}", mount.display())));
    for entry in fs::read_dir(run_folder).into_iter().flatten().flatten() {
        // LAB.json, or .LAB.json.SOMETHING while it is written.
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.trim_start_matches('.').split('.').next().is_some_and(&matches) {
            found.push(format!("file {}", entry.path().display()));
        }
    }
    let folders = fs::read_dir(work_folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = folders.filter(|path| in_work_folder(path).is_some());
    found.extend(folders.map(|folder| format!("folder {}", folder.display())));
    found
}

/// What the product owns in the caller's network namespace.
fn network() -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut note = |kind: &str, argv: &[&str], ours: &dyn Fn(&str) -> bool| -> Result<()> {
        let output = match Program::new(argv.iter().copied()).output() {
            Ok(output) => output,
            // Without the program nothing of that kind was made.
            Err(LabError::Io { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let lines = output.stdout.lines().filter(|line| ours(line));
        found.extend(lines.map(|line| format!("{kind} {}", line.trim())));
        Ok(())
    };
    let prefixes = [numbers::ENDPOINT_PREFIX, numbers::PEER_PREFIX];
    let link = |line: &str| {
        let name = line.split(": ").nth(1).unwrap_or_default().split('@').next().unwrap_or_default();
        name == numbers::HOST_DEVICE
            || name == numbers::VXLAN_DEVICE
            || prefixes.iter().any(|prefix| name.starts_with(prefix))
            || line.contains(&format!("alias {}", numbers::ALIAS_PREFIX))
    };
    note("link", &["ip", "-o", "link"], &link)?;
    let protocol = numbers::ROUTE_PROTOCOL.to_string();
    for family in ["-4", "-6"] {
        note("route", &["ip", family, "route", "show", "table", "all", "proto", &protocol], &|_| true)?;
        let rule = format!("{}:", numbers::PROBE_RULE_PREFERENCE);
        note("rule", &["ip", family, "rule"], &|line| line.starts_with(&rule))?;
    }
    note("table", &["nft", "list", "tables"], &|line| line.ends_with(&format!(" {}", numbers::NFT_TABLE)))?;
    Ok(found)
}

/// Removes the cgroups that containers of a lab have left; their processes have ended.
pub(crate) fn remove_cgroups(state: &State) -> Result<()> {
    let prefix = cgroup_prefix(&state.name);
    let hosts: Vec<String> =
        state.topology.hosts().iter().map(|host| format!("{prefix}{}", host.name)).collect();
    for cgroup in cgroups(Path::new(CGROUPS)) {
        let name = cgroup.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if hosts.contains(&name) {
            remove_tree_of_cgroups(&cgroup)?;
        }
    }
    Ok(())
}

/// The files in a cgroup cannot be removed, the folders can, from the leaves on.
fn remove_tree_of_cgroups(cgroup: &Path) -> Result<()> {
    for child in folders_in(cgroup) {
        remove_tree_of_cgroups(&child)?;
    }
    // Its last process may be on its way out still.
    crate::wait::value(
        &format!("{} to be empty", cgroup.display()),
        std::time::Duration::from_secs(5),
        || match fs::remove_dir(cgroup) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        },
    )
}

/// All cgroups that are a lab's host's, in all hierarchies.
fn cgroups(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders_in(root) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("hopsack-lab-") {
            found.push(folder);
        } else {
            found.extend(cgroups(&folder));
        }
    }
    found
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// Unmounts whatever is mounted below a folder, so that removing the folder removes nothing else.
pub(crate) fn remove_mounts(folder: &Path) -> Result<()> {
    let mut below: Vec<_> = mounts().into_iter().filter(|mount| mount.starts_with(folder)).collect();
    below.sort();
    for mount in below.iter().rev() {
        umount2(mount, MntFlags::MNT_DETACH).map_err(LabError::errno("unmount", mount.display()))?;
    }
    Ok(())
}

/// The mount points that this process sees (proc(5), mountinfo, fifth field).
fn mounts() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}
