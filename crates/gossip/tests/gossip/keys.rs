//! What the tests share: ids, facts, and signatures that only their host can make.

use hopsack_gossip::{Signature, Signer, Verifier};
use hopsack_types::address::Mac;
use hopsack_types::fact::{EndpointFact, Fact, FactKey};
use hopsack_types::{EndpointId, HostId, NetworkId, Revision};
use sha2::{Digest, Sha256};
use std::net::IpAddr;

pub fn host(n: u16) -> HostId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    HostId::from_bytes(bytes)
}

pub fn endpoint(n: u32) -> FactKey {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    FactKey::Endpoint(EndpointId::from_bytes(bytes))
}

/// A fact that differs for each `n`.
pub fn fact(n: u32) -> Fact {
    Fact::Endpoint(EndpointFact {
        network: NetworkId::from_bytes([7; 16]),
        addresses: vec![IpAddr::from(n.to_be_bytes())],
        mac: Mac::local([0; 6]),
        name: format!("c{n}"),
    })
}

pub fn revision(index: u64) -> Revision {
    Revision { epoch: 1, index }
}

/// Stands for a host's private key: a hash over its id, which in the tests nobody else uses.
#[derive(Clone, Copy)]
pub struct Key(pub HostId);

impl Signer for Key {
    fn sign(&self, bytes: &[u8]) -> Signature {
        let hash: [u8; 32] =
            Sha256::new().chain_update(self.0.as_bytes()).chain_update(bytes).finalize().into();
        Signature::from((hash, hash))
    }
}

/// Knows hosts up to a number.
pub struct Keys {
    pub hosts: u16,
}

impl Verifier for Keys {
    fn knows(&self, id: HostId) -> bool {
        (0..self.hosts).any(|n| host(n) == id)
    }

    fn verify(&self, host: HostId, bytes: &[u8], signature: &Signature) -> bool {
        self.knows(host) && Key(host).sign(bytes) == *signature
    }
}
