//! Streams whose every byte is checked, and connections that give back what they get.

use super::udp::{Caller, PingReport};
use super::{is_timeout, say, say_ready};
use crate::error::{LabError, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes per read and write.
const CHUNK: usize = 64 << 10;
/// How long a side waits for the other before it gives the stream up.
const STALLED: Duration = Duration::from_secs(60);

/// Writes the stream's content from an offset on: the big-endian u64s 0, 1, 2, ...
fn fill(chunk: &mut [u8], offset: u64) {
    let unaligned = (offset % 8) as usize;
    let (first, rest) = chunk.split_at_mut(((8 - unaligned) % 8).min(chunk.len()));
    first.copy_from_slice(&(offset / 8).to_be_bytes()[unaligned..][..first.len()]);
    for (word, number) in rest.chunks_mut(8).zip(offset.div_ceil(8)..) {
        word.copy_from_slice(&number.to_be_bytes()[..word.len()]);
    }
}

/// What came of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TcpReport {
    /// The other side.
    pub peer: SocketAddr,
    /// Bytes that arrived (at the receiver) or were confirmed by the receiver (at the sender).
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Throughput in bits per second.
    pub bits_per_second: f64,
    /// Whether all bytes were the right ones and, at the sender, all were confirmed.
    pub intact: bool,
    /// The longest time without progress, in milliseconds.
    pub longest_gap_ms: u64,
    /// Why it ended early.
    pub error: Option<String>,
}

/// Progress of one stream.
#[derive(Debug)]
struct Progress {
    start: Instant,
    last: Instant,
    longest: Duration,
    bytes: u64,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, longest: Duration::ZERO, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last);
        self.last = now;
        self.bytes += bytes as u64;
    }

    fn report(&self, peer: SocketAddr, bytes: u64, intact: bool, error: Option<String>) -> TcpReport {
        let seconds = self.last.duration_since(self.start).as_secs_f64();
        TcpReport {
            peer,
            bytes,
            seconds,
            bits_per_second: bytes as f64 * 8.0 / seconds.max(1e-6),
            intact,
            longest_gap_ms: u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX),
            error,
        }
    }
}

fn listen(address: SocketAddr, out: &mut dyn Write) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(LabError::io("listen on TCP", address))?;
    say_ready(out, listener.local_addr().map_err(LabError::io("name", address))?)?;
    Ok(listener)
}

fn connect(to: SocketAddr, from: Option<SocketAddr>, timeout: f64) -> Result<TcpStream> {
    let io = || LabError::io("connect to", to);
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None);
    let socket = socket.map_err(io())?;
    if let Some(from) = from {
        socket.bind(&from.into()).map_err(LabError::io("bind TCP", from))?;
    }
    socket.connect_timeout(&to.into(), Duration::from_secs_f64(timeout)).map_err(io())?;
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(STALLED))
        .and_then(|()| stream.set_write_timeout(Some(STALLED)))
        .map_err(io())?;
    stream.set_nodelay(true).map_err(io())?;
    Ok(stream)
}

/// `tcp-receive`
#[derive(Debug, Args)]
pub(super) struct Receive {
    /// Where to listen
    #[arg(long)]
    bind: SocketAddr,
    /// How many streams to receive, one after the other; 0: no end
    #[arg(long, default_value_t = 1)]
    streams: u64,
}

impl Receive {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let listener = listen(self.bind, out)?;
        let mut left = self.streams;
        loop {
            let (stream, peer) = listener.accept().map_err(LabError::io("accept at", self.bind))?;
            say(out, &receive(&stream, peer))?;
            left = left.wrapping_sub(1);
            if left == 0 {
                return Ok(());
            }
        }
    }
}

fn receive(mut stream: &TcpStream, peer: SocketAddr) -> TcpReport {
    let mut progress = Progress::new();
    let mut intact = true;
    let (mut chunk, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let _ = stream.set_read_timeout(Some(STALLED));
    let error = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break None,
            Ok(length) => {
                fill(&mut right[..length], progress.bytes);
                intact &= chunk[..length] == right[..length];
                progress.add(length);
            }
            Err(error) => break Some(error.to_string()),
        }
    };
    // The sender learns from a missing confirmation what it needs to know.
    let _ = stream.write_all(&progress.bytes.to_be_bytes());
    progress.report(peer, progress.bytes, intact && error.is_none(), error)
}

