//! The facts of all hosts: taking batches in, and reading what they say.
//!
//! Every host writes facts about itself only, and the newest stamp wins for each key, so any two hosts that have the
//! same batches show the same facts, whatever way the batches came. What must not live here: writing own facts
//! (`writer`), comparing (`sync`), and what a fact is good for.

use crate::batch::{Batch, Fingerprint, Verifier};
use crate::log::{BatchId, HostLog};
use crate::writer::Writer;
use hopsack_types::fact::{Fact, FactKey};
use hopsack_types::{HostId, Incarnation, Revision};
use std::collections::{BTreeMap, VecDeque};

/// New batches that wait to be pushed on. When more come the oldest are dropped: the next exchange carries them.
const PUSH_QUEUE: usize = 1024;

/// How batches came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A peer pushed them on as news; what is new here is pushed on once more.
    Push,
    /// An exchange of what one side lacked, or the disk: nobody else needs to hear.
    Sync,
}

/// Why a batch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// The writer is no host of the cluster, as far as the intent here goes.
    UnknownHost,
    /// The writer did not sign this.
    BadSignature,
    /// It claims to be from this host's present or a later start, and this host did not write it: a copy of this
    /// machine runs elsewhere, or this one was set back to an older state.
    NotItsWriter,
    /// Numbers or kinds make no sense.
    Malformed,
}

impl Reject {
    /// The reason's name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::BadSignature => "bad_signature",
            Self::NotItsWriter => "not_its_writer",
            Self::Malformed => "malformed",
        }
    }
}

/// A batch that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// The host that the batch claims to be from.
    pub host: HostId,
    /// Why.
    pub reason: Reject,
}

/// A fact that came, changed or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// Its writer.
    pub host: HostId,
    /// What it is about.
    pub key: FactKey,
    /// What was so.
    pub old: Option<Fact>,
    /// What is so.
    pub new: Option<Fact>,
}

/// What taking batches in has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// In the order in which they became visible.
    pub changes: Vec<RecordChange>,
    /// How many batches were new.
    pub accepted: usize,
    /// What was refused.
    pub rejected: Vec<Rejected>,
    /// The cluster has batches of this host from this incarnation, which is not older than the present one, and this
    /// host did not write them: persist a higher one and call [`Records::restart`], or nobody will believe this host.
    pub own_newer: Option<Incarnation>,
}

/// Whether a fact counts, given intent: an address only inside blocks that are granted to its writer, for example.
/// Asked when facts are read and not when they come in, because the answer changes with intent.
pub trait Validity {
    /// Whether the fact counts.
    fn counts(&self, host: HostId, key: &FactKey, fact: &Fact) -> bool;
}

impl<F: Fn(HostId, &FactKey, &Fact) -> bool> Validity for F {
    fn counts(&self, host: HostId, key: &FactKey, fact: &Fact) -> bool {
        self(host, key, fact)
    }
}

/// The facts of all hosts, as one host has them.
#[derive(Debug, Clone)]
pub struct Records {
    pub(crate) me: HostId,
    pub(crate) writer: Writer,
    logs: BTreeMap<HostId, HostLog>,
    intent: Revision,
    push: VecDeque<Batch>,
    push_dropped: u64,
    rejects: BTreeMap<Reject, u64>,
}

impl Records {
    /// No facts yet. `incarnation` must be higher than at any earlier start of this host.
    pub fn new(me: HostId, incarnation: Incarnation) -> Self {
        Self {
            me,
            writer: Writer::new(incarnation),
            logs: BTreeMap::new(),
            intent: Revision::default(),
            push: VecDeque::new(),
            push_dropped: 0,
            rejects: BTreeMap::new(),
        }
    }

    /// Takes batches from a peer or from disk. Known and outdated ones are passed over in silence; a batch whose
    /// writer had a newer intent is kept and forwarded, but shows nothing before [`Records::intent_advanced`].
    pub fn apply(&mut self, batches: Vec<Batch>, source: Source, verifier: &dyn Verifier) -> Applied {
        let mut applied = Applied::default();
        for batch in batches {
            let host = batch.host;
            let forward = (source == Source::Push).then(|| batch.clone());
            match self.take(batch, verifier, &mut applied) {
                Ok(true) => {
                    applied.accepted += 1;
                    forward.into_iter().for_each(|batch| self.enqueue_push(batch));
                }
                Ok(false) => {}
                Err(reason) => {
                    *self.rejects.entry(reason).or_default() += 1;
                    applied.rejected.push(Rejected { host, reason });
                }
            }
        }
        applied
    }

