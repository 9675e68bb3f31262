//! Kernel settings: forwarding, and how our own devices behave.

use crate::state::HostState;
use crate::survey::Survey;
use hopsack_types::{Family, IfName, PublishedPort};

/// Of `accept_ra`; with 1, a kernel that forwards drops the default routes that it has learned and learns no new ones
/// (`ip-sysctl.rst`).
const ALSO_WHILE_FORWARDING: u32 = 2;

/// Adds the settings.
pub fn fill(survey: &Survey<'_>, state: &mut HostState) {
    // Directory by directory, which is nearly in their order: a thousand endpoints have thousands, and each plan sorts them.
    let mut settings = Settings(Vec::new());
    let carriers = survey.vxlan_device.iter().chain(survey.endpoints.iter().map(|(device, _)| device));
    if survey.uses(Family::V4) {
        settings.set("net/ipv4/ip_forward", 1);
        if let Some(device) = &survey.vxlan_device {
            settings.distrust_redirects("ipv4/conf", device);
            settings.send_no_redirects(device);
        }
        for (device, endpoint) in &survey.endpoints {
            settings.distrust_redirects("ipv4/conf", device);
            // For containers that take other addresses of their subnet for neighbours of theirs.
            settings.set_on("ipv4/conf", device, "proxy_arp", 1);
            // Else nothing from 127.0.0.1 leaves by the device; what comes in for it our table drops.
            let at_the_loopback = u32::from(at_the_loopback(&endpoint.ports));
            settings.set_on("ipv4/conf", device, "route_localnet", at_the_loopback);
            settings.send_no_redirects(device);
        }
        for (device, _) in &survey.endpoints {
            // Otherwise each first answer waits for up to 0.8 s.
            settings.set_on("ipv4/neigh", device, "proxy_delay", 0);
        }
        loosen_source_checks(survey, &mut settings);
    }
    if survey.uses(Family::V6) {
        settings.set("net/ipv6/conf/all/forwarding", 1);
        for device in &survey.underlay().advertised {
            settings.set_on("ipv6/conf", device, "accept_ra", ALSO_WHILE_FORWARDING);
        }
        for device in carriers.chain([&survey.host_device]) {
            // Addresses here are assigned by us, and tentative ones answer nothing.
            settings.set_on("ipv6/conf", device, "accept_dad", 0);
            settings.set_on("ipv6/conf", device, "accept_ra", 0);
            settings.distrust_redirects("ipv6/conf", device);
        }
    }
    state.sysctls = settings.0.into_iter().collect();
}

/// Whether a published port is one of 127.0.0.1 too.
fn at_the_loopback(ports: &[PublishedPort]) -> bool {
    let mut addresses = ports.iter().map(|published| published.host.address);
    addresses.any(|address| address.is_ipv4() && (address.is_unspecified() || address.is_loopback()))
}

/// While two hosts change the path between them, and always with probes, packets arrive by another device than the
/// one that answers leave by. A strict reverse path filter (1 in `all`) would drop them; of `all` and the device's own
/// the larger value counts, and 2 asks only that the source be routed at all. Which source may come from which device
/// is checked in our table.
fn loosen_source_checks(survey: &Survey<'_>, settings: &mut Settings) {
    const LOOSE: u32 = 2;
    if let Some(device) = &survey.vxlan_device {
        settings.set_on("ipv4/conf", device, "rp_filter", LOOSE);
    }
    if survey.peers.iter().any(|peer| survey.direct(peer, Family::V4).is_some()) {
        settings.set_on("ipv4/conf", &survey.underlay().device, "rp_filter", LOOSE);
    }
}

/// Path and value of each.
struct Settings(Vec<(String, String)>);

impl Settings {
    fn set(&mut self, path: impl Into<String>, value: u32) {
        self.0.push((path.into(), value.to_string()));
    }

    fn set_on(&mut self, kind: &str, device: &IfName, name: &str, value: u32) {
        self.set(["net", kind, device.as_str(), name].join("/"), value);
    }

    /// A container must not change this host's routes.
    fn distrust_redirects(&mut self, kind: &str, device: &IfName) {
        self.set_on(kind, device, "accept_redirects", 0);
    }

    /// Nor is it to be told of other ones.
    fn send_no_redirects(&mut self, device: &IfName) {
        self.set_on("ipv4/conf", device, "send_redirects", 0);
    }
}
