//! Tells that something has changed in the kernel, ours or around us, so that nobody has to look all the time.
//!
//! What must not live here: what changed (an observation tells), waiting for bursts to end (the caller does).

use crate::KernelError;
use hopsack_netlink::NetlinkError;
use hopsack_netlink::link::Link;
use hopsack_netlink::monitor::{Change, Event, Monitor, Topic};
use hopsack_types::numbers::ROUTE_PROTOCOL;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

/// Before a source that has failed is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// `RTPROT_KERNEL` of `linux/rtnetlink.h`: what follows from addresses.
const PROTOCOL_KERNEL: u8 = 2;
/// `RTPROT_STATIC`; redirects, the kernel's, and what is set up at boot and by hand lie below.
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
    let mut told = Told::default();
    while !is_closed(stopped) {
        // Each is looked at, because each is remembered.
        let matter =
            source.next(stopped.as_fd())?.into_iter().filter(|event| told.matters(event, own)).count();
        if matter > 0 {
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

/// What was told of links so far. The kernel tells a link again and again for what nobody here looks at: a container that
/// starts would have everything looked at several times, and the next one would wait for it.
#[derive(Default)]
struct Told {
    links: BTreeMap<u32, Link>,
}

impl Told {
    fn matters(&mut self, event: &Event, own: &[u32]) -> bool {
        let Event::Changed(change) = event else {
            self.links.clear();
            return true;
        };
        let again = self.is_again(change);
        let by_the_kernel = change.port == BY_THE_KERNEL;
        if own.contains(&change.port) {
            return false;
        }
        match &change.topic {
            Topic::Link { .. } => !again,
            // It gives each link one when the link comes up, and takes all of them, ours too, when IPv6 is turned off.
            Topic::Address { link_local } => !(by_the_kernel && *link_local && !change.removed),
            Topic::Rule | Topic::Forwarding | Topic::Firewall => true,
            // Those that the kernel finds by asking come and go all the time. One that somebody deletes is told as one
            // that was found no more, but with the number of who did it.
            Topic::Neighbour { permanent } => *permanent || !by_the_kernel,
            // Those that it makes with an address come and go with that.
            Topic::Route { protocol: PROTOCOL_KERNEL } => !by_the_kernel,
            // Routing daemons change theirs by the thousand, which is no business of ours.
            Topic::Route { protocol } => {
                *protocol <= PROTOCOL_STATIC
                    || [ROUTE_PROTOCOL, PROTOCOL_ADVERTISED, PROTOCOL_DHCP].contains(protocol)
            }
        }
    }

    /// Whether a link is told as it was told before.
    fn is_again(&mut self, change: &Change) -> bool {
        match (change, change.device) {
            (Change { removed: true, topic: Topic::Link { .. }, .. }, Some(device)) => {
                self.links.remove(&device);
                false
            }
            (Change { topic: Topic::Link { now: Some(now) }, .. }, Some(device)) => {
                self.links.insert(device, (**now).clone()).as_ref() == Some(&**now)
            }
            _ => false,
        }
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

    fn link(carrier: bool) -> Link {
        Link {
            index: 7,
            name: "hopc0101010101".parse().unwrap(),
            kind: hopsack_netlink::link::Kind::Veth,
            alias: "hopsack:endpoint".to_owned(),
            mac: None,
            mtu: 1500,
            up: true,
            carrier,
            peer: Some(8),
            peer_elsewhere: false,
        }
    }

    fn told(topic: Topic, port: u32) -> Event {
        Event::Changed(Change { topic, removed: false, device: Some(7), port })
    }

    #[test]
    fn a_link_told_again_as_it_was_does_not_matter_and_one_that_changed_does() {
        const OURS: u32 = 42;
        let mut seen = Told::default();
        let mut matters = |now: Option<Link>, removed: bool, port: u32| {
            let topic = Topic::Link { now: now.map(Box::new) };
            seen.matters(&Event::Changed(Change { topic, removed, device: Some(7), port }), &[OURS])
        };
        assert!(!matters(Some(link(false)), false, OURS), "ours");
        assert!(!matters(Some(link(false)), false, BY_THE_KERNEL), "again, as we made it");
        assert!(matters(Some(link(true)), false, BY_THE_KERNEL), "its other end came up");
        assert!(!matters(Some(link(true)), false, BY_THE_KERNEL));
        assert!(matters(Some(Link { mtu: 1400, ..link(true) }), false, 99), "somebody changed it");
        assert!(matters(Some(link(true)), false, BY_THE_KERNEL), "by a system call without a socket");
        assert!(matters(None, false, BY_THE_KERNEL), "not told whole");
        assert!(matters(None, true, BY_THE_KERNEL), "gone");
        assert!(matters(Some(link(true)), false, BY_THE_KERNEL), "back");
        assert!(seen.matters(&Event::Overrun, &[OURS]));
        assert!(
            seen.matters(&told(Topic::Link { now: Some(Box::new(link(true))) }, BY_THE_KERNEL), &[OURS]),
            "unknown now"
        );
    }

    #[test]
    fn what_the_kernel_adds_to_a_link_that_comes_up_does_not_matter_and_what_it_takes_does() {
        let mut seen = Told::default();
        let own = Topic::Address { link_local: true };
        assert!(!seen.matters(&told(own.clone(), BY_THE_KERNEL), &[]));
        assert!(seen.matters(&told(own.clone(), 99), &[]), "somebody's");
        let gone = Change { topic: own, removed: true, device: Some(7), port: BY_THE_KERNEL };
        assert!(seen.matters(&Event::Changed(gone), &[]));
        assert!(seen.matters(&told(Topic::Address { link_local: false }, BY_THE_KERNEL), &[]));
        assert!(!seen.matters(&told(Topic::Route { protocol: PROTOCOL_KERNEL }, BY_THE_KERNEL), &[]));
        assert!(seen.matters(&told(Topic::Route { protocol: PROTOCOL_KERNEL }, 99), &[]));
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
