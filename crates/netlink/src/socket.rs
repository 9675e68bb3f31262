//! One rtnetlink socket: numbered requests, acknowledgements, dumps.
//!
//! Messages are decoded one by one. A message that cannot be decoded (newer kernels add attributes) is skipped and
//! counted, because one odd link must not hide all others.

use crate::error::{NetlinkError, errno_of};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator, Parseable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;
use std::fmt::Display;

/// Kernel replies to dumps are at most 32 KiB; a single link with many virtual functions may need more.
const MESSAGE_BYTES: usize = 64 << 10;
/// Room for replies that the kernel has queued, in bytes.
const QUEUE_BYTES: u32 = 1 << 20;
/// The kernel answers within the system call; waiting at all means that an answer was lost.
const ANSWER_TIMEOUT_SECONDS: i64 = 5;
/// How often a dump that was interrupted by changes is tried.
const DUMP_TRIES: u32 = 10;
/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`: the error in words.
const ATTRIBUTE_MESSAGE: u16 = 1;
/// Bytes of a netlink header; an error repeats the header of its request before its attributes.
const HEADER_BYTES: usize = 16;

/// What is being done, for errors.
pub(crate) struct Task<'a> {
    /// Like `add route`.
    pub operation: &'static str,
    /// Like `10.32.4.0/29`.
    pub object: &'a dyn Display,
}

/// An rtnetlink socket in one network namespace.
pub struct Socket {
    inner: netlink_sys::Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
    skipped: u64,
}

/// Messages read in full.
struct Decoded<T> {
    messages: Vec<T>,
    skipped: u64,
}

impl<T> Default for Decoded<T> {
    fn default() -> Self {
        Self { messages: Vec::new(), skipped: 0 }
    }
}

impl<T> Decoded<T> {
    fn take(&mut self, message: Option<T>) {
        match message {
            Some(message) => self.messages.push(message),
            None => self.skipped += 1,
        }
    }
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let at = |operation| {
            move |error: std::io::Error| NetlinkError::Socket { operation, errno: errno_of(&error) }
        };
        let mut inner = netlink_sys::Socket::new(NETLINK_ROUTE).map_err(at("open"))?;
        let address = inner.bind_auto().map_err(at("bind"))?;
        inner.connect(&SocketAddr::new(0, 0)).map_err(at("connect"))?;
        inner.set_rx_buf_sz(QUEUE_BYTES).map_err(at("size"))?;
        inner.set_cap_ack(true).map_err(at("set up"))?;
        inner.set_ext_ack(true).map_err(at("set up"))?;
        inner.set_netlink_get_strict_chk(true).map_err(at("set up"))?;
        setsockopt(&inner, ReceiveTimeout, &TimeVal::new(ANSWER_TIMEOUT_SECONDS, 0))
            .map_err(|errno| NetlinkError::Socket { operation: "set up", errno })?;
        Ok(Self {
            inner,
            port: address.port_number(),
            sequence: 0,
            buffer: Vec::with_capacity(MESSAGE_BYTES),
            skipped: 0,
        })
    }

    /// The socket's netlink port: notifications about changes made through it carry this number.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// How many messages could not be decoded since the socket was opened.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Sends one request and waits until it is done.
    pub(crate) fn change(
        &mut self,
        task: &Task<'_>,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.transact(task, request, NLM_F_REQUEST | NLM_F_ACK | flags).map(|_| ())
    }

    /// Asks for one object.
    pub(crate) fn get(
        &mut self,
        task: &Task<'_>,
        request: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.transact(task, request, NLM_F_REQUEST | NLM_F_ACK)
    }

    /// Reads a whole table, again if it changed meanwhile.
    pub(crate) fn dump(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.dump_as(what, request, decode)
    }

    /// The same for who decodes messages in a way of its own, which answers None for one that cannot be.
    pub(crate) fn dump_as<T>(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
        decode: impl Fn(&NetlinkBuffer<&[u8]>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let take = |decoded: &mut Decoded<T>, message: &NetlinkBuffer<&[u8]>| decoded.take(decode(message));
        for _ in 0..DUMP_TRIES {
            let (decoded, interrupted) = self.visit(what, request, take)?;
            if !interrupted {
                self.skipped += decoded.skipped;
                return Ok(decoded.messages);
            }
        }
        Err(NetlinkError::Unsteady { what, tries: DUMP_TRIES })
    }

    /// Reads a whole table once, for who needs a small part of each message only: `visit` puts it into what is answered.
    /// With it comes whether the table changed meanwhile, so that objects may be left out or told twice.
    pub(crate) fn visit<T: Default>(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
        visit: impl Fn(&mut T, &NetlinkBuffer<&[u8]>),
    ) -> Result<(T, bool), NetlinkError> {
        let task = Task { operation: "read", object: &what };
        let mut found = T::default();
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        let interrupted =
            self.exchange(&task, request.clone(), flags, |message| visit(&mut found, message))?;
        Ok((found, interrupted))
    }

    fn transact(
        &mut self,
        task: &Task<'_>,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut decoded = Decoded::default();
        let done = self.exchange(task, request, flags, |message| decoded.take(decode(message)));
        self.skipped += decoded.skipped;
        done.map(|_| decoded.messages)
    }

    /// Sends a request and shows each message of the answer. Tells whether the table changed meanwhile.
    fn exchange(
        &mut self,
        task: &Task<'_>,
        request: RouteNetlinkMessage,
        flags: u16,
        mut show: impl FnMut(&NetlinkBuffer<&[u8]>),
    ) -> Result<bool, NetlinkError> {
        self.send(request, flags)?;
        let mut interrupted = false;
        loop {
            self.receive()?;
            let mut rest = self.buffer.as_slice();
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let step = (message.length() as usize).next_multiple_of(4);
                rest = rest.get(step..).unwrap_or_default();
                // The answer to a request that was given up on may still be in the queue.
                if message.sequence_number() != self.sequence {
                    continue;
                }
                interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match i32::from(message.message_type()) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        return verdict(&message).map_or(Ok(interrupted), |(errno, detail)| {
                            Err(NetlinkError::Refused {
                                operation: task.operation,
                                object: task.object.to_string(),
                                errno,
                                detail,
                            })
                        });
                    }
                    libc::NLMSG_NOOP => {}
                    _ => show(&message),
                }
            }
        }
    }

    fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.inner
            .send(&bytes, 0)
            .map(|_| ())
            .map_err(|error| NetlinkError::Socket { operation: "send through", errno: errno_of(&error) })
    }

    fn receive(&mut self) -> Result<(), NetlinkError> {
        loop {
            self.buffer.clear();
            match self.inner.recv(&mut self.buffer, 0).map_err(|error| errno_of(&error)) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(NetlinkError::Socket { operation: "receive from", errno }),
            }
        }
    }
}

/// Reads one message in full.
pub(crate) fn decode(message: &NetlinkBuffer<&[u8]>) -> Option<RouteNetlinkMessage> {
    let header = <NetlinkHeader as Parseable<NetlinkBuffer<&[u8]>>>::parse(message).ok()?;
    RouteNetlinkMessage::deserialize(&header, message.payload()).ok()
}

/// The error that an acknowledgement or the end of a dump carries, with the kernel's words.
fn verdict(message: &NetlinkBuffer<&[u8]>) -> Option<(Errno, Option<String>)> {
    let payload = message.payload();
    let code = i32::from_ne_bytes(*payload.first_chunk::<4>()?);
    if code == 0 {
        return None;
    }
    let repeated = if i32::from(message.message_type()) == libc::NLMSG_ERROR { HEADER_BYTES } else { 0 };
    let detail = payload.get(4 + repeated..).filter(|_| message.flags() & NLM_F_ACK_TLVS != 0).and_then(
        |attributes| {
            NlasIterator::new(attributes)
                .filter_map(Result::ok)
                .find(|attribute| attribute.kind() == ATTRIBUTE_MESSAGE)
                .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned())
        },
    );
    Some((Errno::from_raw(code.saturating_neg()), detail))
}
