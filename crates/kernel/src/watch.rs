//! Tells that something has changed in the kernel, ours or around us, so that nobody has to look all the time.
//!
//! What must not live here: what changed (an observation tells), waiting for bursts to end (the caller does).

use crate::{KernelError, OwnChanges};
use hopsack_netlink::NetlinkError;
use hopsack_netlink::link::{Kind, Link};
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
/// burst of changes that were not made through one of `own` ([`crate::LinuxKernel::own_changes`]).
pub fn watch(own: OwnChanges, mut changed: impl FnMut() + Send + 'static) -> Result<Watch, KernelError> {
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
    own: &OwnChanges,
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
    own: &OwnChanges,
    changed: &mut impl FnMut(),
) -> Result<(), NetlinkError> {
    let mut told = Told::default();
    while !is_closed(stopped) {
        // Each is looked at, because each is remembered.
        let events = source.next(stopped.as_fd())?;
        let matter = events.iter().filter(|event| told.matters(event, own)).count();
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
    fn matters(&mut self, event: &Event, own: &OwnChanges) -> bool {
        let Event::Changed(change) = event else {
            self.links.clear();
            return true;
        };
        let by_the_kernel = change.port == BY_THE_KERNEL;
        let matters = match &change.topic {
            Topic::Link { now } => self.is_news(change, now.as_deref(), own),
            // It gives each link one when the link comes up, and takes all of them, ours too, when IPv6 is turned off.
            Topic::Address { link_local } => !(by_the_kernel && *link_local && !change.removed),
            Topic::Firewall => !own.has_firewall_port(change.port),
            Topic::Rule | Topic::Forwarding | Topic::Filter => true,
            // They go with a link that we remove.
            Topic::Neighbour { .. } if by_the_kernel && change.removed && self.is_own(change.device, own) => {
                false
            }
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
        };
        matters && !own.has_port(change.port)
    }

    fn is_own(&self, device: Option<u32>, own: &OwnChanges) -> bool {
        device.and_then(|device| self.links.get(&device)).is_some_and(|link| own.has_link(&link.name))
    }

    /// Whether what is told of a link is new and not of our making.
    fn is_news(&mut self, change: &Change, now: Option<&Link>, own: &OwnChanges) -> bool {
        let Some(device) = change.device else { return true };
        let by_the_kernel = change.port == BY_THE_KERNEL;
        match now {
            _ if change.removed => match self.links.remove(&device) {
                Some(gone) => !(by_the_kernel && self.goes_by_us(device, &gone, own)),
                None => true,
            },
            None => true,
            Some(now) => match self.links.insert(device, now.clone()) {
                Some(before) if is_again(&before, now) => false,
                Some(before) if is_taken_apart(now) => {
                    !(by_the_kernel && self.goes_by_us(device, &before, own))
                }
                Some(before) => !(by_the_kernel && own.has_link(&now.name) && is_on_our_way(&before, now)),
                None => !(by_the_kernel && own.has_link(&now.name)),
            },
        }
    }

    /// Whether a link goes because we remove it, or its other end, which goes along and is told by itself.
    fn goes_by_us(&self, device: u32, link: &Link, own: &OwnChanges) -> bool {
        let other = link.peer.and_then(|peer| self.links.get(&peer));
        let other = other.filter(|other| other.peer.is_none_or(|peer| peer == device));
        let ours = own.has_link(&link.name) || other.is_some_and(|other| own.has_link(&other.name));
        if ours {
            other.iter().for_each(|other| own.note_link(&other.name));
        }
        ours
    }
}

/// Whether nothing came of a link but that its other end is up now, which needs nothing done.
fn is_again(before: &Link, now: &Link) -> bool {
    let gained = now.carrier || !before.carrier;
    gained && Link { carrier: now.carrier, ..before.clone() } == *now
}

/// Whether it is an end of a pair that is being removed: it is down, and its other end is not told any more.
fn is_taken_apart(now: &Link) -> bool {
    now.kind == Kind::Veth && !now.up && now.peer.is_none()
}

/// Whether it got its alias or was set up, as we do with those that we make.
fn is_on_our_way(before: &Link, now: &Link) -> bool {
    let named = before.alias.is_empty() || before.alias == now.alias;
    let raised = now.up || !before.up;
    named && raised && is_again(&Link { alias: now.alias.clone(), up: now.up, ..before.clone() }, now)
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
            kind: Kind::Veth,
            alias: "hopsack:endpoint".to_owned(),
            mac: None,
            mtu: 1500,
            up: true,
            carrier,
            peer: Some(8),
            peer_elsewhere: false,
        }
    }

    /// The port of our socket.
    const OURS: u32 = 42;

    fn own() -> OwnChanges {
        OwnChanges::new(OURS, OURS, hopsack_nft::LastCommit::default())
    }

    fn told(topic: Topic, port: u32) -> Event {
        Event::Changed(Change { topic, removed: false, device: Some(7), port })
    }

    fn link_told(link: Link, port: u32) -> Event {
        let device = Some(link.index);
        let topic = Topic::Link { now: Some(Box::new(link)) };
        Event::Changed(Change { topic, removed: false, device, port })
    }

    fn link_gone(device: u32, port: u32) -> Event {
        let topic = Topic::Link { now: None };
        Event::Changed(Change { topic, removed: true, device: Some(device), port })
    }

    #[test]
    fn a_link_told_again_as_it_was_does_not_matter_and_one_that_changed_does() {
        let (own, mut seen) = (own(), Told::default());
        let mut matters = |event: Event| seen.matters(&event, &own);
        assert!(matters(link_told(link(false), BY_THE_KERNEL)), "not known yet");
        assert!(!matters(link_told(link(false), BY_THE_KERNEL)), "told again");
        assert!(!matters(link_told(link(true), BY_THE_KERNEL)), "its other end came up");
        assert!(matters(link_told(link(false), BY_THE_KERNEL)), "its other end went down");
        assert!(matters(link_told(Link { mtu: 1400, ..link(false) }, 99)), "somebody changed it");
        assert!(matters(link_told(Link { up: false, ..link(false) }, BY_THE_KERNEL)));
        assert!(!matters(link_told(link(false), OURS)));
        assert!(!matters(link_told(link(false), BY_THE_KERNEL)), "as we left it");
        assert!(matters(link_gone(7, BY_THE_KERNEL)));
        assert!(matters(link_told(link(false), BY_THE_KERNEL)), "back");
        assert!(matters(Event::Overrun));
        assert!(matters(link_told(link(false), BY_THE_KERNEL)), "anything may have come between");
    }

    #[test]
    fn a_pair_that_we_make_and_remove_does_not_matter_though_the_kernel_tells_it_as_its_own_doing() {
        let (own, mut seen) = (own(), Told::default());
        let peer =
            || Link { index: 8, name: "hope0101010101".parse().unwrap(), peer: Some(7), ..link(false) };
        own.note_link(&link(false).name);
        own.note_link(&peer().name);
        let made = Link { alias: String::new(), up: false, ..link(false) };
        let named = Link { up: false, ..link(false) };
        let course = [peer(), made.clone(), named.clone(), link(false), link(true)];
        for step in course {
            assert!(!seen.matters(&link_told(step.clone(), BY_THE_KERNEL), &own), "{step:?}");
        }
        assert!(seen.matters(&link_told(link(false), BY_THE_KERNEL), &own), "back");
        assert!(seen.matters(&link_told(named.clone(), BY_THE_KERNEL), &own), "set down by somebody else");
        assert!(seen.matters(&link_told(Link { mtu: 1400, ..named }, BY_THE_KERNEL), &own));
        let neighbour = Topic::Neighbour { permanent: true };
        let lost = Change { topic: neighbour, removed: true, device: Some(7), port: BY_THE_KERNEL };
        let apart =
            |link: Link| link_told(Link { up: false, carrier: false, peer: None, ..link }, BY_THE_KERNEL);
        let gone = |device| link_gone(device, BY_THE_KERNEL);
        for event in [Event::Changed(lost), apart(link(false)), apart(peer()), gone(7), gone(8)] {
            assert!(!seen.matters(&event, &own), "{event:?}");
        }
        assert!(seen.matters(&link_told(made, 99), &own), "somebody's link of such a name");
    }

    #[test]
    fn what_the_kernel_adds_to_a_link_that_comes_up_does_not_matter_and_what_it_takes_does() {
        let mut seen = Told::default();
        let given = Topic::Address { link_local: true };
        assert!(!seen.matters(&told(given.clone(), BY_THE_KERNEL), &own()));
        assert!(seen.matters(&told(given.clone(), 99), &own()), "somebody's");
        let gone = Change { topic: given, removed: true, device: Some(7), port: BY_THE_KERNEL };
        assert!(seen.matters(&Event::Changed(gone), &own()));
        assert!(seen.matters(&told(Topic::Address { link_local: false }, BY_THE_KERNEL), &own()));
        assert!(!seen.matters(&told(Topic::Route { protocol: PROTOCOL_KERNEL }, BY_THE_KERNEL), &own()));
        assert!(seen.matters(&told(Topic::Route { protocol: PROTOCOL_KERNEL }, 99), &own()));
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
                run(Frail { told: false, steady: false }, open, &stopped, &own(), &mut changed);
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
