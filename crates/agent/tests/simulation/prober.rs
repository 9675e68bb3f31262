//! Echo requests, answered by the fake kernels: they must hold the address, and the routes of the probe's kind both
//! ways. An agent that is dead does not matter.

use crate::network::{Mailbox, Network};
use async_trait::async_trait;
use hopsack_agent::kernel::paths::{Echo, EchoReply, Prober};
use hopsack_kernel::FakeKernel;
use hopsack_plan::HostState;
use hopsack_plan::probes::probe_route;
use hopsack_types::numbers::{PROBE_DIRECT_ICMP_ID, VXLAN_OVERHEAD_V4};
use hopsack_types::path::PathKind;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// The underlay's MTU everywhere, bytes.
pub const MTU: u32 = 1500;

/// The kernels of all hosts, by underlay address.
#[derive(Clone, Default)]
pub struct Kernels(Arc<Mutex<BTreeMap<IpAddr, FakeKernel>>>);

impl Kernels {
    /// Adds a host's kernel.
    pub fn add(&self, underlay: IpAddr, kernel: FakeKernel) {
        self.0.lock().unwrap().insert(underlay, kernel);
    }

    fn state(&self, underlay: IpAddr) -> HostState {
        self.0.lock().unwrap().get(&underlay).map(FakeKernel::state).unwrap_or_default()
    }

    /// Where a host address is.
    fn holder(&self, address: IpAddr) -> Option<(IpAddr, HostState)> {
        let kernels = self.0.lock().unwrap();
        kernels
            .iter()
            .map(|(underlay, kernel)| (*underlay, kernel.state()))
            .find(|(_, state)| state.addresses.iter().any(|(_, net)| net.addr() == address))
    }
}

/// One host's prober.
pub struct SimProber {
    network: Arc<Network>,
    kernels: Kernels,
    here: IpAddr,
    replies: Mailbox<EchoReply>,
}

impl SimProber {
    /// The prober of the host with an underlay address.
    pub fn new(network: Arc<Network>, kernels: Kernels, here: IpAddr) -> Self {
        Self { network, kernels, here, replies: Mailbox::new() }
    }
}

fn has_route(state: &HostState, kind: PathKind, to: IpAddr) -> bool {
    state.routes.contains_key(&probe_route(kind, to))
}

#[async_trait]
impl Prober for SimProber {
    async fn send(&self, echo: Echo) -> io::Result<()> {
        let direct = echo.id == PROBE_DIRECT_ICMP_ID;
        let (kind, mtu) =
            if direct { (PathKind::Direct, MTU) } else { (PathKind::Vxlan, MTU - VXLAN_OVERHEAD_V4) };
        if !has_route(&self.kernels.state(self.here), kind, echo.to) {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        if echo.size > mtu {
            return Err(io::Error::other("message too long"));
        }
        let Some((there, kernel)) = self.kernels.holder(echo.to) else { return Ok(()) };
        let carried = self.network.passes(self.here, there)
            && (!direct || self.network.is_adjacent(self.here, there))
            && has_route(&kernel, kind, echo.from);
        let after = self.network.latency();
        if carried && !self.network.loses() {
            self.replies.put(after, EchoReply { from: echo.to, id: echo.id, sequence: echo.sequence });
        }
        Ok(())
    }

    async fn receive(&self) -> EchoReply {
        self.replies.take().await
    }
}
