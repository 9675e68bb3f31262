//! Intent as a whole: the keys that it is stored under, and the parsed copy that every host works from.

use crate::id::{HostId, NetworkId, TokenId};
use crate::name::PoolName;
use crate::resource::{Cluster, Host, Ledger, Network, Pool, Token};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One key of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The cluster.
    Cluster,
    /// One host.
    Host(HostId),
    /// One pool.
    Pool(PoolName),
    /// One network.
    Network(NetworkId),
    /// One network's ledger of grants.
    Ledger(NetworkId),
    /// One join token.
    Token(TokenId),
    /// Taken by every write that must see all subnets, names and host addresses: the guard of uniqueness. Its value
    /// is a counter.
    Directory,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Host(id) => write!(f, "host/{id}"),
            Self::Pool(name) => write!(f, "pool/{name}"),
            Self::Network(id) => write!(f, "network/{id}"),
            Self::Ledger(id) => write!(f, "ledger/{id}"),
            Self::Token(id) => write!(f, "token/{id}"),
            Self::Directory => f.write_str("directory"),
        }
    }
}

/// Why stored intent could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// A key that this version does not know.
    #[error("intent has a key {0:?} that this version does not know: upgrade this host's hopsack")]
    UnknownKey(String),
    /// A value that this version cannot read.
    #[error("intent under {key} cannot be read by this version: upgrade this host's hopsack")]
    Value {
        /// The key.
        key: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

impl FromStr for Key {
    type Err = IntentError;
    fn from_str(text: &str) -> Result<Self, IntentError> {
        let unknown = || IntentError::UnknownKey(text.to_owned());
        match text {
            "cluster" => return Ok(Self::Cluster),
            "directory" => return Ok(Self::Directory),
            _ => {}
        }
        let (kind, rest) = text.split_once('/').ok_or_else(unknown)?;
        match kind {
            "host" => rest.parse().map(Self::Host).map_err(|_| unknown()),
            "pool" => rest.parse().map(Self::Pool).map_err(|_| unknown()),
            "network" => rest.parse().map(Self::Network).map_err(|_| unknown()),
            "ledger" => rest.parse().map(Self::Ledger).map_err(|_| unknown()),
            "token" => rest.parse().map(Self::Token).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

/// Writes a value as the store keeps it.
pub fn encode<T: Serialize>(key: &Key, value: &T) -> Result<Vec<u8>, IntentError> {
    serde_json::to_vec(value).map_err(|source| IntentError::Value { key: key.to_string(), source })
}

/// Reads a value as the store keeps it.
pub fn decode<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, IntentError> {
    serde_json::from_slice(bytes).map_err(|source| IntentError::Value { key: key.to_string(), source })
}

/// All of intent, parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intent {
    /// The cluster, once its record has arrived.
    pub cluster: Option<Cluster>,
    /// Hosts by id.
    pub hosts: BTreeMap<HostId, Host>,
    /// Pools by name.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Networks by id.
    pub networks: BTreeMap<NetworkId, Network>,
    /// Ledgers by network.
    pub ledgers: BTreeMap<NetworkId, Ledger>,
    /// Tokens by id.
    pub tokens: BTreeMap<TokenId, Token>,
}

impl Intent {
    /// Takes in one key's new value, or its removal. On an error nothing has changed.
    pub fn set(&mut self, key: &Key, value: Option<&[u8]>) -> Result<(), IntentError> {
        fn put<K: Ord + Clone, V: DeserializeOwned>(
            map: &mut BTreeMap<K, V>,
            id: &K,
            key: &Key,
            value: Option<&[u8]>,
        ) -> Result<(), IntentError> {
            match value {
                Some(bytes) => drop(map.insert(id.clone(), decode(key, bytes)?)),
                None => drop(map.remove(id)),
            }
            Ok(())
        }
        match key {
            Key::Cluster => self.cluster = value.map(|bytes| decode(key, bytes)).transpose()?,
            Key::Host(id) => put(&mut self.hosts, id, key, value)?,
            Key::Pool(name) => put(&mut self.pools, name, key, value)?,
            Key::Network(id) => put(&mut self.networks, id, key, value)?,
            Key::Ledger(id) => put(&mut self.ledgers, id, key, value)?,
            Key::Token(id) => put(&mut self.tokens, id, key, value)?,
            Key::Directory => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_back_as_it_was_written() {
        let keys = [
            Key::Cluster,
            Key::Directory,
            Key::Host(HostId::from_bytes([1; 16])),
            Key::Pool("default".parse().unwrap()),
            Key::Network(NetworkId::from_bytes([2; 16])),
            Key::Ledger(NetworkId::from_bytes([3; 16])),
            Key::Token(TokenId::from_bytes([4; 16])),
        ];
        for key in keys {
            assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        }
        assert!("colour/red".parse::<Key>().is_err());
    }

    #[test]
    fn an_unreadable_value_changes_nothing() {
        let mut intent = Intent::default();
        let key = Key::Pool("p".parse().unwrap());
        intent.set(&key, Some(br#"{"name":"p","cidr":"10.32.0.0/14"}"#)).unwrap();
        let before = intent.clone();
        assert!(intent.set(&key, Some(br#"{"name":"p","cidr":"10.32.0.1/14"}"#)).is_err());
        assert_eq!(intent, before);
    }
}
