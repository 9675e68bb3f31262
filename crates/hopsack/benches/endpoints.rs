//! A host with many endpoints: what one more takes, what it takes to put all of them back, and what the agent costs
//! while nothing happens.

use crate::idle::{memory, processor_time};
use crate::report::{Bar, Report, Row};
use crate::sample::Sample;
use crate::{Effort, PROGRAM};
use hopsack_api::client::Client;
use hopsack_api::{AllocateRequest, EndpointRequest, ReleaseRequest};
use hopsack_lab::{
    AGENT, AgentOptions, Host, HostSpec, Inside, Lab, LabError, Options, SegmentSpec, Topology, wait,
};
use hopsack_types::{EndpointId, Family, NetworkId};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// What a new endpoint may take among them, ms: of a hundred the slowest but one.
const CREATE_BAR: f64 = 50.0;
/// What it may take until all are as they were, ms.
const RESYNC_BAR: f64 = 1000.0;
/// Endpoints made and removed again for the figure.
const CREATED: usize = 100;
/// How long things may take that are not measured.
const SOON: Duration = Duration::from_secs(120);
/// How long the agent is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// All rows about many endpoints.
pub fn measure(effort: Effort, report: &mut Report) -> Result<(), LabError> {
    let many = effort.endpoints;
    eprintln!("endpoints: a host with {many}");
    let lab = lab()?;
    let host = lab.host("h1")?;
    let front = Front::open(&host)?;
    for number in 0..many {
        front.create(number)?;
    }
    // What other parts have written is not of this one, and making an endpoint waits for the disk.
    host.run(&["sync"])?;
    let mut create = Sample::default();
    for number in many..many + CREATED {
        let (address, took) = front.create(number)?;
        create.push(took);
        front.remove(number, address)?;
    }
    let row = Row::alone("endpoint-create", "ms", &create);
    let row = Row { value: create.quantile(0.99), ..row };
    report.push(row.bar(Bar::ValueAtMost(CREATE_BAR)));
    let mut resync = Sample::default();
    for round in 0..effort.rounds {
        eprintln!("resync: {} of {}", round + 1, effort.rounds);
        resync.push(put_back(&host, many)?);
    }
    report.push(Row::alone("resync", "ms", &resync).bar(Bar::ValueAtMost(RESYNC_BAR)));
    let (memory, core) = idle(&host)?;
    report.push(Row::alone("endpoints-rss", "MB", &Sample::of(memory)));
    report.push(Row::alone("endpoints-cpu-idle", "%", &Sample::of(core)));
    lab.down()
}

/// One host that is a cluster, with a network.
fn lab() -> Result<Lab, LabError> {
    let mut options = Options::unique("bench", PROGRAM);
    options.agent = Some(AgentOptions::default());
    let lan = SegmentSpec::new("lan", &["10.77.1.0/24"]);
    let topology = Topology::builder().segment(lan).host(HostSpec::plain("h1", &["lan"])).build()?;
    let lab = Lab::up(topology, options)?;
    let host = lab.host("h1")?;
    wait::value("the agent", SOON, || host.run(&[PROGRAM, "status"]).map_err(|_| host.log_tail(AGENT, 12)))?;
    host.run(&[PROGRAM, "init"])?;
    host.run(&[PROGRAM, "network", "create", "web", "--subnet", "10.64.0.0/18"])?;
    Ok(lab)
}

/// The agent as Docker's front door asks it.
struct Front {
    client: Client,
    network: NetworkId,
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LabError {
    let object = "an endpoint".to_owned();
    LabError::Io { operation: "make", object, source: std::io::Error::other(error) }
}

impl Front {
    fn open(host: &Host) -> Result<Self, LabError> {
        // The host's own file system, seen from outside.
        let client = Client::new(format!("/proc/{}/root{}", host.pid(), hopsack_api::SOCKET));
        let networks = client.networks().map_err(failed)?;
        let network = networks.networks.keys().next().copied();
        Ok(Self { client, network: network.ok_or_else(|| failed("there is no network"))? })
    }

    fn id(number: usize) -> EndpointId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64).reverse_bits().to_be_bytes());
        bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
        EndpointId::from_bytes(bytes)
    }

    /// Makes an endpoint with a fresh address, as a container's start does. Gives the address and the milliseconds.
    fn create(&self, number: usize) -> Result<(IpAddr, f64), LabError> {
        let begin = Instant::now();
        let allocate = AllocateRequest {
            network: self.network,
            family: Family::V4,
            address: None,
            holder: format!("docker:{number}"),
        };
        let address = self.client.allocate(&allocate).map_err(failed)?;
        let endpoint = EndpointRequest {
            id: Self::id(number),
            network: self.network,
            addresses: vec![address],
            mac: None,
            name: format!("c{number}"),
            labels: BTreeMap::new(),
        };
        self.client.create_endpoint(&endpoint).map_err(failed)?;
        Ok((address, begin.elapsed().as_secs_f64() * 1e3))
    }

    fn remove(&self, number: usize, address: IpAddr) -> Result<(), LabError> {
        self.client.remove_endpoint(Self::id(number)).map_err(failed)?;
        self.client.release(&ReleaseRequest { network: self.network, address }).map_err(failed)
    }
}

/// Takes our table and all of our routes away. Gives the milliseconds until both are back.
fn put_back(host: &Host, many: usize) -> Result<f64, LabError> {
    host.run(&["sh", "-c", "nft delete table inet hopsack; ip route flush table main proto 72"])?;
    let begin = Instant::now();
    wait::until("all is back", SOON, || {
        let count = "ip -4 route show proto 72 | wc -l; nft list tables | grep -c hopsack";
        let shown = host.run(&["sh", "-c", count]).unwrap_or_default();
        let mut counts = shown.lines().map(|line| line.trim().parse().unwrap_or(0));
        counts.next() >= Some(many) && counts.next() >= Some(1)
    })?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// Megabytes that the agent has in memory, and the part of a core that it takes while nothing happens, percent.
fn idle(host: &Host) -> Result<(f64, f64), LabError> {
    let (before, begin) = (processor_time(host)?, Instant::now());
    thread::sleep(IDLE);
    let core = (processor_time(host)? - before) / begin.elapsed().as_secs_f64() * 100.0;
    Ok((memory(host)?, core))
}
