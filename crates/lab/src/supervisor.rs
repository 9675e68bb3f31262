//! The first process of every namespace of a lab: the hidden subcommand `lab-host`. On a host it mounts what is the
//! host's own, reaps, and runs services; a switch's or router's only has to exist; the keeper takes a lab down when
//! the process that made it is gone.

pub(crate) mod mounts;
mod services;

use crate::control::{Answer, HOST_FOLDER, PATIENCE, Request, SOCKET};
use crate::error::{LabError, Result};
use crate::lab::Lab;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{pause, sethostname, setsid};
use serde::{Deserialize, Serialize};
use services::Services;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the first process of a namespace is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub(crate) enum Config {
    /// Holds a network namespace open.
    Holder,
    /// Is process 1 of a host.
    Host {
        /// The host's name.
        name: String,
        /// The host's folder as seen from outside.
        folder: PathBuf,
    },
    /// Takes the lab down at the end of its standard input, unless it reads [`LEAVE`] before.
    Keeper {
        /// The lab.
        lab: String,
        /// The folder with the state files of labs.
        run_folder: PathBuf,
    },
}

/// What the keeper reads when the lab is to stay up, or is down already.
pub(crate) const LEAVE: &str = "leave";

/// Does what the configuration file says until it is killed. This is `lab-host CONFIG`.
pub fn run(config_path: &Path) -> Result<()> {
    let shown = config_path.display();
    let text = fs::read_to_string(config_path).map_err(LabError::io("read", shown))?;
    let config = serde_json::from_str(&text)
        .map_err(|source| LabError::Json { object: config_path.display().to_string(), source })?;
    // Away from the terminal of whoever made the lab: an interrupt is for them.
    setsid().map_err(LabError::errno("make a session for", config_path.display()))?;
    match config {
        Config::Holder => loop {
            pause();
        },
        Config::Keeper { lab, run_folder } => keep(&lab, &run_folder),
        Config::Host { name, folder } => be_host(&name, &folder),
    }
}

fn keep(lab: &str, run_folder: &Path) -> Result<()> {
    let mut said = String::new();
    // An error is an end as well: nobody is left to say anything.
    let _ = std::io::stdin().read_to_string(&mut said);
    if said.trim() == LEAVE {
        return Ok(());
    }
    match Lab::open_in(lab, run_folder) {
        Ok(lab) => lab.down(),
        Err(LabError::NotUp(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn be_host(name: &str, folder: &Path) -> Result<()> {
    // Blocked before anything is started, so that no end is missed; services start with an empty mask.
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    ends.thread_block().map_err(LabError::errno("block signals of", name))?;
    let ended = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(LabError::errno("watch the children of", name))?;
    sethostname(name).map_err(LabError::errno("name", name))?;
    mounts::make_own(folder)?;
    let socket = Path::new(HOST_FOLDER).join(SOCKET);
    // Left by this host's earlier life.
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).map_err(LabError::io("listen on", socket.display()))?;
    let mut services = Services::new(PathBuf::from(HOST_FOLDER));
    loop {
        let timeout = services.next_start().map_or(PollTimeout::NONE, until);
        let mut files =
            [PollFd::new(ended.as_fd(), PollFlags::POLLIN), PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut files, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(LabError::errno("wait on", name)(errno)),
        }
        let asked = files[1].any().unwrap_or(false);
        while let Ok(Some(_)) = ended.read_signal() {}
        services.reap();
        services.start_due(Instant::now());
        if asked {
            // Whoever hangs up in the middle has lost the answer; that must not end the host.
            if let Ok((stream, _)) = listener.accept() {
                let _ = answer(stream, &mut services);
            }
        }
    }
}

/// Rounded up, so that a wake-up is never too early to be of use.
fn until(when: Instant) -> PollTimeout {
    let left = when.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

fn answer(stream: UnixStream, services: &mut Services) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    let mut reader = BufReader::new(&stream);
    reader.read_line(&mut line)?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Err(error) => Answer::Refused(error.to_string()),
        Ok(request) => match services.follow(request) {
            Ok(()) => Answer::Services(services.status()),
            Err(reason) => Answer::Refused(reason),
        },
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    (&stream).write_all(text.as_bytes())
}
