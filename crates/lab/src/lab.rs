//! A lab's life: up, opened by another process, down.

use crate::command::Program;
use crate::control::ServiceSpec;
use crate::engine::{self, EngineSettings};
use crate::error::{LabError, Result};
use crate::faults::Faults;
use crate::host::Host;
use crate::leftovers;
use crate::namespace::{NETWORK, in_new};
use crate::process::{ProcessId, marked};
use crate::state::{RUN_FOLDER, State, WORK_FOLDER};
use crate::supervisor::{Config, LEAVE};
use crate::topology::{HostKind, Member, NodeName, Topology};
use crate::wiring;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// The name of the service that is a host's Docker engine.
pub const ENGINE: &str = "docker";
/// The name of the service that is a host's Hopsack agent.
pub const AGENT: &str = "agent";

/// How a lab is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lab's name: it is in paths, so letters, digits and hyphens only.
    pub name: String,
    /// The binary whose hidden subcommands `lab-host` and `lab-traffic` the lab runs, and whose `agent` is the agent.
    pub program: PathBuf,
    /// Where the state file goes.
    pub run_folder: PathBuf,
    /// Where the lab's work folder goes; on a disk, since Docker's layers are in there.
    pub work_folder: PathBuf,
    /// More arguments for each Docker engine.
    pub engine_args: Vec<String>,
    /// Whether engines start with the lab. If not, `Host::start(ENGINE)` starts them.
    pub start_engines: bool,
    /// Arguments and environment of the agent of each host; none: no agent. It starts before the engine.
    pub agent: Option<AgentOptions>,
    /// Whether a failed test (a lab dropped by a panic) writes [`Lab::dump`] to standard error.
    pub dump_on_panic: bool,
}

/// How each host's agent is started.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Arguments after `agent`.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
}

impl Options {
    /// The usual folders, no agent.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            run_folder: RUN_FOLDER.into(),
            work_folder: WORK_FOLDER.into(),
            engine_args: Vec::new(),
            start_engines: true,
            agent: None,
            dump_on_panic: true,
        }
    }

    /// The same with a name that no other lab has: the prefix, this process's id and a counter, of one width so that
    /// no such name begins with another.
    pub fn unique(prefix: &str, program: impl Into<PathBuf>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::new(format!("{prefix}-{}-{number:03}", std::process::id()), program)
    }
}

/// A lab that stands. One that this process made goes down when this is dropped, also by a panic, and by its keeper
/// when this process is killed.
#[derive(Debug)]
pub struct Lab {
    state: Mutex<State>,
    children: Mutex<Vec<Child>>,
    keeper: Mutex<Option<Child>>,
    owned: bool,
    dump_on_panic: bool,
}

impl Lab {
    /// Makes the hosts, wires them, and starts and awaits their services.
    pub fn up(topology: Topology, options: Options) -> Result<Self> {
        check_name(&options.name)?;
        let old = Self::open_in(&options.name, &options.run_folder);
        match old {
            Ok(lab) if lab.state().nodes.values().any(ProcessId::is_alive) => {
                return Err(LabError::AlreadyUp(options.name));
            }
            // The machine was restarted, or all of the lab was killed.
            Ok(lab) => lab.down()?,
            Err(LabError::NotUp(_)) => {}
            Err(error) => return Err(error),
        }
        let program = fs::canonicalize(&options.program)
            .map_err(LabError::io("find the program", options.program.display()))?;
        let state = State {
            work_folder: options.work_folder.join(&options.name),
            run_folder: options.run_folder.clone(),
            name: options.name.clone(),
            program,
            topology,
            faults: Faults::default(),
            nodes: BTreeMap::new(),
            keeper: None,
        };
        state.check_paths()?;
        state.write()?;
        let lab = Self {
            state: Mutex::new(state),
            children: Mutex::default(),
            keeper: Mutex::new(None),
            owned: true,
            dump_on_panic: options.dump_on_panic,
        };
        lab.build(&options)?;
        Ok(lab)
    }

    /// A lab that stands, in the usual folder. Dropping it changes nothing.
    pub fn open(name: &str) -> Result<Self> {
        Self::open_in(name, Path::new(RUN_FOLDER))
    }

    /// A lab that stands, with its state file in `run_folder`.
    pub fn open_in(name: &str, run_folder: &Path) -> Result<Self> {
        check_name(name)?;
        Ok(Self {
            state: Mutex::new(State::read(run_folder, name)?),
            children: Mutex::default(),
            keeper: Mutex::new(None),
            owned: false,
            dump_on_panic: false,
        })
    }

