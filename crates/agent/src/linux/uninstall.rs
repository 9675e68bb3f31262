//! Takes Hopsack off this host, where the agent does not run: what is ours in the kernel, in Docker and on disk, and
//! settings back to what they were.
//!
//! What must not live here: leaving the cluster. Its other hosts keep this one in mind until `hopsack host rm`.

use super::{LOCK, boot, lock};
use crate::error::AgentError;
use crate::kernel::originals::{Original, Originals};
use crate::statedir::StateDir;
use crate::trust::identity::Identity;
use hopsack_docker::DockerEngine;
use hopsack_kernel::{Kernel, LinuxKernel};
use hopsack_netlink::sysctl;
use hopsack_plan::HostState;
use hopsack_types::HostName;
use nix::fcntl::Flock;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where things of ours are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The state directory.
    pub state_dir: PathBuf,
    /// The local socket.
    pub socket: PathBuf,
    /// The Docker engine's socket.
    pub engine_socket: PathBuf,
    /// Where the engine looks for us.
    pub plugin_socket: PathBuf,
}

/// What is on this host.
pub struct Found {
    places: Places,
    /// None: there is no state directory.
    state: Option<State>,
    kernel: LinuxKernel,
    held: HostState,
    engine_runs: bool,
}

struct State {
    name: Option<HostName>,
    originals: Originals,
    _only_one: Flock<File>,
}

/// A Docker engine needs it as well, and turns it on only when it starts.
const FORWARDING: &str = "net/ipv4/ip_forward";

impl Found {
    /// Looks. Fails while an agent uses the state directory.
    pub fn look(places: Places) -> Result<Self, AgentError> {
        let state = State::open(&places.state_dir)?;
        let mut kernel = LinuxKernel::new()?;
        let held = kernel.observe(&HostState::default())?;
        let engine_runs = UnixStream::connect(&places.engine_socket).is_ok();
        Ok(Self { places, state, kernel, held, engine_runs })
    }

    /// This host's name in its cluster, if it is in one.
    pub fn name(&self) -> Option<&HostName> {
        self.state.as_ref()?.name.as_ref()
    }

    /// What there is to take away, in words.
    pub fn objects(&self) -> Vec<String> {
        let held = &self.held;
        let links = held.links.keys().map(|link| format!("link {link}"));
        let chains =
            held.forward_accept.iter().map(|family| format!("rule that accepts {family} in FORWARD"));
        let counted = [(held.routes.len(), "routes"), (held.rules.len(), "routing rules")];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        let table = (held.firewall != HostState::default().firewall).then(|| "table inet hopsack".to_owned());
        let settings = self.settings().map(|(name, original)| format!("{name} back to {}", original.before));
        links
            .chain(counted.map(|(count, things)| format!("{count} {things}")))
            .chain(table)
            .chain(chains)
            .chain(settings)
            .collect()
    }

    /// The settings to put back: those that still are what the agent made them.
    fn settings(&self) -> impl Iterator<Item = (&String, &Original)> {
        let none = const { &BTreeMap::new() };
        let all = self.state.as_ref().map_or(none, |state| state.originals.all());
        all.iter().filter(|(name, original)| {
            let needed = self.engine_runs && *name == FORWARDING;
            !needed && sysctl::read(name).is_ok_and(|now| now.as_ref() == Some(&original.ours))
        })
    }

    /// Takes it all away but, with `keep_state`, what makes this host the same one when it comes back. Answers what could
    /// not be taken away, in words; then it can be done again.
    pub async fn remove(mut self, keep_state: bool) -> Result<Vec<String>, AgentError> {
        // First, for it is where somebody may still need us: then nothing has changed yet.
        let used = self.leave_docker().await?;
        if !used.is_empty() {
            return Ok(used);
        }
        let applied = self.kernel.apply(std::mem::take(&mut self.held), &HostState::default());
        let failures = applied.failures.iter();
        let mut left: Vec<String> =
            failures.map(|failure| format!("{}: {}", failure.object, failure.reason)).collect();
        left.extend(self.put_settings_back());
        if !left.is_empty() {
            return Ok(left);
        }
        if let Some(state) = &mut self.state {
            state.originals.forget()?;
            if !keep_state {
                gone(&self.places.state_dir, fs::remove_dir_all(&self.places.state_dir))?;
            }
        }
        for socket in [&self.places.socket, &self.places.plugin_socket] {
            gone(socket, fs::remove_file(socket))?;
        }
        // Where systemd has made the folder it takes it away as well; others may have put something into it.
        if let Some(folder) = self.places.socket.parent()
            && let Err(error) = fs::remove_dir(folder)
        {
            tracing::debug!(%error, "the local socket's folder stays");
        }
        Ok(left)
    }

    /// An engine that runs forgets our networks; one that does not run still has them.
    async fn leave_docker(&self) -> Result<Vec<String>, AgentError> {
        if !self.engine_runs {
            return Ok(Vec::new());
        }
        let engine = DockerEngine::new(self.places.engine_socket.clone());
        let kept = hopsack_docker::take_out(&self.places.plugin_socket, &engine).await?;
        let told =
            |name| format!("network {name} in Docker: containers use it; remove them, then do this again");
        Ok(kept.into_iter().map(told).collect())
    }

    /// Those of all devices first, since forwarding resets others, which mean something else while a host forwards.
    fn put_settings_back(&self) -> Vec<String> {
        let mut settings: Vec<(&String, &Original)> = self.settings().collect();
        settings.sort_by_key(|(name, _)| !name.contains("forward"));
        let failed = settings.into_iter().filter_map(|(name, original)| {
            sysctl::write(name, &original.before).err().map(|error| error.to_string())
        });
        failed.collect()
    }
}

impl State {
    /// Opens an agent's state directory and keeps agents out of it; none if there is none.
    fn open(folder: &Path) -> Result<Option<Self>, AgentError> {
        let path = folder.to_owned();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            entries => entries.and_then(Iterator::collect::<Result<Vec<_>, _>>),
        };
        let entries = entries.map_err(|source| AgentError::ReadState { path: path.clone(), source })?;
        // All of it will be removed: an agent has files only, and a lock among them from its first start on.
        let is_file = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
        let is_locked = entries.iter().any(|entry| entry.file_name() == LOCK);
        if !entries.iter().all(is_file) || !(is_locked || entries.is_empty()) {
            return Err(AgentError::ForeignState { path });
        }
        let dir = StateDir::open(folder)?;
        let only_one = lock(&dir, folder)?;
        let name = Identity::load(&dir)?.map(|identity| identity.name);
        let originals = Originals::load(dir.clone(), &boot()?)?;
        Ok(Some(Self { name, originals, _only_one: only_one }))
    }
}

/// What came of removing something that may have been gone already.
fn gone(path: &Path, removed: std::io::Result<()>) -> Result<(), AgentError> {
    match removed {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(AgentError::Remove { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
