//! The way into the kernel: what is known becomes a view, the view a plan, the plan system calls; and the measured
//! paths and the underlay that the view needs.
//!
//! What must not live here: what a plan holds (the `plan` crate), how it is done (the `kernel` crate).

pub mod access;
pub mod originals;
pub mod paths;
pub mod planner;
pub mod reconciler;
pub mod settings;
pub mod underlay;
