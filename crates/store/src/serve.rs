//! The serving side of a replica: what any store tells a follower. Replicas serve others as voters do.

use crate::live::Watch;
use crate::store::{Event, Store};
use futures::stream::{self, BoxStream, StreamExt};
use hopsack_types::Revision;
use std::time::Duration;

/// A follower hears something at least this often. It gives up on a silent sender after
/// [`crate::replica::SILENCE`], three times as long.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Everything after `from`, and a sign of life in silence. Ends when the store does. Nothing is queued: a slow
/// follower is sent fewer and larger events.
pub fn follow(store: &dyn Store, from: Revision) -> BoxStream<'static, Event> {
    stream::unfold(store.watch(from), |mut watch| async {
        let event = match tokio::time::timeout(KEEP_ALIVE, watch.next()).await {
            Ok(event) => event?,
            Err(_) => alive(&watch),
        };
        Some((event, watch))
    })
    .boxed()
}

fn alive(watch: &Watch) -> Event {
    let at = watch.revision();
    Event::Changes { since: at, revision: at, changes: Vec::new() }
}
