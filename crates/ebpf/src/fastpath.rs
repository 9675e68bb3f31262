//! The loaded programs with their tables.

use crate::EbpfError;
use crate::entry::{
    ENTRY_BYTES, Entry, PORT_BYTES, address_bytes, address_of, length, port_bytes, port_of, prefix_of,
};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use hopsack_types::Cidr;
use hopsack_types::fastpath::FastPort;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// What clang made of `bpf/fastpath.c`; `tests/compiled.rs` holds them against each other.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/fastpath.o");

/// One of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// For the host's ends of endpoints' pairs.
    FromEndpoint,
    /// For the tunnel.
    FromTunnel,
}

impl Program {
    /// Its name in the source, by which it is known in the kernel.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromEndpoint => "from_endpoint",
            Self::FromTunnel => "from_tunnel",
        }
    }
}

/// The programs in the kernel, with tables that nobody else has.
pub struct FastPath {
    object: Ebpf,
    endpoints: HashMap<MapData, [u8; 16], [u8; ENTRY_BYTES]>,
    remotes: LpmTrie<MapData, [u8; 16], [u8; ENTRY_BYTES]>,
    published: HashMap<MapData, [u8; PORT_BYTES], u8>,
}

impl FastPath {
    /// Loads the programs, with empty tables. Needs CAP_BPF and CAP_NET_ADMIN.
    pub fn load() -> Result<Self, EbpfError> {
        // It needs none of the types of the kernel's own.
        let mut object = EbpfLoader::new()
            .btf(None)
            .load(OBJECT)
            .map_err(|error| EbpfError::new("load", "the fast path", &error))?;
        for program in [Program::FromEndpoint, Program::FromTunnel] {
            let loaded = object.program_mut(program.name()).ok_or(EbpfError::missing(program.name()))?;
            <&mut SchedClassifier>::try_from(loaded)
                .and_then(SchedClassifier::load)
                .map_err(|error| EbpfError::new("load", program.name(), &error))?;
        }
        let mut table = |name| object.take_map(name).ok_or(EbpfError::missing(name));
        let (endpoints, remotes, published) = (table("endpoints")?, table("remotes")?, table("published")?);
        let other = |name| move |error: MapError| EbpfError::new("use", name, &error);
        Ok(Self {
            endpoints: endpoints.try_into().map_err(other("endpoints"))?,
            remotes: remotes.try_into().map_err(other("remotes"))?,
            published: published.try_into().map_err(other("published"))?,
            object,
        })
    }

    /// A program's number in the kernel.
    pub fn id(&self, program: Program) -> Result<u32, EbpfError> {
        let info = self.classifier(program)?.info();
        info.map(|info| info.id()).map_err(|error| EbpfError::new("look at", program.name(), &error))
    }

    /// A program, to hand to the kernel.
    pub fn fd(&self, program: Program) -> Result<BorrowedFd<'_>, EbpfError> {
        let fd = self.classifier(program)?.fd();
        fd.map(|fd| fd.as_fd()).map_err(|error| EbpfError::new("look at", program.name(), &error))
    }

    pub(crate) fn classifier(&self, program: Program) -> Result<&SchedClassifier, EbpfError> {
        let found = self.object.program(program.name()).ok_or(EbpfError::missing(program.name()))?;
        found.try_into().map_err(|error| EbpfError::new("look at", program.name(), &error))
    }

    /// All endpoints by address.
    pub fn endpoints(&self) -> Result<BTreeMap<IpAddr, Entry>, EbpfError> {
        let all = self.endpoints.iter().map(|found| {
            let (address, entry) = found?;
            Ok((address_of(address), Entry::from_bytes(&entry)))
        });
        all.collect::<Result<_, MapError>>()
            .map_err(|error| EbpfError::new("read", "the fast path's endpoints", &error))
    }

    /// All prefixes of other hosts.
    pub fn remotes(&self) -> Result<BTreeMap<Cidr, Entry>, EbpfError> {
        let all = self.remotes.iter().map(|found| {
            let (key, entry) = found?;
            Ok((prefix_of(key.prefix_len(), key.data()), Entry::from_bytes(&entry)))
        });
        all.collect::<Result<_, MapError>>()
            .map_err(|error| EbpfError::new("read", "the fast path's remotes", &error))
    }

    /// All published ports.
    pub fn published(&self) -> Result<BTreeSet<FastPort>, EbpfError> {
        let all: Result<Vec<_>, MapError> = self.published.keys().collect();
        all.map(|keys| keys.iter().filter_map(port_of).collect())
            .map_err(|error| EbpfError::new("read", "the fast path's published ports", &error))
    }

    /// Has a port of an endpoint take the routes, once the endpoint's entry says that it has any.
    pub fn set_published(&mut self, port: FastPort) -> Result<(), EbpfError> {
        self.published
            .insert(port_bytes(port), 1, 0)
            .map_err(|error| EbpfError::new("add to the fast path", port.address, &error))
    }

    /// Has it take the routes no more.
    pub fn remove_published(&mut self, port: FastPort) -> Result<(), EbpfError> {
        let gone = self.published.remove(&port_bytes(port));
        gone_already(gone).map_err(|error| EbpfError::new("remove from the fast path", port.address, &error))
    }

    /// Adds an endpoint or changes it.
    pub fn set_endpoint(&mut self, address: IpAddr, entry: &Entry) -> Result<(), EbpfError> {
        self.endpoints
            .insert(address_bytes(address), entry.to_bytes(), 0)
            .map_err(|error| EbpfError::new("add to the fast path", address, &error))
    }

    /// Removes an endpoint, if it is there.
    pub fn remove_endpoint(&mut self, address: IpAddr) -> Result<(), EbpfError> {
        let gone = self.endpoints.remove(&address_bytes(address));
        gone_already(gone).map_err(|error| EbpfError::new("remove from the fast path", address, &error))
    }

    /// Adds a prefix of another host or changes it.
    pub fn set_remote(&mut self, prefix: Cidr, entry: &Entry) -> Result<(), EbpfError> {
        let key = Key::new(length(&prefix), address_bytes(prefix.first()));
        self.remotes
            .insert(&key, entry.to_bytes(), 0)
            .map_err(|error| EbpfError::new("add to the fast path", prefix, &error))
    }

    /// Removes a prefix of another host, if it is there.
    pub fn remove_remote(&mut self, prefix: Cidr) -> Result<(), EbpfError> {
        let gone = self.remotes.remove(&Key::new(length(&prefix), address_bytes(prefix.first())));
        gone_already(gone).map_err(|error| EbpfError::new("remove from the fast path", prefix, &error))
    }
}

fn gone_already(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
