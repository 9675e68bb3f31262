//! One host's own book of one network: what it was granted, what of that is in use and by whom, what it is about to
//! hand back. Allocation is local, needs nobody, and costs O(log n).
//!
//! Every method that changes something has a [`Record`]; the caller makes that durable before
//! it answers or tells anybody. What must not live here: I/O, and what other hosts hold (see `grant`, `steward`).

use crate::block::{automatic, block_length, check_usable, never_given};
use crate::error::IpamError;
use crate::grant::{grant_of, granted, is_automatic};
use crate::handle::Handle;
use crate::journal::Record;
use crate::ranges::{Ranges, address, bounds, number};
use crate::rest::Rest;
use hopsack_types::resource::{Grant, Ledger, Wanted};
use hopsack_types::{Cidr, Family, HostId, Network, NetworkId, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// How long a released address rests before it is preferred again, unless the user says otherwise: longer than
/// neighbour tables, connection tracking and DNS answers of the last holder usually live.
pub const COOL_DOWN: Duration = Duration::from_secs(60);

/// Released addresses that may rest while there are unused ones. More would only make a v6 block, which has unused
/// ones for ever, remember every address that it ever gave.
const MAX_RESTING: usize = 65_536;

/// Released addresses of a family that a snapshot remembers: a cool-down need not outlive a restart at any price.
const MAX_REMEMBERED: usize = 4096;

/// What adopting a ledger changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adoption {
    /// What to write to the journal when this host's grants are others than before. Nothing has to wait for it, but
    /// it must stand before the allocations that follow.
    pub record: Option<Record>,
    /// Addresses in use that the ledger does not grant to this host, and that no removal explains. They stay in use;
    /// the caller must say so loudly.
    pub conflicts: Vec<(IpAddr, Handle)>,
}

/// Free addresses of one family.
#[derive(Debug, Clone, Default)]
struct Shelf {
    /// Neither in use, nor resting, nor lent.
    fresh: Ranges,
    /// Released, oldest first.
    rest: Rest,
}

/// One host's book of one network.
#[derive(Debug, Clone)]
pub struct Allocator {
    id: NetworkId,
    cool_down: Duration,
    /// None until the first [`Allocator::adopt`]; nothing is allocated before.
    network: Option<Network>,
    /// False after a lost journal: a release of unknown fate may be on its way, so nothing is granted for certain.
    fenced: bool,
    /// The ledger's revision that `granted` is from.
    revision: Revision,
    granted: BTreeSet<Cidr>,
    in_use: BTreeMap<IpAddr, Handle>,
    by_handle: BTreeSet<(Handle, IpAddr)>,
    lent: BTreeSet<Cidr>,
    v4: Shelf,
    v6: Shelf,
}

impl Allocator {
    /// An empty book.
    pub fn new(id: NetworkId, cool_down: Duration) -> Self {
        Self {
            id,
            cool_down,
            network: None,
            fenced: true,
            revision: Revision::default(),
            granted: BTreeSet::new(),
            in_use: BTreeMap::new(),
            by_handle: BTreeSet::new(),
            lent: BTreeSet::new(),
            v4: Shelf::default(),
            v6: Shelf::default(),
        }
    }

    /// The network.
    pub const fn network(&self) -> NetworkId {
        self.id
    }

    /// The revision of the newest ledger that was adopted.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// What this host was granted, in order; lent parts included.
    pub fn granted(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.granted.iter().copied()
    }

    /// What this host has marked to hand back, in order.
    pub fn lent(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.lent.iter().copied()
    }

    /// What this host was granted and has not marked to hand back, in order.
    pub fn kept(&self) -> Vec<Cidr> {
        let kept_of = |granted: &Cidr| {
            let mut kept = Ranges::of(*granted);
            let inside = self.lent.iter().filter(|lent| granted.covers(lent));
            inside.for_each(|lent| kept.remove_prefix(*lent));
            kept.prefixes(granted.family())
        };
        self.granted.iter().flat_map(kept_of).collect()
    }

