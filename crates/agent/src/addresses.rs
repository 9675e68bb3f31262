//! Addresses for this host's containers: the book, its journal, and the talk with the ledger.
//!
//! An address is given only after its record is on disk. What must not live here: which address, which grant, who
//! gives what back (the `ipam` crate decides).

pub mod journal;

use crate::addresses::journal::{JournalCount, JournalFile};
use crate::entropy::Entropy;
use crate::error::AgentError;
use crate::intent::copy::IntentAt;
use crate::intent::removal::closing;
use hopsack_api::{ApiError, ErrorCode};
use hopsack_ipam::want::Verdict;
use hopsack_ipam::{Book, Handle, IpamError, Record, grant, steward};
use hopsack_store::watch;
use hopsack_store::{Expected, Store, StoreError, Txn, TxnOutcome};
use hopsack_types::intent::{Intent, Key, decode, encode};
use hopsack_types::resource::{Ledger, Wanted};
use hopsack_types::{Cidr, Family, HostId, Network, NetworkId, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long a caller waits for other hosts to give something back.
const PATIENCE: Duration = Duration::from_secs(4);
/// Reserves and wants are looked at again this often, told or not.
const LOOK: Duration = Duration::from_secs(2);
/// After a write that failed.
const RETRY: Duration = Duration::from_millis(300);

/// About what one write takes, milliseconds.
const WRITE_MILLISECONDS: u64 = 10;
/// The longest pause after somebody else's write, milliseconds.
const MAX_PAUSE: u64 = 500;

/// What this host has of a network, in one family.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Count {
    /// Prefixes that it was granted.
    pub blocks: usize,
    /// Addresses in them; a float, as a v6 block has more than any integer of a metric holds.
    pub granted: f64,
    /// Addresses in use.
    pub used: usize,
    /// Addresses that it can give without asking anybody and without breaking a cool-down.
    pub spare: u64,
}

/// A network and its ledger, as the store has them at two revisions.
struct Read {
    network: Network,
    defined: Revision,
    ledger: Ledger,
    /// None where there is no ledger yet.
    written: Option<Revision>,
}

type Waiting = BTreeMap<NetworkId, BTreeMap<Wanted, u64>>;

/// The addresses of one host.
pub struct Addresses {
    me: HostId,
    store: Arc<dyn Store>,
    intent: watch::Receiver<IntentAt>,
    journal: JournalFile,
    book: Mutex<Book>,
    /// Addresses that are somebody's in the book, and that nobody was told of yet: their records are on the way to disk.
    untold: Mutex<BTreeSet<(NetworkId, IpAddr)>>,
    /// Kept from one caller to the next: the ledger of a large cluster takes longer to parse than to use.
    read: Mutex<BTreeMap<NetworkId, Arc<Read>>>,
    waiting: Mutex<Waiting>,
    work: Notify,
    adopted: watch::Sender<u64>,
    entropy: Arc<Entropy>,
    started: Instant,
}

