//! What Flannel programs, by hand: a bridge with a veth for each container, and to the other host's subnet a route by
//! the host itself (its back end `host-gw`) or by a VXLAN device (its back end `vxlan`), with its rules for forwarding
//! and masquerading. Line by line what flanneld 0.20 and its CNI plugin leave in a kernel.

use hopsack_lab::{Host, Inside, LabError, Place};
use std::net::IpAddr;

/// How the other host's subnet is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// By its address.
    HostGateway,
    /// By a VXLAN device.
    Vxlan,
}

impl Backend {
    /// What a container's link carries, bytes: the cable's 1,500 without what the tunnel adds.
    const fn mtu(self) -> u32 {
        match self {
            Self::HostGateway => 1500,
            Self::Vxlan => 1450,
        }
    }
}

/// Bridge, container and rules of one host. Its container has address 2 of its subnet.
const HOST: &str = r"
sysctl -qw net.ipv4.ip_forward=1
ip link add cni0 mtu $mtu type bridge
ip addr add 10.244.$number.1/24 dev cni0
ip link set cni0 up
ip link add vethc mtu $mtu type veth peer name eth0 mtu $mtu netns c
ip link set vethc master cni0 up
ip -n c addr add 10.244.$number.2/24 dev eth0
ip -n c link set eth0 up
ip -n c route add default via 10.244.$number.1
iptables-restore -n <<END
*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.$number.0/24 -d 10.244.0.0/16 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.$number.0/24 -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.$number.0/24 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -j ACCEPT
COMMIT
END
";

/// The tunnel's device. Peers are told where each other's devices are, so it learns nothing.
const DEVICE: &str = r"
ip link add flannel.1 mtu $mtu address 02:00:00:00:01:0$number type vxlan id 1 local $own dev eth0 dstport 8472 nolearning
ip addr add 10.244.$number.0/32 dev flannel.1
ip link set flannel.1 up
";

/// The way to the other host's subnet through the tunnel.
const THROUGH_TUNNEL: &str = r"
ip neigh replace 10.244.$other.0 lladdr 02:00:00:00:01:0$other dev flannel.1 nud permanent
bridge fdb replace 02:00:00:00:01:0$other dev flannel.1 self dst $peer
ip route replace 10.244.$other.0/24 via 10.244.$other.0 dev flannel.1 onlink
";

/// The way to the other host's subnet by that host.
const BY_HOST: &str = "ip route replace 10.244.$other.0/24 via $peer dev eth0\n";

/// Makes it on two hosts. Gives their containers, and the second one's address.
pub fn make(hosts: [&Host; 2], backend: Backend) -> Result<(Place, Place, IpAddr), LabError> {
    let side = |at: usize| {
        let (host, peer) = (hosts[at], hosts[1 - at]);
        let container = host.container("c")?;
        let steps = match backend {
            Backend::HostGateway => [HOST, BY_HOST].concat(),
            Backend::Vxlan => [HOST, DEVICE, THROUGH_TUNNEL].concat(),
        };
        let values = format!(
            "mtu={} number={} other={} own={} peer={}\n",
            backend.mtu(),
            at + 1,
            2 - at,
            host.address()?,
            peer.address()?,
        );
        host.run(&["sh", "-ec", &[&values, &*steps].concat()])?;
        Ok::<_, LabError>(container.place().clone())
    };
    Ok((side(0)?, side(1)?, [10, 244, 2, 2].into()))
}
