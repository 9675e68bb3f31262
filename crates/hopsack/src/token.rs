//! `hopsack token`: with what other hosts join, what of it is out there, and how to take it back.

use crate::cli::{CreateToken, Token as Command};
use crate::cluster::join_command;
use crate::error::CommandError;
use crate::output::{Format, Output};
use crate::table::Table;
use hopsack_api::client::Client;
use hopsack_api::{TokenAnswer, TokenRequest, TokenStatus};

/// Does what was asked.
pub fn run(client: &Client, command: &Command, out: &mut Output<'_>) -> Result<(), CommandError> {
    match command {
        Command::Create(arguments) => create(client, arguments, out),
        Command::Ls(listing) => {
            let tokens = client.tokens()?;
            match listing.output {
                Format::Json => out.json(&tokens),
                Format::Text => show_all(&tokens, out),
            }
        }
        Command::Revoke { tokens, listing } => revoke(client, tokens, listing.output, out),
    }
}

fn create(client: &Client, arguments: &CreateToken, out: &mut Output<'_>) -> Result<(), CommandError> {
    let answer = client.create_token(&TokenRequest { valid_for: arguments.ttl, uses: arguments.uses })?;
    let TokenAnswer { token, address } = &answer;
    match arguments.listing.output {
        Format::Json => out.json(&answer),
        Format::Text if arguments.quiet => out.line(token),
        Format::Text => out.line(join_command(*address, token)),
    }
}

/// Revokes all that are named; an id that is wrong leaves all of them.
fn revoke(client: &Client, ids: &[String], format: Format, out: &mut Output<'_>) -> Result<(), CommandError> {
    let known = client.tokens()?;
    let tokens = ids.iter().map(|id| find(&known, id)).collect::<Result<Vec<_>, _>>()?;
    for token in &tokens {
        client.revoke_token(token.id)?;
        if format == Format::Text {
            out.line(format_args!("revoked token {}", token.id.short()))?;
        }
    }
    if format == Format::Json { out.json(&tokens) } else { Ok(()) }
}

/// The one token whose id begins so.
fn find<'a>(tokens: &'a [TokenStatus], text: &str) -> Result<&'a TokenStatus, CommandError> {
    let mut fitting = tokens.iter().filter(|token| token.id.to_string().starts_with(text));
    match (fitting.next(), fitting.next()) {
        (Some(token), None) => Ok(token),
        (None, _) => Err(CommandError::NoToken(text.to_owned())),
        (Some(_), Some(_)) => Err(CommandError::ManyTokens(text.to_owned())),
    }
}

fn show_all(tokens: &[TokenStatus], out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(["ID", "EXPIRES", "USES LEFT"]);
    for token in tokens {
        let uses = token.uses_left.map_or_else(|| "any number".to_owned(), |uses| uses.to_string());
        table.row([token.id.short(), expiry(token.expires_in), uses]);
    }
    out.table(&table)
}

/// A time from now, in its two largest units.
fn expiry(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / (24 * 3600));
    match () {
        () if seconds == 0 => "expired".to_owned(),
        () if minutes == 0 => format!("in {seconds}s"),
        () if hours == 0 => format!("in {minutes}m {}s", seconds % 60),
        () if days == 0 => format!("in {hours}h {}m", minutes % 60),
        () => format!("in {days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text_of;
    use hopsack_types::TokenId;

    fn token(id: [u8; 2], expires_in: u64, uses_left: Option<u32>) -> TokenStatus {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&id);
        let id = TokenId::from_bytes(bytes);
        TokenStatus { id, expires_at: 1_800_000_000 + expires_in, expires_in, uses_left }
    }

    #[test]
    fn tokens_are_listed_with_what_they_are_still_good_for() {
        let tokens = [
            token([0xab, 1], 0, None),
            token([0xab, 2], 59, Some(0)),
            token([3, 4], 61, Some(3)),
            token([3, 5], 86_399, None),
            token([3, 6], 90_000, None),
        ];
        assert_eq!(
            text_of(|out| show_all(&tokens, out)),
            "ID          EXPIRES     USES LEFT\n\
             ab01000000  expired     any number\n\
             ab02000000  in 59s      0\n\
             0304000000  in 1m 1s    3\n\
             0305000000  in 23h 59m  any number\n\
             0306000000  in 1d 1h    any number\n"
        );
    }

    #[test]
    fn a_token_is_found_by_the_beginning_of_its_id_if_no_other_begins_so() {
        let tokens = [token([0xab, 1], 9, None), token([0xab, 2], 9, None)];
        assert_eq!(find(&tokens, "ab02").unwrap(), &tokens[1]);
        assert_eq!(find(&tokens, &tokens[0].id.to_string()).unwrap(), &tokens[0]);
        let told = |text| find(&tokens, text).unwrap_err().to_string();
        assert_eq!(told("ac"), "there is no token \"ac\": `hopsack token ls` lists them");
        assert_eq!(
            told("ab"),
            "more than one token begins with \"ab\": give more of its id (`hopsack token ls`)"
        );
    }
}
