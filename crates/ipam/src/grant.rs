//! Grants: who holds which part of a network's subnets. Each function takes a ledger and gives the next one, for
//! one compare-and-swap; none when there is nothing to change.
//!
//! Grants are disjoint prefixes without gaps of their own: those of one holder that form a larger prefix are one.
//! What must not live here: what hosts ask of each other (see `want`), and addresses in use (see `allocator`).

use crate::block::{automatic, block_length, check_usable, never_given};
use crate::error::IpamError;
use crate::handle::Handle;
use crate::ranges::{Ranges, address, bounds};
use hopsack_types::resource::{Grant, Ledger, Wanted};
use hopsack_types::{Cidr, Family, HostId, HostName, Network};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// How many addresses a host claims, and how badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To keep ahead of need: leaves what others have asked for.
    Reserve(u64),
    /// For containers that wait.
    Now(u64),
}

/// Names of hosts, for messages.
pub type Names = BTreeMap<HostId, HostName>;

/// Where an address of a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Granted to nobody.
    Free,
    /// Granted to a host.
    Held(HostId),
    /// Granted to a removed host that may still use it.
    Quarantined(HostId),
}

/// Where an address is; an error when no container can have it at all.
pub fn locate(ledger: &Ledger, network: &Network, address: IpAddr) -> Result<Place, IpamError> {
    check_usable(network, address)?;
    Ok(match grant_of(ledger, address) {
        None => Place::Free,
        Some(grant) if grant.quarantined => Place::Quarantined(grant.host),
        Some(grant) => Place::Held(grant.host),
    })
}

/// The grant that an address lies in. Grants are disjoint, so it is the last one that begins at or before it.
pub(crate) fn grant_of(ledger: &Ledger, address: IpAddr) -> Option<Grant> {
    let upto = ..=Cidr::host(address);
    ledger
        .grants
        .range(upto)
        .next_back()
        .filter(|(prefix, _)| prefix.contains(address))
        .map(|(_, grant)| *grant)
}

/// The prefixes that a host may allocate from, in order.
pub fn granted(ledger: &Ledger, host: HostId) -> impl Iterator<Item = Cidr> + '_ {
    let mine = Grant { host, quarantined: false };
    ledger.grants.iter().filter(move |(_, grant)| **grant == mine).map(|(prefix, _)| *prefix)
}

/// Claims addresses for `me` out of what nobody holds: whole blocks while there are any, smaller pieces after. Takes
/// less than needed when there is no more, and none when there is nothing at all.
///
/// The search begins at a place that depends on the host, so that hosts that claim at the same time take different
/// blocks and only retry because the ledger is one document. Addresses that others want by name are left.
///
/// Of several subnets the first that has something is used up before the next; of a subnet with a range, only that.
pub fn claim(ledger: &Ledger, network: &Network, me: HostId, family: Family, need: Need) -> Option<Ledger> {
    let never = never_given(network, family);
    let usable = |free: &Ranges| free.count() - never.iter().filter(|n| free.contains(**n)).count() as u128;
    let places: Vec<(Cidr, Cidr)> =
        network.subnets_of(family).map(|subnet| (subnet, network.range_in(subnet))).collect();
    let (mut missing, mut budget) = match need {
        Need::Now(count) => (u128::from(count), u128::MAX),
        Need::Reserve(count) => {
            let asked = asked_by_others(ledger, me, family);
            let free = places.iter().map(|(_, range)| usable(&claimable(ledger, *range, me)));
            (u128::from(count), free.fold(0, u128::saturating_add).saturating_sub(asked))
        }
    };
    let mut next = None;
    for (subnet, range) in places {
        let mut free = claimable(ledger, range, me);
        let mut mine = holdings_of(ledger, me, false, subnet);
        let mut gained = false;
        while missing > 0 && budget > 0 {
            let Some(piece) = pick(&free, range, start(range, network, me), missing.min(budget), budget)
            else {
                break;
            };
            free.remove_prefix(piece);
            let useful = usable(&Ranges::of(piece));
            if useful == 0 {
                continue;
            }
            mine.insert_prefix(piece);
            gained = true;
            missing = missing.saturating_sub(useful);
            budget = budget.saturating_sub(useful);
        }
        if gained {
            rewrite(next.get_or_insert_with(|| ledger.clone()), me, false, subnet, &mine);
        }
    }
    if let Some(next) = &mut next {
        next.wants.retain(|want| !(want.host == me && want.wanted == Wanted::Any(family)));
    }
    next
}

/// Claims one certain address that nobody holds.
pub fn claim_address(ledger: &Ledger, network: &Network, me: HostId, address: IpAddr) -> Option<Ledger> {
    let subnet = network.subnet_of(address)?;
    if locate(ledger, network, address) != Ok(Place::Free) {
        return None;
    }
    let mut mine = holdings_of(ledger, me, false, subnet);
    mine.insert_prefix(Cidr::host(address));
    let mut next = ledger.clone();
    rewrite(&mut next, me, false, subnet, &mine);
    next.wants.retain(|want| !(want.host == me && want.wanted == Wanted::Address(address)));
    Some(next)
}

