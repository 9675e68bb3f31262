//! The fast path in Linux: which links run its programs, and what their tables hold.
//!
//! The programs that this agent has loaded are new to the kernel, and so are their tables. Programs of an agent before this
//! one go on with theirs until these take their place, table and all, in one step for all links of a kind.

use crate::KernelError;
use crate::apply::FastKey;
use hopsack_ebpf::{Entry, FastPath as Loaded, Program};
use hopsack_netlink::Socket;
use hopsack_netlink::link::Link as Found;
use hopsack_plan::state::{FastEntry, FastHook, FastPath};
use hopsack_types::IfName;
use hopsack_types::fastpath::FastPort;
use hopsack_types::numbers::{ENDPOINT_BLOCK, TUNNEL_BLOCK};
use std::collections::BTreeMap;

/// The fast path of one network namespace. Nothing is loaded before it is asked for.
#[derive(Default)]
pub struct LinuxFastPath {
    loaded: Option<Loaded>,
}

/// What can be asked for: the block of filters that links of the kind share, and what runs there.
const PLACES: [(FastHook, u32, Program); 2] = [
    (FastHook::Endpoint, ENDPOINT_BLOCK, Program::FromEndpoint),
    (FastHook::Tunnel, TUNNEL_BLOCK, Program::FromTunnel),
];

impl LinuxFastPath {
    /// What is there, at the links of `all` that are `ours`, by number. Where somebody else's filters run at one of them,
    /// nothing of ours can, and its packets take the routes; it is said to be as desired. An entry whose link is gone is
    /// said to lead to the loopback, where none is planned to lead.
    pub fn observe(
        &self,
        socket: &mut Socket,
        ours: &BTreeMap<u32, &IfName>,
        all: &BTreeMap<u32, Found>,
        desired: &FastPath,
    ) -> Result<FastPath, KernelError> {
        let mut state = FastPath::default();
        let mut hooks = BTreeMap::new();
        for (hook, block, program) in PLACES {
            let running = socket.block_program(block)?;
            let own = self.loaded.as_ref().map(|loaded| loaded.id(program)).transpose()?;
            let is_own = running.is_some() && running == own;
            hooks.insert(block, if is_own { hook } else { FastHook::Left });
        }
        for ingress in socket.ingresses()? {
            let Some(name) = ours.get(&ingress.device).copied() else { continue };
            let hook = ingress.block.and_then(|block| hooks.get(&block));
            if let Some(hook) = hook.or_else(|| desired.hooks.get(name)) {
                state.hooks.insert(name.clone(), *hook);
            }
        }
        let Some(loaded) = &self.loaded else { return Ok(state) };
        let observed = |entry: Entry| FastEntry {
            device: all.get(&entry.device).map_or_else(IfName::loopback, |link| link.name.clone()),
            mtu: entry.mtu,
            network: entry.network,
            next: entry.next,
            has_ports: entry.has_ports,
        };
        state.published = loaded.published()?;
        let endpoints = loaded.endpoints()?;
        state.endpoints = endpoints.into_iter().map(|(address, entry)| (address, observed(entry))).collect();
        let remotes = loaded.remotes()?;
        state.remotes = remotes.into_iter().map(|(prefix, entry)| (prefix, observed(entry))).collect();
        Ok(state)
    }

    /// The programs, loaded if they are not yet.
    fn loaded(&mut self) -> Result<&mut Loaded, KernelError> {
        match &mut self.loaded {
            Some(loaded) => Ok(loaded),
            none => Ok(none.insert(Loaded::load()?)),
        }
    }

    /// Has a port of an endpoint take the routes.
    pub fn set_port(&mut self, port: &FastPort) -> Result<(), KernelError> {
        Ok(self.loaded()?.set_published(*port)?)
    }

    /// Has it take them no more.
    pub fn remove_port(&mut self, port: &FastPort) -> Result<(), KernelError> {
        let Some(loaded) = &mut self.loaded else { return Ok(()) };
        Ok(loaded.remove_published(*port)?)
    }

    /// Adds an entry or changes it; `device` is the number of its link.
    pub fn set_entry(&mut self, key: FastKey, entry: &FastEntry, device: u32) -> Result<(), KernelError> {
        let FastEntry { mtu, network, next, has_ports, .. } = *entry;
        let entry = Entry { device, mtu, network, next, has_ports };
        let loaded = self.loaded()?;
        match key {
            FastKey::Endpoint(address) => loaded.set_endpoint(address, &entry)?,
            FastKey::Remote(prefix) => loaded.set_remote(prefix, &entry)?,
        }
        Ok(())
    }

    /// Removes an entry.
    pub fn remove_entry(&mut self, key: FastKey) -> Result<(), KernelError> {
        let Some(loaded) = &mut self.loaded else { return Ok(()) };
        match key {
            FastKey::Endpoint(address) => loaded.remove_endpoint(address)?,
            FastKey::Remote(prefix) => loaded.remove_remote(prefix)?,
        }
        Ok(())
    }

    /// Has a link run what its kind runs.
    pub fn set_hook(&mut self, socket: &mut Socket, device: u32, hook: FastHook) -> Result<(), KernelError> {
        let Some((_, block, program)) = PLACES.into_iter().find(|(other, ..)| *other == hook) else {
            return Ok(());
        };
        match socket.bind_ingress(device, block) {
            // One that an agent before this one has bound; or somebody else's since the last look, which the next shows.
            Err(error) if error.is_exists() => {}
            other => other?,
        }
        let loaded = self.loaded()?;
        if socket.block_program(block)? != Some(loaded.id(program)?) {
            socket.set_block_program(block, loaded.fd(program)?, program.name())?;
        }
        Ok(())
    }

    /// Has a link run nothing of ours any more. What runs there by now may be somebody else's.
    pub fn remove_hook(&self, socket: &mut Socket, device: u32) -> Result<(), KernelError> {
        let is_ours = |block| PLACES.iter().any(|(_, ours, _)| block == Some(*ours));
        let mut all = socket.ingresses()?.into_iter();
        if all.any(|ingress| ingress.device == device && is_ours(ingress.block)) {
            socket.clear_ingress(device)?;
        }
        Ok(())
    }
}
