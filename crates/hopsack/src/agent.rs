//! `hopsack agent`: its log, its runtime, and word to systemd.

use crate::cli::{Agent, LogFormat};
use crate::error::CommandError;
use crate::output::takes_colour;
use hopsack_agent::linux::{self, Config, DockerConfig, Phase};
use sd_notify::NotifyState;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Disk and kernel are used one call after another; a few threads are enough, and each costs memory.
const BLOCKING_THREADS: usize = 8;

/// How often memory that was needed for a moment only is given back: the loader's and the firewall's, after a start and
/// after many changes.
const MEMORY_PERIOD: Duration = Duration::from_secs(60);

/// Runs the agent until it is told to stop.
pub fn run(arguments: Agent, socket: PathBuf) -> Result<(), CommandError> {
    hopsack_memory::share_one_heap();
    log(arguments.log, arguments.log_format);
    let docker = (!arguments.no_docker).then_some(DockerConfig {
        engine_socket: arguments.docker_socket,
        plugin_socket: arguments.plugin_socket,
    });
    let config = Config {
        state_dir: arguments.state_dir,
        socket,
        control_port: arguments.control_port,
        docker,
        metrics: arguments.metrics.0,
        fast_path: !arguments.no_fast_path,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(CommandError::Runtime)?;
    runtime.spawn(give_memory_back());
    Ok(runtime.block_on(linux::run(config, notify))?)
}

/// Now and then, as long as the agent runs.
async fn give_memory_back() {
    loop {
        tokio::time::sleep(MEMORY_PERIOD).await;
        hopsack_memory::give_back();
    }
}

/// Tells systemd, where it started us, how far the agent is (sd_notify(3)).
fn notify(phase: Phase) {
    let told = match phase {
        Phase::Ready => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("answers callers")]),
        Phase::Stopping => sd_notify::notify(&[
            NotifyState::Stopping,
            NotifyState::Status("stops; the network stays as it is"),
        ]),
    };
    if let Err(error) = told {
        tracing::warn!(%error, ?phase, "systemd cannot be told how far the agent is");
    }
}

fn log(filter: Targets, format: LogFormat) {
    let lines = match format {
        LogFormat::Text => {
            fmt::layer().with_writer(io::stderr).with_ansi(takes_colour(&io::stderr())).boxed()
        }
        LogFormat::Json => fmt::layer().with_writer(io::stderr).json().boxed(),
    };
    registry().with(lines.with_filter(filter)).init();
}
