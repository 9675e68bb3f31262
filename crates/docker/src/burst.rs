//! An engine's events come in bursts, and each look at the engine answers a whole one: the first event of a burst waits
//! a moment for the others.

use crate::error::DockerError;
use futures::stream::{BoxStream, StreamExt};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Waits for an event or for `otherwise`, then as long as a burst lasts. Answers whether there may be more events: an
/// engine that has gone ends its stream, or fails.
pub(crate) async fn next_burst(
    events: &mut BoxStream<'static, Result<(), DockerError>>,
    lasts: Duration,
    otherwise: impl Future<Output = ()>,
) -> Result<bool, DockerError> {
    tokio::select! {
        event = events.next() => match event {
            Some(event) => event?,
            None => return Ok(false),
        },
        () = otherwise => {}
    }
    let end = sleep_until(Instant::now() + lasts);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(true),
            Some(event) = events.next() => event?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use std::future::{pending, ready};
    use tokio::time::sleep;

    const LASTS: Duration = Duration::from_millis(20);
    const BETWEEN: Duration = Duration::from_millis(8);

    /// Three events in a row, then one much later.
    fn events() -> BoxStream<'static, Result<(), DockerError>> {
        let pauses = [BETWEEN, BETWEEN, BETWEEN, 10 * LASTS];
        let after = |pause| async move {
            sleep(pause).await;
            Ok(())
        };
        stream::iter(pauses).then(after).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn events_of_one_burst_are_one_and_the_end_of_the_stream_is_told() {
        let (mut events, start) = (events(), Instant::now());
        assert!(next_burst(&mut events, LASTS, pending()).await.unwrap());
        assert_eq!(start.elapsed(), BETWEEN + LASTS);
        assert!(next_burst(&mut events, LASTS, pending()).await.unwrap());
        assert_eq!(start.elapsed(), 3 * BETWEEN + 11 * LASTS, "the third came with the first");
        assert!(!next_burst(&mut events, LASTS, pending()).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_else_there_is_to_wait_for_begins_a_burst_too() {
        let (mut events, start) = (events(), Instant::now());
        assert!(next_burst(&mut events, LASTS, ready(())).await.unwrap());
        assert_eq!(start.elapsed(), LASTS);
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_fails_within_a_burst_has_failed() {
        let failed = || DockerError::NoPort { protocol: hopsack_types::Protocol::Udp };
        let mut events = stream::iter([Ok(()), Err(failed())]).boxed();
        assert!(next_burst(&mut events, LASTS, pending()).await.is_err());
    }
}
