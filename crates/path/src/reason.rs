//! Why a path is the one in use, for `hopsack status`.

use std::fmt;

/// Why the path to a peer is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `direct`: probes pass, and the peer sees the same.
    DirectProven,
    /// `vxlan`: too few probes have come back or been lost to say whether it passes packets.
    JustStarted,
    /// `vxlan`: the peer is on another segment.
    OtherSegment,
    /// `vxlan`: `direct` has too few answers yet.
    DirectUnproven {
        /// Answers in a row so far.
        answers: u32,
    },
    /// `vxlan`: `direct` passes for us, but the peer has not said that it does for it.
    PeerDoesNotSeeDirect,
    /// `vxlan`: no answer over `direct`, though the peer is on the same segment.
    DirectNotAnswered,
    /// `vxlan` for want of better: its probes are not answered.
    VxlanNotAnswered,
    /// The last path is kept: nothing is answered, the peer is perhaps gone.
    PeerSilent,
    /// No path: this kernel has no VXLAN, and `direct` is not proven.
    NoVxlan,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DirectProven => f.write_str("packets pass both ways without a tunnel"),
            Self::JustStarted => f.write_str("the first probes are under way"),
            Self::OtherSegment => f.write_str("the peer is on another segment"),
            Self::DirectUnproven { answers } => {
                write!(f, "direct is being tried: {answers} answers in a row")
            }
            Self::PeerDoesNotSeeDirect => {
                f.write_str("direct passes from here, not seen to pass by the peer")
            }
            Self::DirectNotAnswered => {
                f.write_str("same segment, but packets between host addresses are dropped on it")
            }
            Self::VxlanNotAnswered => {
                f.write_str("no answer over vxlan: is its UDP port open between the hosts?")
            }
            Self::PeerSilent => f.write_str("no answer over any path: the last one is kept"),
            Self::NoVxlan => f.write_str("no path: this kernel has no vxlan, and direct is not proven"),
        }
    }
}
