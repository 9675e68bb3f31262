//! `hopsack get`, `create`, `apply`, `replace` and `delete`: resources as documents.
//!
//! What must not live here: how documents are read (`manifest`), and what comes of them (the agent's).

use crate::cli::{Delete, Get, HowToWrite, Shape, WriteFiles};
use crate::error::CommandError;
use crate::manifest::{self, ManifestError, Placed, yaml};
use crate::output::{Format, Output};
use crate::table::Columns;
use hopsack_api::client::{Client, ClientError};
use hopsack_api::{ApiError, ListRequest, Outcome, ResourceChange, WriteMode, WriteRequest, Written};
use hopsack_types::manifest::{Kind, named};
use hopsack_types::nearest::hint;
use serde_json::Value;

/// Kinds as the command line names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds(pub Vec<Kind>);

/// A text that names no kind, or one that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// There is no such kind.
    #[error("there is no kind {text:?}; {}", hint(text, known))]
    Unknown {
        /// What was found.
        text: String,
        /// What would be right.
        known: &'static [&'static str],
    },
    /// Nobody deletes an endpoint by its name.
    #[error("an endpoint goes with its container: end that, or type `hopsack detach`")]
    Endpoint,
}

impl Kinds {
    /// Reads one kind or several: in singular or plural, with commas between them, or `all`.
    pub fn parse(text: &str) -> Result<Self, KindError> {
        const KNOWN: [&str; 5] = ["pool", "network", "host", "endpoint", "all"];
        let mut kinds = Vec::new();
        for word in text.split(',') {
            match kind(word) {
                Some(kind) => kinds.push(kind),
                None if word == "all" => kinds.extend(Kind::WRITTEN),
                None => return Err(KindError::Unknown { text: word.to_owned(), known: &KNOWN }),
            }
        }
        kinds.sort();
        kinds.dedup();
        Ok(Self(kinds))
    }

    /// Reads one kind that can be written.
    pub fn parse_one(text: &str) -> Result<Self, KindError> {
        const KNOWN: [&str; 3] = ["pool", "network", "host"];
        match kind(text) {
            None => Err(KindError::Unknown { text: text.to_owned(), known: &KNOWN }),
            Some(Kind::Endpoint) => Err(KindError::Endpoint),
            Some(kind) => Ok(Self(vec![kind])),
        }
    }
}

fn kind(text: &str) -> Option<Kind> {
    let lower = text.to_ascii_lowercase();
    let singular = lower.strip_suffix('s').unwrap_or(&lower);
    Kind::ALL.into_iter().find(|kind| kind.noun() == singular)
}

/// `hopsack get`
pub fn get(client: &Client, arguments: Get, out: &mut Output<'_>) -> Result<(), CommandError> {
    let Get { kind: Kinds(kinds), names, output, watch } = arguments;
    let request = ListRequest { kinds, names };
    if watch {
        return follow(client, &request, output, out);
    }
    let documents = client.list_resources(&request)?;
    match output {
        Shape::Json => out.json(&documents),
        Shape::Yaml => out.text(&yaml::write(&documents)),
        Shape::Text | Shape::Wide => show(&request.kinds, &documents, output == Shape::Wide, out),
    }
}

/// A table of each kind; of one kind alone its headings are shown also above nothing.
pub fn show(
    kinds: &[Kind],
    documents: &[Value],
    wide: bool,
    out: &mut Output<'_>,
) -> Result<(), CommandError> {
    let mut first = true;
    for kind in kinds {
        let of_kind: Vec<&Value> =
            documents.iter().filter(|document| document["kind"] == kind.name()).collect();
        if of_kind.is_empty() && kinds.len() > 1 {
            continue;
        }
        if !first {
            out.line("")?;
        }
        first = false;
        let columns = columns(*kind, wide);
        let mut table = Columns::new(columns.iter().map(|(heading, _)| (*heading).to_owned()).collect());
        if kinds.len() > 1 {
            out.line(format_args!("{}S", kind.noun().to_ascii_uppercase()))?;
        }
        for document in of_kind {
            table.row(columns.iter().map(|(_, pointer)| cell(document.pointer(pointer))).collect());
        }
        out.columns(&table)?;
    }
    Ok(())
}