impl Addresses {
    /// Takes the book that the journal has led to.
    pub fn new(
        me: HostId,
        store: Arc<dyn Store>,
        intent: watch::Receiver<IntentAt>,
        journal: JournalFile,
        book: Book,
        entropy: Arc<Entropy>,
    ) -> Self {
        Self {
            me,
            store,
            intent,
            journal,
            book: Mutex::new(book),
            untold: Mutex::default(),
            read: Mutex::default(),
            waiting: Mutex::default(),
            work: Notify::new(),
            adopted: watch::Sender::new(0),
            entropy,
            started: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn with_book<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        work(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes an address, durably; waits a few seconds for other hosts where only they have one left.
    pub async fn allocate(
        &self,
        network: NetworkId,
        family: Family,
        address: Option<IpAddr>,
        holder: &str,
    ) -> Result<IpAddr, AgentError> {
        let handle = self.handle(holder)?;
        let wanted = address.map_or(Wanted::Any(family), Wanted::Address);
        let deadline = Instant::now() + PATIENCE;
        let mut adopted = self.adopted.subscribe();
        let mut asking: Option<Asking<'_>> = None;
        loop {
            adopted.borrow_and_update();
            if let Some(read) = self.adopt(network)
                && read.ledger.closing
            {
                return Err(closing(&read.network).into());
            }
            match self.try_allocate(network, wanted, &handle).await? {
                Ok(found) => return Ok(found),
                Err(error) => {
                    let late = Instant::now() >= deadline;
                    if let Some(refusal) = self.refusal(network, wanted, error, late)? {
                        return Err(refused(&refusal).into());
                    }
                }
            }
            if asking.is_none() {
                asking = Some(Asking::begin(self, network, wanted));
            }
            // Woken by a new ledger; a timeout is judged at the top.
            let _ = timeout_at(deadline, adopted.changed()).await;
        }
    }

    fn handle(&self, holder: &str) -> Result<Handle, AgentError> {
        let anonymous = || Handle::new("unnamed", &hex::encode(self.entropy.bytes::<8>()));
        let handle = if holder.is_empty() { anonymous() } else { holder.parse() };
        handle.map_err(|error| refused(&error).into())
    }

    async fn try_allocate(
        &self,
        network: NetworkId,
        wanted: Wanted,
        handle: &Handle,
    ) -> Result<Result<IpAddr, IpamError>, AgentError> {
        self.journal.retry().await?;
        let now = self.now();
        let (found, ticket) = {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            let allocator = book.network_mut(network);
            let held: Vec<IpAddr> = allocator.held_by(handle).collect();
            let outcome = match wanted {
                Wanted::Any(family) => allocator.allocate_once(now, family, handle),
                Wanted::Address(address) => allocator.allocate_address(address, handle).map(|()| address),
            };
            let found = match outcome {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            if !held.contains(&found) {
                self.untold().insert((network, found));
            }
            let record = Record::Allocate { network, address: found, handle: handle.clone() };
            (found, self.journal.put(&[record])?)
        };
        let synced = self.journal.sync(ticket).await;
        self.with_book(|book| {
            let allocator = book.network_mut(network);
            let (holds, untold) =
                (allocator.holder(found) == Some(handle), self.untold().remove(&(network, found)));
            match synced {
                // Another call for the same holder has failed, and has taken it back.
                Ok(()) if !holds => Err(given_back(found)),
                Ok(()) => Ok(Ok(found)),
                // Somebody was told of it, by an earlier call or by one that came later and was written first.
                Err(error) if !holds || !untold => Err(error),
                Err(error) => {
                    // The record stays in line for the disk, so its end has to stand behind it.
                    allocator.release(self.now(), found, handle);
                    let record = Record::Release { network, address: found, handle: handle.clone() };
                    self.journal.put(&[record])?;
                    Err(error)
                }
            }
        })
    }

    fn untold(&self) -> MutexGuard<'_, BTreeSet<(NetworkId, IpAddr)>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to tell a caller whose request cannot be met here: nothing yet, while others may still give something.
    fn refusal(
        &self,
        network: NetworkId,
        wanted: Wanted,
        error: IpamError,
        late: bool,
    ) -> Result<Option<IpamError>, AgentError> {
        if !matches!(
            error,
            IpamError::NoneGranted { .. } | IpamError::NotGranted { .. } | IpamError::NotReady(_)
        ) {
            return Ok(Some(error));
        }
        let intent = self.intent.borrow().intent.clone();
        let Some(definition) = intent.networks.get(&network) else {
            return Ok(late.then_some(IpamError::NotReady(network)));
        };
        let ledger = intent.ledgers.get(&network).cloned().unwrap_or_default();
        let names = names(&intent);
        let waiting = BTreeMap::new();
        let hosts = intent.hosts.len();
        let situation = steward::Situation {
            me: self.me,
            network: definition,
            ledger: &ledger,
            hosts,
            waiting: &waiting,
        };
        match self.with_book(|book| steward::verdict(situation, book.network_mut(network), wanted, &names)) {
            Verdict::Refused(refusal) => Ok(Some(refusal)),
            Verdict::Waiting(silent) if late => {
                let silent: Vec<String> = silent
                    .iter()
                    .map(|host| names.get(host).map_or_else(|| host.short(), ToString::to_string))
                    .collect();
                let message = format!(
                    "network {}: this host's reserve is used up, and {} did not answer with what they hold: \
                     try again when they are reachable",
                    definition.name,
                    silent.join(", ")
                );
                Err(ApiError::new(ErrorCode::Unavailable, message).into())
            }
            _ if late => {
                let message = format!(
                    "network {}: this host's reserve is used up and no more was granted in time: see `hopsack status` \
                     whether the cluster's state can be written, and try again",
                    definition.name
                );
                Err(ApiError::new(ErrorCode::Unavailable, message).into())
            }
            _ => Ok(None),
        }
    }

    /// Gives an address back, durably. False when nobody here holds it.
    pub async fn release(&self, network: NetworkId, address: IpAddr) -> Result<bool, AgentError> {
        self.journal.retry().await?;
        let now = self.now();
        let ticket = {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            let allocator = book.network_mut(network);
            let Some(handle) = allocator.holder(address).cloned() else { return Ok(false) };
            let ticket = self.journal.put(&[Record::Release { network, address, handle: handle.clone() }])?;
            allocator.release(now, address, &handle);
            ticket
        };
        self.journal.sync(ticket).await?;
        self.work.notify_one();
        Ok(true)
    }

    /// Addresses in use on this host, with their holders.
    pub fn in_use(&self, network: NetworkId) -> BTreeMap<IpAddr, String> {
        self.with_book(|book| {
            let allocator = book.network(network);
            let in_use = allocator.into_iter().flat_map(|allocator| allocator.in_use());
            in_use.map(|(address, handle)| (address, handle.to_string())).collect()
        })
    }

    /// What this host has of a network, counted.
    pub fn count(&self, network: NetworkId, family: Family) -> Count {
        let now = self.now();
        self.with_book(|book| {
            let Some(allocator) = book.network(network) else { return Count::default() };
            let granted = || allocator.granted().filter(|granted| granted.family() == family);
            let size = |granted: Cidr| f64::from(family.bits() - granted.length()).exp2();
            Count {
                blocks: granted().count(),
                granted: granted().map(size).sum(),
                used: allocator.in_use().filter(|(address, _)| Family::of(*address) == family).count(),
                spare: allocator.spare(now, family),
            }
        })
    }

    /// Addresses that containers of this host gave back a moment ago.
    pub fn cooling(&self, network: NetworkId) -> BTreeSet<IpAddr> {
        let now = self.now();
        self.with_book(|book| {
            book.network(network).into_iter().flat_map(|allocator| allocator.cooling(now)).collect()
        })
    }

    /// What the journal has taken.
    pub fn journal_count(&self) -> JournalCount {
        self.journal.count()
    }

    /// Says that an address is in use, whatever the journal knows: what the disk or the runtime tells after a loss.
    pub fn observe(&self, network: NetworkId, address: IpAddr, holder: &str) -> Result<(), AgentError> {
        let handle = self.handle(holder)?;
        let observed = self.with_book(|book| {
            let allocator = book.network_mut(network);
            if allocator.holder(address).is_some() {
                return Ok(false);
            }
            allocator.observe(address, &handle).map(|()| true)
        });
        if observed.map_err(|error| refused(&error))? {
            self.journal.put(&[Record::Allocate { network, address, handle }])?;
        }
        Ok(())
    }

    /// A network and its ledger as they are now; none if the network is gone, or of a newer version.
    fn read(&self, id: NetworkId) -> Option<Arc<Read>> {
        let (network_key, ledger_key) = (Key::Network(id), Key::Ledger(id));
        let network = self.store.get(&network_key.to_string())?;
        let ledger = self.store.get(&ledger_key.to_string());
        let (defined, written) = (network.modified, ledger.as_ref().map(|entry| entry.modified));
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&id).filter(|read| (read.defined, read.written) == (defined, written)) {
            return Some(same.clone());
        }
        let network = decode(&network_key, &network.value).ok()?;
        let ledger = match &ledger {
            Some(entry) => decode(&ledger_key, &entry.value).ok()?,
            None => Ledger::default(),
        };
        let read = Arc::new(Read { network, defined, ledger, written });
        known.insert(id, read.clone());
        Some(read)
    }

    /// Takes in what the ledger grants now.
    fn adopt(&self, id: NetworkId) -> Option<Arc<Read>> {
        let read = self.read(id)?;
        let Read { network, ledger, written, .. } = &*read;
        self.with_book(|book| {
            let allocator = book.network_mut(id);
            let adoption = allocator.adopt(network, written.unwrap_or_default(), ledger, self.me);
            for (address, handle) in &adoption.conflicts {
                tracing::error!(network = %network.name, %address, %handle, "an address is in use here and not granted");
            }
            if let Some(record) = adoption.record {
                // Not waited for: the ledger itself says it again after a crash.
                if let Err(error) = self.journal.put(&[record]) {
                    tracing::warn!(error = %error.chain(), "a grant was not put into the journal");
                }
            }
        });
        Some(read)
    }

    /// Keeps reserves, answers other hosts, claims for callers that wait: for ever.
    pub async fn run(self: Arc<Self>) {
        let mut intent = self.intent.clone();
        loop {
            let networks: BTreeSet<NetworkId> =
                intent.borrow_and_update().intent.networks.keys().copied().collect();
            let mut again = false;
            for network in networks {
                match self.tend(network).await {
                    Ok(moved) => again |= moved,
                    Err(error) => {
                        tracing::debug!(%network, error = %error.chain(), "a ledger was not tended");
                        sleep_until(Instant::now() + RETRY).await;
                    }
                }
            }
            self.adopted.send_modify(|count| *count += 1);
            if again {
                continue;
            }
            tokio::select! {
                biased;
                changed = intent.changed() => if changed.is_err() { return },
                () = self.work.notified() => {}
                () = sleep_until(Instant::now() + LOOK) => {}
            }
        }
    }

    /// Does what is due in one network. Returns whether there may be more.
    async fn tend(&self, id: NetworkId) -> Result<bool, AgentError> {
        self.journal.retry().await?;
        let Some(read) = self.adopt(id) else { return Ok(false) };
        let Read { network, ledger, written, .. } = &*read;
        let waiting =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default();
        let hosts = self.intent.borrow().intent.hosts.len();
        let (due, ticket) = {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            let situation = steward::Situation { me: self.me, network, ledger, hosts, waiting: &waiting };
            let due = steward::next_move(self.now(), situation, book.network_mut(id))
                .map_err(|error| refused(&error))?;
            let Some(due) = due else { return Ok(false) };
            let ticket = self.journal.put(&due.records)?;
            (due, ticket)
        };
        if !due.records.is_empty() {
            self.journal.sync(ticket).await?;
        }
        let key = Key::Ledger(id);
        let expected = written.map_or(Expected::Absent, Expected::ModifiedAt);
        let txn = Txn::new()
            .guard(Key::Network(id).to_string(), Expected::Exists)
            .guard(key.to_string(), expected)
            .put(key.to_string(), encode(&key, &due.ledger)?);
        match self.store.txn(txn).await {
            Ok(TxnOutcome::Committed(_)) => {
                self.with_book(|book| {
                    let records = due.done(book.network_mut(id));
                    self.journal.put(&records).map(drop)
                })?;
                self.adopt(id);
                Ok(true)
            }
            Ok(TxnOutcome::Conflict { .. }) => {
                self.take_back(id, &due)?;
                // Somebody else was quicker. All others may be at it too, and each try costs the voter a handshake: as
                // far apart as they all have room for.
                let room = WRITE_MILLISECONDS.saturating_mul(u64::try_from(hosts).unwrap_or(u64::MAX));
                let pause = Duration::from_millis(1 + self.entropy.below(room.clamp(1, MAX_PAUSE)));
                sleep_until(Instant::now() + pause).await;
                Ok(true)
            }
            // It may yet happen, so what was lent stays lent.
            Err(StoreError::OutcomeUnknown) => Err(StoreError::OutcomeUnknown.into()),
            Err(error) => {
                self.take_back(id, &due)?;
                Err(error.into())
            }
        }
    }

    fn take_back(&self, id: NetworkId, due: &steward::Move) -> Result<(), AgentError> {
        let now = self.now();
        self.with_book(|book| {
            let records = due.refused(now, book.network_mut(id));
            self.journal.put(&records).map(drop)
        })
    }

    /// Forgets the book of a network that is gone.
    pub fn forget(&self, network: NetworkId) -> Result<(), AgentError> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).remove(&network);
        let record = Record::Forget { network };
        let now = self.now();
        self.with_book(|book| book.apply(now, &record));
        self.journal.put(&[record]).map(drop)
    }

    /// Networks that the book knows.
    pub fn known(&self) -> Vec<NetworkId> {
        self.with_book(|book| book.networks().map(hopsack_ipam::Allocator::network).collect())
    }
}

/// A caller that waits for something, for as long as it does.
struct Asking<'a> {
    addresses: &'a Addresses,
    network: NetworkId,
    wanted: Wanted,
}

