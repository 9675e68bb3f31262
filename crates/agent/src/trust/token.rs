//! Join tokens: `hopsack1.<CA hash>.<id>.<secret>`, all hexadecimal. The CA hash lets the joining host know the
//! cluster before it says the secret; the cluster stores the secret's hash only.

use crate::entropy::{Clock, Entropy};
use hopsack_types::TokenId;
use hopsack_types::resource::Token;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "hopsack1";

/// A token as the user carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the CA certificate (DER), hex.
    pub ca_hash: String,
    /// Public half.
    pub id: TokenId,
    /// Secret half.
    pub secret: [u8; 16],
}

/// The text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join token: copy the whole of what `hopsack token create` printed (it begins with {PREFIX}.)"
)]
pub struct TokenError;

impl JoinToken {
    /// Draws a token.
    pub fn draw(ca_hash: String, entropy: &Entropy) -> Self {
        Self { ca_hash, id: TokenId::from_bytes(entropy.bytes()), secret: entropy.bytes() }
    }

    /// What the cluster keeps of it.
    pub fn stored(&self, expires_at: u64, uses_left: Option<u32>) -> Token {
        Token { id: self.id, secret_hash: secret_hash(&self.secret), expires_at, uses_left }
    }
}

/// SHA-256 of a secret, hex.
pub fn secret_hash(secret: &[u8]) -> String {
    hex::encode(Sha256::digest(secret))
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Unknown, revoked, or the secret is wrong; which of them is not told.
    #[error("the token is not valid here, or was revoked: make a new one with `hopsack token create`")]
    Wrong,
    /// Too old.
    #[error("the token has expired: make a new one with `hopsack token create`")]
    Expired,
    /// Used up.
    #[error("the token has been used as often as it may be: make a new one with `hopsack token create`")]
    UsedUp,
}

/// Checks a secret against what is stored. Compares hashes, so time tells nothing about the secret.
pub fn check_secret<'a>(stored: Option<&'a Token>, secret: &[u8]) -> Result<&'a Token, TokenRefusal> {
    stored.filter(|token| token.secret_hash == secret_hash(secret)).ok_or(TokenRefusal::Wrong)
}

/// Checks whether a token whose secret is right may still let a new host in.
pub fn check_open(token: &Token, clock: &dyn Clock) -> Result<(), TokenRefusal> {
    if clock.unix_seconds() >= token.expires_at {
        return Err(TokenRefusal::Expired);
    }
    if token.uses_left == Some(0) {
        return Err(TokenRefusal::UsedUp);
    }
    Ok(())
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.{}", self.ca_hash, self.id, hex::encode(self.secret))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, secret withheld)", self.id.short())
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [PREFIX, ca_hash, id, secret] = parts[..] else { return Err(TokenError) };
        let mut bytes = [0; 16];
        hex::decode_to_slice(secret, &mut bytes).map_err(|_| TokenError)?;
        let hash = hex::decode(ca_hash).map_err(|_| TokenError)?;
        if hash.len() != 32 {
            return Err(TokenError);
        }
        Ok(Self { ca_hash: hex::encode(hash), id: id.parse().map_err(|_| TokenError)?, secret: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(u64);
    impl Clock for At {
        fn unix_seconds(&self) -> u64 {
            self.0
        }
    }

    fn token() -> JoinToken {
        JoinToken::draw("ab".repeat(32), &Entropy::from_seed(1))
    }

    #[test]
    fn a_token_reads_back_as_it_was_printed_and_hides_its_secret_in_logs() {
        let token = token();
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&hex::encode(token.secret)));
        assert!("hopsack1.x.y.z".parse::<JoinToken>().is_err());
    }

    #[test]
    fn wrong_expired_and_used_up_tokens_are_told_apart_but_unknown_ones_are_not() {
        let token = token();
        let stored = token.stored(100, Some(1));
        assert_eq!(check_secret(Some(&stored), &token.secret), Ok(&stored));
        assert_eq!(check_secret(Some(&stored), &[0; 16]), Err(TokenRefusal::Wrong));
        assert_eq!(check_secret(None, &token.secret), Err(TokenRefusal::Wrong));
        assert_eq!(check_open(&stored, &At(99)), Ok(()));
        assert_eq!(check_open(&stored, &At(100)), Err(TokenRefusal::Expired));
        assert_eq!(check_open(&token.stored(100, Some(0)), &At(99)), Err(TokenRefusal::UsedUp));
    }
}
