//! Tells that something has changed in the kernel, ours or around us, so that nobody has to look all the time.
//!
//! What must not live here: what changed (an observation tells), waiting for bursts to end (the caller does).

use crate::KernelError;
use hopsack_netlink::monitor::{Change, Event, Monitor, Topic};
use hopsack_types::numbers::ROUTE_PROTOCOL;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

/// `RTPROT_STATIC` of `linux/rtnetlink.h`; redirects, the kernel's, and what is set up at boot and by hand lie below.
const PROTOCOL_STATIC: u8 = 4;
/// `RTPROT_RA`: IPv6 router advertisements.
const PROTOCOL_ADVERTISED: u8 = 9;
/// `RTPROT_DHCP`.
const PROTOCOL_DHCP: u8 = 16;

/// The netlink port of changes that the kernel makes by itself.
const BY_THE_KERNEL: u32 = 0;

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    /// Its other end is in the thread, which ends when this one is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// Watches the network namespace of the calling thread, and calls `changed` on a thread of its own, soon after each
/// burst of changes that were not made through one of the netlink ports `own` ([`crate::LinuxKernel::port`]).
pub fn watch(own: Vec<u32>, mut changed: impl FnMut() + Send + 'static) -> Result<Watch, KernelError> {
    let mut monitor = Monitor::open()?;
    let (stop, stopped) = UnixStream::pair().map_err(KernelError::Thread)?;
    stopped.set_nonblocking(true).map_err(KernelError::Thread)?;
    let run = move || {
        while !is_closed(&stopped) {
            match monitor.wait(None, Some(stopped.as_fd())) {
                Ok(events) => {
                    if events.iter().any(|event| matters(event, &own)) {
                        changed();
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "changes in the kernel are not seen at once any more");
                    return;
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("kernel-watch".to_owned()).spawn(run);
    Ok(Watch { stop: Some(stop), thread: Some(thread.map_err(KernelError::Thread)?) })
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watch of the kernel had panicked");
        }
    }
}

fn is_closed(stream: &UnixStream) -> bool {
    let mut byte = [0];
    matches!(std::io::Read::read(&mut &*stream, &mut byte), Ok(0))
}

fn matters(event: &Event, own: &[u32]) -> bool {
    match event {
        Event::Overrun => true,
        Event::Changed(Change { port, .. }) if own.contains(port) => false,
        Event::Changed(change) => match change.topic {
            Topic::Link | Topic::Address | Topic::Rule | Topic::Forwarding | Topic::Firewall => true,
            // Those that the kernel finds by asking come and go all the time. One that somebody deletes is told as one
            // that was found no more, but with the number of who did it.
            Topic::Neighbour { permanent } => permanent || change.port != BY_THE_KERNEL,
            // Routing daemons change theirs by the thousand, which is no business of ours.
            Topic::Route { protocol } => {
                protocol <= PROTOCOL_STATIC
                    || [ROUTE_PROTOCOL, PROTOCOL_ADVERTISED, PROTOCOL_DHCP].contains(&protocol)
            }
        },
    }
}
