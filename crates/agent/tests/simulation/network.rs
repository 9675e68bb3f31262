//! The fake network: who reaches whom, how long it takes, what gets lost. Decided by the seed and by cuts.

use bytes::Bytes;
use hopsack_agent::talk::transport::{Connection, Credentials};
use hopsack_store::watch;
use hopsack_types::Cidr;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

/// Of a thousand datagrams, so many get lost.
const LOST: u32 = 20;
/// The longest way takes this long, microseconds.
const SLOWEST: u64 = 3_000;

/// What listens on an address.
#[derive(Clone)]
pub struct Port {
    /// Who listens.
    pub credentials: Arc<Credentials>,
    /// Where connections go.
    pub arrivals: mpsc::UnboundedSender<Connection>,
    /// Where datagrams go.
    pub datagrams: Arc<Mailbox<(SocketAddr, Bytes)>>,
}

/// The network.
pub struct Network {
    dice: Mutex<StdRng>,
    ports: Mutex<BTreeMap<SocketAddr, Port>>,
    segments: Mutex<BTreeMap<IpAddr, Cidr>>,
    /// Pairs of addresses between which nothing passes, the smaller first.
    cuts: watch::Sender<BTreeSet<(IpAddr, IpAddr)>>,
}

fn pair(one: IpAddr, other: IpAddr) -> (IpAddr, IpAddr) {
    (one.min(other), one.max(other))
}

impl Network {
    /// A network without hosts.
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
            ports: Mutex::default(),
            segments: Mutex::default(),
            cuts: watch::Sender::new(BTreeSet::new()),
        }
    }

    /// Connects a host to a segment.
    pub fn plug_in(&self, address: IpAddr, segment: Cidr) {
        self.segments.lock().unwrap().insert(address, segment);
    }

    /// Whether two hosts share a segment.
    pub fn is_adjacent(&self, one: IpAddr, other: IpAddr) -> bool {
        self.segments.lock().unwrap().get(&one).is_some_and(|segment| segment.contains(other))
    }

    /// Lets nothing pass between two hosts. What is connected breaks, at once or by silence.
    pub fn cut(&self, one: IpAddr, other: IpAddr) {
        self.cuts.send_modify(|cuts| {
            cuts.insert(pair(one, other));
        });
    }

    /// Undoes all cuts.
    pub fn heal(&self) {
        self.cuts.send_modify(BTreeSet::clear);
    }

    /// Whether packets pass between two hosts.
    pub fn passes(&self, one: IpAddr, other: IpAddr) -> bool {
        !self.cuts.borrow().contains(&pair(one, other))
    }

    /// Returns once packets pass between two hosts, or no longer do.
    pub async fn until_passes(&self, one: IpAddr, other: IpAddr, passes: bool) {
        let mut cuts = self.cuts.subscribe();
        // The sender is this network's own, so waiting cannot fail.
        let _ = cuts.wait_for(|cuts| cuts.contains(&pair(one, other)) != passes).await;
    }

    /// Opens a port; false if it is open already.
    pub fn open(&self, address: SocketAddr, port: Port) -> bool {
        let mut ports = self.ports.lock().unwrap();
        let free = !ports.contains_key(&address);
        if free {
            ports.insert(address, port);
        }
        free
    }

    /// Closes a port, if it is still the one with these datagrams.
    pub fn close(&self, address: SocketAddr, datagrams: &Arc<Mailbox<(SocketAddr, Bytes)>>) {
        let mut ports = self.ports.lock().unwrap();
        if ports.get(&address).is_some_and(|port| Arc::ptr_eq(&port.datagrams, datagrams)) {
            ports.remove(&address);
        }
    }

    /// Who listens on an address.
    pub fn port(&self, address: SocketAddr) -> Option<Port> {
        self.ports.lock().unwrap().get(&address).cloned()
    }

    /// How long something that is sent now takes.
    pub fn latency(&self) -> Duration {
        Duration::from_micros(self.dice.lock().unwrap().random_range(100..SLOWEST))
    }

    /// Whether something that is sent now gets lost.
    pub fn loses(&self) -> bool {
        self.dice.lock().unwrap().random_ratio(LOST, 1000)
    }

    /// A throw of a coin.
    pub fn coin(&self) -> bool {
        self.dice.lock().unwrap().random()
    }
}

/// Things on their way to one receiver, each with the moment at which it arrives.
pub struct Mailbox<T> {
    things: Mutex<BTreeMap<(Instant, u64), T>>,
    sent: Mutex<u64>,
    changed: Notify,
}

impl<T> Mailbox<T> {
    /// An empty mailbox.
    pub fn new() -> Self {
        Self { things: Mutex::default(), sent: Mutex::default(), changed: Notify::new() }
    }

    /// Sends something that arrives after a while.
    pub fn put(&self, after: Duration, thing: T) {
        let number = {
            let mut sent = self.sent.lock().unwrap();
            *sent += 1;
            *sent
        };
        self.things.lock().unwrap().insert((Instant::now() + after, number), thing);
        self.changed.notify_one();
    }

    /// The next thing that arrives. May be cancelled without loss.
    pub async fn take(&self) -> T {
        loop {
            let due = {
                let mut things = self.things.lock().unwrap();
                match things.first_entry() {
                    Some(first) if first.key().0 <= Instant::now() => return first.remove(),
                    first => first.map(|first| first.key().0),
                }
            };
            let arrived = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = arrived => {}
            }
        }
    }
}
