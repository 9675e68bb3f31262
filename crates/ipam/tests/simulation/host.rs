//! A simulated host: a real book with a journal that can tear, and an agent that does with it what the real one does.
//! Containers live in `runtime`, which outlives the agent and its disk.

use hopsack_ipam::grant::Names;
use hopsack_ipam::steward::{Move, Situation, next_move, verdict};
use hopsack_ipam::want::Verdict;
use hopsack_ipam::{Book, Handle, IpamError, Record, journal};
use hopsack_types::resource::{Ledger, Wanted};
use hopsack_types::{Family, HostId, Network, Revision};
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub const COOL_DOWN: Duration = Duration::from_secs(2);
/// A swap without an answer is given up after this; it may still be carried out.
const ANSWER_DEADLINE: Duration = Duration::from_millis(100);
/// A container that waits is refused after this.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// Ways to break the protocol: each must be caught by the simulation, or it proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// Takes what it lent back into use when a swap got no answer.
    UnlendWithoutAnswer,
    /// Does not make durable what it lends.
    LendInMemoryOnly,
    /// Allocates again after a lost disk without having fenced the ledger.
    NoFence,
    /// Does not look at the runtime after a lost disk.
    NoRebuild,
    /// The operator frees a removed host's blocks although it may still run.
    FreeWithoutQuarantine,
}

/// How often an agent dies just before or after it writes.
#[derive(Debug, Clone, Copy)]
pub struct Crashes(pub f64);

/// The agent died.
#[derive(Debug)]
pub struct Died;

/// What a host sends to the store.
#[derive(Debug, Clone)]
pub enum Request {
    Read,
    Swap { ticket: u64, base: u64, ledger: Ledger },
}

/// What the store sends to a host.
#[derive(Debug, Clone)]
pub enum Reply {
    Ledger { revision: u64, ledger: Arc<Ledger> },
    Swapped { ticket: u64, revision: u64, ledger: Arc<Ledger> },
    Refused { ticket: u64 },
}

#[derive(Debug)]
struct Flight {
    ticket: u64,
    sent: Duration,
    due: Move,
}

#[derive(Debug)]
struct Waiting {
    wanted: Wanted,
    handle: Handle,
    since: Duration,
}

#[derive(Debug)]
pub struct Agent {
    pub book: Book,
    ledger: Option<(u64, Arc<Ledger>)>,
    flight: Option<Flight>,
    waiting: Vec<Waiting>,
    /// Whether it must ask for the ledger: its copy may be old.
    stale: bool,
}

#[derive(Debug)]
pub struct Host {
    pub id: HostId,
    pub runtime: BTreeMap<Handle, IpAddr>,
    pub agent: Option<Agent>,
    pub destroyed: bool,
    /// Answers to containers that could not be started at once, or at all.
    pub answers: BTreeMap<Handle, Result<IpAddr, Option<IpamError>>>,
    network: Network,
    synced: Vec<u8>,
    unsynced: Vec<u8>,
    copy: Option<(u64, Arc<Ledger>)>,
    sabotage: Sabotage,
    crashes: Crashes,
    hosts: usize,
    counter: u64,
}

const fn situation<'a>(
    me: HostId,
    network: &'a Network,
    ledger: &'a Ledger,
    hosts: usize,
    waiting: &'a BTreeMap<Wanted, u64>,
) -> Situation<'a> {
    Situation { me, network, ledger, hosts, waiting }
}

fn revision(index: u64) -> Revision {
    Revision { epoch: 1, index }
}

impl Host {
    pub fn new(id: HostId, network: &Network, hosts: usize, sabotage: Sabotage, crashes: Crashes) -> Self {
        Self {
            id,
            runtime: BTreeMap::new(),
            agent: None,
            destroyed: false,
            answers: BTreeMap::new(),
            network: network.clone(),
            synced: journal::header(),
            unsynced: Vec::new(),
            copy: None,
            sabotage,
            crashes,
            hosts,
            counter: 0,
        }
    }

    /// Starts the agent from its disk, as far as it is readable, and from the runtime.
    pub fn boot(&mut self, now: Duration) {
        let read = journal::decode(&self.synced).expect("a torn journal is still one");
        let lost = read.tear.is_some();
        let mut book = Book::replay(&read.records, now, COOL_DOWN);
        if lost && self.sabotage != Sabotage::NoFence {
            book.apply(now, &Record::Lost);
        }
        let allocator = book.network_mut(self.network.id);
        if !lost || self.sabotage != Sabotage::NoRebuild {
            for (handle, address) in &self.runtime {
                allocator.observe(*address, handle).expect("journal and runtime agree on holders");
            }
            let gone: Vec<_> = allocator
                .in_use()
                .filter(|(address, handle)| self.runtime.get(handle) != Some(address))
                .map(|(address, handle)| (address, handle.clone()))
                .collect();
            for (address, handle) in gone {
                assert!(allocator.release(now, address, &handle));
            }
        }
        self.synced = journal::encode_all(&book.snapshot(now)).expect("a snapshot encodes");
        self.unsynced.clear();
        let mut agent = Agent { book, ledger: None, flight: None, waiting: Vec::new(), stale: true };
        if let Some((index, ledger)) = self.copy.clone() {
            agent.book.network_mut(self.network.id).adopt(&self.network, revision(index), &ledger, self.id);
            agent.ledger = Some((index, ledger));
        }
        self.agent = Some(agent);
    }

