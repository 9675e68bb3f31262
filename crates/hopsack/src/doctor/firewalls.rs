//! Firewalls of others: whether they let hosts talk to each other, and containers' packets through.

use super::finding::{Finding, Subject};
use super::forward::{self, Chain, Fate};
use crate::program;
use hopsack_types::numbers::{ACCEPT_MARK, VXLAN_PORT};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// ufw, firewalld, `iptables`, and chains that somebody made by hand.
pub fn check(control_port: u16, in_cluster: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(program::read(&["ufw", "status"]).and_then(|said| ufw(&said, control_port)));
    if program::read(&["firewall-cmd", "--state"]).is_some() {
        let ports = program::read(&["firewall-cmd", "--list-ports"]).unwrap_or_default();
        findings.push(firewalld(&ports, control_port));
    }
    let listing = program::read(&["nft", "-j", "list", "ruleset"]);
    match listing.and_then(|text| serde_json::from_str(&text).ok()) {
        Some(ruleset) => {
            findings.extend(flavours(&ruleset).into_iter().filter_map(|program| {
                program::read(&[program, "-S", "FORWARD"])
                    .and_then(|said| iptables(program, &said, in_cluster))
            }));
            findings.extend(forward::chains(&ruleset).iter().filter_map(told));
        }
        None => {
            let found =
                "nftables' rules cannot be read: chains that drop what is forwarded are not looked for";
            findings.push(Finding::warn(Subject::Firewalls, found, "nft list ruleset"));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Subject::Firewalls, "nothing of others drops what is forwarded"));
    }
    findings
}

fn ufw(said: &str, control_port: u16) -> Option<Finding> {
    if !said.contains("Status: active") {
        return None;
    }
    let open =
        |port: u16| said.lines().any(|line| line.starts_with(&port.to_string()) && line.contains("ALLOW"));
    Some(if open(control_port) && open(VXLAN_PORT) {
        Finding::ok(Subject::Firewalls, format!("ufw lets {control_port} and {VXLAN_PORT} in"))
    } else {
        let found = format!(
            "ufw is active, and no rule lets {control_port} and {VXLAN_PORT} in from the other hosts"
        );
        Finding::warn(
            Subject::Firewalls,
            found,
            format!("ufw allow {control_port}; ufw allow {VXLAN_PORT}/udp"),
        )
    })
}

fn firewalld(ports: &str, control_port: u16) -> Finding {
    let wanted = [format!("{control_port}/tcp"), format!("{control_port}/udp"), format!("{VXLAN_PORT}/udp")];
    let missing: Vec<&String> =
        wanted.iter().filter(|port| !ports.split_whitespace().any(|open| open == **port)).collect();
    if missing.is_empty() {
        return Finding::ok(Subject::Firewalls, format!("firewalld lets {} in", wanted.join(", ")));
    }
    let shown: Vec<&str> = missing.iter().map(|port| port.as_str()).collect();
    let found = format!("firewalld runs, and its default zone does not list {}", shown.join(", "));
    let flags: Vec<String> = missing.iter().map(|port| format!("--add-port={port}")).collect();
    let next = format!("firewall-cmd --permanent {} && firewall-cmd --reload", flags.join(" "));
    Finding::warn(Subject::Firewalls, found, next)
}

/// The programs whose chains are in use. Another one would make them by being asked, and hook them into every packet's way.
fn flavours(ruleset: &Value) -> Vec<&'static str> {
    let nft = [("ip", "iptables-nft"), ("ip6", "ip6tables-nft")].into_iter().filter(|(family, _)| {
        let chains =
            ruleset["nftables"].as_array().into_iter().flatten().filter_map(|object| object.get("chain"));
        let mut places = chains
            .map(|chain| ["family", "table", "name"].map(|key| chain[key].as_str().unwrap_or_default()));
        places.any(|place| place == [*family, "filter", "FORWARD"])
    });
    let legacy = [("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")];
    let legacy = legacy.into_iter().filter(|(names, _)| {
        let names = fs::read_to_string(Path::new("/proc/thread-self/net").join(names));
        names.is_ok_and(|names| names.lines().any(|name| name == "filter"))
    });
    nft.chain(legacy).map(|(_, program)| program).collect()
}

