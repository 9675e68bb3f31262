//! A member: who it is on the wire, and what is known of it.
//!
//! What must not live here: the protocol, which is `membership`'s.

use hopsack_types::{HostId, Incarnation};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How membership sees a host. Only for people and for choosing whom to talk to: no route depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It did not answer lately; still counts as there.
    Suspect,
    /// It did not answer long enough, or said that it leaves.
    Down,
}

impl From<foca::State> for MemberState {
    fn from(state: foca::State) -> Self {
        match state {
            foca::State::Alive => Self::Alive,
            foca::State::Suspect => Self::Suspect,
            foca::State::Down => Self::Down,
        }
    }
}

impl From<MemberState> for foca::State {
    fn from(state: MemberState) -> Self {
        match state {
            MemberState::Alive => Self::Alive,
            MemberState::Suspect => Self::Suspect,
            MemberState::Down => Self::Down,
        }
    }
}

/// What is known of one member; exchanged as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The host.
    pub host: HostId,
    /// Which of its starts.
    pub incarnation: Incarnation,
    /// How often in this incarnation it was taken for dead and came back.
    pub renewal: u32,
    /// How often since then it has denied a suspicion.
    pub refutation: u16,
    /// Where its membership datagrams go.
    pub addr: SocketAddr,
    /// Whether it is there.
    pub state: MemberState,
}

impl MemberRecord {
    /// Whether it counts as there.
    pub const fn is_active(&self) -> bool {
        !matches!(self.state, MemberState::Down)
    }
}

/// A member as `foca` tells members apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberId {
    /// In binary: the text form would take a third of a datagram's room for members.
    #[serde(with = "binary_host")]
    pub host: HostId,
    pub incarnation: Incarnation,
    pub renewal: u32,
    pub addr: SocketAddr,
}

impl foca::Identity for MemberId {
    type Addr = HostId;

    /// The way back after having been taken for dead. The incarnation belongs to the disk, so a counter beside it.
    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> HostId {
        self.host
    }

    /// The later start wins. The address only decides between a machine and its clone, so that all choose alike.
    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.incarnation, self.renewal, self.addr) > (other.incarnation, other.renewal, other.addr)
    }
}

impl From<MemberRecord> for foca::Member<MemberId> {
    fn from(record: MemberRecord) -> Self {
        let MemberRecord { host, incarnation, renewal, refutation, addr, state } = record;
        Self::new(MemberId { host, incarnation, renewal, addr }, refutation, state.into())
    }
}

impl From<&foca::Member<MemberId>> for MemberRecord {
    fn from(member: &foca::Member<MemberId>) -> Self {
        let MemberId { host, incarnation, renewal, addr } = *member.id();
        Self {
            host,
            incarnation,
            renewal,
            refutation: member.incarnation(),
            addr,
            state: member.state().into(),
        }
    }
}

mod binary_host {
    use hopsack_types::HostId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(host: &HostId, serializer: S) -> Result<S::Ok, S::Error> {
        host.as_bytes().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HostId, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(HostId::from_bytes)
    }
}
