//! A machine with a kernel of its own, for what this one's kernel lacks or cannot be without: QEMU boots Debian's
//! kernel with a file system in memory, runs one script, and powers off. It takes seconds.
//!
//! The processor is emulated, since what offers itself as `/dev/kvm` does not run every kernel: this shows what happens,
//! not how fast. What must not live here: what runs inside.

mod archive;
mod machine;

use crate::command::{Output, Program};
use crate::error::{LabError, Result};
use archive::Archive;
pub use machine::Machine;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Memory of a guest, MiB; the archive is in there twice while the kernel unpacks it.
const MEMORY: &str = "768";
/// Ends what the script says, with the script's exit status behind it.
const MARK: &str = "the script has ended with status ";

/// What a guest needs and no lab brings: QEMU, and a kernel with its modules.
#[derive(Debug, Clone)]
pub struct Kit {
    folder: PathBuf,
    qemu: PathBuf,
    libraries: Vec<PathBuf>,
    kernel: PathBuf,
    modules: PathBuf,
}

impl Kit {
    /// Opens the folder that `tests/provide test` fills.
    pub fn open(folder: &Path) -> Result<Self> {
        let unpacked = folder.join("qemu");
        let own = unpacked.join("usr/bin/qemu-system-x86_64");
        let (qemu, libraries) = if own.exists() {
            let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
            (own, libraries.map(|folder| unpacked.join(folder)).to_vec())
        } else {
            (PathBuf::from("qemu-system-x86_64"), Vec::new())
        };
        Ok(Self {
            folder: folder.to_owned(),
            qemu,
            libraries,
            kernel: only(&folder.join("kernel/boot"), "vmlinuz-")?,
            modules: only(&folder.join("kernel/lib/modules"), "")?,
        })
    }

    /// The folder of that kit, which lies where cargo has built this program.
    pub fn beside(program: &Path) -> Result<Self> {
        let target = program.ancestors().nth(2).unwrap_or(program);
        Self::open(&target.join("guest"))
    }

    /// How the emulator is called, up to what differs between guests: memory in MiB, and the first file system.
    fn emulator(&self, memory: &str, files: &Path) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let fixed = "-M pc -cpu max -accel tcg,thread=multi -smp 1 -nodefaults -no-reboot -display none -m";
        let [kernel, files] = [text(&self.kernel), text(files)];
        let own = [memory, "-kernel", &kernel, "-initrd", &files].map(str::to_owned);
        [text(&self.qemu)].into_iter().chain(fixed.split(' ').map(str::to_owned)).chain(own).collect()
    }

    /// What it needs in its environment.
    fn environment(&self) -> Vec<(String, String)> {
        let search = self.libraries.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(":");
        (!search.is_empty()).then(|| ("LD_LIBRARY_PATH".to_owned(), search)).into_iter().collect()
    }

    /// A guest that has a shell and busybox, and no module of the kernel.
    pub fn guest(&self) -> Result<Guest> {
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "run", "sys", "tmp", "var/lib"] {
            archive.folder(Path::new(folder));
        }
        let guest = Guest { kit: self.clone(), archive, loaded: Vec::new() };
        let mut guest = guest.program(Path::new("/bin/busybox"))?;
        guest.archive.link(Path::new("/bin/sh"), "busybox");
        Ok(guest)
    }
}

