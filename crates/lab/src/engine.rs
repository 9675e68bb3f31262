//! A Docker engine per host: how it is started, when it answers, and an image that needs no registry.

use crate::command::Program;
use crate::control::{HOST_FOLDER, ServiceSpec};
use crate::error::{LabError, Result};
use crate::host::Host;
use crate::lab::{ENGINE, Lab};
use crate::namespace::in_new;
use crate::place::Inside;
use crate::wait;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use serde::Serialize;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The image that [`Lab::load_image`] gives to every engine: busybox, and iperf3 where the machine has it.
pub const IMAGE: &str = "bb";
/// The engine's second socket, in the host's folder, for the CLI outside.
pub(crate) const SOCKET: &str = "docker.sock";
/// The engine's configuration file, in the host's folder.
const CONFIG: &str = "daemon.json";
/// How long an engine may take to answer; it takes two to five seconds on two cores.
const PATIENCE: Duration = Duration::from_secs(90);

/// The engine as a service. It finds a private `/run`, so it starts a containerd of its own.
pub(crate) fn service(cgroup: &str, storage: &str, more: &[String]) -> ServiceSpec {
    let fixed = [
        "dockerd",
        // The machine's own file could contradict these arguments.
        "--config-file",
        &format!("{HOST_FOLDER}/{CONFIG}"),
        "-H",
        "unix:///run/docker.sock",
        "-H",
        &format!("unix://{HOST_FOLDER}/{SOCKET}"),
        "--storage-driver",
        storage,
        "--bip",
        "172.17.0.1/16",
        "--exec-opt",
        "native.cgroupdriver=cgroupfs",
        "--cgroup-parent",
        &format!("/{cgroup}"),
    ];
    let argv = fixed.iter().map(|&word| word.to_owned()).chain(more.iter().cloned()).collect();
    ServiceSpec { name: ENGINE.into(), argv, env: Vec::new() }
}

/// What an engine can be told in its own configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EngineSettings {
    /// Containers run on while the engine is dead.
    pub live_restore: bool,
    /// A program of Docker's forwards what its rules do not: for ports that Docker publishes.
    pub userland_proxy: bool,
}

impl Default for EngineSettings {
    /// Docker's own.
    fn default() -> Self {
        Self { live_restore: false, userland_proxy: true }
    }
}

/// Writes the engine's own configuration file.
pub(crate) fn write_config(folder: &Path, settings: EngineSettings) -> Result<()> {
    let file = folder.join(CONFIG);
    let json = |source| LabError::Json { object: "an engine's settings".into(), source };
    let config = serde_json::to_string(&settings).map_err(json)?;
    fs::write(&file, config).map_err(LabError::io("write", file.display()))
}

/// `overlay2` where overlays can be mounted with their layers in the work folder, else `vfs`.
pub(crate) fn storage_driver(work_folder: &Path) -> Result<&'static str> {
    in_new(CloneFlags::CLONE_NEWNS, || Ok(if overlay_works(work_folder) { "overlay2" } else { "vfs" }))
}

fn overlay_works(folder: &Path) -> bool {
    let nothing = None::<&str>;
    let probe = folder.join(".overlay");
    let layers = ["lower", "upper", "work", "merged"].map(|layer| probe.join(layer));
    let made = layers.iter().all(|layer| fs::create_dir_all(layer).is_ok());
    let [lower, upper, work, merged] = layers.each_ref().map(|layer| layer.display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let works = made
        && mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .and_then(|()| {
                mount(Some("overlay"), &*merged, Some("overlay"), MsFlags::empty(), Some(&*options))
            })
            .and_then(|()| umount2(&*merged, MntFlags::MNT_DETACH))
            .is_ok();
    // If it stays it is removed with the lab.
    let _ = fs::remove_dir_all(&probe);
    works
}

impl Host {
    /// The engine's socket as seen from outside of the host.
    pub fn engine_socket(&self) -> PathBuf {
        self.folder().join(SOCKET)
    }

    /// Waits until the engine answers.
    pub fn await_engine(&self) -> Result<()> {
        wait::value(&format!("the Docker engine of {}", self.name()), PATIENCE, || {
            ping(&self.engine_socket())
                .map_err(|error| format!("{error}; its log ends with:\n{}", self.log_tail(ENGINE, 15)))
        })
    }

    /// Changes the engine's settings, from its next start on.
    pub fn configure_engine(&self, settings: EngineSettings) -> Result<()> {
        write_config(self.folder(), settings)
    }

    /// Runs `docker ARGUMENTS` on the host. Anything but success is an error; gives what it wrote.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        let argv = std::iter::once("docker").chain(arguments.iter().copied());
        Ok(self.program(&argv.collect::<Vec<_>>()).patience(PATIENCE).run()?.trim().to_owned())
    }

    /// Gives the engine an image from a tar of a root file system.
    fn import(&self, tar: &Path) -> Result<()> {
        let socket = format!("unix://{}", self.engine_socket().display());
        let tar = tar.display().to_string();
        Program::new(["docker", "-H", &socket, "import", &tar, IMAGE]).patience(PATIENCE).run()?;
        Ok(())
    }
}

/// Asks the engine's API whether it is there.
fn ping(socket: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let good = answer.lines().next().is_some_and(|line| line.contains(" 200 "));
    if good { Ok(()) } else { Err(std::io::Error::other(answer)) }
}

impl Lab {
    /// Builds the image [`IMAGE`] from this machine's busybox and iperf3 and gives it to all engines.
    pub fn load_image(&self) -> Result<()> {
        let tar = build_image(&self.state().work_folder.join(".image"))?;
        let engines = self.hosts()?.into_iter().filter(Host::has_engine);
        crate::lab::each(engines, |host| host.import(&tar))
    }
}

/// A root file system as a tar: busybox under all its names, and iperf3 if it is there, with their libraries: Debian
/// has a busybox that is not linked statically as well.
fn build_image(folder: &Path) -> Result<PathBuf> {
    let tar = folder.with_extension("tar");
    if tar.exists() {
        return Ok(tar);
    }
    let script = r#"
        set -e
        cd "$1"
        mkdir -p bin etc usr/bin proc sys dev tmp root var
        take() {
            cp "$1" "$2"
            # A static one has none, which ldd says by failing.
            { ldd "$1" 2>/dev/null || :; } | grep -o '/[^ ]*' | while read -r library; do
                mkdir -p ".$(dirname "$library")"
                cp -L "$library" ".$library"
            done
        }
        take "$(command -v busybox)" bin/busybox
        for name in $(busybox --list); do [ "$name" = busybox ] || ln -sf busybox bin/"$name"; done
        if iperf3=$(command -v iperf3); then take "$iperf3" usr/bin/; fi
        printf 'hosts: files dns\n' >etc/nsswitch.conf
        tar -cf "$2" .
    "#;
    fs::create_dir_all(folder).map_err(LabError::io("make", folder.display()))?;
    // Under another name until it is whole.
    let part = folder.with_extension("part");
    let words = ["sh", "-c", script, "image"].map(std::ffi::OsStr::new);
    Program::new(words.into_iter().chain([folder.as_os_str(), part.as_os_str()])).run()?;
    fs::rename(&part, &tar).map_err(LabError::io("rename", part.display()))?;
    Ok(tar)
}
