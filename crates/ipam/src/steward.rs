//! What a host does about a network's ledger: hands back what it lent, answers others, claims for containers that
//! wait and for its reserve. All that is due is put into one change, for one compare-and-swap.
//!
//! The caller makes the move's records durable first, then swaps the ledger at the revision that it was read at:
//! - done: calls [`Move::done`], and [adopts](Allocator::adopt) the new ledger, as it does with everybody's changes;
//! - certainly refused (another write came first): calls [`Move::refused`], reads again, asks again;
//! - no answer: does nothing. The swap may still be carried out, so what was lent stays lent, and is handed back again
//!   with the next move.
//!
//! What must not live here: waiting, deadlines, and the decision to give up a request.

use crate::allocator::Allocator;
use crate::block::reserve_target;
use crate::error::IpamError;
use crate::grant::{Names, Need, Place, acknowledge, claim, claim_address, locate, release};
use crate::journal::Record;
use crate::want::{self, Verdict, asked, decline, withdraw};
use hopsack_types::resource::{Ledger, Wanted};
use hopsack_types::{Family, HostId, Network};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a host sees when it looks at one network.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The host itself.
    pub me: HostId,
    /// The network.
    pub network: &'a Network,
    /// Its ledger, which the allocator has adopted.
    pub ledger: &'a Ledger,
    /// How many hosts the cluster has.
    pub hosts: usize,
    /// What containers on this host wait for, and how many of them.
    pub waiting: &'a BTreeMap<Wanted, u64>,
}

/// A change of the ledger, and what must be durable before it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// What this move lends anew; the allocator has it marked already.
    pub records: Vec<Record>,
    /// The ledger as it should become. As it is, in a fence; the store must give it a new revision all the same.
    pub ledger: Ledger,
    fence: bool,
}

impl Move {
    /// The swap was carried out. The records are to be written before those of any allocation.
    pub fn done(&self, allocator: &mut Allocator) -> Vec<Record> {
        if !self.fence {
            return Vec::new();
        }
        allocator.fence();
        vec![Record::Fenced { network: allocator.network() }]
    }

    /// The swap was certainly refused: takes back what it lent. The records are to be written, but nothing has to wait
    /// for them: without them the parts stay lent, which is safe.
    pub fn refused(&self, now: Duration, allocator: &mut Allocator) -> Vec<Record> {
        let lent = self.records.iter().filter_map(|record| match record {
            Record::Lend { network, prefix } => Some((*network, *prefix)),
            _ => None,
        });
        lent.map(|(network, prefix)| {
            allocator.unlend(now, prefix);
            Record::Unlend { network, prefix }
        })
        .collect()
    }
}

/// What is due now; none when all is well.
pub fn next_move(
    now: Duration,
    situation: Situation<'_>,
    allocator: &mut Allocator,
) -> Result<Option<Move>, IpamError> {
    let Situation { me, network, ledger, .. } = situation;
    let change = |ledger| Move { records: Vec::new(), ledger, fence: false };
    if !allocator.is_fenced() {
        return Ok(Some(Move { fence: true, ..change(ledger.clone()) }));
    }
    let in_use = allocator.in_use().map(|(address, _)| address);
    if let Some(next) = acknowledge(ledger, network, me, me, in_use) {
        return Ok(Some(change(next)));
    }
    if ledger.closing {
        return hand_back_all(situation, allocator);
    }
    // What is handed back is gone only when that is done: not before may this host claim, which might be the same.
    let giving = give(now, situation, allocator)?;
    if giving.ledger != *ledger {
        return Ok(Some(giving));
    }
    let next = take(now, situation, allocator);
    Ok((next != *ledger).then(|| change(next)))
}

