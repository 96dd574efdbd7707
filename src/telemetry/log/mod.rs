//! The log of events and requests, on standard output as JSON lines or text.

mod access;
mod busiest;
mod callers;
mod event;
mod line;
mod tail;
mod writer;

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogLevel};
use crate::label::Label as _;

use self::event::TextEvents;

pub use self::access::{AccessLog, logged_path};
pub use self::busiest::{Busiest, Counts as BusiestCounts, REFUSALS, Traffic};
pub use self::callers::Callers;
pub use self::line::{AccessRecord, AccessTexts, Style};
pub use self::tail::{Filter as TailFilter, MAX_SUBSCRIBERS, Tail};
pub use self::writer::{LogSettings, LogWriter};

/// Logs panics: their location, but not the message, which may contain data of a request.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place = location, "panicked at {location}");
        // The process may end before the event is written.
        eprintln!("stuut-cache: panicked at {location}");
    }));
}

impl Style {
    /// The style of lines on standard output.
    pub fn on_stdout(format: LogFormat) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let coloured = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        match format {
            LogFormat::Auto if is_terminal => Self::Text { coloured },
            LogFormat::Text => Self::Text { coloured },
            LogFormat::Auto | LogFormat::Json => Self::Json,
        }
    }
}

/// Sends log events of this level to the writer. A second call in one process changes nothing.
pub fn init(level: LogLevel, writer: &LogWriter) {
    let ours = level.as_str().parse::<LevelFilter>();
    let ours = ours.expect("log.level has the names of tracing");
    // Dependencies stay at `warn`: below it, HTTP libraries log the heads they parse, tokens
    // included.
    let filter = Targets::new()
        .with_default(ours.min(LevelFilter::WARN))
        .with_target("stuut_cache", ours);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(writer.queue());
    // A test process may have several proxies, which share the log of the first.
    let _ = match writer.style {
        Style::Json => {
            let json = layer.json().flatten_event(true).with_current_span(false);
            registry.with(json).try_init()
        }
        Style::Text { coloured } => {
            let text = layer.event_format(TextEvents { coloured });
            registry.with(text).try_init()
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_its_name_in_tracing() {
        for level in LogLevel::ALL {
            let filter = level.as_str().parse::<LevelFilter>().expect("a level");
            assert_eq!(filter.to_string(), level.as_str());
        }
    }
}