/// The file of a folder whose name begins so.
fn only(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)
        .map_err(LabError::io("read (filled by `tests/provide test`)", folder.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let fits =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    paths.find(fits).ok_or_else(|| LabError::Unknown {
        kind: "kernel",
        name: folder.join(prefix).display().to_string(),
        known: "nothing".to_owned(),
    })
}

/// A guest that has not booted yet.
#[derive(Debug)]
pub struct Guest {
    kit: Kit,
    archive: Archive,
    loaded: Vec<String>,
}

impl Guest {
    /// Gives it a program of this machine, at the same path, with the libraries that it is linked to.
    pub fn program(mut self, path: &Path) -> Result<Self> {
        self.copy(path, path)?;
        // A program that is linked statically is refused by `ldd`, and needs nothing.
        let linked = Program::new([Path::new("ldd"), path]).output()?.stdout;
        for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(Path::new(library), Path::new(library))?;
        }
        Ok(self)
    }

    /// Gives it modules of the kernel, with those that they need, and loads them before the script begins. What is not
    /// given is not there.
    pub fn modules(mut self, names: &[&str]) -> Result<Self> {
        let list = self.kit.modules.join("modules.dep");
        let text = fs::read_to_string(&list).map_err(LabError::io("read", list.display()))?;
        // `kernel/net/a.ko: kernel/net/b.ko kernel/lib/c.ko`, where c is needed first.
        let known: BTreeMap<String, (&str, &str)> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(file, needs)| (module(file), (file, needs)))
            .collect();
        for name in names {
            let (file, needs) = known.get(*name).ok_or_else(|| LabError::Unknown {
                kind: "module of the guest's kernel",
                name: (*name).to_owned(),
                known: list.display().to_string(),
            })?;
            for file in needs.split_whitespace().rev().chain([*file]) {
                let inside = format!("/modules/{}.ko", module(file));
                if !self.loaded.contains(&inside) {
                    self.copy(&self.kit.modules.join(file), Path::new(&inside))?;
                    self.loaded.push(inside);
                }
            }
        }
        Ok(self)
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let content = fs::read(from).map_err(LabError::io("read", from.display()))?;
        self.archive.file(to, &content);
        Ok(())
    }

    /// Boots, runs the script of a shell as root, and powers off. Gives what the script said, both streams in one, and
    /// its exit status; on the error stream is the kernel's console.
    pub fn run(mut self, script: &str, deadline: Duration) -> Result<Output> {
        self.archive.file(Path::new("/script"), script.as_bytes());
        self.archive.file(Path::new("/init"), init(&self.loaded).as_bytes());
        let folder = tempfile::tempdir().map_err(LabError::io("make", "a temporary folder"))?;
        let [files, console, said] = ["files", "console", "said"].map(|name| folder.path().join(name));
        fs::write(&files, self.archive.finish()).map_err(LabError::io("write", files.display()))?;
        let ended = Program::new(arguments(&self.kit, &files, &console, &said))
            .envs(&self.kit.environment())
            .patience(deadline)
            .output();
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', ""));
        let (console, said) = (read(&console).unwrap_or_default(), read(&said).unwrap_or_default());
        let failed = |status: String, detail: &str| LabError::Command {
            command: "the guest".to_owned(),
            status,
            stderr: format!("{detail}\nit said:\n{said}\nits console:\n{console}"),
        };
        let ended = ended.map_err(|error| failed("cut off".to_owned(), &error.chain()))?;
        let status = said
            .rsplit_once(MARK)
            .and_then(|(said, status)| Some((said, status.trim().parse::<i32>().ok()?)));
        let Some((said, status)) = status else {
            return Err(failed(ended.status.to_string(), ended.stderr.trim()));
        };
        Ok(Output {
            command: "the guest's script".to_owned(),
            // As `wait` gives it.
            status: ExitStatus::from_raw(status << 8),
            stdout: said.to_owned(),
            stderr: console,
        })
    }
}

/// The module that a file holds, with the kernel's spelling.
fn module(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

/// The first process. The console is the first serial port, what the script says goes to the second.
fn init(modules: &[String]) -> String {
    let load: String = modules.iter().map(|file| format!("busybox insmod {file}\n")).collect();
    format!(
        "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ NO_COLOR=1
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t tmpfs run /run
busybox mkdir /run/netns
{load}busybox ip link set lo up
sh /script >/dev/ttyS1 2>&1 </dev/null
echo \"{MARK}$?\" >/dev/ttyS1
busybox poweroff -f
"
    )
}

fn arguments(kit: &Kit, files: &Path, console: &Path, said: &Path) -> Vec<String> {
    let file = |id: &str, path: &Path| serial(id, &format!("file,path={}", path.display()));
    // No test is about these: each costs time to start.
    let kernel = "console=ttyS0 panic=-1 quiet mitigations=off nokaslr no_timer_check tsc=reliable audit=0 apparmor=0 \
                  cryptomgr.notests random.trust_cpu=on net.ifnames=0";
    let mut words = kit.emulator(MEMORY, files);
    words.extend(file("console", console));
    words.extend(file("said", said));
    words.extend(["-append".to_owned(), kernel.to_owned()]);
    words
}

/// The next serial port, with what QEMU calls a character device at its end.
fn serial(id: &str, device: &str) -> [String; 4] {
    ["-chardev".to_owned(), format!("{device},id={id}"), "-serial".to_owned(), format!("chardev:{id}")]
}
