//! What happens in the demo, in order.

use super::pairs::{self, Container};
use super::screen::Screen;
use crate::cli::Demo;
use crate::error::CommandError;
use hopsack_lab::{AGENT, AgentOptions, Host, HostKind, IMAGE, Lab, Options, Topology, leftovers, wait};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// The network that the containers are in.
const NETWORK: &str = "web";
/// How long an agent may take to answer, and Docker to list what another host has made.
const SOON: Duration = Duration::from_secs(20);
/// How much of an agent's log is shown if something fails.
const LOG_LINES: usize = 12;

const TITLE: &str = "\
Hopsack: containers on three hosts, one network

    lan1 10.77.1.0/24       lan2 10.77.2.0/24
    --+-------+-------[r1]-------+--
      h1      h2                 h3";

/// Tells it from beginning to end.
pub fn tell(program: &Path, arguments: &Demo, screen: &Screen) -> Result<(), CommandError> {
    let Demo { keep, name } = arguments;
    // An agent of this machine's own is no leftover.
    let before = leftovers(name)?;
    screen.paragraph(TITLE)?;
    let mut options = Options::new(name, program);
    options.agent = Some(AgentOptions::default());
    options.dump_on_panic = false;
    let lab = screen.step("three hosts, each with a Docker engine and a Hopsack agent of its own", || {
        let lab = Lab::up(Topology::demo(HostKind::Docker)?, options)?;
        lab.load_image()?;
        for host in lab.hosts()? {
            await_agent(&host)?;
        }
        Ok(lab)
    })?;
    let told = play(&lab, screen);
    if screen.is_stopped() {
        lab.down()?;
        return Err(CommandError::Interrupted);
    }
    if told.is_err() {
        show_logs(&lab);
    }
    if *keep {
        lab.leave();
        told?;
        return screen.paragraph(&how_to_go_on(program, name));
    }
    screen.step("the hosts are gone again, and nothing is left on this machine", || {
        lab.down()?;
        let mut left = leftovers(name)?;
        left.retain(|thing| !before.contains(thing));
        if left.is_empty() { Ok(()) } else { Err(CommandError::Leftovers(left)) }
    })?;
    told
}

fn await_agent(host: &Host) -> Result<(), CommandError> {
    wait::value(&format!("the agent of {}", host.name()), SOON, || {
        let log = || host.log_tail(AGENT, LOG_LINES);
        pairs::agent(host).status().map_err(|error| format!("{error}; its log ends with:\n{}", log()))
    })?;
    Ok(())
}

fn play(lab: &Lab, screen: &Screen) -> Result<(), CommandError> {
    let hosts = lab.hosts()?;
    make_cluster(lab, &hosts, screen)?;
    make_network(&hosts, screen)?;
    let containers = run_containers(&hosts, screen)?;
    if let [first, .., last] = containers.as_slice() {
        screen.typed(&first.host, &format!("docker exec {} ping -c 3 {}", first.name, last.address))?;
        screen.gap()?;
    }
    screen.step("every container pings every other", || {
        pairs::ordered(&containers).try_for_each(|(from, to)| pairs::ping(from, to).map(drop))
    })?;
    let pairs =
        screen.step("every container sends every other a TCP stream, and each byte is checked", || {
            pairs::ordered(&containers)
                .map(|(from, to)| pairs::measure(from, to))
                .collect::<Result<Vec<_>, _>>()
        })?;
    screen.table(&pairs::table(&pairs))?;
    let gigabytes = pairs::total(&pairs) as f64 / 1e9;
    screen.step(&format!("{gigabytes:.1} GB moved, nothing lost, nothing wrong"), || Ok(()))?;
    if let [first, ..] = hosts.as_slice() {
        screen.typed(first, "hopsack status")?;
        screen.gap()?;
    }
    Ok(())
}

/// The first host makes a cluster; its answer says what to type on the others.
fn make_cluster(lab: &Lab, hosts: &[Host], screen: &Screen) -> Result<(), CommandError> {
    let [first, others @ ..] = hosts else { return Ok(()) };
    let said = screen.typed(first, "hopsack init")?;
    let join = said.lines().map(str::trim).find(|line| line.starts_with("hopsack join "));
    let join = join.ok_or_else(|| CommandError::Demo {
        command: "hopsack init".to_owned(),
        problem: "does not say how other hosts join".to_owned(),
    })?;
    for host in others {
        screen.typed(host, join)?;
    }
    screen.gap()?;
    screen.step("each host knows the others, and has proven how to reach them", || {
        pairs::await_paths(lab, hosts)
    })
}

/// One host makes a network with Docker; Docker on the others lists it.
fn make_network(hosts: &[Host], screen: &Screen) -> Result<(), CommandError> {
    let [first, others @ ..] = hosts else { return Ok(()) };
    screen.typed(first, &format!("docker network create -d hopsack --ipam-driver hopsack {NETWORK}"))?;
    for host in others {
        wait::value(&format!("Docker on {} to list {NETWORK}", host.name()), SOON, || {
            let listed = host.docker(&["network", "ls", "--format", "{{.Name}}"]);
            let listed = listed.map_err(|error| error.chain())?;
            if listed.lines().any(|name| name == NETWORK) { Ok(()) } else { Err(listed) }
        })?;
        screen.typed(host, "docker network ls --filter driver=hopsack")?;
    }
    Ok(())
}

fn run_containers(hosts: &[Host], screen: &Screen) -> Result<Vec<Container>, CommandError> {
    let mut containers = Vec::new();
    for (number, host) in (1..).zip(hosts) {
        let name = format!("c{number}");
        screen.typed(host, &format!("docker run -d --name {name} --net {NETWORK} {IMAGE} sleep 1d"))?;
        containers.push(Container::find(host, &name)?);
    }
    Ok(containers)
}

/// What the agents said last, for whoever wants to know why it failed.
fn show_logs(lab: &Lab) {
    for host in lab.hosts().unwrap_or_default() {
        let tail = host.log_tail(AGENT, LOG_LINES);
        // Without anybody to read it there is nothing to do about it.
        let _ = writeln!(std::io::stderr(), "\nlast words of the agent of {}:\n{tail}", host.name());
    }
}

fn how_to_go_on(program: &Path, name: &str) -> String {
    let here = std::env::current_dir().ok();
    let program = here.and_then(|here| program.strip_prefix(here).ok()).unwrap_or(program).display();
    format!(
        "The hosts stay up.\n  enter one         {program} lab exec --name {name} h1\n  \
         run a container   {program} lab exec --name {name} h1 docker run --rm -it --net {NETWORK} {IMAGE} sh\n  \
         remove them       {program} lab down --name {name}"
    )
}
