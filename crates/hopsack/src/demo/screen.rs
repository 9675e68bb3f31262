//! What the demo shows: a line with the time for each step that is done, and under it what was typed on which host and
//! what it answered. On a terminal a step that is under way turns a wheel; elsewhere all of it is plain text.

use crate::error::CommandError;
use crate::output::takes_colour;
use crate::table::Table;
use hopsack_lab::{Host, Inside};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where text begins, behind the column with the time.
const INDENT: &str = "          ";
/// How long one typed command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a piece of text looks on a terminal (SGR codes of ECMA-48, section 8.3.117).
#[derive(Clone, Copy)]
enum Look {
    Plain,
    Bold = 1,
    Faint = 2,
}

/// Standard output, and the clock of the demo.
pub struct Screen {
    began: Instant,
    colour: bool,
    stop: Arc<AtomicBool>,
}

impl Screen {
    /// A screen; once `stop` is set, nothing more is begun.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self { began: Instant::now(), colour: takes_colour(&io::stdout()), stop }
    }

    /// Whether somebody has asked the demo to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Writes text as it is, between empty lines.
    pub fn paragraph(&self, text: &str) -> Result<(), CommandError> {
        self.write(&format!("\n{text}\n\n"))
    }

    /// Leaves a line empty.
    pub fn gap(&self) -> Result<(), CommandError> {
        self.write("\n")
    }

    /// Does something that takes a while, and then says that it is done.
    pub fn step<T>(
        &self,
        text: &str,
        work: impl FnOnce() -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let done = self.wheel(text, work)?;
        let time = format!("{:6.1} s  ", self.began.elapsed().as_secs_f64());
        self.write(&format!("{}{text}\n", self.dressed(&time, Look::Faint)))?;
        Ok(done)
    }

    /// Types a command line on a host, shows it and what it says, and gives what it says.
    pub fn typed(&self, host: &Host, line: &str) -> Result<String, CommandError> {
        let prompt = self.dressed(&format!("{}# ", host.name()), Look::Faint);
        self.write(&format!("\n{INDENT}{prompt}{}\n", self.dressed(line, Look::Bold)))?;
        let run = || Ok(host.program(&["sh", "-c", line]).patience(PATIENCE).output()?);
        let output = self.wheel(line, run)?;
        for line in output.stdout.trim_end().lines().chain(output.stderr.trim_end().lines()) {
            self.write(&format!("{}\n", format!("{INDENT}{line}").trim_end()))?;
        }
        Ok(output.checked()?.stdout)
    }

    /// Shows a table.
    pub fn table<const COLUMNS: usize>(&self, table: &Table<COLUMNS>) -> Result<(), CommandError> {
        let mut text = Vec::new();
        table.write(&mut text).map_err(CommandError::Write)?;
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().enumerate().map(|(number, line)| {
            let look = if number == 0 { Look::Faint } else { Look::Plain };
            format!("{INDENT}{}\n", self.dressed(line, look))
        });
        self.write(&format!("\n{}\n", lines.collect::<String>()))
    }

    /// Does something while a wheel turns. What was done while somebody asked to end does not count.
    fn wheel<T>(
        &self,
        text: &str,
        work: impl FnOnce() -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        if self.is_stopped() {
            return Err(CommandError::Interrupted);
        }
        // Hidden by itself where standard error is no terminal.
        let wheel = if self.colour { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let wheel = wheel.with_elapsed(self.began.elapsed());
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>7}   {spinner} {wide_msg}") {
            wheel.set_style(style);
        }
        wheel.set_message(text.to_owned());
        wheel.enable_steady_tick(Duration::from_millis(100));
        let done = work();
        wheel.finish_and_clear();
        if self.is_stopped() { Err(CommandError::Interrupted) } else { done }
    }

    fn dressed(&self, text: &str, look: Look) -> String {
        match look {
            Look::Bold | Look::Faint if self.colour => format!("\x1b[{}m{text}\x1b[0m", look as u8),
            _ => text.to_owned(),
        }
    }

    fn write(&self, text: &str) -> Result<(), CommandError> {
        let mut out = io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CommandError::Write)
    }
}
