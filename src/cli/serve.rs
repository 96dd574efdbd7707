//! `serve`: the proxy, from the start line to the drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::config::{self, Config, Loaded};
use crate::process::Process;
use crate::telemetry::{self, Output};

/// Exit status of a second signal: the drain was cut short.
const EXIT_INTERRUPTED: u8 = 130;

/// How long the end of the process waits for work on threads of its own.
const LAST_WORK: Duration = Duration::from_secs(1);

pub(super) fn run(loaded: Loaded) -> anyhow::Result<ExitCode> {
    let Loaded { config, sources } = loaded;
    // Dropped last, when everybody has said what there was to say.
    let output = log(&config.log)?;
    telemetry::log_panics();
    run_to_end(
        config.server.workers,
        serve(&config, &sources.to_string(), &output),
    )
}

/// Begins to log to standard output.
pub(super) fn log(settings: &config::Log) -> anyhow::Result<Output> {
    let output = Output::start(std::io::stdout()).context("the system gives no thread")?;
    telemetry::init_log(settings, &output);
    Ok(output)
}

/// Runs `main` on `server.workers` threads, or one a core, and ends with it.
pub(super) fn run_to_end<T>(
    workers: usize,
    main: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let runtime = runtime(workers)?;
    let ended = runtime.block_on(main);
    // Dropped, it would wait for work that nothing can break off: a look-up of the origin's name
    // that nobody answers takes half a minute, and nobody wants its answer any more.
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

fn runtime(workers: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder
        .enable_all()
        .build()
        .context("the system gives no threads")
}

async fn serve(config: &Config, sources: &str, output: &Output) -> anyhow::Result<ExitCode> {
    // Before anything is bound, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let process = Process::start(config, &Clock::system(), Some(output))?;
    tracing::info!(
        address = %process.address,
        admin_address = %process.admin_address,
        origin = %config.upstream.url,
        capacity = %config.cache.capacity,
        configuration = sources,
        version = env!("CARGO_PKG_VERSION"),
        "stuut-cache listens on {}, admin on {}, for {}",
        process.address,
        process.admin_address,
        config.upstream.url
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining: requests in flight are finished, a second signal ends at once");
    tokio::select! {
        () = process.stop() => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        _ = terminate.recv() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        _ = interrupt.recv() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_does_not_wait_for_work_that_nothing_breaks_off() {
        let (stuck, until_dropped) = std::sync::mpsc::channel::<()>();
        let ended = run_to_end(1, async move {
            let (begun, has_begun) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = begun.send(());
                let _ = until_dropped.recv();
            });
            has_begun.await.context("it begins")
        });
        assert!(ended.is_ok());
        drop(stuck);
    }
}