    /// Kills the agent. Of what was not synced a part may have reached the disk.
    pub fn kill(&mut self, rng: &mut SmallRng) {
        let kept = rng.random_range(0..=self.unsynced.len());
        self.synced.extend(&self.unsynced[..kept]);
        self.unsynced.clear();
        self.agent = None;
    }

    /// Kills the agent and takes its disk.
    pub fn lose_disk(&mut self) {
        self.agent = None;
        self.synced.clear();
        self.unsynced.clear();
        self.copy = None;
    }

    /// The host is gone with all that ran on it.
    pub fn destroy(&mut self) {
        self.lose_disk();
        self.runtime.clear();
        self.destroyed = true;
    }

    fn write(&mut self, records: &[Record], sync: bool, rng: &mut SmallRng) -> Result<(), Died> {
        for record in records {
            self.unsynced.extend(journal::encode(record).expect("a record encodes"));
        }
        if rng.random_bool(self.crashes.0) {
            self.kill(rng);
            return Err(Died);
        }
        if sync {
            self.synced.append(&mut self.unsynced);
        }
        Ok(())
    }

    /// A container starts: its address, or none when it must wait or was refused.
    pub fn start(
        &mut self,
        now: Duration,
        wanted: Wanted,
        rng: &mut SmallRng,
    ) -> Result<Option<Handle>, Died> {
        self.counter += 1;
        let handle = Handle::new("test", &format!("{}-{}", self.id.short(), self.counter)).expect("a handle");
        match self.try_start(now, wanted, &handle, rng)? {
            Ok(_) => {}
            Err(IpamError::NoneGranted { .. } | IpamError::NotGranted { .. } | IpamError::NotReady(_)) => {
                let waiting = Waiting { wanted, handle: handle.clone(), since: now };
                self.agent.as_mut().expect("alive").waiting.push(waiting);
            }
            Err(error) => drop(self.answers.insert(handle.clone(), Err(Some(error)))),
        }
        Ok(Some(handle))
    }

    fn try_start(
        &mut self,
        now: Duration,
        wanted: Wanted,
        handle: &Handle,
        rng: &mut SmallRng,
    ) -> Result<Result<IpAddr, IpamError>, Died> {
        let network = self.network.id;
        let allocator = self.agent.as_mut().expect("alive").book.network_mut(network);
        let given = match wanted {
            Wanted::Any(family) => allocator.allocate(now, family, handle),
            Wanted::Address(address) => allocator.allocate_address(address, handle).map(|()| address),
        };
        if let Ok(address) = given {
            if let Wanted::Any(family) = wanted {
                let mut ranges = self.network.subnets_of(family).map(|subnet| self.network.range_in(subnet));
                assert!(ranges.any(|range| range.contains(address)), "{address} is outside of all ranges");
            }
            self.write(&[Record::Allocate { network, address, handle: handle.clone() }], true, rng)?;
            if rng.random_bool(self.crashes.0) {
                self.kill(rng);
                return Err(Died);
            }
            self.runtime.insert(handle.clone(), address);
            self.answers.insert(handle.clone(), Ok(address));
        }
        Ok(given)
    }

    /// A container stops. The agent hears of it if it lives.
    pub fn stop(&mut self, now: Duration, handle: &Handle, rng: &mut SmallRng) -> Result<(), Died> {
        let Some(address) = self.runtime.remove(handle) else { return Ok(()) };
        let Some(agent) = self.agent.as_mut() else { return Ok(()) };
        let network = self.network.id;
        let released = agent.book.network_mut(network).release(now, address, handle);
        assert!(released || self.sabotage == Sabotage::NoRebuild, "the book lost {address} of {handle}");
        self.write(&[Record::Release { network, address, handle: handle.clone() }], false, rng)
    }

