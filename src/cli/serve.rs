//! `serve`: the proxy, from the start line to the drain.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{open_files, systemd};
use crate::clock::Clock;
use crate::config::{self, Loaded, Problems};
use crate::process::{Process, Sockets};
use crate::telemetry::{self, LogWriter, Reload};

/// Exit status of a second signal: the drain was cut short.
const EXIT_INTERRUPTED: u8 = 130;

/// Time for blocking work to finish at the end of the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the configuration again, from where it was read before.
type Reread<'a> = dyn Fn() -> Result<Loaded, Problems> + 'a;

pub(super) fn run(loaded: &Loaded, reread: &Reread<'_>) -> anyhow::Result<ExitCode> {
    let sockets = systemd::sockets()?;
    // Dropped last: everything may still log.
    let writer = log(&loaded.config.log)?;
    telemetry::log_panics();
    let workers = loaded.config.server.workers;
    run_to_end(workers, serve(loaded, sockets, reread, &writer))
}

/// Starts logging to standard output.
pub(super) fn log(settings: &config::Log) -> anyhow::Result<LogWriter> {
    let writer = LogWriter::start(std::io::stdout()).context("the system gives no thread")?;
    telemetry::init_log(settings, &writer);
    Ok(writer)
}

/// Runs `main` on `server.workers` threads, or one a core, and ends with it.
pub(super) fn run_to_end<T>(
    workers: usize,
    main: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    let runtime = builder.enable_all().build();
    let runtime = runtime.context("the system gives no threads")?;
    let ended = runtime.block_on(main);
    // Dropping it would wait for work that cannot be cancelled: a lookup of the origin's name may
    // take half a minute to time out.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    ended
}

/// The line of `systemctl status` from then on.
const REFUSED: &str = "a changed configuration was refused, the old one stays: see the journal";

async fn serve(
    Loaded { config, sources }: &Loaded,
    sockets: Sockets,
    reread: &Reread<'_>,
    writer: &LogWriter,
) -> anyhow::Result<ExitCode> {
    // Before anything is bound, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    open_files::raise_limit(config);
    let mut process = Process::start(config, &Clock::system(), Some(writer), sockets)?;
    let listening = format!(
        "stuut-cache listens on {}, admin on {}, for {}",
        process.address, process.admin_address, config.upstream.url
    );
    tracing::info!(
        address = %process.address,
        admin_address = %process.admin_address,
        origin = %config.upstream.url,
        tls = config.server.tls.cert.is_some(),
        capacity = %config.cache.capacity,
        scope_mode = ?config.scope.mode,
        configuration = %sources,
        version = env!("CARGO_PKG_VERSION"),
        "{listening}"
    );
    systemd::ready(&listening);
    let mut alive = pin!(systemd::stay_alive());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                systemd::reloading();
                let status = match reload(&mut process, reread) {
                    Reload::Applied => &listening,
                    Reload::Refused => REFUSED,
                };
                systemd::ready(status);
            }
            () = &mut alive => {}
        }
    }
    systemd::stopping();
    tracing::info!("draining: requests in flight are finished, a second signal ends at once");
    tokio::select! {
        () = process.stop() => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        _ = terminate.recv() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        _ = interrupt.recv() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        () = alive => Ok(ExitCode::FAILURE),
    }
}

/// Reads the configuration again, takes over what a reload may change, and logs the result.
fn reload(process: &mut Process, reread: &Reread<'_>) -> Reload {
    let reloaded = match reread() {
        Ok(Loaded { config, .. }) => process.reload(&config).map_err(|error| error.to_string()),
        Err(problems) => Err(problems.to_string()),
    };
    let outcome = match reloaded {
        Ok(reloaded) => {
            let (changed, pending) = (reloaded.changed.join(" "), reloaded.pending.join(" "));
            tracing::info!(changed, "read the configuration again");
            if !pending.is_empty() {
                tracing::warn!(pending, "these keys need a restart: {pending}");
            }
            Reload::Applied
        }
        Err(problems) => {
            tracing::error!("the configuration stays as it was: {problems}");
            Reload::Refused
        }
    };
    process.count_reload(outcome);
    outcome
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