    /// Addresses in use and who holds them, in order.
    pub fn in_use(&self) -> impl Iterator<Item = (IpAddr, &Handle)> + '_ {
        self.in_use.iter().map(|(address, handle)| (*address, handle))
    }

    /// Who holds an address.
    pub fn holder(&self, address: IpAddr) -> Option<&Handle> {
        self.in_use.get(&address)
    }

    /// What a handle holds, v4 first.
    pub fn held_by(&self, handle: &Handle) -> impl Iterator<Item = IpAddr> + '_ {
        let from = (handle.clone(), address(Family::V4, 0));
        let handle = handle.clone();
        self.by_handle.range(from..).take_while(move |(of, _)| *of == handle).map(|(_, address)| *address)
    }

    /// Whether ledgers may be believed. If not, [`Allocator::adopt`] does nothing, and nothing is allocated.
    pub const fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// The journal was lost: what it said of grants is void, what is in use stays.
    pub(crate) fn unfence(&mut self) {
        self.fenced = false;
        self.network = None;
    }

    /// The ledger was written once more since the journal was lost.
    pub(crate) fn fence(&mut self) {
        self.fenced = true;
    }

    /// Takes in a ledger: what it grants to `me` from now on, and what it has taken. An older ledger than the last
    /// changes no grants, so a host that starts with an old copy of intent does not fall back to it; the same one
    /// again costs nothing and tells nothing.
    ///
    /// A mark that something is lent ends when the ledger does not grant it any more.
    pub fn adopt(&mut self, network: &Network, revision: Revision, ledger: &Ledger, me: HostId) -> Adoption {
        let mut stale_shelves = self.network.as_ref() != Some(network);
        if !self.fenced || (revision == self.revision && !stale_shelves) {
            return Adoption::default();
        }
        let mut adoption = Adoption::default();
        if revision >= self.revision {
            self.revision = revision;
            let granted: BTreeSet<Cidr> = granted(ledger, me).collect();
            if granted != self.granted {
                self.regrant(granted);
                stale_shelves = true;
                adoption.record = Some(self.grants_record());
            }
            adoption.conflicts = self.strays(ledger, me);
        }
        if stale_shelves {
            self.network = Some(network.clone());
            self.restock();
        }
        adoption
    }

    /// Addresses in use outside what this host is granted, and outside what was set aside when it was removed.
    fn strays(&self, ledger: &Ledger, me: HostId) -> Vec<(IpAddr, Handle)> {
        let aside = Grant { host: me, quarantined: true };
        let explained =
            |address: IpAddr| self.is_granted(address) || grant_of(ledger, address) == Some(aside);
        let strays = self.in_use.iter().filter(|(address, _)| !explained(**address));
        strays.map(|(address, handle)| (*address, handle.clone())).collect()
    }

    fn grants_record(&self) -> Record {
        let granted = self.granted.iter().copied().collect();
        Record::Grants { network: self.id, revision: self.revision, granted }
    }

    /// Replays an adoption from the journal: grants only, since the network's definition is not in it.
    pub(crate) fn replay_grants(&mut self, revision: Revision, granted: BTreeSet<Cidr>) {
        if revision >= self.revision {
            self.revision = revision;
            self.regrant(granted);
        }
    }

    fn regrant(&mut self, granted: BTreeSet<Cidr>) {
        let mut held = [Ranges::default(), Ranges::default()];
        for prefix in &granted {
            held[usize::from(prefix.family() == Family::V6)].insert_prefix(*prefix);
        }
        self.granted = granted;
        let lent = std::mem::take(&mut self.lent);
        for prefix in lent {
            let held = &held[usize::from(prefix.family() == Family::V6)];
            self.lent.extend(held.within(prefix).prefixes(prefix.family()));
        }
    }

    /// Fills the shelves anew: all that is granted and may be given to anybody, less what is in use, resting or lent.
    fn restock(&mut self) {
        for family in Family::BOTH {
            let mut granted = Ranges::default();
            for prefix in self.granted.iter().filter(|prefix| prefix.family() == family) {
                granted.insert_prefix(*prefix);
            }
            let mut fresh = Ranges::default();
            for range in self.network.iter().flat_map(|network| automatic(network, family)) {
                granted.within(range).spans().for_each(|(first, last)| fresh.insert(first, last));
            }
            for never in self.network.iter().flat_map(|network| never_given(network, family)) {
                fresh.remove(never, never);
            }
            for taken in self.in_use.keys().filter(|address| Family::of(**address) == family) {
                fresh.remove(number(*taken), number(*taken));
            }
            for prefix in self.lent.iter().filter(|prefix| prefix.family() == family) {
                fresh.remove_prefix(*prefix);
            }
            let shelf = self.shelf(family);
            shelf.rest.retain(|resting| fresh.contains(resting));
            for resting in shelf.rest.numbers() {
                fresh.remove(resting, resting);
            }
            shelf.fresh = fresh;
        }
    }

    fn shelf(&mut self, family: Family) -> &mut Shelf {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    const fn shelf_ref(&self, family: Family) -> &Shelf {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn is_granted(&self, address: IpAddr) -> bool {
        let before = self.granted.range(..=Cidr::host(address)).next_back();
        before.is_some_and(|prefix| prefix.contains(address))
    }

    fn is_lent(&self, address: IpAddr) -> bool {
        let before = self.lent.range(..=Cidr::host(address)).next_back();
        before.is_some_and(|prefix| prefix.contains(address))
    }

    fn definition(&self) -> Result<&Network, IpamError> {
        self.network.as_ref().ok_or(IpamError::NotReady(self.id))
    }

    /// Gives any address of a family. One that was never used comes first, of the first subnet that has one; then the
    /// one that has rested longest; an address that still cools down is given before anybody hears "none".
    ///
    /// [`IpamError::NoneGranted`] means that more must be claimed or asked for (see `steward`).
    pub fn allocate(&mut self, now: Duration, family: Family, handle: &Handle) -> Result<IpAddr, IpamError> {
        let ranges = automatic(self.definition()?, family);
        let cool_down = self.cool_down;
        let shelf = self.shelf(family);
        let crowded = shelf.rest.len() >= MAX_RESTING && shelf.rest.is_cool(now, cool_down);
        let first = ranges.into_iter().find_map(|range| shelf.fresh.first_in(range));
        let found = match first.filter(|_| !crowded) {
            Some(fresh) => {
                shelf.fresh.remove(fresh, fresh);
                Some(fresh)
            }
            None => shelf.rest.pop(),
        };
        let found = address(family, found.ok_or_else(|| self.none_granted(family))?);
        self.bind(found, handle);
        Ok(found)
    }

    fn none_granted(&self, family: Family) -> IpamError {
        let in_use = self.in_use.keys().filter(|address| Family::of(**address) == family).count() as u64;
        match &self.network {
            Some(network) if network.subnets_of(family).next().is_none() => {
                IpamError::NoSubnet { network: network.name.clone(), family }
            }
            Some(network) => IpamError::NoneGranted { network: network.name.clone(), family, in_use },
            None => IpamError::NotReady(self.id),
        }
    }

    /// Like [`Allocator::allocate`], but a handle that has an address of the family keeps it.
    pub fn allocate_once(
        &mut self,
        now: Duration,
        family: Family,
        handle: &Handle,
    ) -> Result<IpAddr, IpamError> {
        let held = self.held_by(handle).find(|address| Family::of(*address) == family);
        match held {
            Some(held) => Ok(held),
            None => self.allocate(now, family, handle),
        }
    }

    /// Gives one certain address, whether it cools down or not. Asking again with the same handle is no error.
    pub fn allocate_address(&mut self, wanted: IpAddr, handle: &Handle) -> Result<(), IpamError> {
        check_usable(self.definition()?, wanted)?;
        if let Some(holder) = self.in_use.get(&wanted) {
            let again = holder == handle;
            let holder = holder.clone();
            return if again { Ok(()) } else { Err(IpamError::InUse { address: wanted, holder }) };
        }
        if !self.is_granted(wanted) || self.is_lent(wanted) {
            return Err(IpamError::NotGranted { address: wanted });
        }
        self.take(wanted);
        self.bind(wanted, handle);
        Ok(())
    }

    /// Says that an address is in use, whatever the grants say: what the journal or the runtime tells. Another holder
    /// than the one known so far is an error, and changes nothing.
    pub fn observe(&mut self, found: IpAddr, handle: &Handle) -> Result<(), IpamError> {
        if let Some(holder) = self.in_use.get(&found).filter(|holder| *holder != handle) {
            return Err(IpamError::InUse { address: found, holder: holder.clone() });
        }
        self.take(found);
        self.bind(found, handle);
        Ok(())
    }

    fn bind(&mut self, address: IpAddr, handle: &Handle) {
        self.in_use.insert(address, handle.clone());
        self.by_handle.insert((handle.clone(), address));
    }

    /// Passes an address from one holder to another without its being free in between: a front door that learns
    /// only later for whom it allocated. False when `from` does not hold it.
    pub fn pass(&mut self, address: IpAddr, from: &Handle, to: &Handle) -> bool {
        let held = self.in_use.get(&address) == Some(from);
        if held {
            self.by_handle.remove(&(from.clone(), address));
            self.bind(address, to);
        }
        held
    }

    /// Takes an address back from its holder; it rests. False, and nothing happens, when `handle` does not hold it:
    /// a late release cannot free a newer holder's address.
    pub fn release(&mut self, now: Duration, released: IpAddr, handle: &Handle) -> bool {
        let held = self.in_use.get(&released) == Some(handle);
        if held {
            self.in_use.remove(&released);
            self.by_handle.remove(&(handle.clone(), released));
            self.shelve(now, released);
        }
        held
    }

    /// Puts a free address to rest, if this host may give it to anybody at all.
    pub(crate) fn shelve(&mut self, now: Duration, free: IpAddr) {
        let usable = self.network.as_ref().is_none_or(|network| {
            check_usable(network, free).is_ok() && is_automatic(network, Cidr::host(free))
        });
        if usable && self.is_granted(free) && !self.is_lent(free) {
            self.shelf(Family::of(free)).rest.push(number(free), now);
        }
    }

    /// How many addresses of a family could be given now without breaking a cool-down: what a reserve is measured by.
    pub fn spare(&self, now: Duration, family: Family) -> u64 {
        let shelf = self.shelf_ref(family);
        let fresh = u64::try_from(shelf.fresh.count()).unwrap_or(u64::MAX);
        fresh.saturating_add(shelf.rest.cool_count(now, self.cool_down) as u64)
    }

    /// Released addresses that have not rested for as long as they should: given only where nothing else is left.
    pub fn cooling(&self, now: Duration) -> Vec<IpAddr> {
        let of = |family: Family| {
            let warm = self.shelf_ref(family).rest.warm(now, self.cool_down, 0);
            warm.map(move |resting| address(family, resting))
        };
        Family::BOTH.into_iter().flat_map(of).collect()
    }

    /// How many addresses of a family could be given before anybody hears "none".
    pub fn available(&self, family: Family) -> u64 {
        let shelf = self.shelf_ref(family);
        let fresh = u64::try_from(shelf.fresh.count()).unwrap_or(u64::MAX);
        fresh.saturating_add(shelf.rest.len() as u64)
    }

    /// What this host could hand back for a want: the address itself; or for any address half of what is spare, as
    /// one piece and at most a block, and its last one when it has no more. None when there is nothing.
    pub fn offer(&self, now: Duration, wanted: Wanted) -> Option<Cidr> {
        match wanted {
            Wanted::Address(address) => {
                let free = self.is_granted(address) && !self.in_use.contains_key(&address);
                free.then(|| Cidr::host(address))
            }
            Wanted::Any(family) => self.offer_any(now, family),
        }
    }

    fn offer_any(&self, now: Duration, family: Family) -> Option<Cidr> {
        let bits = family.bits();
        let ranges = automatic(self.network.as_ref()?, family);
        let shelf = self.shelf_ref(family);
        let mut idle = shelf.fresh.clone();
        for resting in shelf.rest.cool(now, self.cool_down) {
            idle.insert(resting, resting);
        }
        let half = u8::try_from((idle.count() / 2).max(1).ilog2()).unwrap_or(bits);
        for size in (1..=half).rev() {
            // What comes last in use goes first; a piece is of one subnet.
            let pieces = ranges.iter().rev().filter(|range| size <= bits - block_length(**range));
            let starts = pieces.map(|range| idle.within(*range).last_piece(size));
            if let Some(start) = starts.flatten().next() {
                return Some(Cidr::around(address(family, start), bits - size));
            }
        }
        let last = ranges.iter().rev().find_map(|range| shelf.fresh.within(*range).last_piece(0));
        let single = last.or_else(|| shelf.rest.oldest())?;
        Some(Cidr::host(address(family, single)))
    }

    /// Marks a prefix, or one address, to be handed back: it is not given any more. The mark must be durable before
    /// the ledger is asked to release it, and stays until the ledger does not grant it, or [`Allocator::unlend`]. Marks
    /// never overlap, so that taking one back cannot take back another whose fate is unknown.
    pub fn lend(&mut self, prefix: Cidr) -> Result<(), IpamError> {
        let from_first = self.in_use.range(prefix.first()..).next();
        if let Some((address, holder)) = from_first.filter(|(address, _)| prefix.contains(**address)) {
            return Err(IpamError::LendInUse { prefix, address: *address, holder: holder.clone() });
        }
        if !self.granted.iter().any(|granted| granted.covers(&prefix)) {
            return Err(IpamError::NotGranted { address: prefix.first() });
        }
        if self.lent.iter().any(|lent| lent.overlaps(&prefix)) {
            return Err(IpamError::AlreadyLent { prefix });
        }
        self.mark_lent(prefix);
        Ok(())
    }

    /// Sets the mark without asking: from the journal.
    pub(crate) fn mark_lent(&mut self, prefix: Cidr) {
        self.lent.insert(prefix);
        let (first, last) = bounds(prefix);
        let shelf = self.shelf(prefix.family());
        shelf.fresh.remove(first, last);
        shelf.rest.retain(|resting| !(first..=last).contains(&resting));
    }

    /// Takes a mark back. Only when the ledger has certainly refused the release: after an answer that never came,
    /// it may still be carried out.
    pub fn unlend(&mut self, now: Duration, prefix: Cidr) {
        if !self.lent.remove(&prefix) {
            return;
        }
        if prefix == Cidr::host(prefix.first()) {
            // It may have been released a moment ago.
            self.shelve(now, prefix.first());
        } else {
            self.restock();
        }
    }

    /// The records that lead to this book: a part of the journal's snapshot.
    pub(crate) fn snapshot(&self, now: Duration) -> Vec<Record> {
        let network = self.id;
        let mut records = vec![self.grants_record()];
        for family in Family::BOTH {
            let rest = &self.shelf_ref(family).rest;
            let forgotten = rest.len().saturating_sub(MAX_REMEMBERED);
            let warm = rest.warm(now, self.cool_down, forgotten);
            records.extend(warm.map(|number| Record::Rest { network, address: address(family, number) }));
        }
        let in_use = self.in_use.iter();
        records.extend(in_use.map(|(address, handle)| Record::Allocate {
            network,
            address: *address,
            handle: handle.clone(),
        }));
        records.extend(self.lent.iter().map(|prefix| Record::Lend { network, prefix: *prefix }));
        records
    }

    /// Replays an allocation from the journal, which has the last word on who holds an address.
    pub(crate) fn replay_allocation(&mut self, address: IpAddr, handle: &Handle) {
        if let Some(before) = self.in_use.remove(&address) {
            self.by_handle.remove(&(before, address));
        }
        self.take(address);
        self.bind(address, handle);
    }

    /// Takes a free address off its shelf.
    fn take(&mut self, address: IpAddr) {
        let shelf = self.shelf(Family::of(address));
        shelf.fresh.remove(number(address), number(address));
        shelf.rest.remove(number(address));
    }
}

#[cfg(test)]
mod tests;
