//! The other hosts, each asked just now: their agents, clocks, paths and sizes of packets.
//!
//! What cannot be told from here: whether a single pair's membership datagrams pass, since hosts pass on for each other what
//! they hear; and clocks to less than a second.

use super::agent::Asked;
use super::finding::{Finding, Subject};
use crate::path::cells;
use hopsack_api::{PeerExamination, UnderlayStatus};
use hopsack_types::numbers::{VXLAN_OVERHEAD_V4, VXLAN_OVERHEAD_V6, VXLAN_PORT};
use hopsack_types::{Family, PathKind};

/// Clocks that differ by more make a warning, seconds: times in logs and events do not fit together.
const APART: u64 = 60;
/// Certificates are good from a day before they were made, and no clock may be further behind, seconds.
const FAR_APART: u64 = 86_400;
/// What IPv6 asks of every link, bytes (RFC 8200, section 5).
const LEAST_MTU: u32 = 1280;

/// All about the other hosts; the underlay's MTU is looked at where there is none, too.
pub fn check(asked: &Asked) -> Vec<Finding> {
    let (Ok(status), Some(examination)) = (&asked.status, &asked.examination) else {
        return underlay_alone();
    };
    let Some(cluster) = &status.cluster else { return underlay_alone() };
    let peers = &examination.peers;
    let mut findings = vec![underlay(&cluster.underlay)];
    findings.extend(peers.iter().filter_map(|peer| size(&cluster.underlay, peer)));
    findings.extend(clocks(peers));
    if peers.is_empty() {
        findings.push(Finding::ok(Subject::Peers, "this host is the only one of its cluster"));
    }
    findings.extend(peers.iter().flat_map(peer));
    findings
}

/// The device of the default route, for who has no agent to ask.
fn underlay_alone() -> Vec<Finding> {
    let Ok(around) = hopsack_kernel::surroundings() else { return Vec::new() };
    let Some(route) = around.default_routes.first() else {
        let found = "there is no default route: `hopsack init` and `join` need --advertise";
        return vec![Finding::warn(Subject::Mtu, found, "ip route")];
    };
    let device = around.addresses.iter().find(|address| address.device == route.device);
    device.map(|device| mtu(device.device.as_str(), device.mtu)).into_iter().collect()
}

fn underlay(underlay: &UnderlayStatus) -> Finding {
    mtu(underlay.device.as_str(), underlay.mtu)
}

fn mtu(device: &str, mtu: u32) -> Finding {
    if mtu >= LEAST_MTU + VXLAN_OVERHEAD_V6 {
        return Finding::ok(Subject::Mtu, format!("{device}, which leads to the others, has MTU {mtu}"));
    }
    let found = format!("{device}, which leads to the others, has MTU {mtu}: too small for IPv6 in a tunnel");
    Finding::warn(Subject::Mtu, found, format!("ip link show {device}"))
}

/// Whether packets to a host pass in the size that the devices promise.
fn size(underlay: &UnderlayStatus, peer: &PeerExamination) -> Option<Finding> {
    let path = peer.path.as_ref().filter(|path| path.answered)?;
    let overhead = match (path.kind, Family::of(underlay.address)) {
        (PathKind::Direct, _) => 0,
        (PathKind::Vxlan, Family::V4) => VXLAN_OVERHEAD_V4,
        (PathKind::Vxlan, Family::V6) => VXLAN_OVERHEAD_V6,
    };
    let promised = underlay.mtu.saturating_sub(overhead);
    (path.mtu < promised).then(|| {
        let found = format!(
            "packets to {} pass with up to {} bytes of {promised}: something between the hosts takes less",
            peer.name, path.mtu
        );
        Finding::warn(Subject::Mtu, found, format!("tracepath -n {}", peer.underlay))
    })
}