    /// The names of all labs with a state file in the usual folder.
    pub fn names() -> Vec<String> {
        State::names(Path::new(RUN_FOLDER))
    }

    /// Lets the lab stand when this process ends.
    pub fn leave(mut self) {
        self.owned = false;
        self.dismiss_keeper();
    }

    /// The lab's name.
    pub fn name(&self) -> String {
        self.state().name.clone()
    }

    /// What it was made from.
    pub fn topology(&self) -> Topology {
        self.state().topology.clone()
    }

    /// A host, as it is now: ask again after [`Lab::restart_host`].
    pub fn host(&self, name: &str) -> Result<Host> {
        let state = self.state();
        let member = state.topology.host(name)?;
        Host::new(&state, member)
    }

    /// All hosts in the topology's order.
    pub fn hosts(&self) -> Result<Vec<Host>> {
        let state = self.state();
        state.topology.hosts().iter().map(|member| Host::new(&state, member)).collect()
    }

    /// Runs a program in the network namespace of a switch (by its segment's name) or a router.
    pub fn run_in_network(&self, node: &str, argv: &[&str]) -> Result<String> {
        let state = self.state();
        let namespaces = state.network(&NodeName::new(node)?)?;
        Program::new(argv).mark(&state.name).inside(&namespaces).run()
    }

    /// Cuts a host's power and boots it again: all its processes and its network are gone, its disk
    /// (`/var/lib`) stays. Its services are known but not started.
    pub fn restart_host(&self, name: &str) -> Result<Host> {
        let member = self.topology().host(name)?.clone();
        let first = self.state().host(&member.name, NETWORK)?.first;
        first.end()?;
        self.reap();
        self.spawn(&member.name)?;
        let state = self.state().clone();
        state.write()?;
        wiring::connect(&state, &member, false)?;
        let host = self.host(name)?;
        host.await_supervisor()?;
        for service in read_services(&state, &member.name)? {
            host.define(&service)?;
        }
        Ok(host)
    }

