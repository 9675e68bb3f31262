//! The traffic tools: the hidden subcommand `lab-traffic`. Small programs that run inside hosts and containers, say
//! `{"ready":...}` when they listen, and write one line of JSON as their report at the end.

pub mod forge;
pub mod load;
mod packet;
pub mod raw;
mod sctp;
pub mod tcp;
pub mod udp;

use crate::error::{LabError, Result};
use clap::Parser;
use serde::Serialize;
use std::ffi::OsString;
use std::io::Write;

/// The tools by name.
#[derive(Debug, Parser)]
#[command(name = "lab-traffic", about = "Sends, receives and counts packets")]
enum Tool {
    /// Sends numbered datagrams at a steady rate.
    UdpSend(udp::Send),
    /// Receives numbered datagrams and counts lost, duplicate and reordered ones.
    UdpReceive(udp::Receive),
    /// Returns every datagram to its sender and tells who that was.
    UdpEcho(udp::Echo),
    /// Sends datagrams to an echo and measures their round trip.
    UdpPing(udp::Ping),
    /// Receives streams of counters and checks each byte.
    TcpReceive(tcp::Receive),
    /// Sends a stream of counters.
    TcpSend(tcp::Send),
    /// Returns what comes over a connection and tells who called.
    TcpEcho(tcp::Echo),
    /// Connects to an echo and measures round trips.
    TcpPing(tcp::Ping),
    /// Accepts SCTP associations and tells who asked.
    SctpEcho(sctp::Echo),
    /// Sets up SCTP associations with an echo and measures how long that takes.
    SctpPing(sctp::Ping),
    /// Counts what a load sends.
    LoadServe(load::Serve),
    /// Sends as much as fits into a time.
    Load(load::Load),
    /// Sends packets of any IP protocol.
    RawSend(raw::Send),
    /// Receives packets of any IP protocol.
    RawReceive(raw::Receive),
    /// Sends one IP packet with any source address.
    ForgeIp(forge::Ip),
    /// Sends one VXLAN datagram with anything inside, from any source address.
    ForgeVxlan(forge::Vxlan),
}

/// Runs the tool that the arguments (without the program's name) name; reports go to `out`.
pub fn run<S: Into<OsString>>(arguments: impl IntoIterator<Item = S>, out: &mut dyn Write) -> Result<()> {
    let words = std::iter::once(OsString::from("lab-traffic")).chain(arguments.into_iter().map(Into::into));
    match Tool::try_parse_from(words)? {
        Tool::UdpSend(tool) => say(out, &tool.run()?),
        Tool::UdpReceive(tool) => tool.run(out),
        Tool::UdpEcho(tool) => tool.run(out),
        Tool::UdpPing(tool) => say(out, &tool.run()?),
        Tool::TcpReceive(tool) => tool.run(out),
        Tool::TcpSend(tool) => say(out, &tool.run()?),
        Tool::TcpEcho(tool) => tool.run(out),
        Tool::TcpPing(tool) => say(out, &tool.run()?),
        Tool::SctpEcho(tool) => tool.run(out),
        Tool::SctpPing(tool) => say(out, &tool.run()?),
        Tool::LoadServe(tool) => tool.run(out),
        Tool::Load(tool) => say(out, &tool.run()?),
        Tool::RawSend(tool) => say(out, &tool.run()?),
        Tool::RawReceive(tool) => tool.run(out),
        Tool::ForgeIp(tool) => say(out, &tool.run()?),
        Tool::ForgeVxlan(tool) => say(out, &tool.run()?),
    }
}

/// How many packets a sender has got rid of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Sent {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Packets that the kernel refused (no route, no buffer, an ICMP error from before).
    pub refused: u64,
}

#[derive(Serialize)]
struct Ready {
    ready: String,
}

/// Writes one line of JSON at once, so that whoever waits for it sees it.
fn say(out: &mut dyn Write, report: &impl Serialize) -> Result<()> {
    let json = |source| LabError::Json { object: "a report".into(), source };
    let mut line = serde_json::to_string(report).map_err(json)?;
    line.push('\n');
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(LabError::io("write", "a report"))
}

fn say_ready(out: &mut dyn Write, at: impl ToString) -> Result<()> {
    say(out, &Ready { ready: at.to_string() })
}

/// Whether a receive ended because nothing came in time.
fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