/// The columns of a kind: heading, and where the cell stands in the document (RFC 6901).
fn columns(kind: Kind, wide: bool) -> Vec<(&'static str, &'static str)> {
    const NAME: (&str, &str) = ("NAME", "/metadata/name");
    const LABELS: (&str, &str) = ("LABELS", "/metadata/labels");
    let (narrow, more): (&[_], &[_]) = match kind {
        Kind::Pool => (
            &[NAME, ("CIDR", "/spec/cidr"), ("NAT", "/spec/natOutgoing"), ("DISABLED", "/spec/disabled")],
            &[("HOSTS", "/status/hostRange"), ("NETWORKS", "/status/networks"), LABELS],
        ),
        Kind::Network => (
            &[
                NAME,
                ("SUBNETS", "/spec/subnets"),
                ("ISOLATION", "/spec/isolation"),
                ("INTERNAL", "/spec/internal"),
                ("MADE BY", "/status/madeBy"),
            ],
            &[
                ("GATEWAYS", "/status/gateways"),
                ("NEXT HOPS", "/status/nextHops"),
                ("EXIT", "/spec/exit"),
                ("MTU", "/spec/mtu"),
                LABELS,
                ("ID", "/status/id"),
            ],
        ),
        Kind::Host => (
            &[
                NAME,
                ("UNDERLAY", "/status/underlay"),
                ("ADDRESSES", "/status/addresses"),
                ("AGENT", "/status/agent"),
                ("STATE", "/status/state"),
            ],
            &[("PATH", "/status/path"), LABELS, ("ID", "/status/id")],
        ),
        Kind::Endpoint => (
            &[
                ("NAME", "/status/name"),
                ("HOST", "/status/host"),
                ("NETWORK", "/status/network"),
                ("ADDRESSES", "/status/addresses"),
            ],
            &[("MAC", "/status/mac"), ("ID", "/metadata/name")],
        ),
    };
    narrow.iter().chain(more.iter().filter(|_| wide)).copied().collect()
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", "),
        Some(Value::Object(fields)) => {
            let fields = fields.iter().map(|(key, value)| format!("{key}={}", cell(Some(value))));
            fields.collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// Tells what there is and then every change: a line each, or a document.
fn follow(
    client: &Client,
    request: &ListRequest,
    shape: Shape,
    out: &mut Output<'_>,
) -> Result<(), CommandError> {
    for change in client.follow_resources(request)? {
        let ResourceChange { change, document } = change?;
        match shape {
            Shape::Json => {
                let line = serde_json::to_string(&ResourceChange { change, document })
                    .map_err(CommandError::Json)?;
                out.line(line)?;
            }
            Shape::Yaml => out.text(&format!("---\n# {change}\n{}", yaml::write(&[document])))?,
            Shape::Text | Shape::Wide => {
                let kind = Kind::ALL.into_iter().find(|kind| document["kind"] == kind.name());
                let cells = kind.map(|kind| columns(kind, shape == Shape::Wide)).unwrap_or_default();
                let cells: Vec<String> = cells
                    .into_iter()
                    .map(|(_, pointer)| cell(document.pointer(pointer)))
                    .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell })
                    .collect();
                let noun = kind.map_or("resource", Kind::noun);
                out.line(format_args!("{change:<7}  {noun}  {}", cells.join("  ")))?;
            }
        }
    }
    Ok(())
}

/// `hopsack create`, `apply` and `replace`
pub fn write(
    client: &Client,
    mode: WriteMode,
    arguments: &WriteFiles,
    out: &mut Output<'_>,
) -> Result<(), CommandError> {
    send_files(client, mode, &manifest::read(&arguments.files)?, arguments.how, out)
}

/// `hopsack delete`
pub fn delete(client: &Client, arguments: Delete, out: &mut Output<'_>) -> Result<(), CommandError> {
    let Delete { kind, names, files, how } = arguments;
    match kind {
        None => send_files(client, WriteMode::Delete, &manifest::read(&files)?, how, out),
        Some(Kinds(kinds)) => {
            let kind = kinds.into_iter().next().unwrap_or(Kind::Network);
            let documents = names.iter().map(|name| named(kind, name)).collect();
            send(client, WriteMode::Delete, documents, how, out)
        }
    }
}