    /// What the agent does from time to time.
    pub fn tick(&mut self, now: Duration, ticket: u64, rng: &mut SmallRng) -> Result<Vec<Request>, Died> {
        self.serve(now, rng)?;
        let Some(agent) = self.agent.as_mut() else { return Ok(Vec::new()) };
        if let Some(flight) = agent.flight.take_if(|flight| now.saturating_sub(flight.sent) > ANSWER_DEADLINE)
        {
            if self.sabotage == Sabotage::UnlendWithoutAnswer {
                let records = flight.due.refused(now, agent.book.network_mut(self.network.id));
                self.write(&records, false, rng)?;
            }
            return Ok(vec![Request::Read]);
        }
        if agent.flight.is_some() {
            return Ok(Vec::new());
        }
        let stale = std::mem::take(&mut agent.stale);
        let Some((base, ledger)) = agent.ledger.clone().filter(|_| !stale) else {
            return Ok(vec![Request::Read]);
        };
        let mut waiting: BTreeMap<Wanted, u64> = BTreeMap::new();
        for request in &agent.waiting {
            *waiting.entry(request.wanted).or_default() += 1;
        }
        let situation = situation(self.id, &self.network, &ledger, self.hosts, &waiting);
        let allocator = agent.book.network_mut(self.network.id);
        let Some(due) = next_move(now, situation, allocator).expect("offers can be lent") else {
            return Ok(Vec::new());
        };
        let next = due.ledger.clone();
        let durable = self.sabotage != Sabotage::LendInMemoryOnly;
        let records = if durable { due.records.clone() } else { Vec::new() };
        agent.flight = Some(Flight { ticket, sent: now, due });
        self.write(&records, true, rng)?;
        Ok(vec![Request::Swap { ticket, base, ledger: next }])
    }

    /// Tries again for the containers that wait.
    fn serve(&mut self, now: Duration, rng: &mut SmallRng) -> Result<(), Died> {
        let Some(agent) = self.agent.as_mut() else { return Ok(()) };
        for request in std::mem::take(&mut agent.waiting) {
            let Err(error) = self.try_start(now, request.wanted, &request.handle, rng)? else { continue };
            let agent = self.agent.as_mut().expect("alive");
            let ledger = agent.ledger.as_ref().map(|(_, ledger)| ledger.clone()).unwrap_or_default();
            let waiting = BTreeMap::new();
            let situation = situation(self.id, &self.network, &ledger, self.hosts, &waiting);
            let allocator = agent.book.network_mut(self.network.id);
            let refusal = match verdict(situation, allocator, request.wanted, &Names::new()) {
                Verdict::Refused(refusal) if agent.ledger.is_some() => Some(Some(refusal)),
                _ if matches!(error, IpamError::InUse { .. }) => Some(Some(error)),
                _ if now.saturating_sub(request.since) > REQUEST_DEADLINE => Some(None),
                _ => None,
            };
            match refusal {
                Some(refusal) => drop(self.answers.insert(request.handle, Err(refusal))),
                None => agent.waiting.push(request),
            }
        }
        Ok(())
    }

    /// Takes in what the store said.
    pub fn hear(&mut self, now: Duration, reply: Reply, rng: &mut SmallRng) -> Result<Vec<Request>, Died> {
        let Some(agent) = self.agent.as_mut() else { return Ok(Vec::new()) };
        match reply {
            Reply::Ledger { revision, ledger } => self.learn(revision, ledger, rng).map(|()| Vec::new()),
            Reply::Swapped { ticket, revision, ledger } => {
                let Some(flight) = agent.flight.take_if(|flight| flight.ticket == ticket) else {
                    return Ok(Vec::new());
                };
                let records = flight.due.done(agent.book.network_mut(self.network.id));
                self.write(&records, true, rng)?;
                self.learn(revision, ledger, rng).map(|()| Vec::new())
            }
            Reply::Refused { ticket } => {
                let Some(flight) = agent.flight.take_if(|flight| flight.ticket == ticket) else {
                    return Ok(Vec::new());
                };
                let records = flight.due.refused(now, agent.book.network_mut(self.network.id));
                self.write(&records, false, rng)?;
                Ok(vec![Request::Read])
            }
        }
    }

    fn learn(&mut self, index: u64, ledger: Arc<Ledger>, rng: &mut SmallRng) -> Result<(), Died> {
        let Some(agent) = self.agent.as_mut() else { return Ok(()) };
        if agent.ledger.as_ref().is_none_or(|(known, _)| *known <= index) {
            agent.ledger = Some((index, ledger));
        }
        let Some((index, ledger)) = agent.ledger.clone() else { return Ok(()) };
        let allocator = agent.book.network_mut(self.network.id);
        let adoption = allocator.adopt(&self.network, revision(index), &ledger, self.id);
        assert_eq!(adoption.conflicts, [], "the ledger takes addresses in use from {:?}", self.id);
        // The copy of intent on disk may lag behind the journal, and the journal behind the copy.
        if rng.random_bool(0.7) {
            self.copy = Some((index, ledger));
        }
        let records: Vec<Record> = adoption.record.into_iter().collect();
        self.write(&records, false, rng)
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.agent.as_ref().is_none_or(|agent| agent.flight.is_none() && agent.waiting.is_empty())
    }

    /// Addresses that could be given without asking anybody.
    pub fn available(&self, family: Family) -> u64 {
        let book = self.agent.as_ref().and_then(|agent| agent.book.network(self.network.id));
        book.map_or(0, |allocator| allocator.available(family))
    }
}
