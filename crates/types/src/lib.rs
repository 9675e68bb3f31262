//! Vocabulary of Hopsack: ids, names, addresses, resources, facts and the firewall's intermediate form.
//!
//! Every other crate speaks in these words. Values are parsed once, at the edge, and cannot be built wrong.
//! What must not live here: I/O, clocks, randomness, decisions.

pub mod address;
pub mod container;
pub mod fact;
pub mod fastpath;
pub mod firewall;
pub mod id;
pub mod intent;
pub mod manifest;
pub mod name;
pub mod nearest;
pub mod numbers;
pub mod option;
pub mod path;
pub mod port;
pub mod resource;
pub mod revision;

pub use address::{Cidr, Family, Mac};
pub use container::ContainerRef;
pub use id::{ClusterId, EndpointId, HostId, NetworkId, TokenId};
pub use name::{HostName, IfName, Labels, NetworkName, PoolName};
pub use option::{NetworkOptions, OptionKey};
pub use path::PathKind;
pub use port::{HostPort, Protocol, PublishedPort};
pub use resource::{ChosenBy, Exit, Host, Isolation, Network, Pool};
pub use revision::{Generation, Incarnation, Revision, Seq};
