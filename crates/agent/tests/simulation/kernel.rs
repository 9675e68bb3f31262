//! A fake kernel whose operations go into the world's trace.

use crate::trace::Trace;
use hopsack_kernel::{Applied, FakeKernel, Kernel, KernelError};
use hopsack_plan::HostState;
use hopsack_types::Family;
use std::collections::BTreeSet;

/// The fake kernel with its place in the trace.
pub struct TracedKernel {
    kernel: FakeKernel,
    trace: Trace,
    place: String,
}

impl TracedKernel {
    /// Has the operations of a host's kernel traced.
    pub fn new(kernel: FakeKernel, trace: Trace, place: &str) -> Self {
        Self { kernel, trace, place: place.to_owned() }
    }
}

impl Kernel for TracedKernel {
    fn observe(&mut self, desired: &HostState) -> Result<HostState, KernelError> {
        self.kernel.observe(desired)
    }

    fn apply(&mut self, observed: HostState, desired: &HostState) -> Applied {
        let before = self.kernel.trace().len();
        let applied = self.kernel.apply(observed, desired);
        for operation in &self.kernel.trace()[before..] {
            self.trace.note(&self.place, format!("kernel: {operation}"));
        }
        for failure in &applied.failures {
            self.trace.note(&self.place, format!("kernel refuses: {} {}", failure.table, failure.object));
        }
        applied
    }

    fn observe_forward_accept(&mut self, left: &BTreeSet<Family>) -> Result<BTreeSet<Family>, KernelError> {
        self.kernel.observe_forward_accept(left)
    }
}
