//! The state directory: there, the agent's alone, writable, with room.

use super::finding::{Finding, Subject};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Less room makes a warning, bytes.
const TIGHT: u64 = 256 << 20;
/// With less room writes fail soon, bytes.
const FULL: u64 = 8 << 20;

/// The directory and its file system.
pub fn check(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::ok(Subject::State, format!("{shown} is not there yet: no agent has run"))];
        }
        Err(error) => {
            let found = format!("{shown} cannot be looked at: {error}");
            return vec![Finding::fail(Subject::State, found, "sudo hopsack doctor")];
        }
    };
    if !metadata.is_dir() {
        let found = format!("{shown} is no directory: the agent cannot keep its state");
        return vec![Finding::fail(Subject::State, found, format!("ls -l {shown}"))];
    }
    let mut findings = Vec::new();
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let found = format!("{shown} holds keys and has mode {mode:o}: others may look into it");
        findings.push(Finding::warn(Subject::State, found, format!("chmod 700 {shown}")));
    }
    findings.push(match statvfs(path) {
        Ok(system) => {
            let read_only = system.flags().contains(FsFlags::ST_RDONLY);
            room(path, read_only, system.blocks_available().saturating_mul(system.fragment_size()))
        }
        Err(error) => Finding::warn(
            Subject::State,
            format!("{shown}: its file system does not answer: {error}"),
            "df -h",
        ),
    });
    findings
}

fn room(path: &Path, read_only: bool, free: u64) -> Finding {
    let (shown, mebibytes) = (path.display(), free >> 20);
    let next = format!("df -h {shown}");
    if read_only {
        let found = format!("{shown} is on a file system that is read-only: nothing can be changed");
        return Finding::fail(Subject::State, found, format!("findmnt -T {shown}"));
    }
    if free < FULL {
        Finding::fail(Subject::State, format!("{shown} has {mebibytes} MiB left"), next)
    } else if free < TIGHT {
        Finding::warn(Subject::State, format!("{shown} has only {mebibytes} MiB left"), next)
    } else {
        Finding::ok(Subject::State, format!("{shown} can be written and has {mebibytes} MiB left"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn little_room_warns_and_none_fails() {
        let verdict = |read_only, free| room(Path::new("/s"), read_only, free).verdict;
        assert_eq!(verdict(false, 1 << 40), Verdict::Ok);
        assert_eq!(verdict(false, TIGHT - 1), Verdict::Warn);
        assert_eq!(verdict(false, FULL - 1), Verdict::Fail);
        assert_eq!(verdict(true, 1 << 40), Verdict::Fail);
    }

    #[test]
    fn a_directory_that_others_may_read_is_told_and_a_missing_one_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(check(&path)[0].verdict, Verdict::Ok);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let found = check(&path).remove(0);
        assert_eq!(
            (found.verdict, found.next),
            (Verdict::Warn, Some(format!("chmod 700 {}", path.display())))
        );
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(check(&folder.path().join("file"))[0].verdict, Verdict::Fail);
    }
}
