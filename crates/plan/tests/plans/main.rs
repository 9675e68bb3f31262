//! Plans of a small cluster: what they route, how their firewall reads, and what real packets do under them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod cluster;
mod fastpath;
mod firewall;
mod namespaces;
mod packets;
mod ports;
mod routed;
