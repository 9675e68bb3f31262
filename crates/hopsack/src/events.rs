//! `hopsack events`: what has happened, and what happens.

use crate::cli::Events;
use crate::error::CommandError;
use crate::output::{Format, Output};
use hopsack_api::client::Client;
use hopsack_api::{Event, EventsRequest};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lists events; with `--follow` until the agent ends, a line each, also as JSON.
pub fn run(client: &Client, arguments: Events, out: &mut Output<'_>) -> Result<(), CommandError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let request = EventsRequest { since: arguments.since.map(|ago| now.saturating_sub(ago)) };
    match (arguments.follow, arguments.listing.output) {
        (false, Format::Json) => out.json(&client.events(&request)?),
        (false, Format::Text) => client.events(&request)?.iter().try_for_each(|event| out.line(line(event))),
        (true, format) => {
            for event in client.follow_events(&request)? {
                let event = event?;
                match format {
                    Format::Json => out.line(serde_json::to_string(&event).map_err(CommandError::Json)?)?,
                    Format::Text => out.line(line(&event))?,
                }
            }
            Ok(())
        }
    }
}

fn line(event: &Event) -> String {
    format!("{} {} {}: {}", time(event.at), event.kind, event.object, event.text)
}

/// A time as RFC 3339 has it, in UTC. Days to dates by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>), which counts years from March.
fn time(unix: u64) -> String {
    let (days, second) = (unix / 86_400 + 719_468, unix % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsack_api::EventKind;

    #[test]
    fn an_event_is_a_line_with_its_time_kind_and_object() {
        let (object, text) = ("web".to_owned(), "10.32.4.0/24 by Docker".to_owned());
        let event = Event { number: 1, at: 1_763_701_200, kind: EventKind::NetworkMade, object, text };
        assert_eq!(line(&event), "2025-11-21T05:00:00Z network-made web: 10.32.4.0/24 by Docker");
    }

    #[test]
    fn times_are_told_as_rfc_3339_has_them() {
        for (unix, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(unix), expected);
        }
    }
}
