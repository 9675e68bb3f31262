//! The one rule in the forward chain of others, with both flavours of `iptables`.

use super::{on_linux, pretty_eq, reconcile};
use hopsack_kernel::{Kernel, Table};
use hopsack_plan::HostState;
use hopsack_types::Family;
use std::process::Command;

const RULE: &str = "-m mark --mark 0x8000000/0x8000000 -m comment --comment hopsack -j ACCEPT";

/// Runs a program in the namespace of the test, as somebody else would.
fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
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
fn when_docker_comes_later_the_rule_moves_to_the_chain_for_its_users() {
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
        assert!(!run("iptables-nft -S FORWARD").contains("hopsack"));
        // Somebody flushes it.
        run("iptables-nft -F DOCKER-USER");
        reconcile(kernel, &wanted());
        reconcile(kernel, &HostState::default());
        assert_eq!(run("iptables-nft -S DOCKER-USER"), "-N DOCKER-USER\n");
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