fn clocks(peers: &[PeerExamination]) -> Vec<Finding> {
    let told: Vec<_> =
        peers.iter().filter_map(|peer| Some((&peer.name, peer.answer.as_ref()?.clock_ahead))).collect();
    if told.is_empty() {
        return Vec::new();
    }
    let apart = told.iter().filter(|(_, ahead)| ahead.unsigned_abs() > APART);
    let mut findings: Vec<Finding> = apart
        .map(|(name, ahead)| {
            let (seconds, way) = (ahead.unsigned_abs(), if *ahead > 0 { "ahead of" } else { "behind" });
            let found = format!("the clock of {name} is {seconds} s {way} this host's");
            if seconds < FAR_APART {
                return Finding::warn(Subject::Clocks, found, "timedatectl status");
            }
            Finding::fail(Subject::Clocks, format!("{found}: certificates are refused"), "timedatectl status")
        })
        .collect();
    if findings.is_empty() {
        let most = told.iter().map(|(_, ahead)| ahead.unsigned_abs()).max().unwrap_or(0);
        let found = format!("clocks of the hosts that answer differ by {most} s at most");
        findings.push(Finding::ok(Subject::Clocks, found));
    }
    findings
}

fn peer(peer: &PeerExamination) -> Vec<Finding> {
    let PeerExamination { name, underlay, control_port, .. } = peer;
    let mut findings = Vec::new();
    let Some(answer) = &peer.answer else {
        let why = peer.error.as_deref().unwrap_or("no answer");
        let found = format!("{name} does not answer at {underlay}, TCP {control_port}: {why}");
        findings.push(Finding::fail(Subject::Peers, found, format!("on {name}: hopsack doctor")));
        findings.extend(way(peer));
        return findings;
    };
    let own = env!("CARGO_PKG_VERSION");
    if answer.version != own {
        let found = format!("{name} runs hopsack {}, this host {own}", answer.version);
        findings.push(Finding::warn(Subject::Peers, found, format!("on {name}: hopsack --version")));
    }
    if !peer.alive {
        let found = format!(
            "{name} answers over TCP, but its datagrams do not arrive: UDP {control_port} has to pass"
        );
        findings.push(Finding::fail(Subject::Peers, found, format!("nc -zvu {underlay} {control_port}")));
    }
    findings.extend(way(peer));
    if findings.is_empty() {
        let [kind, _, round_trip] = cells(peer.path.as_ref());
        let heard = peer.last_heard.map_or_else(String::new, |ago| format!(", last heard {ago} s ago"));
        let found =
            format!("{name} answers at {underlay}; packets go {kind}, round trip {round_trip}{heard}");
        findings.push(Finding::ok(Subject::Peers, found));
    }
    findings
}