/// Hands a prefix, or one address (a /32 or /128), back to nobody. What is left of the grants around it stays.
/// Only after it has been lent durably: see `allocator`.
pub fn release(ledger: &Ledger, network: &Network, me: HostId, prefix: Cidr) -> Option<Ledger> {
    let subnet = network.subnet_of(prefix.first())?;
    let before = holdings_of(ledger, me, false, subnet);
    let mut after = before.clone();
    after.remove_prefix(prefix);
    (after != before).then(|| {
        let mut next = ledger.clone();
        rewrite(&mut next, me, false, subnet, &after);
        next
    })
}

/// Sets all grants of a removed host aside: nobody may use them until the host has acknowledged or is known to be
/// destroyed. Its wants go.
pub fn quarantine(ledger: &Ledger, host: HostId) -> Option<Ledger> {
    let mut next = ledger.clone();
    for grant in next.grants.values_mut().filter(|grant| grant.host == host) {
        grant.quarantined = true;
    }
    next.wants.retain(|want| want.host != host);
    (next != *ledger).then_some(next)
}

/// Frees what was set aside of a host that is destroyed: somebody has said that it can never run again.
pub fn free_quarantined(ledger: &Ledger, host: HostId) -> Option<Ledger> {
    let mut next = ledger.clone();
    next.grants.retain(|_, grant| !(grant.host == host && grant.quarantined));
    (next != *ledger).then_some(next)
}

/// A removed host has come back as `heir` (the same id, or the one it was given when it joined again) and tells what
/// it has in use: that stays its own, and the rest of what was set aside is free.
pub fn acknowledge(
    ledger: &Ledger,
    network: &Network,
    removed: HostId,
    heir: HostId,
    in_use: impl IntoIterator<Item = IpAddr>,
) -> Option<Ledger> {
    let aside = Grant { host: removed, quarantined: true };
    if !ledger.grants.values().any(|grant| *grant == aside) {
        return None;
    }
    let kept = in_use.into_iter().filter(|address| grant_of(ledger, *address) == Some(aside));
    let kept: Vec<Cidr> = kept.map(Cidr::host).collect();
    let mut next = ledger.clone();
    for subnet in &network.subnets {
        let mut held = holdings_of(ledger, heir, false, *subnet);
        kept.iter().filter(|prefix| subnet.covers(prefix)).for_each(|prefix| held.insert_prefix(*prefix));
        rewrite(&mut next, removed, true, *subnet, &Ranges::default());
        rewrite(&mut next, heir, false, *subnet, &held);
    }
    Some(next)
}

/// Checks what must hold of every ledger: grants are disjoint and inside the network's subnets.
pub fn check(ledger: &Ledger, network: &Network) -> Result<(), IpamError> {
    let broken =
        |prefix: &Cidr, why| IpamError::BrokenLedger { network: network.name.clone(), prefix: *prefix, why };
    let mut before: Option<Cidr> = None;
    for prefix in ledger.grants.keys() {
        if !network.subnets.iter().any(|subnet| subnet.covers(prefix)) {
            return Err(broken(prefix, "outside the network's subnets"));
        }
        if before.is_some_and(|before| before.overlaps(prefix)) {
            return Err(broken(prefix, "overlaps the grant before it"));
        }
        before = Some(*prefix);
    }
    Ok(())
}

/// Who holds what of a network's family: what an "exhausted" says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Usable addresses by host: its name or the beginning of its id, most first. Quarantined ones say so.
    pub by_host: Vec<(String, u128)>,
    /// Usable addresses that nobody holds.
    pub free: u128,
    /// Addresses set aside when the network was made.
    pub reserved: usize,
    /// Who holds addresses on this host, as far as known.
    pub local: Vec<Handle>,
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More would not fit one line.
        const SHOWN: usize = 8;
        for (host, count) in self.by_host.iter().take(SHOWN) {
            write!(f, "{host} has {count}, ")?;
        }
        if self.by_host.len() > SHOWN {
            write!(f, "{} more hosts, ", self.by_host.len() - SHOWN)?;
        }
        write!(f, "{} free, {} reserved", self.free, self.reserved)?;
        if let Some(first) = self.local.first() {
            write!(f, "; on this host {first}")?;
            match self.local.len() - 1 {
                0 => {}
                more => write!(f, " and {more} more")?,
            }
        }
        Ok(())
    }
}

