//! Seals membership datagrams with the cluster's key: AES-256-GCM, a random 96-bit nonce in front (NIST SP 800-38D,
//! 8.2.2; a cluster stays far below 2^32 datagrams under one key). Who has no key learns nothing and is not heard.

use crate::entropy::Entropy;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use hopsack_types::ClusterId;

/// Opens and seals for one cluster.
pub struct Seal {
    key: LessSafeKey,
    cluster: ClusterId,
}

/// The key has not the length of an AES-256 key; it was damaged on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster key is damaged: remove the state directory and join again")]
pub struct SealKeyError;

impl Seal {
    /// Takes the cluster's key into use.
    pub fn new(cluster: ClusterId, key: &[u8; 32]) -> Result<Self, SealKeyError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealKeyError)?;
        Ok(Self { key: LessSafeKey::new(key), cluster })
    }

    /// Seals a datagram; none if the cipher refuses, which its contract excludes for such lengths.
    pub fn seal(&self, plain: &[u8], entropy: &Entropy) -> Option<Bytes> {
        let nonce: [u8; NONCE_LEN] = entropy.bytes();
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.context(), &mut sealed)
            .ok()?;
        let mut datagram = nonce.to_vec();
        datagram.extend_from_slice(&sealed);
        Some(datagram.into())
    }

    /// Opens a datagram; none if it is not from a member, or damaged.
    pub fn open(&self, datagram: &[u8]) -> Option<Bytes> {
        let (nonce, sealed) = datagram.split_first_chunk::<NONCE_LEN>()?;
        let mut plain = sealed.to_vec();
        let length = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), self.context(), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain.into())
    }

    fn context(&self) -> Aad<[u8; 16]> {
        Aad::from(*self.cluster.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_of_the_same_cluster_open_a_datagram() {
        let entropy = Entropy::from_seed(1);
        let ours = Seal::new(ClusterId::from_bytes([1; 16]), &[7; 32]).unwrap();
        let other_cluster = Seal::new(ClusterId::from_bytes([2; 16]), &[7; 32]).unwrap();
        let other_key = Seal::new(ClusterId::from_bytes([1; 16]), &[8; 32]).unwrap();
        let datagram = ours.seal(b"ping", &entropy).unwrap();
        assert_eq!(ours.open(&datagram).unwrap(), &b"ping"[..]);
        assert_eq!(other_cluster.open(&datagram), None);
        assert_eq!(other_key.open(&datagram), None);
        for i in 0..datagram.len() {
            let mut damaged = datagram.to_vec();
            damaged[i] ^= 1;
            assert_eq!(ours.open(&damaged), None, "byte {i} was changed and it opened");
        }
        assert_eq!(ours.open(&datagram[..5]), None);
    }
}
