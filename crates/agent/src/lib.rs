//! The agent: cores, store, kernel and front doors put together.
//!
//! | idea | file |
//! |---|---|
//! | getting in: making a cluster, joining one | `entry`, `admission`, `token`, `authority`, `keyring`, `identity` |
//! | talk between hosts | `transport`, `tls`, `wire`, `peers`, `server`, `seal` |
//! | intent: this host's copy, writing it | `intentcopy`, `changes`, `networks` |
//! | facts and members | `facts`, `membership` |
//! | addresses and endpoints | `addresses`, `journalfile`, `attachment`, `endpoints` |
//! | the kernel | `planner`, `reconciler`, `paths`, `underlay` |
//! | all of it together | `parts`, `member`, `upkeep`, `report`, `agent`; `linux` for the real thing |
//!
//! What must not live here: the meaning of policies, paths, addresses and plans, which are cores of their own.

pub mod addresses;
pub mod admission;
pub mod agent;
pub mod attachment;
pub mod authority;
pub mod changes;
pub mod endpoints;
pub mod entropy;
pub mod entry;
pub mod error;
pub mod facts;
pub mod identity;
pub mod intentcopy;
pub mod journalfile;
pub mod keyring;
pub mod linux;
pub mod member;
pub mod membership;
pub mod networks;
pub mod parts;
pub mod paths;
pub mod peers;
pub mod planner;
pub mod reconciler;
pub mod removal;
pub mod report;
pub mod seal;
pub mod server;
pub mod statedir;
pub mod tls;
pub mod token;
pub mod transport;
pub mod underlay;
pub mod upkeep;
pub mod wire;
