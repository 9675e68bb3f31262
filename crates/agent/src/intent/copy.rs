//! This host's parsed copy of intent, kept up with its store.

use hopsack_store::watch;
use hopsack_store::{Event, Snapshot, Store};
use hopsack_types::Revision;
use hopsack_types::intent::{Intent, IntentError, Key};
use std::sync::Arc;
use tokio_stream::StreamExt;

/// Intent at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntentAt {
    /// The revision.
    pub revision: Revision,
    /// The intent.
    pub intent: Arc<Intent>,
}

/// Parses a whole snapshot.
pub fn parse(snapshot: &Snapshot) -> Result<Intent, IntentError> {
    let mut intent = Intent::default();
    for (key, entry) in &snapshot.entries {
        intent.set(&key.parse()?, Some(&entry.value))?;
    }
    Ok(intent)
}

/// Keeps the copy up for ever. A key or value that this version cannot read is left out and told once per change: the
/// rest must go on working while a cluster is being upgraded.
pub async fn keep(store: Arc<dyn Store>, copy: watch::Sender<IntentAt>) {
    let mut events = store.watch(Revision::default()).into_stream();
    let mut intent = Intent::default();
    while let Some(event) = events.next().await {
        let revision = event.revision();
        match event {
            Event::Snapshot(snapshot) => {
                intent = Intent::default();
                for (key, entry) in &snapshot.entries {
                    set(&mut intent, key, Some(&entry.value));
                }
            }
            Event::Changes { changes, .. } => {
                for change in &changes {
                    set(&mut intent, &change.key, change.value.as_deref());
                }
            }
        }
        let fresh = IntentAt { revision, intent: Arc::new(intent.clone()) };
        copy.send_if_modified(|at| {
            let changed = *at != fresh;
            *at = fresh;
            changed
        });
    }
}

fn set(intent: &mut Intent, key: &str, value: Option<&[u8]>) {
    if let Err(error) = key.parse::<Key>().and_then(|key| intent.set(&key, value)) {
        tracing::error!(key, %error, "a part of intent was left out");
    }
}
