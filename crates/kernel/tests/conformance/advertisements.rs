//! A host whose default route comes from an IPv6 router's advertisements keeps it when we turn on forwarding.

use super::states::name;
use super::{ReadBack, UNDERLAY, on_linux, reconcile};
use hopsack_kernel::{DefaultRoute, FakeKernel, Surroundings, surroundings};
use hopsack_netlink::{Socket, sysctl};
use hopsack_plan::HostState;
use hopsack_types::Family;
use socket2::{Domain, Protocol, SockAddr, Type};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, Instant};

const ACCEPT: &str = "net/ipv6/conf/eth0/accept_ra";
const FORWARDING: &str = "net/ipv6/conf/all/forwarding";

/// A router advertisement (RFC 4861, 4.2) without options: a default router for 1800 s. The kernel adds the checksum.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];

/// Sends one from the other end of the underlay's device. Fails while that end has no address yet.
fn advertise(socket: &mut Socket) -> std::io::Result<usize> {
    let router = socket.link(&name("far0")).unwrap().unwrap().index;
    let raw = socket2::Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    // One that might have passed a router is none.
    raw.set_multicast_hops_v6(255)?;
    raw.set_multicast_if_v6(router)?;
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    raw.send_to(&ADVERTISEMENT, &SockAddr::from(SocketAddrV6::new(all_nodes, 0, 0, router)))
}

fn follows(seen: &Surroundings) -> bool {
    seen.advertised.contains(&name(UNDERLAY))
}

fn has_default_route(seen: &Surroundings) -> bool {
    let learned = |route: &DefaultRoute| route.family == Family::V6 && route.device == name(UNDERLAY);
    seen.default_routes.iter().any(learned)
}

fn await_default_route() {
    let mut socket = Socket::open().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let sent = advertise(&mut socket);
        if has_default_route(&surroundings().unwrap()) {
            return;
        }
        assert!(Instant::now() < deadline, "no default route was learned ({sent:?})");
        std::thread::yield_now();
    }
}

fn forwarding(accept: Option<&str>) -> HostState {
    let mut desired = HostState::default();
    desired.sysctls.insert(FORWARDING.into(), "1".into());
    desired.sysctls.extend(accept.map(|value| (ACCEPT.into(), value.into())));
    desired
}

/// Runs a test on Linux where a router's advertisement was followed.
fn with_router(test: impl FnOnce(&mut ReadBack) + Send) {
    on_linux(|kernel, _| {
        sysctl::write(ACCEPT, "1").unwrap();
        // Both ends are in one namespace.
        sysctl::write("net/ipv6/conf/eth0/accept_ra_from_local", "1").unwrap();
        await_default_route();
        test(kernel);
    });
}

#[test]
fn an_advertised_default_route_stays_when_forwarding_begins() {
    with_router(|kernel| {
        assert!(follows(&surroundings().unwrap()));
        reconcile(kernel, &forwarding(Some("2")));
        let seen = surroundings().unwrap();
        assert!(has_default_route(&seen), "it was forgotten");
        assert!(follows(&seen), "the next look would find otherwise");
    });
}

#[test]
fn without_care_for_it_the_kernel_forgets_it_and_a_device_that_follows_none_is_told_as_such() {
    with_router(|kernel| {
        reconcile(kernel, &forwarding(None));
        let seen = surroundings().unwrap();
        assert!(!has_default_route(&seen), "this kernel needs none of this");
        assert!(!follows(&seen), "it does not while it forwards");
        sysctl::write(FORWARDING, "0").unwrap();
        sysctl::write(ACCEPT, "0").unwrap();
        assert!(!follows(&surroundings().unwrap()), "its owner does not want it to");
    });
}

#[test]
fn devices_are_told_to_go_on_listening_before_forwarding_begins() {
    let mut kernel = FakeKernel::new([name(UNDERLAY)]);
    reconcile(&mut kernel, &forwarding(Some("2")));
    let writes: Vec<String> =
        kernel.trace().into_iter().filter(|line| line.starts_with("sysctls write")).collect();
    assert_eq!(writes, [format!("sysctls write {ACCEPT}"), format!("sysctls write {FORWARDING}")]);
}
