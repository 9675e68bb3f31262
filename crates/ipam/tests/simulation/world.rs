//! The simulated cluster: one store, a network that delays, drops and holds back messages, and the invariants.

use crate::host::{Crashes, Host, Reply, Request, Sabotage};
use hopsack_ipam::grant;
use hopsack_types::resource::{Ledger, Wanted};
use hopsack_types::{Family, HostId, Network, NetworkId};
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const STEP: Duration = Duration::from_millis(10);

#[derive(Debug, Clone)]
enum Message {
    ToStore(HostId, Request),
    ToHost(HostId, Reply),
}

impl Message {
    const fn host(&self) -> HostId {
        match self {
            Self::ToStore(host, _) | Self::ToHost(host, _) => *host,
        }
    }
}

pub struct World {
    pub now: Duration,
    pub network: Network,
    pub hosts: BTreeMap<HostId, Host>,
    pub ledger: Arc<Ledger>,
    pub revision: u64,
    pub rng: SmallRng,
    /// Of a hundred requests and answers, how many are held back for long.
    pub late: u32,
    cut: BTreeSet<HostId>,
    messages: BTreeMap<(Duration, u64), Message>,
    sequence: u64,
    /// All ledgers there were: two runs of one seed must have the same.
    pub history: Vec<Arc<Ledger>>,
    sabotage: Sabotage,
}

/// What can happen to a host.
#[derive(Debug, Clone, Copy)]
enum Event {
    Start,
    StartAt,
    Stop,
    Kill,
    LoseDisk,
    Boot,
    Cut,
    Heal,
    Remove,
    Destroy,
}

/// How likely each event is in one schedule: some have many crashes, some many partitions, some a clumsy operator.
pub struct Mood(Vec<(Event, u32)>);

impl Mood {
    pub fn of(rng: &mut SmallRng) -> Self {
        let mut up_to = |event, most| (event, rng.random_range(0..=most));
        Self(vec![
            (Event::Start, 300),
            up_to(Event::StartAt, 150),
            up_to(Event::Stop, 290),
            up_to(Event::Kill, 80),
            up_to(Event::LoseDisk, 20),
            (Event::Boot, 100),
            up_to(Event::Cut, 60),
            (Event::Heal, 60),
            up_to(Event::Remove, 10),
            up_to(Event::Destroy, 2),
        ])
    }

    fn draw(&self, rng: &mut SmallRng) -> Event {
        let mut at = rng.random_range(0..self.0.iter().map(|(_, weight)| weight).sum());
        for (event, weight) in &self.0 {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *event,
            }
        }
        Event::Start
    }
}

pub fn host_id(n: usize) -> HostId {
    let mut bytes = [0; 16];
    bytes[0] = (n as u8).wrapping_mul(37);
    bytes[15] = n as u8;
    HostId::from_bytes(bytes)
}

pub fn network(subnets: &[&str], reserved: &[&str]) -> Network {
    let subnets = subnets.iter().map(|subnet| subnet.parse().expect("well-formed")).collect();
    let name = "web".parse().expect("well-formed");
    let reserved =
        reserved.iter().map(|address| (address.parse().expect("well-formed"), "gateway".to_owned()));
    Network { reserved: reserved.collect(), ..Network::new(NetworkId::from_bytes([7; 16]), name, subnets) }
}

pub fn with_ranges(network: Network, ranges: &[&str]) -> Network {
    Network { ranges: ranges.iter().map(|range| range.parse().expect("well-formed")).collect(), ..network }
}

impl World {
    pub fn new(seed: u64, network: Network, hosts: usize, sabotage: Sabotage, crashes: Crashes) -> Self {
        let ids = (0..hosts).map(host_id);
        let mut world = Self {
            now: Duration::from_secs(1),
            hosts: ids.map(|id| (id, Host::new(id, &network, hosts, sabotage, crashes))).collect(),
            network,
            ledger: Arc::default(),
            revision: 1,
            rng: SmallRng::seed_from_u64(seed),
            late: 5,
            cut: BTreeSet::new(),
            messages: BTreeMap::new(),
            sequence: 0,
            history: Vec::new(),
            sabotage,
        };
        for host in world.hosts.values_mut() {
            host.boot(world.now);
        }
        world
    }

