//! Numbered datagrams at a steady rate, and datagrams that come back.

use super::{Sent, is_timeout, say, say_ready};
use crate::error::{LabError, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Begins each numbered datagram; the number (u64) and how many there are (u64) follow, big-endian.
const MAGIC: [u8; 8] = *b"hop-lab1";
const HEADER: usize = 24;
/// What a receiver wants buffered while it does not run, in bytes; the kernel may give less.
const BUFFER: usize = 8 << 20;
/// How long a receiver waits for late packets after the last number has come.
const LATE: Duration = Duration::from_millis(500);

/// Any port at any address of the same family.
pub(super) fn any_port(family_of: SocketAddr) -> SocketAddr {
    match family_of {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn bind(address: SocketAddr) -> Result<UdpSocket> {
    UdpSocket::bind(address).map_err(LabError::io("bind UDP", address))
}

fn set_timeout(socket: &UdpSocket, timeout: Duration) -> Result<()> {
    let timeout = timeout.max(Duration::from_millis(1));
    socket.set_read_timeout(Some(timeout)).map_err(LabError::io("set a deadline for", "a UDP socket"))
}

/// `udp-send`
#[derive(Debug, Args)]
pub(super) struct Send {
    /// Where to
    #[arg(long)]
    to: SocketAddr,
    /// From this address instead of the one that the route gives
    #[arg(long)]
    from: Option<IpAddr>,
    /// Packets per second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// How many packets
    #[arg(long)]
    count: u64,
    /// Bytes of payload in each
    #[arg(long, default_value_t = 100)]
    size: usize,
}

impl Send {
    pub(super) fn run(self) -> Result<Sent> {
        let from = self.from.map_or_else(|| any_port(self.to), |address| (address, 0).into());
        let socket = bind(from)?;
        let mut packet = vec![0; self.size.max(HEADER)];
        packet[..8].copy_from_slice(&MAGIC);
        packet[16..24].copy_from_slice(&self.count.to_be_bytes());
        let mut report = Sent { sent: 0, refused: 0 };
        let start = Instant::now();
        for number in 0..self.count {
            let due = Duration::from_secs_f64(number as f64 / f64::from(self.rate.max(1)));
            thread::sleep(due.saturating_sub(start.elapsed()));
            packet[8..16].copy_from_slice(&number.to_be_bytes());
            match socket.send_to(&packet, self.to) {
                Ok(_) => report.sent += 1,
                Err(_) => report.refused += 1,
            }
        }
        Ok(report)
    }
}

/// Told as soon as it has come.
#[derive(Serialize)]
struct First {
    /// The number of the datagram that came first.
    first: u64,
}

/// What came of numbered datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpReport {
    /// How many the sender meant to send; 0 if nothing came.
    pub expected: u64,
    /// Different numbers that came.
    pub received: u64,
    /// Numbers that did not come.
    pub lost: u64,
    /// Packets that came again.
    pub duplicate: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets that were none of ours.
    pub foreign: u64,
    /// The longest time without a packet after the first one, in milliseconds.
    pub longest_gap_ms: u64,
}

/// Counts numbers as they come.
#[derive(Debug, Default)]
struct Tally {
    /// All numbers below this have come.
    complete: u64,
    /// Those that have come above.
    ahead: BTreeSet<u64>,
    expected: u64,
    highest: Option<u64>,
    duplicate: u64,
    reordered: u64,
    foreign: u64,
    longest_gap: Duration,
}

impl Tally {
    fn packet(&mut self, packet: &[u8]) {
        let word = |at: usize| {
            packet.get(at..at + 8).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)))
        };
        let (true, Some(number), Some(expected)) = (packet.starts_with(&MAGIC), word(8), word(16)) else {
            self.foreign += 1;
            return;
        };
        self.expected = expected;
        if number < self.complete || !self.ahead.insert(number) {
            self.duplicate += 1;
            return;
        }
        if self.highest.is_some_and(|highest| number < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
        while self.ahead.remove(&self.complete) {
            self.complete += 1;
        }
    }

    fn received(&self) -> u64 {
        self.complete + self.ahead.len() as u64
    }

    fn saw_last(&self) -> bool {
        self.highest.is_some_and(|highest| highest + 1 >= self.expected)
    }

    fn report(&self) -> UdpReport {
        UdpReport {
            expected: self.expected,
            received: self.received(),
            lost: self.expected.saturating_sub(self.received()),
            duplicate: self.duplicate,
            reordered: self.reordered,
            foreign: self.foreign,
            longest_gap_ms: u64::try_from(self.longest_gap.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// `udp-receive`
#[derive(Debug, Args)]
pub(super) struct Receive {
    /// Where to listen
    #[arg(long)]
    bind: SocketAddr,
    /// Seconds to wait for the first packet
    #[arg(long, default_value_t = 20.0)]
    patience: f64,
    /// Seconds without a packet that mean the end
    #[arg(long, default_value_t = 5.0)]
    quiet: f64,
}

impl Receive {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let socket = bind(self.bind)?;
        socket2::SockRef::from(&socket)
            .set_recv_buffer_size(BUFFER)
            .map_err(LabError::io("enlarge the buffer of", self.bind))?;
        say_ready(out, socket.local_addr().map_err(LabError::io("name", self.bind))?)?;
        let mut tally = Tally::default();
        let mut packet = vec![0; 1 << 16];
        let mut last: Option<Instant> = None;
        loop {
            let timeout = match last {
                None => Duration::from_secs_f64(self.patience),
                Some(_) if tally.saw_last() => LATE,
                Some(_) => Duration::from_secs_f64(self.quiet),
            };
            set_timeout(&socket, timeout)?;
            match socket.recv_from(&mut packet) {
                Ok((length, _)) => {
                    let now = Instant::now();
                    if let Some(last) = last {
                        tally.longest_gap = tally.longest_gap.max(now - last);
                    }
                    last = Some(now);
                    let none_yet = tally.received() == 0;
                    tally.packet(&packet[..length]);
                    if let Some(first) = tally.highest.filter(|_| none_yet) {
                        say(out, &First { first })?;
                    }
                    if tally.received() > 0 && tally.received() == tally.expected {
                        break;
                    }
                }
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(LabError::io("receive at", self.bind)(error)),
            }
        }
        say(out, &tally.report())
    }
}

/// Who called an echo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Address and port as the echo saw them.
    pub peer: SocketAddr,
}

/// `udp-echo`
#[derive(Debug, Args)]
pub(super) struct Echo {
    /// Where to listen
    #[arg(long)]
    bind: SocketAddr,
}

impl Echo {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let socket = bind(self.bind)?;
        say_ready(out, socket.local_addr().map_err(LabError::io("name", self.bind))?)?;
        let mut known = BTreeSet::new();
        let mut packet = vec![0; 1 << 16];
        loop {
            // Errors are answers to earlier replies: whoever asked is gone.
            let Ok((length, peer)) = socket.recv_from(&mut packet) else { continue };
            if known.insert(peer) {
                say(out, &Caller { peer })?;
            }
            let _ = socket.send_to(&packet[..length], peer);
        }
    }
}

/// Round trips.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingReport {
    /// How many were tried.
    pub sent: u64,
    /// How many came back as they went.
    pub returned: u64,
    /// The shortest in microseconds; 0 if none came back.
    pub min_us: u64,
    /// The median in microseconds; 0 if none came back.
    pub median_us: u64,
    /// The longest in microseconds; 0 if none came back.
    pub max_us: u64,
}

