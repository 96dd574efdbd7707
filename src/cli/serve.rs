//! `serve`: runs the proxy, from its start to the drain.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use http::uri::Authority;
use tokio::signal::unix::{SignalKind, signal};

use super::{core_dumps, open_files, systemd};
use crate::clock::Clock;
use crate::config::{self, Loaded, Problems};
use crate::label::Label as _;
use crate::process::{Process, Sockets};
use crate::telemetry::{self, LogStyle, LogWriter, Reload};
use crate::version;

/// Exit status after a second signal, which aborts the drain.
const EXIT_INTERRUPTED: u8 = 130;

/// Time for blocking work to finish when the process exits.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the configuration again, from the same sources.
type Reread<'a> = dyn Fn() -> Result<Loaded, Problems> + 'a;

pub(super) fn run(loaded: &Loaded, reread: &Reread<'_>) -> anyhow::Result<ExitCode> {
    let sockets = systemd::sockets()?;
    // Dropped last: everything else may still log.
    let writer = log(&loaded.config.log)?;
    telemetry::log_panics();
    core_dumps::forbid();
    let workers = loaded.config.server.workers;
    run_to_end(workers, serve(loaded, sockets, reread, &writer))
}

/// Starts logging to standard output.
pub(super) fn log(settings: &config::Log) -> anyhow::Result<LogWriter> {
    let style = LogStyle::on_stdout(settings.format);
    let writer = LogWriter::start(std::io::stdout(), style).context("cannot start a thread")?;
    telemetry::init_log(settings.level, &writer);
    Ok(writer)
}

/// Runs `main` on `workers` threads, 0 meaning one per core, and returns when it does.
pub(super) fn run_to_end<T>(
    workers: usize,
    main: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    let runtime = builder.enable_all().build();
    let runtime = runtime.context("cannot start threads")?;
    let result = runtime.block_on(main);
    // Dropping the runtime would wait for work that cannot be cancelled: a DNS lookup of the origin
    // may take half a minute to time out.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

/// Waits for Ctrl-C or SIGTERM, which process 1 of a container would ignore otherwise.
pub(super) async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// The status in `systemctl status` after a refused reload.
const REFUSED_STATUS: &str =
    "the new configuration was refused, the old one stays in use: see the journal";

async fn serve(
    Loaded { config, sources }: &Loaded,
    sockets: Sockets,
    reread: &Reread<'_>,
    writer: &LogWriter,
) -> anyhow::Result<ExitCode> {
    // Before any socket is bound, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    open_files::raise_limit(config);
    let mut process = Process::start(config, &Clock::system(), Some(writer), sockets)?;
    let proxy = config.upstream.forward_proxy();
    let mut listening = format!(
        "stuut-cache listens on {}, admin on {}, for {}",
        process.address, process.admin_address, config.upstream.url
    );
    if let Some(proxy) = proxy {
        listening.extend([" through the proxy ", proxy.as_str()]);
    }
    let engine = config.shared.url.first().map(ToString::to_string);
    if let Some(engine) = &engine {
        listening.extend([", shared level on ", engine]);
    }
    tracing::info!(
        address = %process.address,
        admin_address = %process.admin_address,
        origin = %config.upstream.url,
        proxy = proxy.map_or("off", Authority::as_str),
        engine = engine.as_deref().unwrap_or("off"),
        tls = config.server.tls.cert.is_some(),
        capacity = %config.cache.capacity,
        scope_mode = config.scope.mode.as_str(),
        configuration = %sources,
        version = version::TEXT.as_str(),
        "{listening}"
    );
    if !process.admin_address.ip().is_loopback() && config.admin.token.is_none() {
        tracing::warn!(
            "the admin listener is not on loopback, and admin.token_file is not set: all who can connect to {} \
             read metrics, paths and digests of tokens (purges are refused); set it, and admin.token_for = \"all\"",
            process.admin_address
        );
    }
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
                    Reload::Refused => REFUSED_STATUS,
                };
                systemd::ready(status);
            }
            () = &mut alive => {}
        }
    }
    systemd::stopping();
    tracing::info!("draining: finishing requests in flight; a second signal exits at once");
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

/// Reads the configuration again, applies what a reload may change, and logs the result.
fn reload(process: &mut Process, reread: &Reread<'_>) -> Reload {
    let reloaded = match reread() {
        Ok(Loaded { config, .. }) => process.reload(&config).map_err(|error| error.to_string()),
        Err(problems) => Err(problems.to_string()),
    };
    match &reloaded {
        Ok(reloaded) => {
            let (changed, pending) = (reloaded.changed.join(" "), reloaded.pending.join(" "));
            tracing::info!(changed, "reloaded the configuration");
            if !pending.is_empty() {
                tracing::warn!(pending, "these keys need a restart: {pending}");
            }
        }
        Err(problems) => tracing::error!(
            "the new configuration is refused, the old one stays in use: {problems}"
        ),
    }
    process.record_reload(&reloaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_does_not_wait_for_work_that_cannot_be_cancelled() {
        let (stuck, until_dropped) = std::sync::mpsc::channel::<()>();
        let ended = run_to_end(1, async move {
            let (begun, until_begun) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = begun.send(());
                let _ = until_dropped.recv();
            });
            until_begun.await.context("it begins")
        });
        assert!(ended.is_ok());
        drop(stuck);
    }
}