    /// A request or its answer: may be lost, or held back for long.
    fn post(&mut self, message: Message) {
        let delay = match self.rng.random_range(0..100) {
            0..3 => return,
            lot if lot < 3 + self.late => self.rng.random_range(10..100),
            _ => self.rng.random_range(1..4),
        };
        self.sequence += 1;
        self.messages.insert((self.now + STEP * delay, self.sequence), message);
    }

    /// A stream: a message of it may be late, but while the host is connected none is lost.
    fn stream(&mut self, host: HostId) {
        let reply = Reply::Ledger { revision: self.revision, ledger: self.ledger.clone() };
        let delay = self.rng.random_range(1..6);
        self.sequence += 1;
        self.messages.insert((self.now + STEP * delay, self.sequence), Message::ToHost(host, reply));
    }

    fn post_all(&mut self, host: HostId, requests: Vec<Request>) {
        for request in requests {
            self.post(Message::ToStore(host, request));
        }
    }

    /// One step: messages arrive, agents do what is due, everything is checked.
    pub fn step(&mut self) {
        self.now += STEP;
        while let Some(entry) = self.messages.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let message = entry.remove();
            if self.cut.contains(&message.host()) {
                // A partition loses messages, or holds them back for long.
                if self.rng.random_bool(0.5) {
                    self.sequence += 1;
                    let later = self.now + STEP * self.rng.random_range(35..150);
                    self.messages.insert((later, self.sequence), message);
                }
                continue;
            }
            match message {
                Message::ToStore(host, request) => self.store(host, request),
                Message::ToHost(host, reply) => {
                    let Some(target) = self.hosts.get_mut(&host) else { continue };
                    let answer = target.hear(self.now, reply, &mut self.rng).unwrap_or_default();
                    self.post_all(host, answer);
                }
            }
        }
        let ids: Vec<HostId> = self.hosts.keys().copied().collect();
        for id in ids {
            if self.rng.random_bool(0.3) {
                self.sequence += 1;
                let (now, ticket) = (self.now, self.sequence);
                let Some(host) = self.hosts.get_mut(&id) else { continue };
                let requests = host.tick(now, ticket, &mut self.rng).unwrap_or_default();
                self.post_all(id, requests);
            }
        }
        self.check();
    }

    fn store(&mut self, host: HostId, request: Request) {
        match request {
            Request::Read => self.stream(host),
            Request::Swap { ticket, base, .. } if base != self.revision => {
                self.post(Message::ToHost(host, Reply::Refused { ticket }));
            }
            Request::Swap { ticket, ledger, .. } => {
                self.commit(ledger);
                let (revision, ledger) = (self.revision, self.ledger.clone());
                self.post(Message::ToHost(host, Reply::Swapped { ticket, revision, ledger }));
            }
        }
    }

    fn commit(&mut self, ledger: Ledger) {
        self.revision += 1;
        self.ledger = Arc::new(ledger);
        self.history.push(self.ledger.clone());
        let ids: Vec<HostId> = self.hosts.keys().copied().collect();
        ids.into_iter().for_each(|id| self.stream(id));
    }

    /// What must be so at every moment.
    fn check(&self) {
        grant::check(&self.ledger, &self.network).expect("the ledger is sound");
        let mut users: BTreeMap<IpAddr, HostId> = BTreeMap::new();
        for host in self.hosts.values() {
            for address in host.runtime.values() {
                if let Some(other) = users.insert(*address, host.id) {
                    panic!("{address} is used twice, on {other:?} and {:?}", host.id);
                }
                let place = grant::locate(&self.ledger, &self.network, *address).expect("usable");
                let (grant::Place::Held(owner) | grant::Place::Quarantined(owner)) = place else {
                    panic!("{address} is in use on {:?} and granted to nobody", host.id);
                };
                assert_eq!(owner, host.id, "{address} is in use outside its grant");
            }
        }
    }

    pub fn cut(&mut self, host: HostId) {
        self.cut.insert(host);
    }

    pub fn start(&mut self, id: HostId, wanted: Wanted) -> Option<hopsack_ipam::Handle> {
        let host = self.hosts.get_mut(&id)?;
        host.agent.as_ref()?;
        host.start(self.now, wanted, &mut self.rng).ok().flatten()
    }

    /// The operator removes a host, which may be alive, cut off or gone.
    fn remove(&mut self, id: HostId) {
        let next = match self.sabotage {
            Sabotage::FreeWithoutQuarantine => {
                let aside = grant::quarantine(&self.ledger, id);
                aside.and_then(|aside| grant::free_quarantined(&aside, id))
            }
            _ => grant::quarantine(&self.ledger, id),
        };
        if let Some(next) = next {
            self.commit(next);
        }
    }

    /// Something happens to somebody.
    pub fn mischief(&mut self, mood: &Mood, families: &[Family]) {
        let Some(id) = self.hosts.keys().copied().choose(&mut self.rng) else { return };
        let family = families[self.rng.random_range(0..families.len())];
        let now = self.now;
        let misfortune = mood.draw(&mut self.rng);
        let Some(host) = self.hosts.get_mut(&id).filter(|host| !host.destroyed) else { return };
        match misfortune {
            Event::Start => drop(self.start(id, Wanted::Any(family))),
            Event::StartAt => {
                let subnet = self.network.subnets_of(family).choose(&mut self.rng).expect("a subnet").net();
                if let Some(address) = subnet.hosts().choose(&mut self.rng) {
                    self.start(id, Wanted::Address(address));
                }
            }
            Event::Stop => {
                if let Some(handle) = host.runtime.keys().choose(&mut self.rng).cloned() {
                    // That the agent dies over it is a part of the game.
                    drop(host.stop(now, &handle, &mut self.rng));
                }
            }
            Event::Kill => {
                host.kill(&mut self.rng);
                if self.rng.random_bool(0.7) {
                    host.boot(now);
                }
            }
            Event::LoseDisk => {
                host.lose_disk();
                if self.rng.random_bool(0.7) {
                    host.boot(now);
                }
            }
            Event::Boot => {
                if host.agent.is_none() {
                    host.boot(now);
                }
            }
            Event::Cut => drop(self.cut.insert(id)),
            Event::Heal => {
                self.cut.remove(&id);
                self.stream(id);
            }
            Event::Remove => self.remove(id),
            Event::Destroy => {
                host.destroy();
                self.remove(id);
                if let Some(next) = grant::free_quarantined(&self.ledger, id) {
                    self.commit(next);
                }
            }
        }
    }

    /// Heals everything and waits until nothing moves any more.
    pub fn settle(&mut self) {
        std::mem::take(&mut self.cut).into_iter().for_each(|id| self.stream(id));
        for host in self.hosts.values_mut().filter(|host| !host.destroyed && host.agent.is_none()) {
            host.boot(self.now);
        }
        let mut quiet = 0;
        for _ in 0..20_000 {
            let before = self.revision;
            self.step();
            let idle = self.hosts.values().all(Host::is_idle) && self.messages.is_empty();
            quiet = if idle && before == self.revision { quiet + 1 } else { 0 };
            if quiet > 30 {
                return;
            }
            for host in self.hosts.values_mut().filter(|host| !host.destroyed && host.agent.is_none()) {
                host.boot(self.now);
            }
        }
        panic!("the cluster does not come to rest: wants {:?}", self.ledger.wants);
    }
}