impl<'a> Asking<'a> {
    fn begin(addresses: &'a Addresses, network: NetworkId, wanted: Wanted) -> Self {
        let mut waiting = addresses.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting.entry(network).or_default().entry(wanted).or_default() += 1;
        addresses.work.notify_one();
        Self { addresses, network, wanted }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut waiting = self.addresses.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_network) = waiting.get_mut(&self.network)
            && let Some(count) = of_network.get_mut(&self.wanted)
        {
            *count -= 1;
            if *count == 0 {
                of_network.remove(&self.wanted);
            }
        }
        self.addresses.work.notify_one();
    }
}

/// The names of all hosts, for messages.
pub fn names(intent: &Intent) -> grant::Names {
    intent.hosts.values().map(|host| (host.id, host.name.clone())).collect()
}

fn given_back(address: IpAddr) -> AgentError {
    let message = format!("{address} was given back while it was taken once more: try again");
    ApiError::new(ErrorCode::Unavailable, message).into()
}

/// An error of the core as callers see it.
pub fn refused(error: &IpamError) -> ApiError {
    let code = match error {
        IpamError::Exhausted { .. } | IpamError::PoolsFull { .. } | IpamError::HostAddressesFull { .. } => {
            ErrorCode::Exhausted
        }
        IpamError::InUse { .. }
        | IpamError::InUseElsewhere { .. }
        | IpamError::Quarantined { .. }
        | IpamError::Overlap { .. }
        | IpamError::HostOverlap { .. } => ErrorCode::Conflict,
        IpamError::NotReady(_) => ErrorCode::NotReady,
        _ => ErrorCode::Invalid,
    };
    ApiError::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