/// How a request stands, that the allocator could not serve: refused for a reason that this host knows, or as far as
/// the ledger tells.
pub fn verdict(situation: Situation<'_>, allocator: &Allocator, wanted: Wanted, names: &Names) -> Verdict {
    let Situation { me, network, ledger, .. } = situation;
    match (want::verdict(ledger, network, me, wanted, names), wanted) {
        (Verdict::Held, Wanted::Address(address)) => match allocator.holder(address) {
            Some(holder) => Verdict::Refused(IpamError::InUse { address, holder: holder.clone() }),
            None => Verdict::Held,
        },
        (Verdict::Refused(IpamError::Exhausted { family, .. }), _)
            if allocator.lent().any(|prefix| prefix.family() == family) =>
        {
            // What this host is handing back may still be its own when that is settled.
            Verdict::Waiting(BTreeSet::from([me]))
        }
        (Verdict::Refused(IpamError::Exhausted { network, family, mut holdings }), _) => {
            let here = allocator.in_use().filter(|(address, _)| Family::of(*address) == family);
            holdings.local = here.map(|(_, handle)| handle.clone()).collect();
            Verdict::Refused(IpamError::Exhausted { network, family, holdings })
        }
        (verdict, _) => verdict,
    }
}

/// A network that is being removed: hands back everything, unless something is in use here.
fn hand_back_all(situation: Situation<'_>, allocator: &mut Allocator) -> Result<Option<Move>, IpamError> {
    let Situation { me, network, ledger, .. } = situation;
    let mut records = Vec::new();
    if allocator.in_use().next().is_none() {
        for prefix in allocator.kept() {
            allocator.lend(prefix)?;
            records.push(Record::Lend { network: network.id, prefix });
        }
    }
    let mut next = ledger.clone();
    for prefix in allocator.lent() {
        next = release(&next, network, me, prefix).unwrap_or(next);
    }
    Ok((next != *ledger).then_some(Move { records, ledger: next, fence: false }))
}

/// Hands back what is lent, and answers what others ask.
fn give(now: Duration, situation: Situation<'_>, allocator: &mut Allocator) -> Result<Move, IpamError> {
    let Situation { me, network, ledger, .. } = situation;
    let mut next = ledger.clone();
    for prefix in allocator.lent() {
        next = release(&next, network, me, prefix).unwrap_or(next);
    }
    let mut records = Vec::new();
    let mut declined = Vec::new();
    // One at a time: what is handed back for the first may be enough for the second too.
    while let Some(ask) =
        asked(&next, network, me).into_iter().find(|ask| !declined.contains(&(ask.host, ask.wanted)))
    {
        match allocator.offer(now, ask.wanted) {
            Some(prefix) => {
                allocator.lend(prefix)?;
                records.push(Record::Lend { network: network.id, prefix });
                next = release(&next, network, me, prefix).unwrap_or(next);
            }
            None => {
                next = decline(&next, me, ask.host, ask.wanted).unwrap_or(next);
                declined.push((ask.host, ask.wanted));
            }
        }
    }
    Ok(Move { records, ledger: next, fence: false })
}

/// Claims or asks for what containers wait for, claims for the reserve, and withdraws what nobody waits for any more.
fn take(now: Duration, situation: Situation<'_>, allocator: &Allocator) -> Ledger {
    let Situation { me, network, ledger, hosts, waiting } = situation;
    let mut next = ledger.clone();
    for old in ledger.wants.iter().filter(|want| want.host == me && !waiting.contains_key(&want.wanted)) {
        next = withdraw(&next, me, old.wanted).unwrap_or(next);
    }
    for (wanted, count) in waiting {
        // A caller that has been served but has not come for it yet is no reason to claim more.
        let here = match wanted {
            Wanted::Any(family) => allocator.available(*family),
            Wanted::Address(_) => 0,
        };
        let missing = count.saturating_sub(here);
        if missing > 0 {
            next = pursue(&next, network, me, *wanted, missing).unwrap_or(next);
        }
    }
    for family in Family::BOTH {
        let missing = reserve_target(network, family, hosts).saturating_sub(allocator.spare(now, family));
        if missing > 0 {
            next = claim(&next, network, me, family, Need::Reserve(missing)).unwrap_or(next);
        }
    }
    next
}

/// Claims what a container waits for, or asks for it.
fn pursue(ledger: &Ledger, network: &Network, me: HostId, wanted: Wanted, count: u64) -> Option<Ledger> {
    match wanted {
        Wanted::Any(family) => {
            claim(ledger, network, me, family, Need::Now(count)).or_else(|| want::want(ledger, me, wanted))
        }
        Wanted::Address(address) => match locate(ledger, network, address) {
            Ok(Place::Free) => claim_address(ledger, network, me, address),
            Ok(Place::Held(host)) if host != me => want::want(ledger, me, wanted),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests;
