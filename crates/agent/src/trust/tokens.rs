//! Join tokens in intent: made, listed, revoked. What one looks like, and what it is checked for, is in `token`.

use crate::error::AgentError;
use crate::intent::changes::{Writes, change};
use crate::member::Member;
use crate::talk::peers::Peers;
use crate::trust::token::JoinToken;
use hopsack_api::{ApiError, ErrorCode, TokenAnswer, TokenRequest, TokenStatus};
use hopsack_types::TokenId;
use hopsack_types::intent::Key;

/// How long a token is remembered after it has expired, seconds: whoever tries it is told what is wrong with it.
const REMEMBERED: u64 = 24 * 3600;

/// Makes a token. Those that have expired long ago are forgotten.
pub async fn create(member: &Member, request: TokenRequest) -> Result<TokenAnswer, AgentError> {
    if request.valid_for == 0 || request.uses == Some(0) {
        let message = "a token must be good for at least a second and one use";
        return Err(ApiError::new(ErrorCode::Invalid, message).into());
    }
    let intent = member.intent.borrow().intent.clone();
    let (Some(cluster), Some(me)) = (&intent.cluster, intent.hosts.get(&member.identity.host)) else {
        let message = "this host's copy of the cluster's state has not arrived yet: try again";
        return Err(ApiError::new(ErrorCode::NotReady, message).into());
    };
    let token = JoinToken::draw(cluster.ca_hash.clone(), &member.parts.entropy);
    let now = member.parts.clock.unix_seconds();
    let stored = token.stored(now.saturating_add(request.valid_for), request.uses);
    change(member.store.as_ref(), |intent| {
        let old = intent.tokens.values().filter(|token| token.expires_at.saturating_add(REMEMBERED) < now);
        let forgotten = old.fold(Writes::new(), |writes, token| writes.delete(Key::Token(token.id)));
        Ok((forgotten.put(Key::Token(stored.id), &stored)?, ()))
    })
    .await?;
    Ok(TokenAnswer { token: token.to_string(), address: Peers::control_address(me) })
}

/// All tokens that are remembered, without their secrets; those that expire first come first.
pub fn list(member: &Member) -> Vec<TokenStatus> {
    let now = member.parts.clock.unix_seconds();
    let intent = member.intent.borrow().intent.clone();
    let mut tokens: Vec<TokenStatus> = intent
        .tokens
        .values()
        .map(|token| TokenStatus {
            id: token.id,
            expires_at: token.expires_at,
            expires_in: token.expires_at.saturating_sub(now),
            uses_left: token.uses_left,
        })
        .collect();
    tokens.sort_by_key(|token| (token.expires_at, token.id));
    tokens
}

/// Takes a token back: nobody joins with it any more. Who has joined stays.
pub async fn revoke(member: &Member, token: TokenId) -> Result<(), AgentError> {
    change(member.store.as_ref(), |intent| {
        if !intent.tokens.contains_key(&token) {
            let message = format!("there is no token {}: `hopsack token ls` lists them", token.short());
            return Err(ApiError::new(ErrorCode::NotFound, message).into());
        }
        Ok((Writes::new().delete(Key::Token(token)), ()))
    })
    .await?;
    tracing::info!(token = %token.short(), "token revoked");
    Ok(())
}
