//! What has happened: one line for each change of state, remembered for a while by the agent that saw it.
//!
//! What must not live here: the decision what is worth an event; the parts that see the changes tell them.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How many events an agent remembers.
pub const REMEMBERED: usize = 4096;

/// One change of state, as this host's agent saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counts the events of one run of the agent, from 1.
    pub number: u64,
    /// Seconds since 1970, by this host's clock.
    pub at: u64,
    /// What kind of change.
    pub kind: EventKind,
    /// What has changed: a network's, endpoint's, host's or kernel table's name.
    pub object: String,
    /// For people: how.
    pub text: String,
}

/// Kinds of change. Their JSON names are stable; new ones may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The agent began to run.
    AgentStarted,
    /// A network was made, somewhere.
    NetworkMade,
    /// Its labels or its isolation were changed.
    NetworkChanged,
    /// A network was removed, somewhere.
    NetworkRemoved,
    /// This host's Docker had removed a network that stays, and has it again.
    NetworkBroughtBack,
    /// This host's Docker had made a network that cannot be one of the cluster's, and lost it again.
    NetworkRefused,
    /// An endpoint was made on this host.
    EndpointMade,
    /// The container of an endpoint became known, or was renamed.
    EndpointNamed,
    /// An endpoint of this host was removed.
    EndpointRemoved,
    /// Packets to a host take another kind of path.
    PathChanged,
    /// What somebody else changed in the kernel was put right.
    DriftRepaired,
    /// A host entered the cluster.
    HostJoined,
    /// A host left the cluster for good.
    HostRemoved,
    /// A host's agent answers.
    HostUp,
    /// A host's agent does not answer any more.
    HostDown,
    /// This host's Docker engine answers.
    DockerConnected,
    /// This host's Docker engine does not answer any more.
    DockerLost,
    /// Something is wrong: `hopsack status` shows it too.
    FaultCame,
    /// It is no longer wrong.
    FaultWent,
}

impl fmt::Display for EventKind {
    /// As in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AgentStarted => "agent-started",
            Self::NetworkMade => "network-made",
            Self::NetworkChanged => "network-changed",
            Self::NetworkRemoved => "network-removed",
            Self::NetworkBroughtBack => "network-brought-back",
            Self::NetworkRefused => "network-refused",
            Self::EndpointMade => "endpoint-made",
            Self::EndpointNamed => "endpoint-named",
            Self::EndpointRemoved => "endpoint-removed",
            Self::PathChanged => "path-changed",
            Self::DriftRepaired => "drift-repaired",
            Self::HostJoined => "host-joined",
            Self::HostRemoved => "host-removed",
            Self::HostUp => "host-up",
            Self::HostDown => "host-down",
            Self::DockerConnected => "docker-connected",
            Self::DockerLost => "docker-lost",
            Self::FaultCame => "fault-came",
            Self::FaultWent => "fault-went",
        })
    }
}

/// The events of one agent: a ring that only grows at its new end. The newest [`REMEMBERED`] stay.
pub struct Events {
    now: Box<dyn Fn() -> u64 + Send + Sync>,
    ring: Mutex<VecDeque<Event>>,
    newest: watch::Sender<u64>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("newest", &*self.newest.borrow()).finish_non_exhaustive()
    }
}

impl Events {
    /// An empty ring. `now` tells the seconds since 1970.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { now: Box::new(now), ring: Mutex::default(), newest: watch::Sender::new(0) })
    }

    /// Adds an event.
    pub fn tell(&self, kind: EventKind, object: impl fmt::Display, text: impl fmt::Display) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *self.newest.borrow() + 1;
        let (object, text) = (object.to_string(), text.to_string());
        if ring.len() == REMEMBERED {
            ring.pop_front();
        }
        ring.push_back(Event { number, at: (self.now)(), kind, object, text });
        self.newest.send_replace(number);
    }

    /// What is remembered of the events behind a number.
    pub fn after(&self, number: u64) -> Vec<Event> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter().filter(|event| event.number > number).cloned().collect()
    }

    /// The number of the newest event, now and later.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

/// Asks for events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventsRequest {
    /// Only those from then on, in seconds since 1970; none: all that are remembered.
    #[serde(default)]
    pub since: Option<u64>,
}

impl EventsRequest {
    /// Whether an event is asked for.
    pub fn wants(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.at >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_events_are_remembered_and_counted_on() {
        let events = Events::new(|| 7);
        let all = u64::try_from(REMEMBERED).unwrap() + 3;
        for _ in 0..all {
            events.tell(EventKind::HostUp, "h2", "it answers");
        }
        let remembered = events.after(0);
        assert_eq!((remembered.len(), remembered[0].number, remembered[0].at), (REMEMBERED, 4, 7));
        assert_eq!(*events.newest().borrow(), all);
        assert_eq!(events.after(all - 1).iter().map(|event| event.number).collect::<Vec<_>>(), [all]);
    }

    #[test]
    fn a_kind_is_called_the_same_in_text_and_in_json() {
        for kind in [EventKind::NetworkBroughtBack, EventKind::FaultWent, EventKind::AgentStarted] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }
}