/// `tcp-send`
#[derive(Debug, Args)]
pub(super) struct Send {
    /// Where to
    #[arg(long)]
    to: SocketAddr,
    /// From this address and port
    #[arg(long)]
    from: Option<SocketAddr>,
    /// How many bytes; without, as many as fit into the seconds
    #[arg(long, required_unless_present = "seconds")]
    bytes: Option<u64>,
    /// Seconds after which to end
    #[arg(long)]
    seconds: Option<f64>,
    /// At most this many bits per second
    #[arg(long)]
    rate: Option<u64>,
    /// Seconds to wait for the connection
    #[arg(long, default_value_t = 5.0)]
    timeout: f64,
}

impl Send {
    pub(super) fn run(self) -> Result<TcpReport> {
        let mut stream = connect(self.to, self.from, self.timeout)?;
        let mut progress = Progress::new();
        let mut chunk = vec![0; CHUNK];
        // A paced stream goes in small pieces, so that its gaps tell of the network and not of the pace.
        let piece = self.rate.map_or(CHUNK, |rate| ((rate / 8 / 100) as usize).clamp(1, CHUNK));
        let total = self.bytes.unwrap_or(u64::MAX);
        let end = self.seconds.map(Duration::from_secs_f64);
        let mut error = None;
        while progress.bytes < total && end.is_none_or(|end| progress.start.elapsed() < end) {
            if let Some(rate) = self.rate {
                let due = Duration::from_secs_f64(progress.bytes as f64 * 8.0 / rate.max(1) as f64);
                thread::sleep(due.saturating_sub(progress.start.elapsed()));
            }
            let length = piece.min(usize::try_from(total - progress.bytes).unwrap_or(piece));
            fill(&mut chunk[..length], progress.bytes);
            match stream.write(&chunk[..length]) {
                Ok(written) => progress.add(written),
                Err(cause) => {
                    error = Some(cause.to_string());
                    break;
                }
            }
        }
        let mut confirmed = [0; 8];
        let confirmation = stream.shutdown(Shutdown::Write).and_then(|()| stream.read_exact(&mut confirmed));
        progress.add(0);
        if let Err(cause) = confirmation {
            let text =
                if is_timeout(&cause) { "the receiver did not confirm".into() } else { cause.to_string() };
            error = error.or(Some(text));
        }
        let confirmed = u64::from_be_bytes(confirmed);
        let intact = error.is_none() && confirmed == progress.bytes;
        Ok(progress.report(self.to, confirmed, intact, error))
    }
}

/// `tcp-echo`
#[derive(Debug, Args)]
pub(super) struct Echo {
    /// Where to listen
    #[arg(long)]
    bind: SocketAddr,
}

impl Echo {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let listener = listen(self.bind, out)?;
        loop {
            let (stream, peer) = listener.accept().map_err(LabError::io("accept at", self.bind))?;
            say(out, &Caller { peer })?;
            thread::spawn(move || {
                // The caller sees how it ended.
                let _ = stream.set_nodelay(true);
                let _ = std::io::copy(&mut &stream, &mut &stream);
            });
        }
    }
}

/// `tcp-ping`
#[derive(Debug, Args)]
pub(super) struct Ping {
    /// The echo
    #[arg(long)]
    to: SocketAddr,
    /// From this address and port
    #[arg(long)]
    from: Option<SocketAddr>,
    /// How many round trips over one connection
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Bytes each way
    #[arg(long, default_value_t = 8)]
    size: usize,
    /// Seconds to wait for the connection and for each answer
    #[arg(long, default_value_t = 2.0)]
    timeout: f64,
    /// Seconds between two round trips
    #[arg(long, default_value_t = 0.0)]
    interval: f64,
}

impl Ping {
    pub(super) fn run(self) -> Result<PingReport> {
        let io = || LabError::io("talk with", self.to);
        let mut stream = connect(self.to, self.from, self.timeout)?;
        stream.set_read_timeout(Some(Duration::from_secs_f64(self.timeout))).map_err(io())?;
        let mut times = Vec::new();
        let mut message = vec![0; self.size.max(1)];
        let mut answer = message.clone();
        for number in 0..self.count {
            fill(&mut message, number * 8);
            let start = Instant::now();
            stream.write_all(&message).map_err(io())?;
            stream.read_exact(&mut answer).map_err(io())?;
            if answer == message {
                times.push(start.elapsed());
            }
            thread::sleep(Duration::from_secs_f64(self.interval));
        }
        Ok(PingReport::new(self.count, times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_does_not_depend_on_how_it_is_cut() {
        let mut whole = vec![0; 1000];
        fill(&mut whole, 3);
        let mut parts = vec![0; 1000];
        let (a, b) = parts.split_at_mut(77);
        fill(a, 3);
        fill(b, 80);
        assert_eq!(whole, parts);
        let mut short = [0; 2];
        fill(&mut short, 3 + 12);
        assert_eq!(short, whole[12..14]);
        assert_ne!(whole[..8], whole[8..16], "neighbouring words differ");
    }
}
