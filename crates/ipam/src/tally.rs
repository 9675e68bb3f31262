//! How the addresses of a network are spread over its subnets and blocks, counted for people who look.
//! What must not live here: anything that is decided by it (see `grant`, `steward`).

use crate::block::never_given;
use crate::ranges::{Ranges, number};
use hopsack_types::resource::{Grant, Ledger};
use hopsack_types::{Cidr, Network};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One subnet: each of its addresses is in exactly one of the counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetTally {
    /// The subnet.
    pub subnet: Cidr,
    /// In use by containers.
    pub used: u128,
    /// Free, and granted to a host: what it can give without asking anybody.
    pub reserve: u128,
    /// Granted to a removed host that may still use it.
    pub quarantined: u128,
    /// Granted to nobody.
    pub free: u128,
    /// What no container gets: the subnet's edges, gateways, addresses that the user keeps.
    pub kept: u128,
    /// What is granted of it, in order.
    pub blocks: Vec<BlockTally>,
}

/// One granted prefix. Grants of one host that form a larger prefix are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockTally {
    /// The prefix.
    pub prefix: Cidr,
    /// Who holds it.
    pub grant: Grant,
    /// In use by containers.
    pub used: u128,
    /// Usable and not in use.
    pub reserve: u128,
}

/// Counts. `in_use` is what containers of all hosts are known to have; what of it is outside of every grant is in no
/// count.
pub fn tally(ledger: &Ledger, network: &Network, in_use: &BTreeSet<IpAddr>) -> Vec<SubnetTally> {
    network.subnets.iter().map(|subnet| tally_subnet(ledger, network, *subnet, in_use)).collect()
}

fn tally_subnet(ledger: &Ledger, network: &Network, subnet: Cidr, in_use: &BTreeSet<IpAddr>) -> SubnetTally {
    let never = never_given(network, subnet.family());
    let never_in = |ranges: &Ranges| never.iter().filter(|never| ranges.contains(**never)).count() as u128;
    let whole = Ranges::of(subnet);
    let mut tally = SubnetTally {
        subnet,
        used: 0,
        reserve: 0,
        quarantined: 0,
        free: 0,
        kept: never_in(&whole),
        blocks: Vec::new(),
    };
    let mut granted = 0;
    for (prefix, grant) in ledger.grants.iter().filter(|(prefix, _)| subnet.covers(prefix)) {
        let block = Ranges::of(*prefix);
        let usable = block.count() - never_in(&block);
        let taken = in_use.range(prefix.first()..=prefix.last());
        let used = taken.filter(|address| never.binary_search(&number(**address)).is_err()).count() as u128;
        let reserve = usable - used;
        granted += usable;
        if grant.quarantined {
            tally.quarantined += usable;
        } else {
            tally.used += used;
            tally.reserve += reserve;
        }
        tally.blocks.push(BlockTally { prefix: *prefix, grant: *grant, used, reserve });
    }
    tally.free = (whole.count() - tally.kept).saturating_sub(granted);
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cidr, host, ip, ledger, network};
    use proptest::prelude::*;

    #[test]
    fn every_address_of_a_subnet_is_in_one_count() {
        let network = network(&["10.1.0.0/24", "fd01::/64"], &["10.1.0.1", "10.1.0.9"]);
        let mut ledger = ledger(&[(1, &["10.1.0.0/29", "fd01::/80"]), (2, &["10.1.0.8/29"])]);
        let aside = Grant { host: host(3), quarantined: true };
        ledger.grants.insert(cidr("10.1.0.16/29"), aside);
        let in_use = ["10.1.0.2", "10.1.0.10", "10.1.0.11", "10.1.0.17", "fd01::5"].map(ip);
        let [v4, v6] = tally(&ledger, &network, &BTreeSet::from(in_use)).try_into().unwrap();
        let block = |prefix: &str, of, used, reserve| {
            let grant = Grant { host: host(of), quarantined: of == 3 };
            BlockTally { prefix: cidr(prefix), grant, used, reserve }
        };
        // The first block has the network's own address and the gateway, the second one that is kept.
        let blocks = vec![
            block("10.1.0.0/29", 1, 1, 5),
            block("10.1.0.8/29", 2, 2, 5),
            block("10.1.0.16/29", 3, 1, 7),
        ];
        let subnet = cidr("10.1.0.0/24");
        let expected =
            SubnetTally { subnet, used: 3, reserve: 10, quarantined: 8, free: 231, kept: 4, blocks };
        assert_eq!(v4, expected);
        assert_eq!((v6.used, v6.reserve, v6.kept), (1, (1 << 48) - 2, 1));
        assert_eq!(v6.used + v6.reserve + v6.kept + v6.free, 1 << 64);
    }

    proptest! {
        #[test]
        fn counts_add_up_whatever_is_granted_and_in_use(
            grants in proptest::collection::btree_map(0_u8..32, (1_u8..4, any::<bool>()), 0..32),
            used in proptest::collection::btree_set(any::<u8>(), 0..60),
        ) {
            let network = network(&["10.1.0.0/24"], &["10.1.0.77"]);
            let mut ledger = Ledger::default();
            for (slot, (of, quarantined)) in grants {
                let grant = Grant { host: host(of), quarantined };
                ledger.grants.insert(cidr(&format!("10.1.0.{}/29", u16::from(slot) * 8)), grant);
            }
            let in_use = used.into_iter().map(|last| ip(&format!("10.1.0.{last}"))).collect();
            let SubnetTally { used, reserve, quarantined, free, kept, .. } =
                tally(&ledger, &network, &in_use).remove(0);
            prop_assert_eq!(used + reserve + quarantined + free + kept, 256);
        }
    }
}
