//! What this kernel and its programs can do, tried out rather than guessed from versions.

use crate::KernelError;
use crate::linux::LinuxFastPath;
use hopsack_netlink::link::{Base, Vxlan};
use hopsack_netlink::netns::in_new_ns;
use hopsack_netlink::{NetlinkError, Socket, sysctl};
use hopsack_nft::Nft;
use hopsack_plan::Features;
use hopsack_plan::state::FastHook;
use hopsack_types::IfName;
use hopsack_types::numbers::{ROUTED_VNI, VXLAN_PORT};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureReport {
    /// For the plan.
    pub features: Features,
    /// What is missing and what it means, one sentence each, for people.
    pub remarks: Vec<String>,
}

/// Tries everything out, in a throw-away network namespace. Fails on what Hopsack cannot do without: the right to
/// change the network, and `nft`.
pub fn probe() -> Result<FeatureReport, KernelError> {
    let tried = in_new_ns(try_vxlan).map_err(|error| {
        if error.is_denied() { KernelError::NotRoot } else { KernelError::Netlink(error) }
    })?;
    Nft::find()?;
    let mut remarks = Vec::new();
    if let Err(error) = &tried {
        if error.is_denied() {
            return Err(KernelError::NotRoot);
        }
        remarks.push(format!(
            "this kernel has no vxlan: only hosts on one segment reach each other; load or build the module vxlan \
             ({error})"
        ));
    }
    let ipv6 = has_ipv6()?;
    if !ipv6 {
        remarks.push(
            "IPv6 is off on this host: IPv6 networks do not work here; see net.ipv6.conf.all.disable_ipv6"
                .to_owned(),
        );
    }
    let fast_path = in_new_ns(try_fast_path)?;
    if let Err(error) = &fast_path {
        remarks.push(format!(
            "this kernel takes no eBPF programs for links: all packets take the routes, which is slower ({})",
            error.reason()
        ));
    }
    let features = Features { vxlan: tried.is_ok(), ipv6, fast_path: fast_path.is_ok() };
    Ok(FeatureReport { features, remarks })
}

/// As the agent does it, at a link of its own.
fn try_fast_path() -> Result<(), KernelError> {
    let Ok(name) = IfName::new("hopprobe") else { return Ok(()) };
    let mut socket = Socket::open()?;
    socket.create_bridge(&Base { name: &name, mac: None, mtu: 1500 })?;
    let link = socket.link(&name)?.ok_or(KernelError::NoDevice(name))?;
    LinuxFastPath::default().set_hook(&mut socket, link.index, FastHook::Tunnel)
}

fn try_vxlan() -> Result<(), NetlinkError> {
    let Ok(name) = IfName::new("hopprobe") else { return Ok(()) };
    let vxlan = Vxlan {
        vni: ROUTED_VNI,
        port: VXLAN_PORT,
        local: None,
        learning: false,
        ttl: 0,
        checksum: None,
        inherit_df: false,
    };
    Socket::open()?.create_vxlan(&Base { name: &name, mac: None, mtu: 1500 }, &vxlan)
}

fn has_ipv6() -> Result<bool, NetlinkError> {
    Ok(sysctl::read("net/ipv6/conf/all/disable_ipv6")?.as_deref() == Some("0"))
}
