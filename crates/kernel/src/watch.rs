//! Tells that something has changed in the kernel, ours or around us, so that nobody has to look all the time.
//!
//! What must not live here: what changed (an observation tells), waiting for bursts to end (the caller does).

use crate::KernelError;
use hopsack_netlink::NetlinkError;
use hopsack_netlink::monitor::{Change, Event, Monitor, Topic};
use hopsack_types::numbers::ROUTE_PROTOCOL;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

/// Before a source that has failed is opened again.
const PAUSE: Duration = Duration::from_secs(1);

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
    let monitor = Monitor::open()?;
    let (stop, stopped) = UnixStream::pair().map_err(KernelError::Thread)?;
    stopped.set_nonblocking(true).map_err(KernelError::Thread)?;
    let run = move || run(monitor, Monitor::open, &stopped, &own, &mut changed);
    let thread = std::thread::Builder::new().name("kernel-watch".to_owned()).spawn(run);
    Ok(Watch { stop: Some(stop), thread: Some(thread.map_err(KernelError::Thread)?) })
}

/// Where changes come from.
trait Source {
    /// Waits for some, or for the end of `stop`.
    fn next(&mut self, stop: BorrowedFd<'_>) -> Result<Vec<Event>, NetlinkError>;
}

impl Source for Monitor {
    fn next(&mut self, stop: BorrowedFd<'_>) -> Result<Vec<Event>, NetlinkError> {
        self.wait(None, Some(stop))
    }
}

/// Goes on until it is stopped: a source that fails is opened again.
fn run<S: Source>(
    first: S,
    mut open: impl FnMut() -> Result<S, NetlinkError>,
    stopped: &UnixStream,
    own: &[u32],
    changed: &mut impl FnMut(),
) {
    let mut opened = Ok(first);
    loop {
        let ended = opened.and_then(|source| follow(source, stopped, own, changed));
        let Err(error) = ended else { return };
        tracing::error!(%error, "changes in the kernel are not seen until a new watch is there");
        std::thread::park_timeout(PAUSE);
        if is_closed(stopped) {
            return;
        }
        opened = open();
        if opened.is_ok() {
            // Anything may have changed meanwhile.
            changed();
        }
    }
}

fn follow(
    mut source: impl Source,
    stopped: &UnixStream,
    own: &[u32],
    changed: &mut impl FnMut(),
) -> Result<(), NetlinkError> {
    while !is_closed(stopped) {
        if source.next(stopped.as_fd())?.iter().any(|event| matters(event, own)) {
            changed();
        }
    }
    Ok(())
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        let Some(thread) = self.thread.take() else { return };
        // It may be waiting to open its source again.
        thread.thread().unpark();
        if thread.join().is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use hopsack_netlink::Errno;
    use std::sync::mpsc;

    /// Tells one overrun and then fails; one that is steady waits instead.
    struct Frail {
        told: bool,
        steady: bool,
    }

    impl Source for Frail {
        fn next(&mut self, stop: BorrowedFd<'_>) -> Result<Vec<Event>, NetlinkError> {
            if !std::mem::replace(&mut self.told, true) {
                return Ok(vec![Event::Overrun]);
            }
            if !self.steady {
                return Err(NetlinkError::Socket { operation: "receive from", errno: Errno::ENOMEM });
            }
            let _ = nix::poll::poll(
                &mut [nix::poll::PollFd::new(stop, nix::poll::PollFlags::POLLIN)],
                nix::poll::PollTimeout::NONE,
            );
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_source_that_fails_is_opened_again_and_taken_for_a_change() {
        let (changed_tx, changed_rx) = mpsc::channel();
        let (stop, stopped) = UnixStream::pair().unwrap();
        stopped.set_nonblocking(true).unwrap();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                let open = || Ok(Frail { told: true, steady: true });
                let mut changed = move || changed_tx.send(()).unwrap();
                run(Frail { told: false, steady: false }, open, &stopped, &[], &mut changed);
            });
            for what in ["what the first one told", "the gap"] {
                changed_rx.recv_timeout(Duration::from_secs(10)).expect(what);
            }
            drop(stop);
            watch.join().unwrap();
            assert!(changed_rx.try_recv().is_err(), "told of a change that there was not");
        });
    }
}
