//! Events as text for people: the time of day, the level, the message, and the fields that the message
//! does not contain.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextEvents {
    pub(super) coloured: bool,
}

/// The message and the other fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl<S, N> FormatEvent<S, N> for TextEvents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.write(
            time.get(11..19).unwrap_or(&time),
            *event.metadata().level(),
            self.coloured,
            &mut out,
        )
    }
}

impl Fields {
    fn write(
        &self,
        time: &str,
        level: Level,
        coloured: bool,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        let [dim, colour, end] = match level {
            _ if !coloured => ["", "", ""],
            Level::ERROR => ["\x1b[2m", "\x1b[31m", "\x1b[0m"],
            Level::WARN => ["\x1b[2m", "\x1b[33m", "\x1b[0m"],
            _ => ["\x1b[2m", "\x1b[32m", "\x1b[0m"],
        };
        write!(out, "{dim}{time}{end} {colour}{level}{end} ")?;
        write_safely(out, &self.message)?;
        for (name, value) in &self.others {
            if !value.is_empty() && !self.message.contains(value) {
                write!(out, " {dim}{name}={end}")?;
                write_safely(out, value)?;
            }
        }
        out.write_char('\n')
    }
}

/// Indents further lines, and escapes what could control a terminal: others have written some values.
fn write_safely(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for char in text.chars() {
        match char {
            '\n' => out.write_str("\n  ")?,
            _ if char.is_control() => write!(out, "{}", char.escape_default())?,
            _ => out.write_char(char)?,
        }
    }
    Ok(())
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => {
                // An error is impossible: it writes to memory.
                let _ = write!(self.message, "{value:?}");
            }
            name => self.others.push((name, format!("{value:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_nothing_twice_and_controls_no_terminal() {
        let fields = Fields {
            message: "cannot connect: refused\x1b[2J\nsecond".to_owned(),
            others: vec![
                ("reason", "refused".to_owned()),
                ("link", "log".to_owned()),
                ("key", String::new()),
            ],
        };
        let mut line = String::new();
        let written = fields.write("03:12:10", Level::WARN, false, &mut line);
        assert_eq!(written, Ok(()));
        assert_eq!(
            line,
            "03:12:10 WARN cannot connect: refused\\u{1b}[2J\n  second link=log\n"
        );
    }
}