    /// True if the batch was new. The cheap questions come first: most batches that arrive are known already.
    fn take(&mut self, batch: Batch, verifier: &dyn Verifier, applied: &mut Applied) -> Result<bool, Reject> {
        if !batch.is_well_formed() {
            return Err(Reject::Malformed);
        }
        let host = batch.host;
        let bytes = batch.signed_bytes().map_err(|_| Reject::Malformed)?;
        let id = BatchId::new(&batch, Fingerprint::of(&bytes));
        if self.logs.get(&host).is_some_and(|log| log.is_stale(&batch) || log.contains(&id)) {
            return Ok(false);
        }
        if !verifier.knows(host) {
            return Err(Reject::UnknownHost);
        }
        if !verifier.verify(host, &bytes, &batch.signature) {
            return Err(Reject::BadSignature);
        }
        if host == self.me && batch.incarnation >= self.writer.incarnation() {
            applied.own_newer = applied.own_newer.max(Some(batch.incarnation));
            return Err(Reject::NotItsWriter);
        }
        applied.changes.extend(self.insert(id, batch, bytes.len()));
        Ok(true)
    }

    /// Puts a batch that is known to be good into its log.
    pub(crate) fn insert(&mut self, id: BatchId, batch: Batch, bytes: usize) -> Vec<RecordChange> {
        // What this host wrote itself it can always judge.
        let intent = if batch.host == self.me { batch.intent } else { self.intent };
        self.logs.entry(batch.host).or_default().insert(id, batch, bytes, intent)
    }

    /// The intent here is now at `revision`: shows what waited for it. An older revision changes nothing.
    pub fn intent_advanced(&mut self, revision: Revision) -> Vec<RecordChange> {
        self.intent = self.intent.max(revision);
        let intent = self.intent;
        self.logs.iter_mut().flat_map(|(host, log)| log.show(*host, intent)).collect()
    }

    /// Forgets a host that intent has removed; the verifier must not know it any more, or it comes back.
    pub fn forget(&mut self, host: HostId) -> Vec<RecordChange> {
        let gone = self.logs.remove(&host);
        let slots = gone.iter().flat_map(HostLog::view);
        slots
            .filter_map(|(key, slot)| {
                let old = slot.fact.clone()?;
                Some(RecordChange { host, key: *key, old: Some(old), new: None })
            })
            .collect()
    }

    /// Every fact with its writer, own ones as well, in order of host and key.
    pub fn facts(&self) -> impl Iterator<Item = (HostId, &FactKey, &Fact)> {
        self.logs.iter().flat_map(|(host, log)| {
            log.view().iter().filter_map(|(key, slot)| Some((*host, key, slot.fact.as_ref()?)))
        })
    }

    /// Every fact that counts.
    pub fn valid_facts<'a>(
        &'a self,
        validity: &'a dyn Validity,
    ) -> impl Iterator<Item = (HostId, &'a FactKey, &'a Fact)> {
        self.facts().filter(|(host, key, fact)| validity.counts(*host, key, fact))
    }

    /// One fact.
    pub fn fact(&self, host: HostId, key: &FactKey) -> Option<&Fact> {
        self.logs.get(&host)?.view().get(key)?.fact.as_ref()
    }

    /// A new batch to send to a few random members (three are enough), own or passed on. To be left in the queue while
    /// no other member is there.
    pub fn poll_push(&mut self) -> Option<Batch> {
        self.push.pop_front()
    }

    pub(crate) fn enqueue_push(&mut self, batch: Batch) {
        if self.push.len() >= PUSH_QUEUE {
            self.push.pop_front();
            self.push_dropped += 1;
        }
        self.push.push_back(batch);
    }

    /// Everything to keep on disk. After a start: first [`Records::intent_advanced`] with the intent from disk, then
    /// [`Records::apply`] with [`Source::Sync`] for these in this order, and the view is what it was.
    pub fn export(&self) -> Vec<Batch> {
        self.logs.values().flat_map(HostLog::kept).cloned().collect()
    }

    /// How many batches were refused since the start, by reason.
    pub const fn rejects(&self) -> &BTreeMap<Reject, u64> {
        &self.rejects
    }

    /// How many pushes were dropped since the start because too many waited.
    pub const fn push_dropped(&self) -> u64 {
        self.push_dropped
    }

    /// How many bytes of batches the logs have.
    pub fn stored_bytes(&self) -> usize {
        self.logs.values().flat_map(HostLog::batches).map(|(_, _, bytes)| bytes).sum()
    }

    pub(crate) fn logs(&self) -> impl Iterator<Item = (HostId, &HostLog)> {
        self.logs.iter().map(|(host, log)| (*host, log))
    }

    pub(crate) fn own_log(&self) -> Option<&HostLog> {
        self.logs.get(&self.me)
    }
}
