//! `hopsack demo`, which `make demo` calls: three hosts, each with a Docker engine of its own and an agent, become one
//! cluster, and their containers talk. What a person would type is typed and shown; the rest is looked at and told.
//!
//! Here is how it begins and ends, also by a signal. What must not live here: hosts and engines, which are the lab's.

mod pairs;
mod screen;
mod story;

use crate::cli::Demo;
use crate::error::CommandError;
use screen::Screen;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;

/// How long what is under way may take to end after an interrupt; the lab's keeper takes over after that.
const ENDING: Duration = Duration::from_secs(30);

/// Tells the whole story.
pub fn run(arguments: Demo) -> Result<(), CommandError> {
    let program = std::env::current_exe().map_err(CommandError::Program)?;
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CommandError::Runtime)?;
    let ended = runtime.block_on(async {
        let mut interrupts = Interrupts::listen().map_err(CommandError::Runtime)?;
        let screen = Screen::new(stop.clone());
        let mut story = tokio::task::spawn_blocking(move || story::tell(&program, &arguments, &screen));
        tokio::select! {
            // First, so that a program that a Ctrl-C has ended is not taken for a failure.
            biased;
            () = interrupts.next() => {}
            ended = &mut story => return outcome(ended),
        }
        stop.store(true, Ordering::Relaxed);
        // Whoever has closed the terminal does not read it.
        let _ = writeln!(std::io::stderr(), "\ninterrupted: removing the hosts");
        tokio::select! {
            _ = story => {}
            () = interrupts.next() => {}
            () = tokio::time::sleep(ENDING) => {}
        }
        Err(CommandError::Interrupted)
    });
    // If it still waits for something, the end of this process is what the lab's keeper waits for.
    runtime.shutdown_background();
    ended
}

fn outcome(ended: Result<Result<(), CommandError>, JoinError>) -> Result<(), CommandError> {
    match ended {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(CommandError::Interrupted),
        },
    }
}

/// What asks a program in a terminal to end.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
