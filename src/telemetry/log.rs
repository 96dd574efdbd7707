//! The log of events: JSON lines or text on standard output.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Output;
use crate::config::{Log, LogFormat, LogLevel};

/// Reports panics as log events: where, but not with what words, which may hold what was being
/// worked on.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panicked at {place}");
        // The process may end before that is written.
        eprintln!("stuut-cache: panicked at {place}");
    }));
}

/// Begins to log, off the path of requests. A second call in one process changes nothing.
pub fn init(settings: &Log, output: &Output) {
    let ours = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Dependencies stay at `warn`: below it, HTTP libraries print what they parse, and that is
    // other people's tokens and calls.
    let filter = Targets::new()
        .with_default(ours.min(LevelFilter::WARN))
        .with_target("stuut_cache", ours);
    let registry = tracing_subscriber::registry().with(filter);
    // A test process may hold several proxies; the first one's log serves them all.
    let _ = match settings.format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .with_writer(output.events())
                    .json()
                    .flatten_event(true)
                    .with_current_span(false),
            )
            .try_init(),
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(output.events()).with_ansi(false))
            .try_init(),
    };
}
