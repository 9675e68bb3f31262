//! A cluster in virtual time: a network that delays, loses and partitions, and hosts that do what an agent does with
//! the crate. One seed decides everything.

use crate::exchange::exchange;
use crate::keys::{Key, Keys, endpoint, fact, host, revision};
use bytes::Bytes;
use hopsack_gossip::{Batch, MemberEvent, MemberState, Membership, Records, Source};
use hopsack_types::{HostId, Incarnation};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How often a host exchanges records and members with one other.
const EXCHANGE_PERIOD: Duration = Duration::from_secs(10);
/// The same after an exchange that moved anything, as there may be more, or that reached nobody.
const EXCHANGE_AGAIN: Duration = Duration::from_secs(1);
/// How many members a new batch is pushed to.
const PUSH_FAN_OUT: usize = 3;
/// Of a hundred datagrams and pushes so many are lost.
const LOSS_PERCENT: u32 = 2;
/// How many hosts everybody knows beforehand.
const SEEDS: u16 = 3;

enum Event {
    Datagram { to: u16, bytes: Bytes },
    Push { to: u16, batch: Batch },
    Wake { of: u16 },
    Exchange { of: u16 },
}

struct Node {
    membership: Membership,
    records: Records,
    is_up: bool,
    side: u8,
    /// The wake-up that counts; others are left over.
    wake: Option<Duration>,
}

/// The cluster.
pub struct Cluster {
    nodes: Vec<Node>,
    queue: BTreeMap<(Duration, u64), Event>,
    queued: u64,
    pub now: Duration,
    rng: SmallRng,
    keys: Keys,
    /// Everything that any host saw of its members, in order.
    pub trace: Vec<(Duration, u16, MemberEvent)>,
    /// Batches that went over in exchanges.
    pub exchanged: usize,
}

fn addr(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 4677))
}

fn number(to: SocketAddr) -> u16 {
    match to {
        SocketAddr::V4(v4) => {
            let [_, _, high, low] = v4.ip().octets();
            u16::from_be_bytes([high, low])
        }
        SocketAddr::V6(_) => unreachable!("the cluster is IPv4"),
    }
}

