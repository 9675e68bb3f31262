//! Programs that the lab runs: argument vector in, output out, a deadline always, standard error in every error.

use crate::error::{LabError, Result};
use crate::namespace::Namespaces;
use crate::process::{MARK, ProcessId};
use crate::wait;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// How long a program may take unless the caller says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a program ended and what it wrote.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Turns any other end into an error that carries what it said.
    pub fn checked(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        Err(LabError::Command {
            stderr: said.trim().to_owned(),
            status: self.status.to_string(),
            command: self.command,
        })
    }

    /// Reads the last line of standard output as JSON: the report of a traffic tool.
    pub fn report<T: DeserializeOwned>(&self) -> Result<T> {
        let line = self.stdout.trim_end().lines().next_back().unwrap_or_default();
        let object = || format!("the last line of `{}` ({line:?}; {})", self.command, self.stderr.trim());
        serde_json::from_str(line).map_err(|source| LabError::Json { object: object(), source })
    }
}

/// A program that is about to run, with a deadline of 60 seconds unless another is set.
#[derive(Debug, Clone)]
pub struct Program {
    argv: Vec<OsString>,
    env: Vec<(String, String)>,
    input: Option<String>,
    namespaces: Option<Namespaces>,
    mark: Option<String>,
    patience: Duration,
}

impl Program {
    pub(crate) fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            input: None,
            namespaces: None,
            mark: None,
            patience: PATIENCE,
        }
    }

    /// Feeds it this text on standard input; without, it reads an empty one.
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    pub(crate) fn inside(mut self, namespaces: &Namespaces) -> Self {
        self.namespaces = Some(namespaces.clone());
        self
    }

    /// Adds to its environment.
    pub fn envs(mut self, env: &[(String, String)]) -> Self {
        self.env.extend_from_slice(env);
        self
    }

    /// Marks the process, and all that it starts, as part of a lab.
    pub(crate) fn mark(mut self, lab: &str) -> Self {
        self.mark = Some(lab.to_owned());
        self
    }

    /// Sets the deadline, after which it is killed.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn line(&self) -> String {
        self.argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Starts it with the given standard streams.
    pub(crate) fn start(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        let (program, arguments) = self.argv.split_first().ok_or_else(|| LabError::Argument {
            argument: "the command line".into(),
            rule: "name a program to run",
        })?;
        let mut command = Command::new(program);
        command.args(arguments).envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        if let Some(lab) = &self.mark {
            // The caller's choice of an engine would lead out of the lab.
            command.env(MARK, lab).env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
        }
        let mut spawn = || command.spawn().map_err(LabError::io("run", self.line()));
        match &self.namespaces {
            Some(namespaces) => namespaces.enter(spawn),
            None => spawn(),
        }
    }

    /// Runs it to its end. An unsuccessful end is not an error here.
    pub fn output(&self) -> Result<Output> {
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = self.start(stdin, Stdio::piped(), Stdio::piped())?;
        let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            scope.spawn(|| {
                // A program that does not read to the end says why by its status.
                if let (Some(mut pipe), Some(text)) = (input, &self.input) {
                    let _ = pipe.write_all(text.as_bytes());
                }
            });
            let out = scope.spawn(|| text(out));
            let err = scope.spawn(|| text(err));
            let status = finish(&mut child, &self.line(), self.patience);
            let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
            Ok(Output { command: self.line(), status: status?, stdout, stderr })
        })
    }

    /// Runs it to its end; anything but success is an error. Gives what it wrote to standard output.
    pub fn run(&self) -> Result<String> {
        Ok(self.output()?.checked()?.stdout)
    }

    /// Starts it with both outputs going to files (created, or appended to).
    pub(crate) fn start_logged(&self, stdin: Stdio, stdout: &Path, stderr: &Path) -> Result<Child> {
        let open = |path: &Path| {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.map(Stdio::from).map_err(LabError::io("open", path.display()))
        };
        self.start(stdin, open(stdout)?, open(stderr)?)
    }
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a child's end and kills it at the deadline.
pub(crate) fn finish(child: &mut Child, command: &str, patience: Duration) -> Result<ExitStatus> {
    let ended = wait::value(&format!("`{command}` to end"), patience, || match child.try_wait() {
        Ok(Some(status)) => Ok(Ok(status)),
        Ok(None) => Err("it still runs; it was killed".to_owned()),
        Err(error) => Ok(Err(error)),
    });
    match ended {
        Ok(status) => status.map_err(LabError::io("wait for", command)),
        Err(timeout) => {
            end(child);
            Err(timeout)
        }
    }
}

/// Kills a child of ours and reaps it.
pub(crate) fn end(child: &mut Child) {
    if let Some(id) = ProcessId::of(child.id()) {
        let _ = id.signal(nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_says_why() {
        let error = Program::new(["sh", "-c", "echo no such thing >&2; exit 3"]).run().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no such thing") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_its_deadline() {
        let sleep = Program::new(["sleep", "1000"]).patience(Duration::from_millis(50));
        assert!(matches!(sleep.run(), Err(LabError::Timeout { .. })));
    }

    #[test]
    fn large_input_and_output_pass_at_once() {
        let text = "0123456789".repeat(100_000);
        assert_eq!(Program::new(["cat"]).input(&text).run().unwrap(), text);
    }
}
