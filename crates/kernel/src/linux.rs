//! The real kernel of the network namespace that the process is in.
//!
//! Ours is what we mark: links by alias (for the moment between making a link and naming it, by the form of its
//! name), what is on them, routes and rules by protocol number, one nftables table, one labelled rule in the forward
//! chain of others, traffic filters by the number of their block. Nothing else is read into a [`HostState`], so nothing
//! else is ever changed.

mod container;
mod fastpath;
mod flows;
mod forward;
mod observe;
mod operations;
mod own;

use crate::apply::{Published, apply};
use crate::{Applied, Differing, Kernel, KernelError, Settings};
pub(crate) use fastpath::LinuxFastPath;
use forward::ForwardChains;
use hopsack_netlink::Socket;
use hopsack_netlink::elements::Elements;
use hopsack_netlink::generation::generation;
use hopsack_netlink::link::LinkChange;
use hopsack_nft::{Nft, only_elements};
use hopsack_plan::HostState;
use hopsack_types::firewall::{Firewall, SetChange};
use hopsack_types::numbers::NFT_TABLE;
use hopsack_types::{Family, IfName};
pub(crate) use observe::is_ours;
pub use own::OwnChanges;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long what we wrote is believed to be there without reading it.
const BELIEVED: Duration = Duration::from_secs(10);

/// The Linux kernel.
pub struct LinuxKernel {
    socket: Socket,
    nft: Nft,
    elements: Elements,
    own: OwnChanges,
    forward: ForwardChains,
    firewall: Option<KnownFirewall>,
    /// What flows were held against last; nothing yet where this agent has just started.
    published: Published,
    fast: LinuxFastPath,
    /// Numbers of links by name, as far as they are known in the present pass.
    indexes: BTreeMap<IfName, u32>,
}

/// Our table as it was at a generation of nftables. Reading it takes 10 ms and more, the number 20 µs.
#[derive(Debug)]
struct KnownFirewall {
    generation: u32,
    firewall: Firewall,
    /// When it was written by us, if it was not read since.
    written: Option<Instant>,
}

impl LinuxKernel {
    /// Opens the kernel of the calling thread's network namespace. Fails without `nft`.
    pub fn new() -> Result<Self, KernelError> {
        let (socket, nft, elements) = (Socket::open()?, Nft::find()?, Elements::open()?);
        Ok(Self {
            own: OwnChanges::new(socket.port(), elements.port(), nft.last_commit()),
            socket,
            nft,
            elements,
            forward: ForwardChains::find(),
            firewall: None,
            published: Published::new(),
            fast: LinuxFastPath::default(),
            indexes: BTreeMap::new(),
        })
    }

    /// What we change, now and later, so that a [`crate::watch()`] can leave it out.
    pub fn own_changes(&self) -> OwnChanges {
        self.own.clone()
    }

    fn observe_firewall(&mut self, now: u32) -> Result<Firewall, KernelError> {
        if let Some(known) = &self.firewall
            && known.generation == now
            && known.written.is_none_or(|written| written.elapsed() < BELIEVED)
        {
            return Ok(known.firewall.clone());
        }
        let firewall = self.nft.observe()?;
        self.firewall = Some(KnownFirewall { generation: now, firewall: firewall.clone(), written: None });
        Ok(firewall)
    }

    /// Changes our table. If its generation was known before, and is the next one now, then nobody else wrote, and
    /// nothing has to be read again: a container that starts waits for one `nft` and not for more.
    fn write_firewall(&mut self, observed: &Firewall, desired: &Firewall) -> Result<u64, KernelError> {
        let before = generation()?;
        let known = self.firewall.take();
        let known = known.is_some_and(|known| known.generation == before && known.firewall == *observed);
        let changes = match self.write_elements(before, observed, desired) {
            Some(changes) => changes,
            None => self.nft.apply(observed, desired)?,
        };
        let after = generation()?;
        if known && after == before.wrapping_add(1) {
            let (firewall, written) = (desired.clone(), Some(Instant::now()));
            self.firewall = Some(KnownFirewall { generation: after, firewall, written });
            self.forward.unchanged(before, after);
        }
        Ok(changes)
    }

    /// Changes only elements of sets, if that is all there is to change: a container that starts or ends changes no more,
    /// and `nft` would take the longer the more there are. None if it is not, or if the kernel refused; then `nft` knows
    /// what to do.
    fn write_elements(&mut self, generation: u32, observed: &Firewall, desired: &Firewall) -> Option<u64> {
        let changes = only_elements(observed, desired)?;
        match self.elements.change(NFT_TABLE, generation, &changes) {
            Ok(()) => {
                let count = |change: &SetChange| (change.removed.len() + change.added.len()) as u64;
                Some(changes.iter().map(count).sum())
            }
            Err(error) => {
                tracing::debug!(%error, "sets of the firewall are changed by nft instead");
                None
            }
        }
    }

    /// The number of a link.
    fn index(&mut self, name: &IfName) -> Result<u32, KernelError> {
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        let link = self.socket.link(name)?.ok_or_else(|| KernelError::NoDevice(name.clone()))?;
        self.indexes.insert(name.clone(), link.index);
        Ok(link.index)
    }

    fn change(&mut self, name: &IfName, change: &LinkChange<'_>) -> Result<(), KernelError> {
        let index = self.index(name)?;
        self.own.note_link(name);
        Ok(self.socket.change_link(index, change)?)
    }
}

impl Kernel for LinuxKernel {
    fn observe(&mut self, desired: &HostState) -> Result<HostState, KernelError> {
        let skipped = self.socket.skipped();
        let mut state = observe::observe(&mut self.socket, &self.fast, desired)?;
        if self.socket.skipped() > skipped {
            tracing::debug!("this kernel lists objects in a form that is newer than this program");
        }
        state.sysctls = desired.sysctls.clone();
        state.set_sysctls(self.socket.differing_settings(&desired.sysctls)?);
        // Read before the rules: what changes between is then found at the next look.
        let generation = generation()?;
        state.firewall = self.observe_firewall(generation)?;
        state.forward_accept = self.forward.observe(&desired.forward_accept, generation);
        state.published = self.published.clone();
        Ok(state)
    }

    fn apply(&mut self, observed: HostState, desired: &HostState) -> Applied {
        self.indexes.clear();
        apply(self, observed, desired)
    }

    fn observe_forward_accept(&mut self, left: &BTreeSet<Family>) -> Result<BTreeSet<Family>, KernelError> {
        Ok(self.forward.observe(left, generation()?))
    }
}

/// The settings of the network namespace that the process is in.
pub struct LinuxSettings(Socket);

impl LinuxSettings {
    /// Those of the calling thread's network namespace.
    pub fn new() -> Result<Self, KernelError> {
        Ok(Self(Socket::open()?))
    }
}

impl Settings for LinuxSettings {
    fn differing(&mut self, expected: &BTreeMap<String, String>) -> Result<Differing, KernelError> {
        Ok(self.0.differing_settings(expected)?)
    }
}