    /// Takes the lab down, whoever made it, and checks that nothing is left of it.
    pub fn down(mut self) -> Result<()> {
        self.tear_down()?;
        self.owned = false;
        self.dismiss_keeper();
        let left = leftovers::of_lab(&self.state());
        if left.is_empty() { Ok(()) } else { Err(LabError::Leftovers(left)) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // State is replaced whole, so a panic elsewhere has not left it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build(&self, options: &Options) -> Result<()> {
        let state = self.state().clone();
        let topology = &state.topology;
        self.spawn_keeper(&state)?;
        let names = topology.segments().iter().map(|segment| &segment.name);
        let members = topology.hosts().iter().chain(topology.routers()).map(|member| &member.name);
        each(names.chain(members), |name| self.spawn(name))?;
        self.state().write()?;

        let state = self.state().clone();
        each(topology.segments(), |segment| wiring::make_switch(&state, segment))?;
        each(topology.routers(), |router| wiring::connect(&state, router, true))?;
        let storage = if topology.hosts().iter().any(|host| host.kind == HostKind::Docker) {
            engine::storage_driver(&state.work_folder)?
        } else {
            ""
        };
        each(topology.hosts(), |member| {
            wiring::connect(&state, member, false)?;
            let host = Host::new(&state, member)?;
            let services = services(&state, member, options, storage);
            write_services(&state, &member.name, &services)?;
            engine::write_config(&state.folder(&member.name), EngineSettings::default())?;
            host.await_supervisor()?;
            for service in &services {
                host.define(service)?;
            }
            if options.agent.is_some() {
                host.start(AGENT)?;
            }
            if member.kind == HostKind::Docker && options.start_engines {
                host.start(ENGINE)?;
                host.await_engine()?;
            }
            Ok(())
        })
    }

    /// Starts the first process of a node in its new namespaces.
    fn spawn(&self, node: &NodeName) -> Result<()> {
        let state = self.state().clone();
        let folder = state.make_folder(node.as_str())?;
        let is_host = state.topology.host(node.as_str()).is_ok();
        let config = if is_host {
            Config::Host { name: node.to_string(), folder: folder.clone() }
        } else {
            Config::Holder
        };
        let start = || start_first(&state, &folder, &config, Stdio::null());
        let child = in_new(state.kinds(node), start)?;
        let first = identify(&child)?;
        lock(&self.children).push(child);
        self.state().nodes.insert(node.clone(), first);
        Ok(())
    }

    fn spawn_keeper(&self, state: &State) -> Result<()> {
        let folder = state.make_folder(".keeper")?;
        let config = Config::Keeper { lab: state.name.clone(), run_folder: state.run_folder.clone() };
        let child = start_first(state, &folder, &config, Stdio::piped())?;
        self.state().keeper = Some(identify(&child)?);
        *lock(&self.keeper) = Some(child);
        self.state().write()
    }

    fn dismiss_keeper(&self) {
        if let Some(mut keeper) = lock(&self.keeper).take() {
            if let Some(mut pipe) = keeper.stdin.take() {
                // If it is gone already there is nobody to tell.
                let _ = pipe.write_all(LEAVE.as_bytes());
            }
            let _ = keeper.wait();
        }
    }

    /// Ends what is recorded and what is marked, then removes what they leave: cgroups, mounts, files.
    fn tear_down(&self) -> Result<()> {
        let state = self.state().clone();
        each(state.nodes.values(), ProcessId::end)?;
        // What was started outside of the hosts' process namespaces, or never recorded because the maker died.
        let strays = marked(|lab| lab == state.name).into_iter().map(|(id, _)| id);
        for stray in strays.filter(|id| Some(*id) != state.keeper) {
            stray.end()?;
        }
        self.reap();
        leftovers::remove_cgroups(&state)?;
        leftovers::remove_mounts(&state.work_folder)?;
        state.remove_files()?;
        // The maker dismisses its keeper itself, and the keeper may be who does this.
        let me = std::process::id().cast_signed();
        match state.keeper {
            Some(keeper) if !self.owned && lock(&self.keeper).is_none() && keeper.pid != me => keeper.end(),
            _ => Ok(()),
        }
    }

    /// Takes note of children that have ended.
    fn reap(&self) {
        lock(&self.children).retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        if self.dump_on_panic && thread::panicking() {
            eprintln!("{}", self.dump("a test failed"));
        }
        match self.tear_down() {
            Ok(()) => self.dismiss_keeper(),
            // The keeper, at the end of its pipe, tries once more.
            Err(error) => eprintln!("lab {} does not go down: {}", self.name(), error.chain()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !name.is_empty() && name.len() <= 40 && name.chars().all(good) && !name.starts_with('-') {
        return Ok(());
    }
    Err(LabError::Name {
        text: name.into(),
        rule: "use 1 to 40 letters, digits and hyphens, no hyphen first",
    })
}

/// Does something for each, all at once, and gives the first error.
pub(crate) fn each<T: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        let ends = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Starts `lab-host` with a configuration, its output in the node's folder.
fn start_first(state: &State, folder: &Path, config: &Config, stdin: Stdio) -> Result<Child> {
    let file = folder.join("config.json");
    write_json(&file, config)?;
    let log = folder.join("supervisor.log");
    Program::new([state.program.as_os_str(), "lab-host".as_ref(), file.as_os_str()])
        .mark(&state.name)
        .start_logged(stdin, &log, &log)
}

fn identify(child: &Child) -> Result<ProcessId> {
    let pid = child.id();
    ProcessId::of(pid).ok_or_else(|| LabError::Dead { node: "lab-host".into(), pid: pid.cast_signed() })
}

fn services(state: &State, member: &Member, options: &Options, storage: &str) -> Vec<ServiceSpec> {
    let mut services = Vec::new();
    if let Some(agent) = &options.agent {
        let mut argv = vec![state.program.display().to_string(), AGENT.to_owned()];
        argv.extend(agent.args.iter().cloned());
        services.push(ServiceSpec { name: AGENT.into(), argv, env: agent.env.clone() });
    }
    if member.kind == HostKind::Docker {
        services.push(engine::service(&state.cgroup(&member.name), storage, &options.engine_args));
    }
    services
}

fn services_file(state: &State, host: &NodeName) -> PathBuf {
    state.folder(host).join("services.json")
}

fn write_services(state: &State, host: &NodeName, services: &[ServiceSpec]) -> Result<()> {
    write_json(&services_file(state, host), &services)
}

fn read_services(state: &State, host: &NodeName) -> Result<Vec<ServiceSpec>> {
    let file = services_file(state, host);
    let text = fs::read_to_string(&file).map_err(LabError::io("read", file.display()))?;
    serde_json::from_str(&text)
        .map_err(|source| LabError::Json { object: file.display().to_string(), source })
}

fn write_json(file: &Path, value: &impl serde::Serialize) -> Result<()> {
    let about = || file.display().to_string();
    let text = serde_json::to_vec(value).map_err(|source| LabError::Json { object: about(), source })?;
    fs::write(file, text).map_err(LabError::io("write", about()))
}
