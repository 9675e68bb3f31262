//! How addresses are spread, as this host knows it: of itself by its journal, of others by the ledgers and their
//! endpoints.

use crate::member::Member;
use hopsack_api::ipam::UNCOUNTED;
use hopsack_api::{BlockIpam, HeldAddress, IpamStatus, NetworkIpam, PoolStatus, SubnetIpam};
use hopsack_ipam::tally::{BlockTally, SubnetTally, tally};
use hopsack_types::fact::EndpointFact;
use hopsack_types::intent::Intent;
use hopsack_types::{EndpointId, HostId, Network, NetworkId, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Pools, subnets, blocks and addresses.
pub fn ipam(member: &Member) -> IpamStatus {
    let intent = member.intent.borrow().intent.clone();
    let endpoints = member.facts.endpoints(&intent);
    let mut by_network: BTreeMap<NetworkId, Vec<Known<'_>>> = BTreeMap::new();
    for (id, (host, fact)) in &endpoints {
        by_network.entry(fact.network).or_default().push((*id, *host, fact));
    }
    let mut networks: Vec<NetworkIpam> = intent
        .networks
        .values()
        .map(|of| network(member, &intent, of, by_network.get(&of.id).map_or(&[], Vec::as_slice)))
        .collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    IpamStatus { pools: intent.pools.values().map(|of| pool(&intent, of)).collect(), networks }
}

/// An endpoint of any host.
type Known<'a> = (EndpointId, HostId, &'a EndpointFact);

fn pool(intent: &Intent, pool: &Pool) -> PoolStatus {
    let subnets = intent.networks.values().flat_map(|network| &network.subnets).copied();
    let addresses = intent.hosts.values().flat_map(|host| &host.addresses);
    let subnets: BTreeSet<_> = subnets.filter(|subnet| pool.cidr.covers(subnet)).collect();
    PoolStatus {
        name: pool.name.clone(),
        prefix: pool.cidr,
        disabled: pool.disabled,
        subnets: subnets.into_iter().collect(),
        host_range: pool.host_range(),
        hosts: addresses.filter(|address| pool.cidr.contains(**address)).count(),
    }
}

fn network(member: &Member, intent: &Intent, network: &Network, endpoints: &[Known<'_>]) -> NetworkIpam {
    let held = held(member, intent, network.id, endpoints);
    let in_use = held.keys().copied().collect();
    let cooling = member.addresses.cooling(network.id);
    let ledger = intent.ledgers.get(&network.id).cloned().unwrap_or_default();
    let me = member.identity.host;
    let subnets = tally(&ledger, network, &in_use).into_iter();
    NetworkIpam {
        id: network.id,
        name: network.name.clone(),
        closing: ledger.closing,
        subnets: subnets.map(|of| subnet(intent, network, &cooling, me, of)).collect(),
        held: held.into_values().collect(),
    }
}

/// Who has which address: on this host as its journal says, elsewhere as the endpoints there say.
fn held(
    member: &Member,
    intent: &Intent,
    network: NetworkId,
    endpoints: &[Known<'_>],
) -> BTreeMap<IpAddr, HeldAddress> {
    let me = member.identity.host;
    let name_of = |host: HostId| intent.hosts.get(&host).map(|host| host.name.clone());
    let entry = |address, host| HeldAddress {
        address,
        host,
        host_name: name_of(host),
        holder: None,
        endpoint: None,
        name: None,
    };
    let journal = member.addresses.in_use(network).into_iter();
    let mut held: BTreeMap<IpAddr, HeldAddress> = journal
        .map(|(address, holder)| (address, HeldAddress { holder: Some(holder), ..entry(address, me) }))
        .collect();
    for (id, host, fact) in endpoints {
        for address in &fact.addresses {
            let known = held.entry(*address).or_insert_with(|| entry(*address, *host));
            known.endpoint = Some(*id);
            known.name = Some(fact.name.clone());
        }
    }
    held
}

fn subnet(
    intent: &Intent,
    network: &Network,
    cooling: &BTreeSet<IpAddr>,
    me: HostId,
    tally: SubnetTally,
) -> SubnetIpam {
    let SubnetTally { subnet, used, reserve, quarantined, free, kept, blocks } = tally;
    let range = network.range_in(subnet);
    let pool = intent.pools.values().find(|pool| pool.cidr.covers(&subnet));
    SubnetIpam {
        prefix: subnet,
        range: (range != subnet).then_some(range),
        pool: pool.map(|pool| pool.name.clone()),
        used: counted(used),
        reserve: counted(reserve),
        quarantined: counted(quarantined),
        free: counted(free),
        kept: counted(kept),
        cooling: cooling.range(subnet.first()..=subnet.last()).count() as u64,
        blocks: blocks.into_iter().map(|of| block(intent, cooling, me, &of)).collect(),
    }
}

fn block(intent: &Intent, cooling: &BTreeSet<IpAddr>, me: HostId, tally: &BlockTally) -> BlockIpam {
    let BlockTally { prefix, grant, used, reserve } = tally;
    let resting = cooling.range(prefix.first()..=prefix.last()).count() as u64;
    BlockIpam {
        prefix: *prefix,
        host: grant.host,
        host_name: intent.hosts.get(&grant.host).map(|host| host.name.clone()),
        quarantined: grant.quarantined,
        used: counted(*used),
        reserve: counted(*reserve),
        cooling: (grant.host == me && !grant.quarantined).then_some(resting),
    }
}

/// A count as it is told.
fn counted(count: u128) -> u64 {
    u64::try_from(count).map_or(UNCOUNTED, |count| count.min(UNCOUNTED))
}
