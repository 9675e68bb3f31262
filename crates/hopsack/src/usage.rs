//! What is wrong with a command line, in one line.
//!
//! `clap` finds it and has the words; its paragraphs are for people who look at nothing else, ours is also for those who
//! read it in a log. What must not live here: what a value means (`parse`, and the types).

use clap::Error;
use clap::error::{ContextKind, ContextValue};

/// Where `clap` begins to tell how the command is used.
const USAGE: &str = "Usage:";
/// What it says where there is no usage to tell.
const MORE: &str = "For more information";

/// One line: what is wrong, what would be right where that is known, and where to read on.
pub fn line(error: &Error) -> String {
    let whole = error.to_string();
    let what = whole.split(USAGE).next().unwrap_or_default();
    let mut line = String::new();
    for part in what.lines().map(str::trim).filter(|part| !part.is_empty() && !part.starts_with(MORE)) {
        let part = part.strip_prefix("tip: ").unwrap_or(part);
        match line.as_bytes().last() {
            None => {}
            Some(b':') => line.push(' '),
            Some(_) if part.starts_with(['<', '-']) => line.push_str(", "),
            Some(_) if part.starts_with('[') => line.push(' '),
            Some(_) => line.push_str("; "),
        }
        line.push_str(part);
    }
    // What is wrong with a value its own type says; where else to look, only the command that was understood.
    if let Some(command) = command(error) {
        line.push_str(&format!("; see `{command} --help`"));
    }
    line
}

/// The command that was meant, as far as its words were understood.
fn command(error: &Error) -> Option<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return None };
    let usage = usage.to_string();
    let words = usage.trim_start_matches(USAGE).split_whitespace();
    let named: Vec<&str> = words.take_while(|word| !word.starts_with(['<', '[', '-'])).collect();
    (!named.is_empty()).then(|| named.join(" "))
}