/// What `iptables -S FORWARD` says: without a policy that drops there is nothing to tell.
fn iptables(program: &str, said: &str, in_cluster: bool) -> Option<Finding> {
    if !said.lines().any(|line| line == "-P FORWARD DROP") {
        return None;
    }
    let label = |line: &&str| line.contains("--comment hopsack") || line.contains("--comment \"hopsack");
    let drops = format!("{program} drops what is forwarded (Docker or a firewall has it so)");
    Some(if said.lines().any(|line| label(&line)) {
        Finding::ok(Subject::Firewalls, format!("{drops}, but for what Hopsack accepts"))
    } else if in_cluster {
        let found = format!("{drops}, and the agent's rule that lets Hopsack's packets pass is not there");
        Finding::warn(Subject::Firewalls, found, "hopsack status")
    } else {
        Finding::ok(Subject::Firewalls, format!("{drops}; in a cluster the agent lets its own packets pass"))
    })
}

fn told(chain: &Chain) -> Option<Finding> {
    let name = &chain.name;
    let next = format!("nft insert rule {name} meta mark and {ACCEPT_MARK:#x} == {ACCEPT_MARK:#x} accept");
    match chain.fate {
        Fate::Pass => None,
        Fate::MayDrop => {
            let found = format!(
                "a rule of nftables chain {name} may drop what containers send: mark {ACCEPT_MARK:#x}, which Hopsack \
                 puts on what it accepts, has to pass"
            );
            Some(Finding::warn(Subject::Firewalls, found, next))
        }
        Fate::Drop => {
            let found = format!(
                "nftables chain {name} drops what is forwarded, also between containers: mark {ACCEPT_MARK:#x}, which \
                 Hopsack puts on what it accepts, has to pass"
            );
            Some(Finding::fail(Subject::Firewalls, found, next))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_firewall_that_is_off_says_nothing_and_one_that_is_on_has_to_open_our_ports() {
        assert_eq!(ufw("Status: inactive\n", 4677), None);
        let closed = ufw("Status: active\n\n22/tcp    ALLOW       Anywhere\n", 4677).unwrap();
        assert_eq!(closed.verdict, Verdict::Warn);
        assert_eq!(closed.next.as_deref(), Some("ufw allow 4677; ufw allow 4678/udp"));
        let open = "Status: active\n\n4677     ALLOW       Anywhere\n4678/udp     ALLOW       Anywhere\n";
        assert_eq!(ufw(open, 4677).unwrap().verdict, Verdict::Ok);
        assert_eq!(firewalld("4677/tcp 4677/udp 4678/udp", 4677).verdict, Verdict::Ok);
        let next = firewalld("22/tcp 4677/tcp", 4677).next.unwrap();
        assert!(next.contains("--add-port=4677/udp --add-port=4678/udp"), "{next}");
    }

    #[test]
    fn dockers_drop_is_well_only_with_our_rule() {
        let iptables =
            |said, in_cluster| iptables("iptables", said, in_cluster).map(|finding| finding.verdict);
        assert_eq!(iptables("-P FORWARD ACCEPT\n", true), None);
        let drops = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n";
        assert_eq!(iptables(drops, true), Some(Verdict::Warn));
        assert_eq!(iptables(drops, false), Some(Verdict::Ok));
        let ours = "-P FORWARD DROP\n-A FORWARD -m mark --mark 0x8000000/0x8000000 -m comment --comment hopsack -j ACCEPT\n";
        assert_eq!(iptables(ours, true), Some(Verdict::Ok));
    }

    #[test]
    fn a_chain_that_drops_is_named_with_the_rule_that_it_lacks() {
        let drops = told(&Chain { name: "inet mine forward".to_owned(), fate: Fate::Drop }).unwrap();
        assert_eq!(drops.verdict, Verdict::Fail);
        assert!(drops.found.contains("inet mine forward") && drops.found.contains("0x8000000"), "{drops:?}");
        let next = "nft insert rule inet mine forward meta mark and 0x8000000 == 0x8000000 accept";
        assert_eq!(drops.next.as_deref(), Some(next));
    }
}