/// The path to a host, and what could take over.
fn way(peer: &PeerExamination) -> Option<Finding> {
    let PeerExamination { name, underlay, .. } = peer;
    let capture = format!("tcpdump -ni any 'host {underlay} and (udp port {VXLAN_PORT} or icmp or icmp6)'");
    let Some(path) = &peer.path else {
        return Some(Finding::fail(Subject::Peers, format!("there is no path to {name}"), "hopsack path ls"));
    };
    if !path.answered {
        let heard = peer.last_heard.map_or_else(
            || "nothing was ever answered".to_owned(),
            |ago| format!("the last answer came {ago} s ago"),
        );
        let found = format!(
            "no path to {name} is answered, {heard}: UDP {VXLAN_PORT} and ICMP echo have to pass ({})",
            path.reason
        );
        return Some(Finding::fail(Subject::Peers, found, capture));
    }
    let no_tunnel = path.kind == PathKind::Direct && peer.kinds.get(&PathKind::Vxlan) == Some(&false);
    no_tunnel.then(|| {
        let found = format!(
            "packets to {name} go direct, and the tunnel that would take over is not answered: UDP {VXLAN_PORT} has to pass"
        );
        Finding::warn(Subject::Peers, found, capture)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;
    use hopsack_api::{PathStatus, PeerAnswer};
    use hopsack_types::HostId;
    use std::collections::BTreeMap;

    fn well() -> PeerExamination {
        let path = PathStatus {
            kind: PathKind::Direct,
            mtu: 1500,
            round_trip: Some(280),
            answered: true,
            reason: "proven".to_owned(),
        };
        PeerExamination {
            id: HostId::from_bytes([2; 16]),
            name: "h2".parse().unwrap(),
            underlay: "10.77.1.2".parse().unwrap(),
            control_port: 4677,
            answer: Some(PeerAnswer {
                round_trip: 700,
                clock_ahead: 0,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            error: None,
            alive: true,
            path: Some(path),
            kinds: BTreeMap::from([(PathKind::Direct, true), (PathKind::Vxlan, true)]),
            last_heard: Some(1),
        }
    }

    fn ahead(seconds: i64) -> PeerExamination {
        let answer = well().answer.map(|answer| PeerAnswer { clock_ahead: seconds, ..answer });
        PeerExamination { answer, ..well() }
    }

    #[test]
    fn a_host_that_answers_everything_is_one_line() {
        let told = peer(&well());
        let expected = "h2 answers at 10.77.1.2; packets go direct, round trip 0.28 ms, last heard 1 s ago";
        assert_eq!(told, [Finding::ok(Subject::Peers, expected)]);
    }

    #[test]
    fn what_does_not_pass_is_told_by_its_port() {
        let told = |peer_: PeerExamination| {
            peer(&peer_).into_iter().map(|finding| (finding.verdict, finding.found)).collect::<Vec<_>>()
        };
        let silent = PeerExamination { answer: None, error: Some("timed out".to_owned()), ..well() };
        let expected = "h2 does not answer at 10.77.1.2, TCP 4677: timed out";
        assert_eq!(told(silent), [(Verdict::Fail, expected.to_owned())]);
        let [(verdict, found)] = &told(PeerExamination { alive: false, ..well() })[..] else { panic!() };
        assert!(*verdict == Verdict::Fail && found.contains("UDP 4677"), "{found}");
        let kinds = BTreeMap::from([(PathKind::Vxlan, false)]);
        let [(verdict, found)] = &told(PeerExamination { kinds, ..well() })[..] else { panic!() };
        assert!(*verdict == Verdict::Warn && found.contains("UDP 4678"), "{found}");
        let path = well().path.map(|path| PathStatus { answered: false, ..path });
        let [(verdict, found)] = &told(PeerExamination { path, ..well() })[..] else { panic!() };
        assert!(*verdict == Verdict::Fail && found.contains("ICMP echo"), "{found}");
        let [(verdict, _)] = &told(PeerExamination { path: None, ..well() })[..] else { panic!() };
        assert_eq!(*verdict, Verdict::Fail);
    }

    #[test]
    fn clocks_that_are_apart_warn_and_by_a_day_fail() {
        let verdict = |seconds| {
            let found = clocks(&[ahead(3), ahead(seconds)]);
            assert_eq!(found.len(), 1, "{found:?}");
            (found[0].verdict, found[0].found.clone())
        };
        assert_eq!(verdict(-60).0, Verdict::Ok);
        let behind = "the clock of h2 is 75 s behind this host's".to_owned();
        assert_eq!(verdict(-75), (Verdict::Warn, behind));
        assert_eq!(verdict(90_000).0, Verdict::Fail);
        assert_eq!(clocks(&[]), []);
    }

    #[test]
    fn a_path_that_takes_less_than_the_devices_promise_is_told() {
        let underlay = UnderlayStatus {
            device: "eth0".parse().unwrap(),
            address: "10.77.1.1".parse().unwrap(),
            mtu: 1500,
            found_by: "default route".to_owned(),
        };
        let with = |kind, mtu| {
            let path = well().path.map(|path| PathStatus { kind, mtu, ..path });
            size(&underlay, &PeerExamination { path, ..well() }).map(|finding| finding.found)
        };
        assert_eq!(with(PathKind::Direct, 1500), None);
        assert_eq!(with(PathKind::Vxlan, 1450), None);
        assert!(with(PathKind::Vxlan, 1400).unwrap().contains("up to 1400 bytes of 1450"));
    }
}
