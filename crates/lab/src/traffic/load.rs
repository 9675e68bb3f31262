//! As much as fits: how many bytes, round trips, connections or datagrams pass in a time. For benchmarks, so nothing
//! is checked on the way but that it came.

use super::udp::any_port;
use super::{is_timeout, say_ready};
use crate::error::{LabError, Result};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes per read and write of a stream, as iperf3 has it.
const CHUNK: usize = 128 << 10;
/// Datagrams between two answers of the receiver. On one core nobody receives while the sender does not wait, so all of
/// them have to fit into a socket's buffer as it is by default (208 KB).
const BURST: u64 = 32;
/// How long an answer may take before it counts as lost.
const LOST: Duration = Duration::from_millis(200);
/// How long a side waits for the other before it gives up.
const STALLED: Duration = Duration::from_secs(10);

/// What a connection is for: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Use {
    /// Bytes are counted, and how many there were is answered at the end.
    Stream = b's',
    /// Each byte is answered by one.
    RoundTrips = b'r',
    /// One byte, which is answered, and the end.
    Once = b'c',
}

impl Use {
    const fn byte(self) -> [u8; 1] {
        [self as u8]
    }
}

/// The last datagram of a burst begins with this, which asks for an answer.
const ANSWER: u8 = b'?';

/// `load-serve`
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where to listen, on TCP and UDP
    #[arg(long)]
    bind: SocketAddr,
}

impl Serve {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let listener = TcpListener::bind(self.bind).map_err(LabError::io("listen on TCP", self.bind))?;
        let address = listener.local_addr().map_err(LabError::io("name", self.bind))?;
        let datagrams = UdpSocket::bind(address).map_err(LabError::io("bind UDP", address))?;
        thread::spawn(move || count_datagrams(&datagrams));
        say_ready(out, address)?;
        loop {
            let (stream, _) = listener.accept().map_err(LabError::io("accept at", address))?;
            // Whoever called sees that it gets no answer.
            let _ = serve(stream);
        }
    }
}

/// Answers a call. A connection of one byte is over when this returns, others go on in a thread.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALLED))?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    if byte == Use::Once.byte() {
        return stream.write_all(&byte);
    }
    thread::spawn(move || if byte == Use::Stream.byte() { count_bytes(stream) } else { answer(stream) });
    Ok(())
}

fn count_bytes(mut stream: TcpStream) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut count = 0_u64;
    loop {
        match stream.read(&mut chunk)? {
            0 => return stream.write_all(&count.to_be_bytes()),
            length => count += length as u64,
        }
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
    }
}

/// Tells at the end of each burst how many datagrams have come since the last one.
fn count_datagrams(socket: &UdpSocket) {
    let mut packet = vec![0; 1 << 16];
    let mut count = 0_u64;
    loop {
        // Errors are answers to earlier replies: whoever asked is gone.
        let Ok((_, peer)) = socket.recv_from(&mut packet) else { continue };
        count += 1;
        if packet[0] == ANSWER {
            let _ = socket.send_to(&count.to_be_bytes(), peer);
            count = 0;
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Bytes that arrive over streams
    Bytes,
    /// One byte there and one back, over one connection
    RoundTrips,
    /// A connection, one byte there and one back, and its end
    Connections,
    /// Datagrams that arrive
    Datagrams,
}

/// `load`
#[derive(Debug, Args)]
pub(super) struct Load {
    /// What to count
    what: What,
    /// A `load-serve`
    #[arg(long)]
    to: SocketAddr,
    /// How long
    #[arg(long)]
    seconds: f64,
    /// How many streams at once carry bytes
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// Bytes in a datagram
    #[arg(long, default_value_t = 64)]
    size: usize,
}

/// How much there was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Bytes, round trips, connections or datagrams that came.
    pub count: u64,
    /// How long it took.
    pub seconds: f64,
    /// The one divided by the other.
    pub per_second: f64,
}

impl Load {
    pub(super) fn run(self) -> Result<LoadReport> {
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(self.seconds);
        let counted = match self.what {
            What::Bytes => self.bytes(end),
            What::RoundTrips => self.round_trips(end),
            What::Connections => self.connections(end),
            What::Datagrams => self.datagrams(end),
        };
        let count = counted.map_err(LabError::io("exchange data with", self.to))?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(LoadReport { count, seconds, per_second: count as f64 / seconds })
    }

    fn bytes(&self, end: Instant) -> io::Result<u64> {
        let one = || {
            let mut stream = self.connect(Use::Stream)?;
            let chunk = vec![0; CHUNK];
            while Instant::now() < end {
                stream.write_all(&chunk)?;
            }
            stream.shutdown(Shutdown::Write)?;
            let mut count = [0; 8];
            stream.read_exact(&mut count)?;
            Ok(u64::from_be_bytes(count))
        };
        if self.streams == 1 {
            return one();
        }
        thread::scope(|scope| {
            let all: Vec<_> = (0..self.streams).map(|_| scope.spawn(one)).collect();
            let counts = all.into_iter().map(|thread| match thread.join() {
                Ok(count) => count,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            counts.sum()
        })
    }

    fn round_trips(&self, end: Instant) -> io::Result<u64> {
        let mut stream = self.connect(Use::RoundTrips)?;
        let mut byte = [0];
        let mut count = 0;
        while Instant::now() < end {
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            count += 1;
        }
        Ok(count)
    }

    fn connections(&self, end: Instant) -> io::Result<u64> {
        let mut count = 0;
        while Instant::now() < end {
            let mut stream = self.connect(Use::Once)?;
            stream.read_exact(&mut [0])?;
            // It ends by a reset, or its port would be kept for a minute.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            count += 1;
        }
        Ok(count)
    }

    fn connect(&self, for_what: Use) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STALLED))?;
        if for_what == Use::Stream {
            // Others pace themselves with timers; a kernel without this one keeps its own.
            let _ = socket2::SockRef::from(&stream).set_tcp_congestion(b"cubic");
        }
        stream.write_all(&for_what.byte())?;
        Ok(stream)
    }

    fn datagrams(&self, end: Instant) -> io::Result<u64> {
        let socket = UdpSocket::bind(any_port(self.to))?;
        socket.connect(self.to)?;
        socket.set_read_timeout(Some(LOST))?;
        let mut packet = vec![0; self.size.max(1)];
        let (mut answer, mut count) = ([0; 8], 0);
        while Instant::now() < end {
            for number in 1..=BURST {
                packet[0] = if number == BURST { ANSWER } else { 0 };
                socket.send(&packet)?;
            }
            match socket.recv(&mut answer) {
                Ok(_) => count += u64::from_be_bytes(answer),
                // What came is told with the next answer.
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}
