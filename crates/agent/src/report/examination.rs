//! A closer look than `status` takes: every other host is asked, now.

use crate::member::Member;
use crate::talk::wire::{Answer, Question};
use futures::StreamExt;
use futures::stream;
use hopsack_api::{PeerAnswer, PeerExamination};
use hopsack_types::Host;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many hosts are asked at the same time: each may cost a handshake.
const AT_ONCE: usize = 64;

/// Asks all other hosts. Takes as long as the slowest, which is bounded by the deadlines of connections and answers.
pub async fn peers(member: &Arc<Member>) -> Vec<PeerExamination> {
    let asked = stream::iter(member.peers.all()).map(|host| peer(member, host));
    let mut peers: Vec<PeerExamination> = asked.buffer_unordered(AT_ONCE).collect().await;
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    peers
}

async fn peer(member: &Arc<Member>, host: Host) -> PeerExamination {
    let (answer, error) = match ask(member, &host).await {
        Ok(answer) => (Some(answer), None),
        Err(error) => (None, Some(error)),
    };
    let sight = member.paths.explain(host.id);
    PeerExamination {
        alive: member.members.active().borrow().contains(&host.id),
        path: super::path(member, &host),
        kinds: sight.as_ref().map(|sight| sight.kinds.clone()).unwrap_or_default(),
        last_heard: member.paths.silent_for(host.id).map(|silent| silent.as_secs()),
        id: host.id,
        name: host.name,
        underlay: host.underlay,
        control_port: host.control_port,
        answer,
        error,
    }
}

async fn ask(member: &Member, host: &Host) -> Result<PeerAnswer, String> {
    let (begin, before) = (Instant::now(), member.parts.clock.unix_seconds());
    let answer = member.peers.ask(host, &Question::Examine).await;
    let (took, after) = (begin.elapsed(), member.parts.clock.unix_seconds());
    match answer {
        Ok(Answer::Examined { unix_seconds, version }) => Ok(PeerAnswer {
            round_trip: microseconds(took),
            clock_ahead: ahead(unix_seconds, before, after),
            version,
        }),
        Ok(_) => Err("it answered something else: it may be of another version".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// By how much another clock is ahead of this host's that showed `before` and `after`, seconds. Nothing, where it may have
/// shown the same in between.
fn ahead(theirs: u64, before: u64, after: u64) -> i64 {
    let seconds = |duration: u64| i64::try_from(duration).unwrap_or(i64::MAX);
    if theirs < before { -seconds(before - theirs) } else { seconds(theirs.saturating_sub(after)) }
}

/// A time as it is told.
pub fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_only_if_it_cannot_have_shown_the_same() {
        assert_eq!(ahead(1000, 1000, 1003), 0);
        assert_eq!(ahead(1002, 1000, 1003), 0);
        assert_eq!(ahead(1010, 1000, 1003), 7);
        assert_eq!(ahead(990, 1000, 1003), -10);
    }
}
