//! Where commands write: text for people, JSON for programs, colour only on a terminal that wants it.

use crate::error::CommandError;
use crate::table::{Columns, Table};
use serde::Serialize;
use std::env;
use std::fmt;
use std::io::{IsTerminal, Write};

/// For whom the output is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: the API's words, indented.
    Json,
}

/// Colours that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Something is wrong.
    Red,
    /// Somebody should look.
    Yellow,
    /// All is well.
    Green,
}

/// An output.
pub struct Output<'a> {
    writer: &'a mut dyn Write,
    colour: bool,
}

impl<'a> Output<'a> {
    /// An output to `writer`.
    pub fn new(writer: &'a mut dyn Write, colour: bool) -> Self {
        Self { writer, colour }
    }

    /// The bare writer, for text that is made elsewhere.
    pub fn writer(&mut self) -> &mut dyn Write {
        self.writer
    }

    /// Writes a line.
    pub fn line(&mut self, text: impl fmt::Display) -> Result<(), CommandError> {
        writeln!(self.writer, "{text}").map_err(CommandError::Write)
    }

    /// Writes a line in a colour.
    pub fn coloured(&mut self, colour: Colour, text: impl fmt::Display) -> Result<(), CommandError> {
        if !self.colour {
            return self.line(text);
        }
        // SGR codes of ECMA-48, section 8.3.117.
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
        };
        self.line(format_args!("\x1b[{code}m{text}\x1b[0m"))
    }

    /// Writes a table.
    pub fn table<const COLUMNS: usize>(&mut self, table: &Table<COLUMNS>) -> Result<(), CommandError> {
        table.write(self.writer).map_err(CommandError::Write)
    }

    /// Writes a table whose columns were not known before.
    pub fn columns(&mut self, columns: &Columns) -> Result<(), CommandError> {
        columns.write(self.writer).map_err(CommandError::Write)
    }

    /// Writes text that has its line ends already.
    pub fn text(&mut self, text: &str) -> Result<(), CommandError> {
        self.writer.write_all(text.as_bytes()).map_err(CommandError::Write)
    }

    /// Writes JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(value).map_err(CommandError::Json)?;
        self.line(text)
    }
}

/// Whether a stream takes colour: a terminal, and no `NO_COLOR` (<https://no-color.org>).
pub fn takes_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Values in one cell or line.
pub fn list<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

/// A number of things, in the singular where it is one.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Runs a command into a string, without colour.
#[cfg(test)]
pub fn text_of(command: impl FnOnce(&mut Output<'_>) -> Result<(), CommandError>) -> String {
    let mut bytes = Vec::new();
    command(&mut Output::new(&mut bytes, false)).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_told_in_the_singular() {
        assert_eq!(["0 hosts", "1 host", "2 hosts"].map(str::to_owned), [0, 1, 2].map(|n| count(n, "host")));
    }

    #[test]
    fn colour_is_written_only_where_it_is_wanted() {
        let mut bytes = Vec::new();
        Output::new(&mut bytes, true).coloured(Colour::Red, "x").unwrap();
        assert_eq!(bytes, b"\x1b[31mx\x1b[0m\n");
        assert_eq!(text_of(|out| out.coloured(Colour::Red, "x")), "x\n");
    }
}
