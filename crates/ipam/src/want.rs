//! Wants: what hosts ask of each other through the ledger when nothing is free. An owner answers by handing
//! something back, or declines; who asked claims what has become free, or learns that there is nothing.
//! What must not live here: what an owner can spare (see `allocator`).

use crate::error::IpamError;
use crate::grant::{Names, Place, claimable_count, granted, holdings, is_automatic, locate};
use hopsack_types::resource::{Ledger, Want, Wanted};
use hopsack_types::{Cidr, Family, HostId, Network};
use std::collections::BTreeSet;

/// How a request that a host has of the ledger stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The host holds it: allocate.
    Held,
    /// Nobody holds it: claim.
    Free,
    /// These hosts have it, or might; they have not answered, or have not been asked.
    Waiting(BTreeSet<HostId>),
    /// It cannot be had.
    Refused(IpamError),
}

/// How `me` stands with a request. `Any` counts what is free and what others might give, not what `me` holds.
pub(crate) fn verdict(
    ledger: &Ledger,
    network: &Network,
    me: HostId,
    wanted: Wanted,
    names: &Names,
) -> Verdict {
    let declined = |host: &HostId| {
        let mine = |want: &&Want| want.host == me && want.wanted == wanted;
        ledger.wants.iter().find(mine).is_some_and(|want| want.declined.contains(host))
    };
    let name = |host: HostId| names.get(&host).map(ToString::to_string);
    match wanted {
        Wanted::Address(address) => match locate(ledger, network, address) {
            Err(error) => Verdict::Refused(error),
            Ok(Place::Free) => Verdict::Free,
            Ok(Place::Held(host)) if host == me => Verdict::Held,
            Ok(Place::Held(host)) if declined(&host) => {
                Verdict::Refused(IpamError::InUseElsewhere { address, host, name: name(host) })
            }
            Ok(Place::Held(host)) => Verdict::Waiting(BTreeSet::from([host])),
            Ok(Place::Quarantined(host)) => {
                Verdict::Refused(IpamError::Quarantined { address, host, name: name(host) })
            }
        },
        Wanted::Any(family) => {
            if network.subnets_of(family).next().is_none() {
                return Verdict::Refused(IpamError::NoSubnet { network: network.name.clone(), family });
            }
            if claimable_count(ledger, network, me, family) > 0 {
                return Verdict::Free;
            }
            let silent: BTreeSet<HostId> = owners(ledger, network, family)
                .into_iter()
                .filter(|host| *host != me && !declined(host))
                .collect();
            if silent.is_empty() {
                let holdings = holdings(ledger, network, family, names);
                return Verdict::Refused(IpamError::Exhausted {
                    network: network.name.clone(),
                    family,
                    holdings,
                });
            }
            Verdict::Waiting(silent)
        }
    }
}

/// Hosts that hold addresses of a family that they may give to anybody.
fn owners(ledger: &Ledger, network: &Network, family: Family) -> BTreeSet<HostId> {
    let fits = |prefix: &Cidr| prefix.family() == family && is_automatic(network, *prefix);
    let grants = ledger.grants.iter().filter(|(prefix, grant)| fits(prefix) && !grant.quarantined);
    grants.map(|(_, grant)| grant.host).collect()
}

/// Asks all owners for something. None when it is asked already.
pub fn want(ledger: &Ledger, me: HostId, wanted: Wanted) -> Option<Ledger> {
    if ledger.wants.iter().any(|want| want.host == me && want.wanted == wanted) {
        return None;
    }
    let mut next = ledger.clone();
    next.wants.push(Want { host: me, wanted, declined: Vec::new() });
    Some(next)
}

/// Answers a want of `asker` with "nothing to spare". None when there is no such want, or that is said already.
pub fn decline(ledger: &Ledger, me: HostId, asker: HostId, wanted: Wanted) -> Option<Ledger> {
    let mut next = ledger.clone();
    let want = next.wants.iter_mut().find(|want| want.host == asker && want.wanted == wanted)?;
    if want.declined.contains(&me) {
        return None;
    }
    want.declined.push(me);
    Some(next)
}

/// Takes back an own want: it was answered, refused, or waited for in vain.
pub fn withdraw(ledger: &Ledger, me: HostId, wanted: Wanted) -> Option<Ledger> {
    let mut next = ledger.clone();
    next.wants.retain(|want| !(want.host == me && want.wanted == wanted));
    (next != *ledger).then_some(next)
}

/// The wants of others that `me` should look at, oldest first: for an address that it holds; for any address of a
/// family in which it holds something, as long as fewer are free than are asked for.
pub fn asked(ledger: &Ledger, network: &Network, me: HostId) -> Vec<Want> {
    let mut unanswered = Family::BOTH.map(|family| (family, claimable_count(ledger, network, me, family)));
    let mut asked = Vec::new();
    for want in ledger.wants.iter().filter(|want| want.host != me) {
        let mine = match want.wanted {
            Wanted::Address(address) => locate(ledger, network, address) == Ok(Place::Held(me)),
            Wanted::Any(family) => {
                let free = unanswered.iter_mut().find(|(of, free)| *of == family && *free > 0);
                match free {
                    Some((_, free)) => {
                        *free -= 1;
                        false
                    }
                    None => granted(ledger, me)
                        .any(|prefix| prefix.family() == family && is_automatic(network, prefix)),
                }
            }
        };
        if mine {
            asked.push(want.clone());
        }
    }
    asked
}
