//! Notifications: which kernel table of this namespace has just changed, and through which socket. Only that, but for links,
//! which are told again and again as they were; what is there now is read anew by whoever cares, because notifications can
//! be lost.

use crate::error::{NetlinkError, errno_of};
use crate::generation::NEW_GENERATION;
use crate::link::{self, Link};
use crate::socket::decode;
use netlink_packet_core::NetlinkBuffer;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Room for notifications that wait, in bytes: a host with a thousand routes changes all of them at once.
const QUEUE_BYTES: u32 = 4 << 20;
/// Longest datagram of notifications that the kernel sends.
const MESSAGE_BYTES: usize = 64 << 10;
/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const GROUP_NFTABLES: u32 = 7;
/// `AF_BRIDGE`: neighbour messages of this family are forwarding entries, link messages are of a bridge's ports.
const FAMILY_BRIDGE: u8 = libc::AF_BRIDGE as u8;
/// `NUD_PERMANENT` of `linux/neighbour.h`.
const STATE_PERMANENT: u16 = 0x80;

/// What a [`Monitor`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something has changed.
    Changed(Change),
    /// Notifications were lost: anything may have changed.
    Overrun,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub topic: Topic,
    /// Whether it is gone now.
    pub removed: bool,
    /// Number of the link, for links and what is on them.
    pub device: Option<u32>,
    /// The netlink port of who did it (see [`crate::Socket::port`]); 0 for the kernel itself.
    pub port: u32,
}

/// The tables that are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// Links.
    Link {
        /// As it is now; none if it is gone, or if the notification does not tell all of it.
        now: Option<Box<Link>>,
    },
    /// Addresses.
    Address {
        /// Of the link only (`RT_SCOPE_LINK`), like those that the kernel gives every link for IPv6.
        link_local: bool,
    },
    /// Routes.
    Route {
        /// Who made the route (`rtm_protocol`).
        protocol: u8,
    },
    /// Routing rules.
    Rule,
    /// Neighbours.
    Neighbour {
        /// Put there by somebody, not found by asking.
        permanent: bool,
    },
    /// Forwarding entries of bridges and VXLAN devices.
    Forwarding,
    /// What links run at their ingress, or a block of it.
    Filter,
    /// nftables, any table: one event for a transaction.
    Firewall,
}

/// A subscription to all topics in one network namespace.
pub struct Monitor {
    route: netlink_sys::Socket,
    /// None on a kernel without nftables.
    firewall: Option<netlink_sys::Socket>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Subscribes in the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let groups = [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_NEIGH,
            libc::RTNLGRP_TC,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV4_RULE,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV6_ROUTE,
            libc::RTNLGRP_IPV6_RULE,
        ];
        let firewall = match subscribe(NETLINK_NETFILTER, &[GROUP_NFTABLES]) {
            Err(error) if error.is_unsupported() => None,
            other => Some(other?),
        };
        Ok(Self {
            route: subscribe(NETLINK_ROUTE, &groups)?,
            firewall,
            buffer: Vec::with_capacity(MESSAGE_BYTES),
        })
    }

    /// Waits for notifications and returns all that are there; an empty list when the timeout has passed or when
    /// `stop` has something to read or was closed at its other end.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Vec<Event>, NetlinkError> {
        let mut waiting = vec![PollFd::new(self.route.as_fd(), PollFlags::POLLIN)];
        waiting.extend(self.firewall.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        waiting.extend(stop.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // Longer than the system call can wait is as good as for ever.
        let timeout = timeout
            .map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time).unwrap_or(PollTimeout::NONE));
        match poll(&mut waiting, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(NetlinkError::Socket { operation: "wait for", errno }),
        }
        let mut events = Vec::new();
        drain(&self.route, &mut self.buffer, &mut events)?;
        if let Some(socket) = &self.firewall {
            drain(socket, &mut self.buffer, &mut events)?;
        }
        Ok(events)
    }
}

fn subscribe(protocol: isize, groups: &[u32]) -> Result<netlink_sys::Socket, NetlinkError> {
    let at =
        |operation| move |error: std::io::Error| NetlinkError::Socket { operation, errno: errno_of(&error) };
    let mut socket = netlink_sys::Socket::new(protocol).map_err(at("open"))?;
    socket.bind_auto().map_err(at("bind"))?;
    socket.set_rx_buf_sz(QUEUE_BYTES).map_err(at("size"))?;
    socket.set_non_blocking(true).map_err(at("set up"))?;
    for group in groups {
        socket.add_membership(*group).map_err(at("subscribe with"))?;
    }
    Ok(socket)
}

fn drain(
    socket: &netlink_sys::Socket,
    buffer: &mut Vec<u8>,
    events: &mut Vec<Event>,
) -> Result<(), NetlinkError> {
    loop {
        buffer.clear();
        match socket.recv(buffer, 0).map_err(|error| errno_of(&error)) {
            Ok(_) => {
                let mut rest = buffer.as_slice();
                while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                    let step = (message.length() as usize).next_multiple_of(4);
                    rest = rest.get(step..).unwrap_or_default();
                    events.extend(change_of(&message).map(Event::Changed));
                }
            }
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOBUFS) => events.push(Event::Overrun),
            Err(errno) => return Err(NetlinkError::Socket { operation: "receive from", errno }),
        }
    }
}

/// Reads the fixed head of a notification only, at the offsets of the structures in `linux/rtnetlink.h`, because a
/// thousand routes may come at once and an event needs no more. Links are fewer.
fn change_of(message: &NetlinkBuffer<&[u8]>) -> Option<Change> {
    let payload = message.payload();
    // `ifi_index`, `ifa_index` and `ndm_ifindex` all stand here.
    let device = payload.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    let kind = message.message_type();
    let (topic, device) = match kind {
        libc::RTM_NEWLINK => {
            // What a bridge tells of its ports leaves out most of what they are.
            let whole = payload.first() != Some(&FAMILY_BRIDGE);
            let now = whole.then(|| decode(message)).flatten();
            (Topic::Link { now: now.as_ref().and_then(link::decode).map(Box::new) }, device)
        }
        libc::RTM_DELLINK => (Topic::Link { now: None }, device),
        libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            // `ifa_scope`.
            (Topic::Address { link_local: payload.get(3) == Some(&libc::RT_SCOPE_LINK) }, device)
        }
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => (Topic::Route { protocol: *payload.get(5)? }, None),
        libc::RTM_NEWRULE | libc::RTM_DELRULE => (Topic::Rule, None),
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH if payload.first() == Some(&FAMILY_BRIDGE) => {
            (Topic::Forwarding, device)
        }
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => {
            let state = payload.get(8..10).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes)?;
            (Topic::Neighbour { permanent: state & STATE_PERMANENT != 0 }, device)
        }
        // Of a filter of a block it is the number of none.
        libc::RTM_NEWQDISC | libc::RTM_DELQDISC | libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER => {
            (Topic::Filter, device)
        }
        NEW_GENERATION => (Topic::Firewall, None),
        _ => return None,
    };
    let removed = matches!(
        kind,
        libc::RTM_DELLINK
            | libc::RTM_DELADDR
            | libc::RTM_DELROUTE
            | libc::RTM_DELRULE
            | libc::RTM_DELNEIGH
            | libc::RTM_DELQDISC
            | libc::RTM_DELTFILTER
    );
    Some(Change { topic, removed, device, port: message.port_number() })
}
