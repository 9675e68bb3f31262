//! Processes known by id and start time, so that an id that was given to another process since is never touched.

use crate::error::{LabError, Result};
use crate::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::Duration;

/// Environment variable that marks every process of a lab with the lab's name.
pub(crate) const MARK: &str = "HOPSACK_LAB";

/// One process, and no other that may have its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the process namespace of whoever recorded it.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)).
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now, if any.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        Some(Self { pid, started: stat(pid)?.1 })
    }

    /// Whether it still runs. One that has ended and waits to be reaped does not.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| state != 'Z' && state != 'X' && started == self.started)
    }

    /// Sends a signal if it still runs.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(LabError::errno("signal process", self.pid)(errno)),
        }
    }

    /// Kills it and waits until it, and for the first process of a namespace all others in there, have ended.
    pub(crate) fn end(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        wait::until(&format!("process {} to end", self.pid), Duration::from_secs(30), || !self.is_alive())
    }
}

/// State letter and start time.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything, so count from its end.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// All processes that carry the mark of a lab whose name `matches`, this one left out, with that name.
pub(crate) fn marked(matches: impl Fn(&str) -> bool) -> Vec<(ProcessId, String)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = numbers.filter(|&pid| pid != std::process::id());
    let mut found = Vec::new();
    for pid in others {
        let Some(id) = ProcessId::of(pid) else { continue };
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        let lab = environment
            .split(|&byte| byte == 0)
            .filter_map(|pair| std::str::from_utf8(pair).ok()?.strip_prefix(MARK)?.strip_prefix('='))
            .find(|lab| matches(lab));
        if let Some(lab) = lab.filter(|_| id.is_alive()) {
            found.push((id, lab.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_found_by_its_mark_and_ended_by_its_id() {
        let mut child = Command::new("sleep").arg("1000").env(MARK, "process-test").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        wait::until("the mark to show", Duration::from_secs(5), || {
            marked(|lab| lab == "process-test").iter().any(|(found, _)| *found == id)
        })
        .unwrap();
        id.end().unwrap();
        assert!(!id.is_alive());
        child.wait().unwrap();
    }

    #[test]
    fn another_process_with_the_same_number_is_not_alive_and_not_killed() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        let earlier = ProcessId { started: id.started - 1, ..id };
        assert!(!earlier.is_alive());
        earlier.end().unwrap();
        assert!(id.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
