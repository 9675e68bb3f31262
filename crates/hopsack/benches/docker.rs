//! What Docker's users wait for: a container that starts, many that start at once, a network that is there on all
//! hosts. Each beside a user-defined bridge on the same engine, in turn. What the same cluster costs afterwards, when
//! nothing happens any more, is in [`idle`].

use crate::report::{Bar, Report, Row};
use crate::sample::Sample;
use crate::{Effort, PROGRAM, idle};
use hopsack_lab::{
    AGENT, AgentOptions, Host, HostKind, IMAGE, Inside, Lab, LabError, Options, Topology, wait,
};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

/// How long things may take that are not measured.
const SOON: Duration = Duration::from_secs(30);
/// What Hopsack's part of a container's start may take, ms.
const RUN_BAR: f64 = 15.0;
/// What a network may take to be in use on another host beyond the container's own start, ms.
const USABLE_BAR: f64 = 1000.0;
/// The network of starts.
const OURS: &str = "ours";
/// The bridge that it is compared with.
const BRIDGE: &str = "theirs";

/// All rows about Docker.
pub fn measure(effort: Effort, report: &mut Report) -> Result<(), LabError> {
    eprintln!("docker: three hosts with an engine and an agent each");
    let lab = cluster()?;
    let started = Instant::now();
    let hosts = lab.hosts()?;
    for host in &hosts {
        host.docker(&["network", "create", BRIDGE])?;
    }
    create(&hosts[0], OURS)?;
    for host in &hosts {
        await_network(host, OURS)?;
    }
    let (first, last) = (lab.host("h1")?, lab.host("h3")?);
    report.push(starts(&first, effort.starts)?);
    report.push(burst(&hosts, effort.burst)?);
    report.push(usable(&first, &last, effort.networks)?);
    idle::measure(&hosts, started, effort, report)?;
    lab.down()
}

/// A cluster of the demo's hosts.
fn cluster() -> Result<Lab, LabError> {
    let mut options = Options::unique("bench", PROGRAM);
    options.agent = Some(AgentOptions::default());
    let lab = Lab::up(Topology::demo(HostKind::Docker)?, options)?;
    lab.load_image()?;
    let hosts = lab.hosts()?;
    for host in &hosts {
        wait::value(&format!("the agent of {}", host.name()), SOON, || {
            host.run(&[PROGRAM, "status"]).map_err(|_| host.log_tail(AGENT, 12))
        })?;
    }
    hosts[0].run(&[PROGRAM, "init"])?;
    let first = hosts[0].address()?.to_string();
    for host in &hosts[1..] {
        let token = hosts[0].run(&[PROGRAM, "token", "create", "--quiet"])?;
        host.run(&[PROGRAM, "join", &first, "--token", token.trim()])?;
    }
    Ok(lab)
}

fn create(host: &Host, network: &str) -> Result<(), LabError> {
    host.docker(&["network", "create", "-d", "hopsack", "--ipam-driver", "hopsack", network])?;
    Ok(())
}

/// Waits until an engine lists a network.
fn await_network(host: &Host, network: &str) -> Result<(), LabError> {
    wait::until(&format!("{network} on {}", host.name()), SOON, || {
        host.docker(&["network", "inspect", "--format", "{{.Id}}", network]).is_ok()
    })
}

