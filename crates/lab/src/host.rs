//! One host of a lab: its services, its containers, its place to run things.

use crate::container::Container;
use crate::control::{self, Request, ServiceSpec, ServiceStatus};
use crate::error::{LabError, Result};
use crate::namespace::HOST;
use crate::place::{Inside, Place};
use crate::state::State;
use crate::topology::{HostKind, Member, NodeName};
use crate::wait;
use nix::sys::signal::Signal;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::supervisor::run;

/// How long a service may take to end after a polite request.
const STOPPING: Duration = Duration::from_secs(30);

/// What happens after a service was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// The supervisor starts it again, 0.3 seconds after its end.
    Respawn,
    /// It stays dead until [`Host::start`].
    StayDead,
}

/// A host of a lab that stands.
#[derive(Debug, Clone)]
pub struct Host {
    name: NodeName,
    kind: HostKind,
    addresses: Vec<IpAddr>,
    place: Place,
}

impl Inside for Host {
    fn place(&self) -> &Place {
        &self.place
    }
}

impl Host {
    pub(crate) fn new(state: &State, member: &Member) -> Result<Self> {
        Ok(Self {
            name: member.name.clone(),
            kind: member.kind,
            addresses: state.topology.addresses(member),
            place: Place {
                namespaces: state.host(&member.name, HOST)?,
                lab: state.name.clone(),
                program: state.program.clone(),
                folder: state.folder(&member.name),
            },
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Its underlay addresses, in the order of its interfaces, v4 first.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its first underlay address.
    pub fn address(&self) -> Result<IpAddr> {
        let none = || LabError::Topology { object: self.name.to_string(), problem: "has no address" };
        self.addresses.first().copied().ok_or_else(none)
    }

    /// Whether it has a Docker engine.
    pub fn has_engine(&self) -> bool {
        self.kind == HostKind::Docker
    }

    /// The id of its first process, outside; `nsenter -t` takes it.
    pub fn pid(&self) -> i32 {
        self.place.namespaces.first.pid
    }

    /// Its folder, from outside; inside it is [`crate::HOST_FOLDER`]. Logs of services are in there.
    pub fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// Its `/var/lib`, from outside.
    pub fn var_lib(&self) -> PathBuf {
        self.folder().join(crate::supervisor::mounts::VAR_LIB)
    }

    /// Makes a service known, or changes how it is started the next time.
    pub fn define(&self, service: &ServiceSpec) -> Result<()> {
        self.ask(&Request::Define { service: service.clone() }).map(drop)
    }

    /// Starts a service and keeps it running.
    pub fn start(&self, service: &str) -> Result<ServiceStatus> {
        self.ask(&Request::Start { service: service.into() })?;
        self.service(service)
    }

    /// Asks a service to end, waits for it, and leaves it so.
    pub fn stop(&self, service: &str) -> Result<()> {
        self.end_service(service, Signal::SIGTERM)
    }

    /// Ends a service politely and starts it again at once.
    pub fn restart(&self, service: &str) -> Result<ServiceStatus> {
        self.stop(service)?;
        self.start(service)
    }

    /// Sends a service a signal. One that is to stay dead is waited for if the signal is `SIGKILL`.
    pub fn kill(&self, service: &str, signal: Signal, afterwards: Afterwards) -> Result<()> {
        if signal == Signal::SIGKILL && afterwards == Afterwards::StayDead {
            return self.end_service(service, signal);
        }
        let respawn = afterwards == Afterwards::Respawn;
        self.ask(&Request::Signal { service: service.into(), signal: signal as i32, respawn }).map(drop)
    }

    /// All services.
    pub fn services(&self) -> Result<Vec<ServiceStatus>> {
        self.ask(&Request::Status)
    }

    /// One service.
    pub fn service(&self, name: &str) -> Result<ServiceStatus> {
        let services = self.services()?;
        let known = || services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || LabError::Unknown { kind: "service", name: name.into(), known: known() };
        services.iter().find(|service| service.name == name).cloned().ok_or_else(unknown)
    }

    /// Waits until a service runs and has been started more often than `before`.
    pub fn await_respawn(&self, service: &str, before: u64) -> Result<ServiceStatus> {
        wait::value(&format!("{service} to run again"), STOPPING, || {
            let now = self.service(service).map_err(|error| error.chain())?;
            if now.pid.is_some() && now.starts > before { Ok(now) } else { Err(format!("{now:?}")) }
        })
    }

    /// The log of a service so far.
    pub fn log(&self, service: &str) -> String {
        let file = self.folder().join(format!("{service}.log"));
        fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of a service's log.
    pub fn log_tail(&self, service: &str, lines: usize) -> String {
        let log = self.log(service);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// A plain container: a named network namespace on this host, made if it is not there.
    pub fn container(&self, name: &str) -> Result<Container> {
        Container::make(self, name)
    }

    /// The network namespace at a path as this host sees it, under this host's file system and processes.
    pub fn in_network(&self, path: impl Into<PathBuf>) -> Place {
        let mut place = self.place.clone();
        place.namespaces.then_network = Some(path.into());
        place
    }

    /// Runs a program in the network namespace at a path as this host sees it; it must succeed.
    pub fn exec_in_net(&self, path: &Path, argv: &[&str]) -> Result<String> {
        self.in_network(path).run(argv)
    }

    /// The network namespace of a Docker container on this host.
    pub fn docker_network(&self, container: &str) -> Result<Place> {
        Ok(self.in_network(self.docker(&["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", container])?))
    }

    pub(crate) fn await_supervisor(&self) -> Result<()> {
        wait::value(&format!("the supervisor of {}", self.name), control::PATIENCE, || {
            self.services().map_err(|error| format!("{}\n{}", error.chain(), self.log("supervisor")))
        })
        .map(drop)
    }

    fn end_service(&self, service: &str, signal: Signal) -> Result<()> {
        self.ask(&Request::Signal { service: service.into(), signal: signal as i32, respawn: false })?;
        wait::value(&format!("{service} on {} to end", self.name), STOPPING, || {
            let now = self.service(service).map_err(|error| error.chain())?;
            if now.pid.is_none() { Ok(()) } else { Err(format!("{now:?}")) }
        })
    }

    fn ask(&self, request: &Request) -> Result<Vec<ServiceStatus>> {
        control::ask(self.name(), &self.folder().join(control::SOCKET), request)
    }
}

impl Inside for Place {
    fn place(&self) -> &Place {
        self
    }
}