impl PingReport {
    pub(super) fn new(sent: u64, mut times: Vec<Duration>) -> Self {
        times.sort();
        let at =
            |i: usize| times.get(i).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let last = times.len().saturating_sub(1);
        Self { sent, returned: times.len() as u64, min_us: at(0), median_us: at(last / 2), max_us: at(last) }
    }
}

/// `udp-ping`
#[derive(Debug, Args)]
pub(super) struct Ping {
    /// The echo
    #[arg(long)]
    to: SocketAddr,
    /// From this address instead of the one that the route gives
    #[arg(long)]
    from: Option<IpAddr>,
    /// How many, one after the other
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Bytes of payload
    #[arg(long, default_value_t = 56)]
    size: usize,
    /// Seconds to wait for each
    #[arg(long, default_value_t = 1.0)]
    timeout: f64,
}

impl Ping {
    pub(super) fn run(self) -> Result<PingReport> {
        let from = self.from.map_or_else(|| any_port(self.to), |address| (address, 0).into());
        let socket = bind(from)?;
        let timeout = Duration::from_secs_f64(self.timeout);
        let mut packet = vec![0; self.size.max(8)];
        let mut answer = vec![0; 1 << 16];
        let mut times = Vec::new();
        for number in 0..self.count {
            packet[..8].copy_from_slice(&number.to_be_bytes());
            let start = Instant::now();
            if socket.send_to(&packet, self.to).is_err() {
                continue;
            }
            while let Some(left) = timeout.checked_sub(start.elapsed()) {
                set_timeout(&socket, left)?;
                match socket.recv_from(&mut answer) {
                    Ok((length, peer)) if peer == self.to && answer[..length] == packet => {
                        times.push(start.elapsed());
                        break;
                    }
                    // One that came late, or an ICMP error; the deadline decides.
                    Ok(_) => {}
                    Err(error) if is_timeout(&error) => break,
                    Err(_) => {}
                }
            }
        }
        Ok(PingReport::new(self.count, times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u64, of: u64) -> Vec<u8> {
        [MAGIC, number.to_be_bytes(), of.to_be_bytes()].concat()
    }

    #[test]
    fn lost_duplicate_reordered_and_foreign_packets_are_told_apart() {
        let mut tally = Tally::default();
        for number in [0, 1, 4, 2, 2, 0, 6] {
            tally.packet(&packet(number, 10));
        }
        tally.packet(b"something else that is long enough to be read");
        tally.packet(b"");
        let report = tally.report();
        assert_eq!((report.expected, report.received, report.lost), (10, 5, 5));
        assert_eq!((report.duplicate, report.reordered, report.foreign), (2, 1, 2));
        assert!(!tally.saw_last());
        tally.packet(&packet(9, 10));
        assert!(tally.saw_last());
    }

    #[test]
    fn a_complete_sequence_keeps_no_numbers() {
        let mut tally = Tally::default();
        for number in 0..1000 {
            tally.packet(&packet(number, 1000));
        }
        assert!(tally.ahead.is_empty());
        assert_eq!(tally.report().lost, 0);
    }
}