/// Milliseconds that something takes.
fn timed<T>(what: impl FnOnce() -> Result<T, LabError>) -> Result<f64, LabError> {
    let begin = Instant::now();
    what()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// One container after another, in turn on both networks; which comes first changes from pair to pair.
fn starts(host: &Host, pairs: usize) -> Result<Row, LabError> {
    let start = |network: &str| {
        let took =
            timed(|| host.docker(&["run", "-d", "--name", "one", "--net", network, IMAGE, "sleep", "1d"]));
        host.docker(&["rm", "-f", "one"])?;
        took
    };
    // The first of each pays for what is made once.
    start(OURS)?;
    start(BRIDGE)?;
    let (mut ours, mut bridge) = (Sample::default(), Sample::default());
    for pair in 0..pairs {
        eprintln!("docker-run: pair {} of {pairs}", pair + 1);
        if pair % 2 == 0 {
            ours.push(start(OURS)?);
            bridge.push(start(BRIDGE)?);
        } else {
            bridge.push(start(BRIDGE)?);
            ours.push(start(OURS)?);
        }
    }
    let over = ours.paired(&bridge, |ours, bridge| ours - bridge);
    // What is printed is what Hopsack adds; the ratio is of whole starts.
    let row = Row::alone("docker-run", "ms", &over).against("a bridge", &ours, &bridge);
    Ok(row.bar(Bar::ValueAtMost(RUN_BAR)))
}

/// Many containers at once on every host: until the last one has started.
fn burst(hosts: &[Host], containers: usize) -> Result<Row, LabError> {
    let start_all = |network: &str| {
        eprintln!("docker-burst: {containers} at once on each host, {network}");
        let begin = Instant::now();
        let ended: Result<Vec<()>, LabError> = thread::scope(|scope| {
            let start = |host: &Host| {
                host.docker(&["run", "-d", "--label", "burst", "--net", network, IMAGE, "sleep", "1d"])
                    .map(drop)
            };
            let all = hosts.iter().flat_map(|host| std::iter::repeat_n(host, containers));
            let running: Vec<_> = all.map(|host| scope.spawn(move || start(host))).collect();
            running.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
        });
        ended?;
        let took = begin.elapsed().as_secs_f64() * 1e3;
        for host in hosts {
            let started = host.docker(&["ps", "-q", "--filter", "label=burst"])?;
            let words: Vec<&str> = ["rm", "-f"].into_iter().chain(started.lines()).collect();
            host.docker(&words)?;
        }
        Ok::<f64, LabError>(took)
    };
    let (mut ours, mut bridge) = (Sample::default(), Sample::default());
    for network in [BRIDGE, OURS, OURS, BRIDGE] {
        let took = start_all(network)?;
        if network == OURS { ours.push(took) } else { bridge.push(took) }
    }
    Ok(Row::alone("docker-burst", "ms", &ours).against("a bridge", &ours, &bridge))
}

/// A network made on the first host, until a container on the last has started on it and reached the first host,
/// beyond what a container takes to start on a bridge there and to reach its gateway.
fn usable(first: &Host, last: &Host, networks: usize) -> Result<Row, LabError> {
    let status = first.run(&[PROGRAM, "status", "-o", "json"])?;
    let status: Value = serde_json::from_str(&status).unwrap_or_default();
    let target = status["cluster"]["addresses"][0].as_str().unwrap_or_default().to_owned();
    let format = "{{(index .IPAM.Config 0).Gateway}}";
    let gateway = last.docker(&["network", "inspect", "--format", format, BRIDGE])?;
    let run = |network: &str, to: &str| {
        let ping = format!("until ping -c 1 -W 1 {to}; do :; done");
        last.docker(&["run", "--rm", "--net", network, IMAGE, "sh", "-c", &ping])
    };
    let (mut whole, mut plain) = (Sample::default(), Sample::default());
    for number in 0..networks {
        eprintln!("network-usable: {} of {networks}", number + 1);
        plain.push(timed(|| run(BRIDGE, &gateway))?);
        let network = format!("new{number}");
        whole.push(timed(|| {
            create(first, &network)?;
            await_network(last, &network)?;
            run(&network, &target)
        })?);
        first.docker(&["network", "rm", &network])?;
    }
    let base = plain.median();
    let beyond = whole.map(|whole| whole - base);
    let row = Row::alone("network-usable", "ms", &beyond).against("a bridge", &whole, &plain);
    let row = Row { value: beyond.quantile(0.99), ..row };
    Ok(row.bar(Bar::ValueAtMost(USABLE_BAR)))
}
