//! Traffic between two places that goes on beside the caller: a receiver and a sender, and their reports.

use crate::error::Result;
use crate::place::{Inside, Running};
use crate::traffic::tcp::TcpReport;
use crate::traffic::udp::UdpReport;
use std::net::SocketAddr;
use std::time::Duration;

/// What a receiver takes longer than its sender, at most.
const TAIL: Duration = Duration::from_secs(10);

/// Numbered datagrams on their way.
#[derive(Debug)]
pub struct UdpFlow {
    sender: Running,
    receiver: Running,
}

impl UdpFlow {
    /// Listens at `target` in one place and sends `count` datagrams there from another, `rate` per second.
    pub fn start(
        from: &impl Inside,
        to: &impl Inside,
        target: SocketAddr,
        rate: u32,
        count: u64,
    ) -> Result<Self> {
        let (target, rate, count) = (target.to_string(), rate.to_string(), count.to_string());
        let receiver = to.start_traffic(&["udp-receive", "--bind", &target])?;
        let sender =
            from.spawn_traffic(&["udp-send", "--to", &target, "--rate", &rate, "--count", &count])?;
        Ok(Self { sender, receiver })
    }

    /// Waits until the first datagram has come: what is lost from now on is lost in a gap.
    pub fn await_first(&mut self, patience: Duration) -> Result<()> {
        self.receiver.await_line("first", patience)
    }

    /// Waits for the sender to be done and gives what the receiver saw.
    pub fn finish(self, patience: Duration) -> Result<UdpReport> {
        self.sender.wait(patience)?.checked()?;
        self.receiver.wait(TAIL)?.checked()?.report()
    }
}

/// How much a stream carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// As many bytes as fit into so many seconds.
    Seconds(f64),
    /// For so many seconds, at most so many bits per second.
    Paced(f64, u64),
}

/// A stream of which every byte is checked, on its way.
#[derive(Debug)]
pub struct TcpFlow {
    sender: Running,
    receiver: Running,
}

impl TcpFlow {
    /// Listens at `target` in one place and sends a stream there from another.
    pub fn start(from: &impl Inside, to: &impl Inside, target: SocketAddr, amount: Amount) -> Result<Self> {
        let target = target.to_string();
        let receiver = to.start_traffic(&["tcp-receive", "--bind", &target])?;
        let amount = match amount {
            Amount::Bytes(bytes) => vec!["--bytes".to_owned(), bytes.to_string()],
            Amount::Seconds(seconds) => vec!["--seconds".to_owned(), seconds.to_string()],
            Amount::Paced(seconds, rate) => {
                vec!["--seconds".to_owned(), seconds.to_string(), "--rate".to_owned(), rate.to_string()]
            }
        };
        let mut arguments = vec!["tcp-send", "--to", &target];
        arguments.extend(amount.iter().map(String::as_str));
        let sender = from.spawn_traffic(&arguments)?;
        Ok(Self { sender, receiver })
    }

    /// Waits for the end and gives what the receiver saw. The sender's own troubles are an error.
    pub fn finish(self, patience: Duration) -> Result<TcpReport> {
        self.sender.wait(patience)?.checked()?;
        self.receiver.wait(TAIL)?.checked()?.report()
    }
}
