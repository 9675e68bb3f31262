//! The kernel: its version, what it can do, the `nft` program, the settings that forwarding needs.

use super::agent::Asked;
use super::finding::{Finding, Subject};
use crate::program;
use hopsack_kernel::KernelError;
use std::fs;
use std::path::Path;

/// The oldest kernel that Hopsack is made for.
const OLDEST: (u32, u32) = (5, 15);

/// Kernel, `nft` and settings.
pub fn check(asked: &Asked) -> Vec<Finding> {
    let mut findings = vec![version(&read("kernel/osrelease"))];
    findings.extend(features());
    findings.extend(forwarding(asked));
    findings
}

/// A setting below `/proc/sys`; empty where there is none.
fn read(name: &str) -> String {
    fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default().trim().to_owned()
}

fn version(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= OLDEST {
        return Finding::ok(Subject::Kernel, format!("Linux {release}"));
    }
    let text = format!("Linux {release} is older than {}.{}, which Hopsack is made for", OLDEST.0, OLDEST.1);
    Finding::warn(Subject::Kernel, text, "uname -r")
}

/// What can be done is tried out.
fn features() -> Vec<Finding> {
    let report = match hopsack_kernel::probe() {
        Ok(report) => report,
        Err(error @ KernelError::NotRoot) => {
            return vec![Finding::fail(Subject::Kernel, error.to_string(), "sudo hopsack doctor")];
        }
        Err(error @ KernelError::Firewall(_)) => {
            return vec![Finding::fail(Subject::Nft, error.reason(), "apt-get install nftables")];
        }
        Err(error) => return vec![Finding::fail(Subject::Kernel, error.reason(), "dmesg")],
    };
    let vxlan = match report.features.vxlan {
        true => Finding::ok(Subject::Kernel, "VXLAN devices can be made"),
        false => {
            let found = "this kernel has no vxlan: only hosts of one segment reach each other";
            Finding::warn(Subject::Kernel, found, "modprobe vxlan")
        }
    };
    let ipv6 = match report.features.ipv6 {
        true => Finding::ok(Subject::Kernel, "IPv6 is on"),
        false => {
            let found = "IPv6 is off: IPv6 networks do not work here";
            Finding::warn(Subject::Kernel, found, "sysctl -w net.ipv6.conf.all.disable_ipv6=0")
        }
    };
    let fast_path = match report.features.fast_path {
        true => Finding::ok(Subject::Kernel, "links can run eBPF programs"),
        false => {
            let found = "links cannot run eBPF programs: all packets take the routes, which is slower";
            Finding::warn(Subject::Kernel, found, "modprobe -a sch_ingress cls_bpf")
        }
    };
    let nft = program::read(&["nft", "--version"]).unwrap_or_default();
    vec![vxlan, ipv6, fast_path, Finding::ok(Subject::Nft, nft.trim())]
}

fn forwarding(asked: &Asked) -> Vec<Finding> {
    let Some(examination) = asked.examination.as_ref().filter(|told| !told.settings.is_empty()) else {
        let [v4, v6] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"].map(read);
        let found = format!("ip_forward is {v4}, IPv6 forwarding {v6}; in a cluster the agent sets both");
        return vec![Finding::ok(Subject::Forwarding, found)];
    };
    let wrong = examination.settings.iter().filter_map(|(name, wanted)| {
        let found = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        let found = found.trim();
        (found != wanted).then(|| {
            let text =
                format!("{name} is {found} and should be {wanted}: something else sets it again and again");
            Finding::fail(Subject::Forwarding, text, "hopsack events --since 1h")
        })
    });
    let mut findings: Vec<Finding> = wrong.collect();
    if findings.is_empty() {
        let found = format!("all {} kernel settings are as they should be", examination.settings.len());
        findings.push(Finding::ok(Subject::Forwarding, found));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn kernels_from_5_15_on_are_new_enough() {
        for (release, verdict) in [
            ("6.1.0-28-amd64", Verdict::Ok),
            ("5.15.0", Verdict::Ok),
            ("5.14.21-default", Verdict::Warn),
            ("4.19", Verdict::Warn),
            ("", Verdict::Warn),
        ] {
            assert_eq!(version(release).verdict, verdict, "{release}");
        }
    }
}
