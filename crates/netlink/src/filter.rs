//! Blocks of traffic filters: what links run on each packet that comes in. A link's ingress is bound to a block, which any
//! number of links share; an eBPF program is put into the block once, and changed for all of them at once.

use crate::error::NetlinkError;
use crate::socket::{Socket, Task};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Nla as _};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kind of queueing discipline that queues nothing and only runs filters.
const CLSACT: &str = "clsact";
/// `TCA_INGRESS_BLOCK` of `linux/rtnetlink.h`.
const INGRESS_BLOCK: u16 = 13;
/// The one filter of a block: first among those of its priority. `ETH_P_ALL`: it sees every packet.
const PRIORITY: u32 = 1;
const EVERY_PROTOCOL: u16 = 3;
const FIRST: TcHandle = TcHandle { major: 0, minor: 1 };

/// What runs filters at a link's ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingress {
    /// Number of the link.
    pub device: u32,
    /// The block that it is bound to; none: it has filters of its own.
    pub block: Option<u32>,
}

impl Socket {
    /// All links whose ingress runs filters.
    pub fn ingresses(&mut self) -> Result<Vec<Ingress>, NetlinkError> {
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let found = match self.dump("queueing disciplines", &request) {
            // A kernel built without any.
            Err(error) if error.is_unsupported() => Vec::new(),
            other => other?,
        };
        Ok(found.iter().filter_map(decode).collect())
    }

    /// Binds a link's ingress to a block, which is made with its first link. Fails if something runs there.
    pub fn bind_ingress(&mut self, device: u32, block: u32) -> Result<(), NetlinkError> {
        let name = format!("of link {device}");
        let task = Task { operation: "bind the ingress", object: &name };
        let mut message = clsact(device);
        let block = DefaultNla::new(INGRESS_BLOCK, block.to_ne_bytes().to_vec());
        message.attributes.push(TcAttribute::Other(block));
        self.change(&task, RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Has a link's ingress run nothing any more.
    pub fn clear_ingress(&mut self, device: u32) -> Result<(), NetlinkError> {
        let name = format!("of link {device}");
        let task = Task { operation: "clear the ingress", object: &name };
        match self.change(&task, RouteNetlinkMessage::DelQueueDiscipline(clsact(device)), 0) {
            // What the kernel says where nothing runs.
            Err(error) if error.errno() == Some(Errno::EINVAL) => Ok(()),
            other => other,
        }
    }

    /// The number of the program that a block runs; none also where there is no such block.
    pub fn block_program(&mut self, block: u32) -> Result<Option<u32>, NetlinkError> {
        let request = RouteNetlinkMessage::GetTrafficFilter(of_block(block));
        let found = match self.dump("traffic filters", &request) {
            Err(error) if error.is_gone() || error.is_unsupported() => Vec::new(),
            other => other?,
        };
        Ok(found.iter().find_map(program_of))
    }

    /// Has a block run a program, in place of one that it runs, without a gap. The program stays in the kernel as long as
    /// the block does.
    pub fn set_block_program(
        &mut self,
        block: u32,
        program: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), NetlinkError> {
        let task = Task { operation: "run at the ingress", object: &name };
        let mut message = of_block(block);
        message.header.handle = FIRST;
        message.header.info = PRIORITY << 16 | u32::from(EVERY_PROTOCOL.to_be());
        let options = vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ];
        message.attributes =
            vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned()), TcAttribute::Options(options)];
        self.change(&task, RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_REPLACE)
    }
}

fn clsact(device: u32) -> TcMessage {
    let mut message = TcMessage::with_index(device.cast_signed());
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message.attributes = vec![TcAttribute::Kind(CLSACT.to_owned())];
    message
}

/// In place of a link stands a number that none has, and of the parent the block's.
fn of_block(block: u32) -> TcMessage {
    let mut message = TcMessage::with_index(TcHeader::TCM_IFINDEX_MAGIC_BLOCK.cast_signed());
    message.header.parent = TcHandle::from(block);
    message
}

fn decode(message: &RouteNetlinkMessage) -> Option<Ingress> {
    let RouteNetlinkMessage::NewQueueDiscipline(message) = message else { return None };
    if message.header.parent != TcHandle::INGRESS {
        return None;
    }
    let block = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Other(other) => {
            let mut value = [0; 4];
            if other.kind() != INGRESS_BLOCK || other.value_len() != value.len() {
                return None;
            }
            other.emit_value(&mut value);
            Some(u32::from_ne_bytes(value))
        }
        _ => None,
    });
    Some(Ingress { device: message.header.index.cast_unsigned(), block })
}

fn program_of(message: &RouteNetlinkMessage) -> Option<u32> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = message else { return None };
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
            _ => None,
        }),
        _ => None,
    })
}
