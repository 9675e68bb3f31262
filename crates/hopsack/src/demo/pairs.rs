//! Every container with every other: who reaches whom, over which path, how fast.

use crate::error::CommandError;
use crate::table::Table;
use hopsack_api::client::Client;
use hopsack_api::{HostStatus, PathStatus};
use hopsack_lab::{Amount, Host, Inside, Lab, LabError, Place, TcpFlow, wait};
use hopsack_types::PathKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long hosts may take to see each other and prove their paths.
const PROVEN: Duration = Duration::from_secs(30);
/// How long a stream lasts, seconds.
const STREAM: f64 = 0.8;
/// How many echo requests a round trip is the mean of.
const ECHOES: &str = "10";
/// Where streams are received.
const PORT: u16 = 5001;

/// A container of the demo.
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its host.
    pub host: Host,
    /// Its network namespace.
    inside: Place,
}

impl Container {
    /// Finds a container that runs.
    pub fn find(host: &Host, name: &str) -> Result<Self, CommandError> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let said = host.docker(&["inspect", "-f", format, name])?;
        let address = said.parse().map_err(|_| CommandError::Demo {
            command: format!("docker inspect {name}"),
            problem: format!("says that its address is {said:?}"),
        })?;
        Ok(Self { name: name.to_owned(), address, host: host.clone(), inside: host.docker_network(name)? })
    }
}

/// What one container sees of another.
pub struct Pair<'a> {
    from: &'a Container,
    to: &'a Container,
    path: PathStatus,
    /// Milliseconds.
    round_trip: f64,
    bits_per_second: f64,
    bytes: u64,
}

/// The agent of a host, asked from outside.
pub fn agent(host: &Host) -> Client {
    let root = PathBuf::from(format!("/proc/{}/root", host.pid()));
    let socket = Path::new(hopsack_api::SOCKET);
    Client::new(root.join(socket.strip_prefix("/").unwrap_or(socket)))
}

/// Waits until every host has proven its path to every other: `direct` inside a segment, `vxlan` across the router.
pub fn await_paths(lab: &Lab, hosts: &[Host]) -> Result<(), CommandError> {
    let topology = lab.topology();
    for host in hosts {
        let here = topology.host(host.name())?;
        wait::value(&format!("{} to have proven its paths", host.name()), PROVEN, || {
            let seen = agent(host).hosts().map_err(|error| error.to_string())?;
            for other in hosts.iter().filter(|other| other.name() != host.name()) {
                let there = topology.host(other.name()).map_err(|error| error.chain())?;
                let adjacent = here.segments.iter().any(|segment| there.segments.contains(segment));
                let expected = if adjacent { PathKind::Direct } else { PathKind::Vxlan };
                match path_to(&seen, other) {
                    Some(path) if path.kind == expected && path.answered => {}
                    found => return Err(format!("to {}: {found:?}, expected {expected}", other.name())),
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn path_to<'a>(hosts: &'a [HostStatus], peer: &Host) -> Option<&'a PathStatus> {
    hosts.iter().find(|host| host.name.as_str() == peer.name())?.path.as_ref()
}

/// All ordered pairs.
pub fn ordered(containers: &[Container]) -> impl Iterator<Item = (&Container, &Container)> {
    let all = containers.iter().flat_map(move |from| containers.iter().map(move |to| (from, to)));
    all.filter(|(from, to)| from.name != to.name)
}

/// Pings from one container to another and gives the mean round trip in milliseconds. One lost answer is an error.
pub fn ping(from: &Container, to: &Container) -> Result<f64, CommandError> {
    let target = to.address.to_string();
    let argv = ["ping", "-n", "-q", "-c", ECHOES, "-i", "0.02", "-W", "2", &target];
    let said = from.inside.run(&argv)?;
    let mean = said.contains(" 0% packet loss").then(|| mean_of(&said)).flatten();
    mean.ok_or_else(|| CommandError::Demo {
        command: format!("{} in {}", argv.join(" "), from.name),
        problem: format!("lost something: {}", said.trim()),
    })
}

/// `rtt min/avg/max/mdev = 0.041/0.055/0.092/0.013 ms`
fn mean_of(said: &str) -> Option<f64> {
    let (_, numbers) = said.rsplit_once(" = ")?;
    numbers.split('/').nth(1)?.parse().ok()
}

/// Sends a stream from one container to another, of which every byte is checked.
fn stream(from: &Container, to: &Container) -> Result<hopsack_lab::traffic::tcp::TcpReport, CommandError> {
    let target = (to.address, PORT).into();
    let flow = TcpFlow::start(&from.inside, &to.inside, target, Amount::Seconds(STREAM))?;
    let report = flow.finish(Duration::from_secs(30))?;
    if report.intact && report.bytes > 0 {
        return Ok(report);
    }
    Err(CommandError::Demo {
        command: format!("TCP from {} to {}", from.name, to.name),
        problem: format!("{} bytes came, and not all were right ({:?})", report.bytes, report.error),
    })
}

/// Looks at one pair closely.
pub fn measure<'a>(from: &'a Container, to: &'a Container) -> Result<Pair<'a>, CommandError> {
    let hosts = agent(&from.host).hosts()?;
    let path = path_to(&hosts, &to.host).cloned().ok_or_else(|| LabError::Timeout {
        what: format!("a path from {} to {}", from.host.name(), to.host.name()),
        after: PROVEN,
        detail: "there is none any more".to_owned(),
    })?;
    let round_trip = ping(from, to)?;
    let report = stream(from, to)?;
    Ok(Pair { from, to, path, round_trip, bits_per_second: report.bits_per_second, bytes: report.bytes })
}

/// All pairs as a table.
pub fn table(pairs: &[Pair<'_>]) -> Table<6> {
    let mut table = Table::new(["FROM", "TO", "PATH", "MTU", "ROUND TRIP", "TCP"]);
    for pair in pairs {
        let at = |container: &Container| format!("{} on {}", container.name, container.host.name());
        table.row([
            at(pair.from),
            at(pair.to),
            pair.path.kind.to_string(),
            pair.path.mtu.to_string(),
            format!("{:.3} ms", pair.round_trip),
            format!("{:.2} Gbit/s", pair.bits_per_second / 1e9),
        ]);
    }
    table
}

/// Bytes that all streams carried.
pub fn total(pairs: &[Pair<'_>]) -> u64 {
    pairs.iter().map(|pair| pair.bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_round_trip_is_read_from_what_ping_says() {
        let said = "10 packets transmitted, 10 received, 0% packet loss, time 180ms\n\
                    rtt min/avg/max/mdev = 0.041/0.055/0.092/0.013 ms\n";
        assert_eq!(mean_of(said), Some(0.055));
        assert_eq!(mean_of("10 packets transmitted, 0 received, 100% packet loss"), None);
    }
}