/// Sends documents; what the agent says of one is told with its place.
fn send_files(
    client: &Client,
    mode: WriteMode,
    placed: &[Placed],
    how: HowToWrite,
    out: &mut Output<'_>,
) -> Result<(), CommandError> {
    let documents = placed.iter().map(|placed| placed.value().clone()).collect();
    send(client, mode, documents, how, out).map_err(|error| match &error {
        CommandError::Client(ClientError::Refused(refusal)) => {
            located(placed, refusal).map_or(error, CommandError::Manifest)
        }
        _ => error,
    })
}

fn located(placed: &[Placed], refusal: &ApiError) -> Option<ManifestError> {
    Some(placed.get(refusal.document?)?.error(refusal.field.as_deref(), &refusal.message))
}

/// Sends documents and tells what came of each.
pub fn send(
    client: &Client,
    mode: WriteMode,
    documents: Vec<Value>,
    how: HowToWrite,
    out: &mut Output<'_>,
) -> Result<(), CommandError> {
    let HowToWrite { dry_run, listing } = how;
    let written = client.write_resources(&WriteRequest { mode, dry_run, documents })?;
    match listing.output {
        Format::Json => out.json(&written),
        Format::Text => written.iter().try_for_each(|written| tell(written, dry_run, out)),
    }
}

/// A line about what came of a write.
pub fn tell(written: &Written, dry_run: bool, out: &mut Output<'_>) -> Result<(), CommandError> {
    let Written { kind, name, outcome } = written;
    let dry = match (dry_run, outcome) {
        (false, _) | (true, Outcome::Unchanged) => "",
        (true, _) => " (dry run: nothing was changed)",
    };
    out.line(format_args!("{kind} {name} {outcome}{dry}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text_of;
    use serde_json::json;

    #[test]
    fn a_kind_is_named_in_singular_or_plural_or_with_others() {
        let parsed = |text: &str| Kinds::parse(text).map(|kinds| kinds.0);
        assert_eq!(parsed("Pools"), Ok(vec![Kind::Pool]));
        assert_eq!(parsed("endpoint,network"), Ok(vec![Kind::Network, Kind::Endpoint]));
        assert_eq!(parsed("all,host"), Ok(vec![Kind::Pool, Kind::Network, Kind::Host]));
        let told = |text: &str| parsed(text).unwrap_err().to_string();
        assert_eq!(told("netwrok"), "there is no kind \"netwrok\"; did you mean network?");
        assert_eq!(told("pool,"), "there is no kind \"\"; known: pool, network, host, endpoint, all");
        assert!(Kinds::parse_one("all").is_err());
    }

    #[test]
    fn resources_are_shown_as_a_table_of_each_kind() {
        let documents = [
            json!({ "kind": "Pool", "metadata": { "name": "lab", "labels": { "a": "b" } }, "spec": { "cidr": "10.32.0.0/14", "natOutgoing": true } }),
            json!({ "kind": "Host", "metadata": { "name": "h1" }, "status": { "addresses": ["10.32.0.1", "fd00::1"] } }),
        ];
        assert_eq!(
            text_of(|out| show(&[Kind::Pool, Kind::Network, Kind::Host], &documents, false, out)),
            "POOLS\nNAME  CIDR          NAT   DISABLED\nlab   10.32.0.0/14  true  -\n\n\
             HOSTS\nNAME  UNDERLAY  ADDRESSES           AGENT  STATE\nh1    -         10.32.0.1, fd00::1  -      -\n"
        );
        let wide = text_of(|out| show(&[Kind::Pool], &documents, true, out));
        assert_eq!(
            wide,
            "NAME  CIDR          NAT   DISABLED  HOSTS  NETWORKS  LABELS\n\
             lab   10.32.0.0/14  true  -         -      -         a=b\n"
        );
        assert_eq!(text_of(|out| show(&[Kind::Pool], &[], false, out)), "NAME  CIDR  NAT  DISABLED\n");
    }

    #[test]
    fn a_dry_run_says_that_it_was_one() {
        let written = |outcome| Written { kind: Kind::Network, name: "web".to_owned(), outcome };
        let told = |outcome, dry| text_of(|out| tell(&written(outcome), dry, out));
        assert_eq!(told(Outcome::Created, false), "network web created\n");
        assert_eq!(told(Outcome::Created, true), "network web created (dry run: nothing was changed)\n");
        assert_eq!(told(Outcome::Unchanged, true), "network web unchanged\n");
    }
}
