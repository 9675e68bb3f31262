//! The services of one host: started, reaped, started again.

use crate::control::{Request, ServiceSpec, ServiceStatus};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long after its end a service is started again.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Service {
    spec: ServiceSpec,
    pid: Option<Pid>,
    wanted: bool,
    due: Option<Instant>,
    starts: u64,
    last_end: Option<i32>,
}

impl Service {
    fn new(spec: ServiceSpec) -> Self {
        Self { spec, pid: None, wanted: false, due: None, starts: 0, last_end: None }
    }
}

/// All services by name.
#[derive(Debug)]
pub(super) struct Services {
    log_folder: PathBuf,
    by_name: BTreeMap<String, Service>,
}

impl Services {
    pub(super) fn new(log_folder: PathBuf) -> Self {
        Self { log_folder, by_name: BTreeMap::new() }
    }

    /// Does what a request says, or tells why not.
    pub(super) fn follow(&mut self, request: Request) -> Result<(), String> {
        match request {
            Request::Status => {}
            Request::Define { service: spec } => {
                if spec.argv.is_empty() {
                    return Err(format!("service {:?} has no program", spec.name));
                }
                match self.by_name.get_mut(&spec.name) {
                    Some(service) => service.spec = spec,
                    None => drop(self.by_name.insert(spec.name.clone(), Service::new(spec))),
                }
            }
            Request::Start { service } => {
                let service = self.find(&service)?;
                service.wanted = true;
                if service.pid.is_none() {
                    service.due = Some(Instant::now());
                }
                self.start_due(Instant::now());
            }
            Request::Signal { service, signal, respawn } => {
                let service = self.find(&service)?;
                service.wanted = respawn;
                if !respawn {
                    service.due = None;
                }
                let signal = Signal::try_from(signal).map_err(|_| format!("there is no signal {signal}"))?;
                if let Some(pid) = service.pid {
                    kill(pid, signal).map_err(|errno| format!("cannot signal {pid}: {errno}"))?;
                }
            }
        }
        Ok(())
    }

    fn find(&mut self, name: &str) -> Result<&mut Service, String> {
        let known = self.by_name.keys().cloned().collect::<Vec<_>>().join(", ");
        self.by_name.get_mut(name).ok_or_else(|| format!("no service {name:?} is defined; there is: {known}"))
    }

    pub(super) fn status(&self) -> Vec<ServiceStatus> {
        let status = |service: &Service| ServiceStatus {
            name: service.spec.name.clone(),
            pid: service.pid.map(Pid::as_raw),
            wanted: service.wanted,
            starts: service.starts,
            last_end: service.last_end,
        };
        self.by_name.values().map(status).collect()
    }

    /// When the next service is due.
    pub(super) fn next_start(&self) -> Option<Instant> {
        self.by_name.values().filter_map(|service| service.due).min()
    }

    /// Starts what is due.
    pub(super) fn start_due(&mut self, now: Instant) {
        for service in self.by_name.values_mut().filter(|service| service.due.is_some_and(|due| due <= now)) {
            service.due = None;
            let log = self.log_folder.join(format!("{}.log", service.spec.name));
            let log = OpenOptions::new().create(true).append(true).open(log);
            match log.and_then(|log| start(&service.spec, log)) {
                Ok(pid) => {
                    service.pid = Some(pid);
                    service.starts += 1;
                }
                // Said in its log, by `start`; tried again like a service that ends at once.
                Err(_) => service.due = Some(now + PAUSE),
            }
        }
    }

    /// Reaps whatever has ended: services, and orphans that fell to process 1.
    pub(super) fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, end) = match status {
                WaitStatus::Exited(pid, status) => (pid, status),
                WaitStatus::Signaled(pid, signal, _) => (pid, -(signal as i32)),
                WaitStatus::StillAlive => break,
                _ => continue,
            };
            if let Some(service) = self.by_name.values_mut().find(|service| service.pid == Some(pid)) {
                service.pid = None;
                service.last_end = Some(end);
                service.due = service.wanted.then(|| Instant::now() + PAUSE);
            }
        }
    }
}

/// Starts a service and forgets the child: process 1 reaps by number.
fn start(spec: &ServiceSpec, log: File) -> std::io::Result<Pid> {
    let mut own = log.try_clone()?;
    let child = Command::new(&spec.argv[0])
        .args(&spec.argv[1..])
        .envs(spec.env.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .inspect_err(|error| {
            // The log is the only place where anybody looks.
            let _ = writeln!(own, "lab: cannot run {:?}: {error}", spec.argv);
        })?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}
