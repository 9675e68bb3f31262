//! What passes an interface: tcpdump on a host, in a container, switch or router.

use crate::command::Program;
use crate::error::Result;
use crate::lab::Lab;
use crate::place::{Inside, Place, Running};
use crate::topology::NodeName;
use std::time::Duration;

/// How long tcpdump may take to listen.
const READY: Duration = Duration::from_secs(10);

/// A capture that goes on.
#[derive(Debug)]
pub struct Capture(Running);

impl Capture {
    fn start(program: &Program, folder: &std::path::Path) -> Result<Self> {
        let mut running = Running::start(program, folder)?;
        running.await_line("listening on", READY)?;
        Ok(Self(running))
    }

    /// The packets so far, each decoded into one line.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.0.stdout())
    }

    /// Waits until at least so many packets have been seen.
    pub fn await_packets(&self, count: usize, patience: Duration) -> Result<Vec<String>> {
        crate::wait::value(&format!("{count} captured packets"), patience, || {
            let seen = self.lines();
            if seen.len() >= count { Ok(seen) } else { Err(format!("{} so far", seen.len())) }
        })
    }

    /// Ends the capture and gives all packets.
    pub fn stop(self) -> Result<Vec<String>> {
        Ok(lines(&self.0.stop()?.stdout))
    }
}

fn lines(text: &str) -> Vec<String> {
    // The interrupt that ends tcpdump adds an empty one.
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn arguments<'a>(device: &'a str, filter: &'a str) -> [&'a str; 9] {
    // Each packet at once and as one line, numbers for names, with Ethernet addresses.
    ["tcpdump", "--immediate-mode", "-l", "-nn", "-e", "-q", "-i", device, filter]
}

pub(crate) fn start(place: &Place, device: &str, filter: &str) -> Result<Capture> {
    Capture::start(&place.program(&arguments(device, filter)), &place.folder)
}

impl Lab {
    /// Starts a capture, as [`Inside::capture`] does, in a switch (by its segment's name; a port is named as its
    /// host) or a router.
    pub fn capture_in_network(&self, node: &str, device: &str, filter: &str) -> Result<Capture> {
        let state = self.state().clone();
        let node = NodeName::new(node)?;
        let program =
            Program::new(arguments(device, filter)).mark(&state.name).inside(&state.network(&node)?);
        Capture::start(&program, &state.folder(&node))
    }
}