/// Counts who holds what of the addresses of a family that nobody asks for by number. `names` need not be complete.
pub fn holdings(ledger: &Ledger, network: &Network, family: Family, names: &Names) -> Holdings {
    let places = automatic(network, family);
    let never = never_given(network, family);
    let usable =
        |ranges: &Ranges| ranges.count() - never.iter().filter(|n| ranges.contains(**n)).count() as u128;
    let mut by_grant: BTreeMap<(HostId, bool), u128> = BTreeMap::new();
    for (prefix, grant) in ledger.grants.iter().filter(|(prefix, _)| prefix.family() == family) {
        let held = places.iter().map(|range| usable(&Ranges::of(*prefix).within(*range)));
        let held = held.fold(0, u128::saturating_add);
        if held > 0 {
            *by_grant.entry((grant.host, grant.quarantined)).or_default() += held;
        }
    }
    let label = |host: HostId, quarantined: bool| {
        let name = names.get(&host).map_or_else(|| host.short(), HostName::to_string);
        if quarantined { format!("{name} (removed, quarantined)") } else { name }
    };
    let mut by_host: Vec<(String, u128)> =
        by_grant.into_iter().map(|((host, aside), count)| (label(host, aside), count)).collect();
    by_host.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Holdings {
        by_host,
        free: places.iter().map(|range| usable(&unheld(ledger, *range))).fold(0, u128::saturating_add),
        reserved: places.iter().map(|range| kept_in(network, *range)).sum(),
        local: Vec::new(),
    }
}

/// How many addresses in a prefix no container gets because somebody said so.
fn kept_in(network: &Network, prefix: Cidr) -> usize {
    let kept = network.reserved.keys().chain(network.gateways.keys());
    kept.filter(|address| prefix.contains(**address)).count()
}

/// What nobody holds of a prefix.
pub(crate) fn unheld(ledger: &Ledger, of: Cidr) -> Ranges {
    let mut free = Ranges::of(of);
    for prefix in ledger.grants.keys().filter(|prefix| prefix.family() == of.family()) {
        free.remove_prefix(*prefix);
    }
    free
}

/// What `me` may claim of a prefix: what nobody holds, without what others want by name.
fn claimable(ledger: &Ledger, of: Cidr, me: HostId) -> Ranges {
    let mut free = unheld(ledger, of);
    for want in ledger.wants.iter().filter(|want| want.host != me) {
        if let Wanted::Address(address) = want.wanted
            && of.contains(address)
        {
            free.remove_prefix(Cidr::host(address));
        }
    }
    free
}

/// How many addresses of a family `me` could claim for containers that wait.
pub(crate) fn claimable_count(ledger: &Ledger, network: &Network, me: HostId, family: Family) -> u128 {
    let never = never_given(network, family);
    let count = |range: Cidr| {
        let mut free = claimable(ledger, range, me);
        never.iter().for_each(|never| free.remove(*never, *never));
        free.count()
    };
    automatic(network, family).into_iter().map(count).fold(0, u128::saturating_add)
}

/// Whether a prefix has addresses that nobody has to ask for by number.
pub(crate) fn is_automatic(network: &Network, prefix: Cidr) -> bool {
    automatic(network, prefix.family()).iter().any(|range| range.overlaps(&prefix))
}

/// How many others wait for any address of the family.
fn asked_by_others(ledger: &Ledger, me: HostId, family: Family) -> u128 {
    ledger.wants.iter().filter(|want| want.host != me && want.wanted == Wanted::Any(family)).count() as u128
}

fn holdings_of(ledger: &Ledger, host: HostId, quarantined: bool, subnet: Cidr) -> Ranges {
    let mut held = Ranges::default();
    for (prefix, grant) in &ledger.grants {
        if *grant == (Grant { host, quarantined }) && subnet.covers(prefix) {
            held.insert_prefix(*prefix);
        }
    }
    held
}

/// Replaces a holder's grants of a subnet by the fewest prefixes that make up `held`.
fn rewrite(ledger: &mut Ledger, host: HostId, quarantined: bool, subnet: Cidr, held: &Ranges) {
    let grant = Grant { host, quarantined };
    ledger.grants.retain(|prefix, holder| !(*holder == grant && subnet.covers(prefix)));
    ledger.grants.extend(held.prefixes(subnet.family()).into_iter().map(|prefix| (prefix, grant)));
}

/// Where a host's search for a free block of a range begins: a block boundary, by the upper bits of a hash (FNV-1a: the lower ones
/// mix too little) of host and network.
fn start(range: Cidr, network: &Network, me: HostId) -> u128 {
    let bytes = me.as_bytes().iter().chain(network.id.as_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let length = block_length(range);
    let slots = 1_u128 << (length - range.length());
    let (first, _) = bounds(range);
    let slot = (u128::from(hash) * slots) >> u64::BITS;
    first + (slot << (range.family().bits() - length))
}

/// The piece to claim next for `missing` addresses: a whole block, else the smallest piece that has enough, else the
/// largest there is. Never one of more than `budget` addresses.
fn pick(free: &Ranges, range: Cidr, start: u128, missing: u128, budget: u128) -> Option<Cidr> {
    let family = range.family();
    let block = family.bits() - block_length(range);
    let fits = |bits: &u8| *bits < 127 && (1_u128 << *bits) <= budget;
    let enough = |bits: &u8| missing <= 1 << *bits;
    let find =
        |bits: u8| free.piece_from(start, bits).or_else(|| free.piece_from(0, bits)).map(|at| (at, bits));
    let whole = std::iter::once(block);
    let sufficient = (0..block).filter(enough);
    let largest = (0..block).rev();
    let (at, bits) = whole.chain(sufficient).chain(largest).filter(fits).find_map(find)?;
    Some(Cidr::around(address(family, at), family.bits() - bits))
}

#[cfg(test)]
mod tests;
