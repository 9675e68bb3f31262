//! End to end: real agents on the hosts of a lab, driven by the program as a user would, real traffic.
//!
//! One module an idea; `scene` makes the cluster that each begins with.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what several tests share")]

mod addresses;
mod bare;
mod cluster;
mod disk;
mod docker;
mod drift;
mod failures;
mod fastpath;
mod forged;
mod guest;
mod guide;
mod isolation;
mod json;
mod metrics;
mod paths;
mod refusals;
mod resources;
mod routed;
mod scene;
mod seeing;
mod starts;
mod strangers;
mod survive;
mod uninstall;
