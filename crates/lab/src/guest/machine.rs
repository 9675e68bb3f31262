//! Guests that are whole hosts: each boots a small Debian from its disk, with systemd and a package manager, and is on
//! one wire with the other. What a test types goes to a shell on the second serial port.
//!
//! What a guest writes is gone with it: all share one disk, which stays as it is.

use super::{Kit, MARK, serial};
use crate::command::{Output, Program, end};
use crate::error::{LabError, Result};
use crate::wait;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Memory of a host, MiB.
const MEMORY: &str = "512";
/// An emulated processor on a busy machine takes its time to start all that a Debian starts.
const BOOT: Duration = Duration::from_secs(240);
/// The same, for one command.
const COMMAND: Duration = Duration::from_secs(120);
/// What the shell says when it listens.
const READY: &str = "the shell is ready";
/// Disk and network card of the emulator.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_net"];
/// No test is about these: each costs time to start. The disk is where the first process finds it.
const KERNEL: &str = "console=ttyS0 panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable audit=0 apparmor=0 \
                      cryptomgr.notests random.trust_cpu=on net.ifnames=0 systemd.show_status=0";

/// A guest that runs until this is dropped. Its network card is `eth0`.
#[derive(Debug)]
pub struct Machine {
    name: String,
    emulator: Child,
    shell: UnixStream,
    /// What was read from the shell and not yet asked for.
    heard: Vec<u8>,
    folder: TempDir,
}

impl Kit {
    /// Boots two machines on one wire. Each finds these files of this machine where the second path says.
    pub fn pair(&self, names: [&str; 2], files: &[(&Path, &Path)]) -> Result<[Machine; 2]> {
        let folder = || tempfile::tempdir().map_err(LabError::io("make", "a temporary folder"));
        let folders = [folder()?, folder()?];
        // An end sends to where the other listens.
        let [one, two] = folders.each_ref().map(|folder| folder.path().join("wire").display().to_string());
        let [first, second] = folders;
        let mut pair = [
            self.start(names[0], first, [&one, &two], files)?,
            self.start(names[1], second, [&two, &one], files)?,
        ];
        for machine in &mut pair {
            machine.hear(READY, BOOT)?;
            machine.hear("\n", BOOT)?;
        }
        Ok(pair)
    }

    fn start(
        &self,
        name: &str,
        folder: TempDir,
        wire: [&str; 2],
        files: &[(&Path, &Path)],
    ) -> Result<Machine> {
        let root = folder.path().to_owned();
        let at = |file: &str| root.join(file).display().to_string();
        let mut guest = self.guest()?.modules(&MODULES)?;
        for (from, to) in files {
            guest.copy(from, &Path::new("/files").join(to.strip_prefix("/").unwrap_or(to)))?;
        }
        guest.archive.folder(Path::new("files"));
        guest.archive.file(Path::new("/init"), init(&guest.loaded).as_bytes());
        fs::write(at("begin"), guest.archive.finish()).map_err(LabError::io("write", at("begin")))?;
        // The last part of the card's address tells the ends apart.
        let card = if wire[0] < wire[1] { "52:54:00:00:00:01" } else { "52:54:00:00:00:02" };
        let mut words = vec!["setpriv".to_owned(), "--pdeathsig".to_owned(), "KILL".to_owned()];
        words.extend(self.emulator(MEMORY, Path::new(&at("begin"))));
        words.extend(serial("console", &format!("file,path={}", at("console"))));
        words.extend(serial("shell", &format!("socket,path={},server=on,wait=on", at("shell"))));
        words.extend([
            "-drive".to_owned(),
            format!("file={},if=virtio,format=raw,snapshot=on", self.folder.join("debian.img").display()),
            "-netdev".to_owned(),
            format!(
                "dgram,id=wire,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                wire[0], wire[1]
            ),
            "-device".to_owned(),
            format!("virtio-net-pci,netdev=wire,mac={card},romfile="),
            "-append".to_owned(),
            format!("{KERNEL} systemd.hostname={name}"),
        ]);
        let emulator = Program::new(words).envs(&self.environment()).start_logged(
            Stdio::null(),
            Path::new(&at("said")),
            Path::new(&at("said")),
        )?;
        let shell = at("shell");
        let shell = wait::value("the emulator to start", COMMAND, || {
            UnixStream::connect(&shell).map_err(|error| error.to_string())
        });
        let machine = |shell| Machine { name: name.to_owned(), emulator, shell, heard: Vec::new(), folder };
        match shell {
            Ok(shell) => Ok(machine(shell)),
            Err(error) => {
                let said = fs::read_to_string(at("said")).unwrap_or_default();
                Err(LabError::Command { command: name.to_owned(), status: error.to_string(), stderr: said })
            }
        }
    }
}

impl Machine {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command of a shell as root, with nothing on its input. What it says to both streams is in one.
    pub fn exec(&mut self, command: &str) -> Result<Output> {
        let line = format!("( {command}\n) </dev/null 2>&1; echo \"{MARK}$?\"\n");
        self.shell.write_all(line.as_bytes()).map_err(LabError::io("write to the shell of", &self.name))?;
        let stdout = self.hear(MARK, COMMAND)?;
        let status = self.hear("\n", COMMAND)?.trim().parse::<i32>().unwrap_or(-1);
        Ok(Output {
            command: format!("{command} (on {})", self.name),
            // As `wait` gives it.
            status: ExitStatus::from_raw(status << 8),
            stdout,
            stderr: String::new(),
        })
    }

    /// The same; anything but success is an error. Gives what the command said.
    pub fn run(&mut self, command: &str) -> Result<String> {
        Ok(self.exec(command)?.checked()?.stdout)
    }

    /// Reads what the shell says until it says `mark`, and gives what it has said before.
    fn hear(&mut self, mark: &str, patience: Duration) -> Result<String> {
        let until = Instant::now() + patience;
        loop {
            let place = self.heard.windows(mark.len()).position(|part| part == mark.as_bytes());
            if let Some(place) = place {
                let rest = self.heard.split_off(place + mark.len());
                self.heard.truncate(place);
                let said = std::mem::replace(&mut self.heard, rest);
                // The other end is a terminal.
                return Ok(String::from_utf8_lossy(&said).replace('\r', ""));
            }
            self.read(until)?;
        }
    }

    fn read(&mut self, until: Instant) -> Result<()> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut buffer = [0; 4096];
        let read =
            self.shell.set_read_timeout(Some(left)).and_then(|()| match self.shell.read(&mut buffer)? {
                0 => Err(ErrorKind::UnexpectedEof.into()),
                length => Ok(length),
            });
        match read {
            Ok(length) => {
                self.heard.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) => Err(LabError::Command {
                command: format!("the shell of {}", self.name),
                status: error.to_string(),
                stderr: format!("{}\nits console:\n{}", String::from_utf8_lossy(&self.heard), self.console()),
            }),
        }
    }

    /// What its kernel and its first process have said.
    fn console(&self) -> String {
        let text = fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&text).replace('\r', "")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.emulator);
    }
}

/// The first process until the disk's own.
fn init(modules: &[String]) -> String {
    let load: String = modules.iter().map(|file| format!("busybox insmod {file}\n")).collect();
    format!(
        "#!/bin/sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
{load}busybox mkdir /disk
busybox mount -t ext4 /dev/vda /disk
busybox cp -a /files/. /disk/
busybox umount /dev
exec busybox switch_root /disk /sbin/init
"
    )
}
