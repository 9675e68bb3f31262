//! Looks at the settings of the kernel, of which no change is told. With a thousand endpoints there are thousands, so a
//! look goes on beside everything else, and is held against what has become of them meanwhile.
//!
//! What must not live here: writing settings, what they should be.

use crate::kernel::access::{Call, KernelAccess};
use hopsack_kernel::{Differing, KernelError};
use hopsack_plan::HostState;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What changes in silence must be back in a second, on a busy machine too.
pub const PERIOD: Duration = Duration::from_millis(400);

/// One look after another.
pub struct SettingsLooks {
    kernel: KernelAccess,
    due: Instant,
    look: Option<Look>,
}

/// A look that has begun.
struct Look {
    expected: Arc<HostState>,
    call: Call<Result<Differing, KernelError>>,
}

impl SettingsLooks {
    /// The first look is due after one period.
    pub fn new(kernel: KernelAccess) -> Self {
        Self { kernel, due: Instant::now() + PERIOD, look: None }
    }

    /// When the next look is due, or the one that has begun was.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// The settings are known now: what a look that has begun will find is forgotten, and the next one is due after
    /// one period.
    pub fn put_off(&mut self) {
        self.look = None;
        self.due = Instant::now() + PERIOD;
    }

    /// Waits for the next look and its end, which is not lost when the waiting is given up. Gives the settings that
    /// somebody else changed since they were `left` so; none: the settings cannot be read.
    pub async fn next(&mut self, left: &Arc<HostState>) -> Option<Differing> {
        let look = match &mut self.look {
            Some(look) => look,
            none => {
                sleep_until(self.due).await;
                none.insert(Look { expected: left.clone(), call: self.kernel.differing(left.clone()) })
            }
        };
        let found = (&mut look.call).await;
        let Look { expected, .. } = self.look.take()?;
        let log = |error: &KernelError| tracing::warn!(%error, "settings cannot be read");
        let mut differing = found?.inspect_err(log).ok()?;
        // What we changed ourselves during the look.
        differing.retain(|setting, _| expected.sysctls.get(setting) == left.sysctls.get(setting));
        Some(differing)
    }
}
