//! The agent: cores, store, kernel and front doors put together.
//!
//! | idea | where |
//! |---|---|
//! | who belongs to the cluster: making one, joining one, keys | `trust` |
//! | talk between hosts | `talk` |
//! | intent: this host's copy, writing it | `intent` |
//! | facts, and which hosts are alive | `facts` |
//! | addresses for containers, and their journal | `addresses` |
//! | endpoints, made and removed | `endpoints` |
//! | the kernel: view, plan, paths, underlay | `kernel` |
//! | what changes, told as events | `events` |
//! | what Prometheus is told, readiness | `metrics` |
//! | all of it together | `parts`, `member`, `upkeep`, `report`, `agent`; `linux` for the real thing |
//!
//! What must not live here: the meaning of policies, paths, addresses and plans, which are cores of their own.

pub mod addresses;
pub mod agent;
pub mod endpoints;
pub mod entropy;
pub mod error;
pub mod events;
pub mod facts;
pub mod intent;
pub mod kernel;
pub mod linux;
pub mod member;
pub mod metrics;
pub mod parts;
pub mod report;
pub mod statedir;
pub mod talk;
pub mod trust;
pub mod upkeep;
