//! What stands behind `hopsack lab`: arguments in, text out. Printing and exit are the binary's.

use crate::engine::IMAGE;
use crate::error::{LabError, Result};
use crate::host::Host;
use crate::lab::{AGENT, AgentOptions, Lab, Options, each};
use crate::place::Inside;
use crate::topology::{HostKind, Topology};
use crate::wait;
use clap::{Args, Subcommand};
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// The subcommands of `hopsack lab`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make hosts as namespaces on this machine
    Up(Up),
    /// Remove a lab and everything in it
    Down {
        /// The lab's name
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Run a command, or a shell, on a host of a lab
    Exec {
        /// The lab's name
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
        /// The host
        host: String,
        /// The command; without, a shell
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Show labs, or the hosts of one
    Status {
        /// The lab's name; without, all labs
        #[arg(long)]
        name: Option<String>,
    },
}

const DEFAULT_NAME: &str = "lab";
/// How long agents may take to answer.
const SOON: Duration = Duration::from_secs(10);
/// How much of the log of an agent that does not answer is shown.
const LOG_LINES: usize = 12;

/// `hopsack lab up`
#[derive(Debug, Args)]
pub struct Up {
    /// The lab's name
    #[arg(long, default_value = DEFAULT_NAME)]
    pub name: String,
    /// A topology as JSON instead of the following: {"segments":[{"name":"lan1","prefixes":["10.77.1.0/24"]}],
    /// "hosts":[{"name":"h1","kind":"docker","segments":["lan1"]}],"routers":[{"name":"r1","segments":[...]}]}
    #[arg(long, conflicts_with_all = ["hosts", "docker", "routed"])]
    pub topology: Option<PathBuf>,
    /// How many hosts: h1, h2, ...
    #[arg(long, default_value_t = 3)]
    pub hosts: usize,
    /// A Docker engine on each host, with the image `bb`
    #[arg(long)]
    pub docker: bool,
    /// Hosts in another subnet behind a router, by name: h3,h4
    #[arg(long, value_delimiter = ',')]
    pub routed: Vec<String>,
    /// Hosts without an agent
    #[arg(long)]
    pub no_agent: bool,
}

impl Up {
    /// The topology that the arguments describe.
    pub fn topology(&self) -> Result<Topology> {
        if let Some(file) = &self.topology {
            let text = fs::read_to_string(file).map_err(LabError::io("read", file.display()))?;
            let object = file.display().to_string();
            return serde_json::from_str(&text).map_err(|source| LabError::Json { object, source });
        }
        let number = |name: &String| {
            let number = name.strip_prefix('h').and_then(|digits| digits.parse().ok());
            number.filter(|number| (1..=self.hosts).contains(number)).ok_or_else(|| LabError::Argument {
                argument: format!("--routed {name}"),
                rule: "name hosts that there are: h1, h2, ... up to --hosts",
            })
        };
        let routed = self.routed.iter().map(number).collect::<Result<Vec<_>>>()?;
        Topology::numbered(self.hosts, &routed, if self.docker { HostKind::Docker } else { HostKind::Plain })
    }
}

/// The agent of hosts that have a Docker engine or do not. Agents open Docker's door unless they are told not to.
fn agent(topology: &Topology) -> AgentOptions {
    let docker = topology.hosts().iter().any(|host| host.kind == HostKind::Docker);
    let args = if docker { Vec::new() } else { vec!["--no-docker".to_owned()] };
    AgentOptions { args, env: Vec::new() }
}

/// Does what was asked and gives the exit status. `program` is the running binary.
pub fn run(command: &Command, program: PathBuf, out: &mut dyn Write) -> Result<u8> {
    match command {
        Command::Up(arguments) => up(arguments, program, out).map(|()| 0),
        Command::Down { name } => down(name, out).map(|()| 0),
        Command::Exec { name, host, command } => exec(name, host, command),
        Command::Status { name } => status(name.as_deref(), out).map(|()| 0),
    }
}

/// Makes a lab that stands until it is taken down, and says how to use it.
pub fn up(arguments: &Up, program: PathBuf, out: &mut dyn Write) -> Result<()> {
    let topology = arguments.topology()?;
    let mut options = Options::new(&arguments.name, program);
    options.agent = (!arguments.no_agent).then(|| agent(&topology));
    let lab = Lab::up(topology, options)?;
    let hosts = lab.hosts()?;
    if hosts.iter().any(Host::has_engine) {
        lab.load_image()?;
    }
    if !arguments.no_agent {
        each(&hosts, await_agent)?;
    }
    // Whoever cannot read what follows can still use the lab, and take it down.
    lab.leave();
    show(&Lab::open(&arguments.name)?, out)?;
    let first = hosts.first().map_or("HOST", Host::name).to_owned();
    let flag =
        if arguments.name == DEFAULT_NAME { String::new() } else { format!(" --name {}", arguments.name) };
    line(out, format_args!("enter a host: hopsack lab exec{flag} {first}"))?;
    if !arguments.no_agent {
        line(out, format_args!("make a cluster: hopsack lab exec{flag} {first} hopsack init"))?;
    }
    if hosts.iter().any(Host::has_engine) {
        line(
            out,
            format_args!("run a container: hopsack lab exec{flag} {first} docker run --rm -it {IMAGE} sh"),
        )?;
    }
    line(out, format_args!("take it down: hopsack lab down{flag}"))
}

/// Waits until a host's agent answers to its own program.
fn await_agent(host: &Host) -> Result<()> {
    let program = host.place().program.display().to_string();
    wait::value(&format!("the agent of {}", host.name()), SOON, || {
        let silent = |error: LabError| {
            format!("{}; its log ends with:\n{}", error.chain(), host.log_tail(AGENT, LOG_LINES))
        };
        host.run(&[&program, "status"]).map(drop).map_err(silent)
    })
}

/// Takes a lab down.
pub fn down(name: &str, out: &mut dyn Write) -> Result<()> {
    Lab::open(name)?.down()?;
    line(out, format_args!("lab {name} is down; nothing of it is left"))
}

/// Runs a command on a host with this process's terminal and gives its exit status, 128 and the signal's number if a
/// signal ended it.
pub fn exec(name: &str, host: &str, command: &[String]) -> Result<u8> {
    let shell = [std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned())];
    let argv: Vec<&str> =
        if command.is_empty() { &shell[..] } else { command }.iter().map(String::as_str).collect();
    let host = Lab::open(name)?.host(host)?;
    let mut child = host.program(&argv).start(Stdio::inherit(), Stdio::inherit(), Stdio::inherit())?;
    let status = child.wait().map_err(LabError::io("wait for", argv.join(" ")))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

/// Shows a lab's hosts, or all labs.
pub fn status(name: Option<&str>, out: &mut dyn Write) -> Result<()> {
    if let Some(name) = name {
        return show(&Lab::open(name)?, out);
    }
    let names = Lab::names();
    if names.is_empty() {
        return line(out, format_args!("no lab is up"));
    }
    names.iter().try_for_each(|name| show(&Lab::open(name)?, out))
}

fn show(lab: &Lab, out: &mut dyn Write) -> Result<()> {
    let topology = lab.topology();
    let routers = topology.routers().iter().map(|router| format!(", router {}", router.name));
    line(out, format_args!("lab {}{}", lab.name(), routers.collect::<String>()))?;
    line(out, format_args!("{:<14} {:<14} {:<26} SERVICES", "HOST", "SEGMENT", "ADDRESS"))?;
    for member in topology.hosts() {
        let host = lab.host(member.name.as_str())?;
        let services = match host.services() {
            Ok(services) => services
                .iter()
                .map(|service| match service.pid {
                    Some(_) => service.name.clone(),
                    None => format!("{} (stopped)", service.name),
                })
                .collect::<Vec<_>>()
                .join(", "),
            Err(_) => "not running".to_owned(),
        };
        let segments = member.segments.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",");
        let addresses = host.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        line(out, format_args!("{:<14} {segments:<14} {addresses:<26} {services}", host.name()))?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, text: std::fmt::Arguments<'_>) -> Result<()> {
    writeln!(out, "{text}").map_err(LabError::io("write", "the output"))
}
