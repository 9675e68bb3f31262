//! Running programs in a place: a host, or a container on it.

use crate::capture::{self, Capture};
use crate::command::{Output, Program, end, finish};
use crate::error::{LabError, Result};
use crate::namespace::Namespaces;
use crate::process::ProcessId;
use crate::wait;
use nix::sys::signal::Signal;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// How long a traffic tool may take to say that it is ready.
const READY: Duration = Duration::from_secs(10);

/// A set of namespaces of a lab, and what is needed to run things there.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) namespaces: Namespaces,
    pub(crate) lab: String,
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
}

/// What one can run programs in.
pub trait Inside {
    /// Where.
    fn place(&self) -> &Place;

    /// A program to be run here; set its input, environment or deadline first. The lab's own program is found by its
    /// name, before others of that name.
    fn program(&self, argv: &[&str]) -> Program {
        let place = self.place();
        let program = Program::new(argv.iter().copied()).mark(&place.lab).inside(&place.namespaces);
        program.envs(&[("PATH".to_owned(), search_path(&place.program))])
    }

    /// Runs a program to its end, however that is.
    fn exec(&self, argv: &[&str]) -> Result<Output> {
        self.program(argv).output()
    }

    /// Runs a program that must succeed and gives what it wrote.
    fn run(&self, argv: &[&str]) -> Result<String> {
        self.program(argv).run()
    }

    /// Starts a program that runs beside the caller until it ends or the value is dropped.
    fn spawn(&self, argv: &[&str]) -> Result<Running> {
        Running::start(&self.program(argv), &self.place().folder)
    }

    /// Runs one of the traffic tools (see [`crate::traffic`]) to its end; its report is the last line of its output.
    fn traffic(&self, arguments: &[&str], patience: Duration) -> Result<Output> {
        traffic_program(self.place(), arguments).patience(patience).output()
    }

    /// Starts a traffic tool that has nothing to get ready.
    fn spawn_traffic(&self, arguments: &[&str]) -> Result<Running> {
        Running::start(&traffic_program(self.place(), arguments), &self.place().folder)
    }

    /// Starts a traffic tool that listens and waits until it says that it is ready.
    fn start_traffic(&self, arguments: &[&str]) -> Result<Running> {
        let mut running = self.spawn_traffic(arguments)?;
        running.await_line("ready", READY)?;
        Ok(running)
    }

    /// Whether an address answers one ICMP echo request within a second; needs ping.
    fn reaches(&self, address: IpAddr) -> Result<bool> {
        Ok(self.exec(&["ping", "-n", "-c1", "-W1", &address.to_string()])?.success())
    }

    /// Starts a capture of what matches a pcap filter on a device ("any": on all); needs tcpdump.
    fn capture(&self, device: &str, filter: &str) -> Result<Capture> {
        capture::start(self.place(), device, filter)
    }
}

/// The caller's search path behind the folder of the lab's program.
fn search_path(program: &Path) -> String {
    let folder = program.parent().unwrap_or(Path::new("/"));
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

fn traffic_program(place: &Place, arguments: &[&str]) -> Program {
    let program = [place.program.as_os_str(), "lab-traffic".as_ref()];
    let argv = program.into_iter().chain(arguments.iter().map(AsRef::as_ref));
    Program::new(argv).mark(&place.lab).inside(&place.namespaces)
}

/// A program that runs beside the caller. Dropping it kills the program.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    out: tempfile::TempPath,
    err: tempfile::TempPath,
}

impl Running {
    pub(crate) fn start(program: &Program, folder: &Path) -> Result<Self> {
        let file = |end| {
            let named = tempfile::Builder::new().prefix("run-").suffix(end).tempfile_in(folder);
            named
                .map(tempfile::NamedTempFile::into_temp_path)
                .map_err(LabError::io("make a file in", folder.display()))
        };
        let (out, err) = (file(".out")?, file(".err")?);
        let child = program.start_logged(Stdio::null(), &out, &err)?;
        Ok(Self { command: program.line(), child, out, err })
    }

    /// Its process id outside of all hosts.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.err)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until one of its outputs contains a text. Its end before that is an error.
    pub fn await_line(&mut self, text: &str, patience: Duration) -> Result<()> {
        let command = self.command.clone();
        let what = format!("`{command}` to write {text:?}");
        wait::value(&what, patience, || {
            let ended = !self.is_running();
            if self.stdout().contains(text) || self.stderr().contains(text) {
                return Ok(Ok(()));
            }
            if ended { Ok(Err(())) } else { Err(format!("{}{}", self.stdout(), self.stderr())) }
        })?
        .or_else(|()| match self.end(Duration::ZERO)?.checked() {
            Err(error) => Err(error),
            Ok(output) => Err(LabError::Timeout { what, after: patience, detail: output.stdout }),
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        ProcessId::of(self.child.id()).map_or(Ok(()), |id| id.signal(signal))
    }

    /// Waits until it ends by itself; kills it at the deadline.
    pub fn wait(mut self, patience: Duration) -> Result<Output> {
        self.end(patience)
    }

    /// Interrupts it, as with Ctrl-C, and waits for its end.
    pub fn stop(mut self) -> Result<Output> {
        self.signal(Signal::SIGINT)?;
        self.end(Duration::from_secs(10))
    }

    fn end(&mut self, patience: Duration) -> Result<Output> {
        let status = finish(&mut self.child, &self.command, patience)?;
        Ok(Output { command: self.command.clone(), status, stdout: self.stdout(), stderr: self.stderr() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            end(&mut self.child);
        }
    }
}

/// The file is gone if the lab is down already.
fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
