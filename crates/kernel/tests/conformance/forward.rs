//! The one rule in the forward chain of others, with both flavours of `iptables`, and with firewalld.

use super::{on_linux, pretty_eq, reconcile};
use hopsack_kernel::{Kernel, Table};
use hopsack_plan::HostState;
use hopsack_types::Family;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const RULE: &str = "-m mark --mark 0x8000000/0x8000000 -m comment --comment hopsack -j ACCEPT";

/// Runs a program in the namespace of the test, as somebody else would.
fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What firewalld 1.3 begins with, as far as forwarding goes.
const FIREWALLD: &str = "table inet firewalld {
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname lo accept
        ct state invalid drop
        reject with icmpx admin-prohibited
    }
}
";

/// Gives `nft` a script.
fn nft(script: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{script}");
}

fn wanted() -> HostState {
    HostState { forward_accept: Family::BOTH.into(), ..HostState::default() }
}

#[test]
fn where_nothing_stands_in_the_way_nothing_is_made() {
    on_linux(|kernel, _| {
        pretty_eq(&kernel.observe(&wanted()).unwrap(), &wanted());
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn a_drop_policy_of_either_flavour_and_family_gets_our_rule_until_we_go() {
    for program in ["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"] {
        on_linux(|kernel, _| {
            run(&format!("{program} -P FORWARD DROP"));
            let applied = reconcile(kernel, &wanted());
            assert_eq!(applied.changes.get(&Table::Forward), Some(&1), "{program}");
            assert!(run(&format!("{program} -S FORWARD")).contains(RULE), "{program}");
            reconcile(kernel, &HostState::default());
            assert_eq!(run(&format!("{program} -S FORWARD")), "-P FORWARD DROP\n", "{program}");
        });
    }
}

#[test]
fn when_docker_comes_later_the_rule_is_in_the_chain_for_its_users_as_well() {
    on_linux(|kernel, _| {
        run("iptables-nft -A FORWARD -j DROP");
        reconcile(kernel, &wanted());
        run("iptables-nft -N DOCKER-USER");
        run("iptables-nft -A DOCKER-USER -j RETURN");
        run("iptables-nft -I FORWARD -j DOCKER-USER");
        let observed = kernel.observe(&wanted()).unwrap();
        assert_eq!(observed.forward_accept, [Family::V6].into());
        reconcile(kernel, &wanted());
        let users = run("iptables-nft -S DOCKER-USER");
        assert_eq!(users, format!("-N DOCKER-USER\n-A DOCKER-USER {RULE}\n-A DOCKER-USER -j RETURN\n"));
        // Docker takes its jump away and makes it anew: meanwhile the one in its place lets ours pass.
        assert_eq!(run("iptables-nft -S FORWARD").matches("hopsack").count(), 1);
        run("iptables-nft -D FORWARD -j DOCKER-USER");
        run("iptables-nft -I FORWARD -j DOCKER-USER");
        assert_eq!(kernel.observe(&wanted()).unwrap().forward_accept, wanted().forward_accept);
        // Somebody flushes it.
        run("iptables-nft -F DOCKER-USER");
        reconcile(kernel, &wanted());
        reconcile(kernel, &HostState::default());
        assert_eq!(run("iptables-nft -S DOCKER-USER"), "-N DOCKER-USER\n");
        assert!(!run("iptables-nft -S FORWARD").contains("hopsack"));
    });
}

#[test]
fn a_rule_that_is_no_longer_first_is_put_first_again() {
    on_linux(|kernel, _| {
        run("ip6tables-nft -P FORWARD DROP");
        reconcile(kernel, &wanted());
        run("ip6tables-nft -I FORWARD -s fd00::9 -j DROP");
        reconcile(kernel, &wanted());
        let listing = run("ip6tables-nft -S FORWARD");
        assert_eq!(listing.lines().nth(1), Some(format!("-A FORWARD {RULE}").as_str()));
        assert_eq!(listing.matches("hopsack").count(), 1);
    });
}

#[test]
fn a_users_chain_that_was_cut_off_by_a_flush_is_left_for_the_forward_chain() {
    on_linux(|kernel, _| {
        for line in ["-P FORWARD DROP", "-N DOCKER-USER", "-I FORWARD -j DOCKER-USER"] {
            run(&format!("iptables-nft {line}"));
        }
        reconcile(kernel, &wanted());
        run("iptables-nft -F FORWARD");
        reconcile(kernel, &wanted());
        assert_eq!(run("iptables-nft -S FORWARD"), format!("-P FORWARD DROP\n-A FORWARD {RULE}\n"));
        assert_eq!(run("iptables-nft -S DOCKER-USER"), "-N DOCKER-USER\n");
    });
}

#[test]
fn the_older_iptables_tells_nobody_of_a_flush_and_yet_it_is_seen() {
    on_linux(|kernel, _| {
        run("iptables-legacy -P FORWARD DROP");
        reconcile(kernel, &wanted());
        let wanted = wanted().forward_accept;
        assert_eq!(kernel.observe_forward_accept(&wanted).unwrap(), wanted);
        run("iptables-legacy -F FORWARD");
        assert_eq!(kernel.observe_forward_accept(&wanted).unwrap(), [Family::V6].into());
    });
}

#[test]
fn firewalld_lets_ours_pass_first_until_we_go_and_after_a_reload() {
    on_linux(|kernel, _| {
        let first = |family: &str| {
            format!(
                "meta nfproto {family} meta mark & 0x08000000 == 0x08000000 accept comment \"hopsack {family}\""
            )
        };
        let rules = || -> Vec<String> {
            let listing = run("nft list chain inet firewalld filter_FORWARD");
            listing.lines().skip(3).map(|line| line.trim().to_owned()).collect()
        };
        for _ in ["start", "reload"] {
            nft(&format!("table inet firewalld\ndelete table inet firewalld\n{FIREWALLD}"));
            let alone = rules();
            assert_eq!(kernel.observe(&wanted()).unwrap().forward_accept, [].into());
            reconcile(kernel, &wanted());
            assert_eq!(rules()[..2], [first("ipv6"), first("ipv4")]);
            assert_eq!(rules()[2..], alone);
            // Somebody takes one of them away.
            run("nft insert rule inet firewalld filter_FORWARD iifname eth7 drop");
            reconcile(kernel, &wanted());
            assert_eq!(rules()[2..], [&["iifname \"eth7\" drop".to_owned()], &alone[..]].concat());
            reconcile(kernel, &HostState::default());
            assert_eq!(rules()[1..], alone);
        }
    });
}

#[test]
fn a_firewalld_that_keeps_its_table_to_itself_is_told_with_the_remedy() {
    on_linux(|kernel, _| {
        let mut owner =
            Command::new("nft").arg("-i").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = owner.stdin.take().unwrap();
        for line in [
            "table inet firewalld { flags owner; }",
            "chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }",
            "rule inet firewalld filter_FORWARD reject",
        ] {
            writeln!(stdin, "add {line}").unwrap();
        }
        writeln!(stdin, "list tables").unwrap();
        let listed = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(listed.take(20).any(|line| line.contains("table inet firewalld")));
        let observed = kernel.observe(&wanted()).unwrap();
        let applied = kernel.apply(observed.clone(), &wanted());
        let reasons: Vec<&str> = applied.failures.iter().map(|failure| failure.reason.as_str()).collect();
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert!(
            reasons[0].contains("set NftablesTableOwner=no in /etc/firewalld/firewalld.conf"),
            "{reasons:?}"
        );
        drop(stdin);
        owner.wait().unwrap();
    });
}
