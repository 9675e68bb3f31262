//! Tracked flows to published ports. The kernel chooses once for each flow where it is translated to, so a UDP client
//! that goes on sending would never come to a new container, nor to one that was not there yet when it began; and what
//! once went to a container would be let in to whoever has its address next.

use crate::KernelError;
use crate::apply::Published;
use hopsack_netlink::Socket;
use hopsack_netlink::conntrack::{flows_to, remove};
use hopsack_types::{Family, HostPort, Protocol};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Forgets the flows that go elsewhere than their ports do `now`; looks only at ports that led elsewhere `before`.
pub fn forget(socket: &mut Socket, before: &Published, now: &Published) -> Result<u64, KernelError> {
    let changed: BTreeSet<&HostPort> =
        before.keys().chain(now.keys()).filter(|port| before.get(port) != now.get(port)).collect();
    let own: BTreeSet<IpAddr> = socket.addresses()?.into_iter().map(|address| address.net.addr()).collect();
    let is_own = |address: IpAddr| address.is_loopback() || own.contains(&address);
    let mut forgotten = 0;
    for port in changed {
        let flows = match flows_to(Family::of(port.address), port.protocol, port.port.get()) {
            Ok(flows) => flows,
            Err(error) if error.is_unsupported() => {
                tracing::warn!(%error, "clients of published UDP ports may have to begin anew");
                return Ok(forgotten);
            }
            Err(error) => return Err(error.into()),
        };
        let change = Change { port, led: before.get(port).copied(), leads: now.get(port).copied() };
        for flow in flows.iter().filter(|flow| change.is_past(flow.target.ip(), flow.answers, is_own)) {
            match remove(flow) {
                Ok(()) => forgotten += 1,
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(forgotten)
}

/// A port and where it led and leads.
struct Change<'a> {
    port: &'a HostPort,
    led: Option<SocketAddr>,
    leads: Option<SocketAddr>,
}

impl Change<'_> {
    /// Whether a flow to this number at an address, which is answered by somebody, went to where the port led, or began
    /// when it led nowhere. The latter not of TCP: there each connection is a flow of its own, and one that stands may
    /// be a program's that only just gave up the port.
    fn is_past(&self, to: IpAddr, answers: SocketAddr, is_own: impl Fn(IpAddr) -> bool) -> bool {
        let answers = Some(answers);
        if answers == self.leads {
            return false;
        }
        // Others' ports of the same number are none of ours.
        let address = self.port.address;
        let is_at_port = if address.is_unspecified() { is_own(to) } else { to == address };
        answers == self.led || self.leads.is_some() && is_at_port && self.port.protocol != Protocol::Tcp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;

    const OWN: &str = "192.0.2.1";
    const OLD: &str = "10.32.4.1:53";
    const NEW: &str = "10.32.4.2:53";

    fn at(text: &str) -> Option<SocketAddr> {
        text.parse().ok()
    }

    /// Whether a flow to an address, answered by somebody, is past once a port that led to `led` leads to `leads`.
    fn is_past(protocol: Protocol, led: &str, leads: &str, to: &str, answers: &str) -> bool {
        let address = "0.0.0.0".parse().unwrap();
        let port = HostPort { protocol, address, port: NonZeroU16::new(5353).unwrap() };
        let change = Change { port: &port, led: at(led), leads: at(leads) };
        let own: IpAddr = OWN.parse().unwrap();
        change.is_past(to.parse().unwrap(), answers.parse().unwrap(), |address| address == own)
    }

    #[test]
    fn what_went_to_the_container_before_is_past_whatever_the_protocol() {
        for protocol in Protocol::ALL {
            assert!(is_past(protocol, OLD, NEW, OWN, OLD), "{protocol} replaced");
            assert!(is_past(protocol, OLD, "", OWN, OLD), "{protocol} removed");
            assert!(!is_past(protocol, OLD, NEW, OWN, NEW), "{protocol} kept");
        }
    }

    #[test]
    fn what_went_to_the_host_itself_before_the_port_was_published_is_past_but_for_tcp() {
        let host = format!("{OWN}:5353");
        assert!(is_past(Protocol::Udp, "", NEW, OWN, &host));
        assert!(is_past(Protocol::Sctp, "", NEW, OWN, &host));
        assert!(!is_past(Protocol::Tcp, "", NEW, OWN, &host));
        assert!(!is_past(Protocol::Udp, OLD, "", OWN, &host), "nothing is published now");
    }

    #[test]
    fn flows_to_the_same_number_elsewhere_are_left_alone() {
        assert!(!is_past(Protocol::Udp, "", NEW, "192.0.2.2", "192.0.2.2:5353"));
    }
}
