//! Addresses given out: in memory, where only the choice costs, and durably, where each caller waits for the disk and
//! many share one write.

use crate::Effort;
use crate::report::{Bar, Report, Row};
use crate::sample::Sample;
use hopsack_agent::addresses::Addresses;
use hopsack_agent::addresses::journal::JournalFile;
use hopsack_agent::entropy::Entropy;
use hopsack_agent::error::AgentError;
use hopsack_agent::intent::copy::IntentAt;
use hopsack_agent::kernel::access::Blocking;
use hopsack_agent::statedir::StateDir;
use hopsack_ipam::{Allocator, Book, COOL_DOWN, Handle};
use hopsack_lab::LabError;
use hopsack_store::{MemoryStore, Store, Txn, watch};
use hopsack_types::intent::{Key, encode};
use hopsack_types::resource::Ledger;
use hopsack_types::{Family, HostId, Network, NetworkId, Revision};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Allocations a second, in memory.
const MEMORY_BAR: f64 = 500_000.0;
/// Allocations a second, durable, for many callers.
const DURABLE_BAR: f64 = 10_000.0;
/// How many callers wait at the same time.
const CALLERS: usize = 64;
/// Where the journal lies: on the disk that the build is on, as a folder for temporary files may be in memory.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench/alloc");
/// Addresses that are given before they are taken back.
const ROUND: usize = 32_768;

const ME: HostId = HostId::from_bytes([1; 16]);
const NETWORK: NetworkId = NetworkId::from_bytes([2; 16]);

/// All rows about addresses.
pub fn measure(effort: Effort, report: &mut Report) -> Result<(), LabError> {
    eprintln!("alloc-memory: {} rounds of {ROUND}", effort.rounds);
    let memory = sample(effort.rounds, in_memory)?;
    report.push(Row::alone("alloc-memory", "/s", &memory).bar(Bar::ValueAtLeast(MEMORY_BAR)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
    for callers in [1, CALLERS] {
        eprintln!("alloc-durable.{callers}: {} rounds", effort.rounds);
        let span = Duration::from_secs_f64(effort.seconds);
        let durable = sample(effort.rounds, || runtime.block_on(durable(callers, span)).map_err(failed))?;
        let row = Row::alone(format!("alloc-durable.{callers}"), "/s", &durable);
        report.push(if callers == 1 { row } else { row.bar(Bar::ValueAtLeast(DURABLE_BAR)) });
    }
    Ok(())
}

fn sample(rounds: usize, mut once: impl FnMut() -> Result<f64, LabError>) -> Result<Sample, LabError> {
    let mut sample = Sample::default();
    for _ in 0..rounds {
        sample.push(once()?);
    }
    Ok(sample)
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LabError {
    let (operation, object) = ("allocate", "an address".to_owned());
    LabError::Io { operation, object, source: std::io::Error::other(error) }
}

/// A network that this host alone has: as many addresses as a round takes, and some.
fn granted() -> Result<(Network, Ledger), serde_json::Error> {
    let network = json!({
        "id": NETWORK, "name": "web", "subnets": ["10.64.0.0/15"], "reserved": {}, "isolation": "full", "labels": {},
        "docker": null,
    });
    let ledger = json!({
        "grants": { "10.64.0.0/15": { "host": ME, "quarantined": false } }, "wants": [], "closing": false,
    });
    Ok((serde_json::from_value(network)?, serde_json::from_value(ledger)?))
}

/// Allocations a second by the core that chooses.
fn in_memory() -> Result<f64, LabError> {
    let (network, ledger) = granted().map_err(failed)?;
    let mut allocator = Allocator::new(NETWORK, COOL_DOWN);
    allocator.adopt(&network, Revision { epoch: 1, index: 1 }, &ledger, ME);
    let handles: Result<Vec<Handle>, _> =
        (0..ROUND).map(|caller| format!("docker:{caller:032}").parse()).collect();
    let handles = handles.map_err(failed)?;
    let begin = Instant::now();
    for handle in &handles {
        allocator.allocate(Duration::ZERO, Family::V4, handle).map_err(failed)?;
    }
    Ok(ROUND as f64 / begin.elapsed().as_secs_f64())
}

/// Allocations a second of an agent's whole way, for so many callers that each ask again as soon as they have one.
async fn durable(callers: usize, span: Duration) -> Result<f64, AgentError> {
    let addresses = Arc::new(open().await?);
    let begin = Instant::now();
    let mut asking = JoinSet::new();
    for caller in 0..callers {
        let addresses = addresses.clone();
        asking.spawn(async move {
            let mut given = 0;
            while begin.elapsed() < span && given < ROUND / callers {
                let holder = format!("docker:{caller:016}{given:016}");
                addresses.allocate(NETWORK, Family::V4, None, &holder).await?;
                given += 1;
            }
            Ok::<usize, AgentError>(given)
        });
    }
    let mut given = 0;
    while let Some(of_one) = asking.join_next().await {
        given += of_one.expect("no caller panics")?;
    }
    Ok(given as f64 / begin.elapsed().as_secs_f64())
}

/// Addresses of a host with an empty journal.
async fn open() -> Result<Addresses, AgentError> {
    let folder = Path::new(FOLDER);
    // What a run before this one has left there.
    let _ = std::fs::remove_dir_all(folder);
    let dir = StateDir::open(folder)?;
    let journal = JournalFile::open(&dir, Blocking::Thread)?.file;
    let store = Arc::new(MemoryStore::new(1));
    let (network, ledger) = granted().expect("it is as this version reads it");
    let (network_key, ledger_key) = (Key::Network(NETWORK), Key::Ledger(NETWORK));
    let made = Txn::new()
        .put(network_key.to_string(), encode(&network_key, &network)?)
        .put(ledger_key.to_string(), encode(&ledger_key, &ledger)?);
    store.txn(made).await?;
    let (_, intent) = watch::channel(IntentAt::default());
    let entropy = Arc::new(Entropy::from_seed(1));
    Ok(Addresses::new(ME, store, intent, journal, Book::new(COOL_DOWN), entropy))
}