impl Cluster {
    /// `size` hosts that start within the first second, each with `facts` facts, and know the first three.
    pub fn start(size: u16, facts: u32, seed: u64) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            queued: 0,
            now: Duration::ZERO,
            rng: SmallRng::seed_from_u64(seed),
            keys: Keys { hosts: size },
            trace: Vec::new(),
            exchanged: 0,
        };
        for n in 0..size {
            let node = cluster.node(n, 1);
            cluster.nodes.push(node);
            cluster.boot(n, facts);
            let delay = Duration::from_millis(cluster.rng.random_range(0..10_000));
            cluster.schedule(delay, Event::Exchange { of: n });
        }
        cluster
    }

    fn node(&mut self, n: u16, incarnation: u64) -> Node {
        let incarnation = Incarnation(incarnation);
        Node {
            membership: Membership::new(host(n), incarnation, addr(n), self.rng.random()),
            records: Records::new(host(n), incarnation),
            is_up: true,
            side: 0,
            wake: None,
        }
    }

    fn boot(&mut self, n: u16, facts: u32) {
        let seeds = (0..SEEDS).map(|seed| (host(seed), addr(seed))).collect();
        let delay = Duration::from_millis(self.rng.random_range(0..1000));
        let node = &mut self.nodes[usize::from(n)];
        node.membership.set_seeds(seeds, self.now + delay).unwrap();
        for key in 0..facts {
            node.records.set_local(endpoint(key), Some(fact(key))).unwrap();
        }
        node.records.complete_local();
        node.records.intent_advanced(revision(0));
        self.flush(n);
        self.settle(n);
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), event);
    }

    /// Delivers after 1 to 5 ms, or never.
    fn send(&mut self, event: Event) {
        if self.rng.random_range(0..100) >= LOSS_PERCENT {
            let latency = Duration::from_micros(self.rng.random_range(1000..5000));
            self.schedule(latency, event);
        }
    }

    fn can_talk(&self, a: u16, b: u16) -> bool {
        let (a, b) = (&self.nodes[usize::from(a)], &self.nodes[usize::from(b)]);
        a.is_up && b.is_up && a.side == b.side
    }

    /// What an agent does after every input.
    fn settle(&mut self, n: u16) {
        let index = usize::from(n);
        while let Some(event) = self.nodes[index].membership.poll_event() {
            self.trace.push((self.now, n, event));
        }
        while let Some((to, bytes)) = self.nodes[index].membership.poll_transmit() {
            let to = number(to);
            if self.can_talk(n, to) {
                self.send(Event::Datagram { to, bytes });
            }
        }
        // What nobody can be told of yet stays in the queue.
        while !self.nodes[index].membership.is_alone()
            && let Some(batch) = self.nodes[index].records.poll_push()
        {
            for (_, to) in self.nodes[index].membership.choose_active(PUSH_FAN_OUT) {
                let to = number(to);
                if self.can_talk(n, to) {
                    self.send(Event::Push { to, batch: batch.clone() });
                }
            }
        }
        let due = self.nodes[index].membership.poll_timeout().map(|(due, _)| due.max(self.now));
        if due != self.nodes[index].wake {
            self.nodes[index].wake = due;
            due.into_iter().for_each(|due| self.schedule(due - self.now, Event::Wake { of: n }));
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Datagram { to, bytes } => {
                let node = &mut self.nodes[usize::from(to)];
                if node.is_up {
                    node.membership.handle_datagram(&bytes, now).unwrap();
                    self.settle(to);
                }
            }
            Event::Push { to, batch } => {
                let node = &mut self.nodes[usize::from(to)];
                if node.is_up {
                    node.records.apply(vec![batch], Source::Push, &self.keys);
                    self.settle(to);
                }
            }
            Event::Wake { of } => {
                let node = &mut self.nodes[usize::from(of)];
                if node.is_up && node.wake == Some(now) {
                    node.wake = None;
                    node.membership.handle_timer(now).unwrap();
                    self.settle(of);
                }
            }
            Event::Exchange { of } => {
                let before = self.exchanged;
                let partner = self.nodes[usize::from(of)].membership.choose_partner();
                let reached = partner.map(|(_, to)| number(to)).filter(|to| self.can_talk(of, *to));
                reached.into_iter().for_each(|to| self.exchange(of, to));
                let is_settled = reached.is_some() && self.exchanged == before;
                let pause = if is_settled { EXCHANGE_PERIOD } else { EXCHANGE_AGAIN };
                self.schedule(pause, Event::Exchange { of });
            }
        }
    }

    fn exchange(&mut self, a: u16, b: u16) {
        let [left, right] = self.nodes.get_disjoint_mut([usize::from(a), usize::from(b)]).unwrap();
        let (of_left, of_right) = (left.membership.member_list(), right.membership.member_list());
        left.membership.apply_member_list(of_right, self.now).unwrap();
        right.membership.apply_member_list(of_left, self.now).unwrap();
        let done = exchange(&mut left.records, &mut right.records, 64 << 10, &self.keys);
        self.exchanged += done.batches;
        for (n, newer) in [a, b].into_iter().zip(done.own_newer) {
            newer.into_iter().for_each(|newer| self.rise_above(n, newer));
        }
        self.settle(a);
        self.settle(b);
    }

    /// What a host does that hears of its own future.
    fn rise_above(&mut self, n: u16, newer: Incarnation) {
        let node = &mut self.nodes[usize::from(n)];
        node.records.restart(newer.next());
        node.membership.restart(newer.next(), self.now).unwrap();
        self.flush(n);
    }

    fn flush(&mut self, n: u16) {
        let node = &mut self.nodes[usize::from(n)];
        while node.records.flush(&Key(host(n)), revision(0)).unwrap().is_some() {}
    }

    /// Runs for so long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.handle(event);
        }
        self.now = end;
    }

    /// Runs until it is so, looking ten times a second; returns how long that took. Fails after `limit`.
    pub fn run_until(&mut self, limit: Duration, what: &str, is_so: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        while !is_so(self) {
            assert!(self.now - begin < limit, "after {limit:?} it was still not so that {what}");
            self.run(Duration::from_millis(100));
        }
        self.now - begin
    }

    /// The state of `of` as `by` sees it.
    pub fn sight(&self, by: u16, of: u16) -> Option<MemberState> {
        let members = self.nodes[usize::from(by)].membership.members();
        members.iter().find(|record| record.host == host(of)).map(|record| record.state)
    }

    fn up(&self) -> impl Iterator<Item = (u16, &Node)> {
        (0..).zip(&self.nodes).filter(|(_, node)| node.is_up)
    }

    /// Whether each running host sees exactly the running hosts of its side (`None`: of all sides) as there.
    pub fn sees_right(&self, across_sides: bool) -> bool {
        self.up().all(|(n, node)| {
            let wanted =
                self.up().filter(|(other, peer)| *other != n && (across_sides || peer.side == node.side));
            let wanted: Vec<HostId> = wanted.map(|(other, _)| host(other)).collect();
            let active = node.membership.members().into_iter().filter(|record| record.is_active());
            active.map(|record| record.host).eq(wanted)
        })
    }

    /// Whether all running hosts have the same facts, so many.
    pub fn facts_agree(&self, count: usize) -> bool {
        let mut hashes = self.up().map(|(_, node)| node.records.hash());
        let first = hashes.next();
        hashes.all(|hash| Some(hash) == first)
            && self.up().all(|(_, node)| node.records.facts().count() == count)
    }

    /// How many running hosts have this fact about `of`.
    pub fn count_having(&self, of: u16, key: u32, value: Option<u32>) -> usize {
        let wanted = value.map(fact);
        self.up().filter(|(_, node)| node.records.fact(host(of), &endpoint(key)) == wanted.as_ref()).count()
    }

    pub fn set(&mut self, n: u16, key: u32, value: Option<u32>) {
        self.nodes[usize::from(n)].records.set_local(endpoint(key), value.map(fact)).unwrap();
        self.flush(n);
        self.settle(n);
    }

    pub fn kill(&mut self, n: u16) {
        self.nodes[usize::from(n)].is_up = false;
    }

    /// Starts a killed host again from an empty disk but for its boot counter.
    pub fn restart(&mut self, n: u16, incarnation: u64, facts: u32) {
        self.nodes[usize::from(n)] = self.node(n, incarnation);
        self.boot(n, facts);
    }

    /// Cuts off the hosts that `is_cut` picks.
    pub fn partition(&mut self, is_cut: impl Fn(u16) -> bool) {
        (0..).zip(&mut self.nodes).for_each(|(n, node)| node.side = u8::from(is_cut(n)));
    }

    /// The hash of all records of one host, for comparing runs.
    pub fn hash(&self, n: u16) -> [u8; 16] {
        self.nodes[usize::from(n)].records.hash().0
    }
}
