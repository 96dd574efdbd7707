//! The access log: one line per request, formatted by the writer's thread.

use std::borrow::Cow;
use std::sync::Arc;

use http::uri::PathAndQuery;

use super::line::{AccessRecord, LogLine};
use super::writer::{LogWriter, Queue};

/// Maximum bytes of a logged path.
const MAX_PATH: usize = 1 << 10;

/// The access log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Queue>);

impl AccessLog {
    /// An access log to this writer.
    #[must_use]
    pub fn new(writer: &LogWriter) -> Self {
        Self(writer.queue())
    }

    /// Logs a request for this target.
    ///
    /// The target is copied: it is a slice of its connection's read buffer, which it would keep
    /// alive while the line waits.
    pub fn push(&self, record: AccessRecord, target: Option<&PathAndQuery>) {
        let path = target.map_or(Cow::default(), logged_path);
        self.0.push(LogLine::Request(record), &path);
    }
}

/// The path of a target as logged: without the query, which may contain secrets, and truncated if
/// very long.
#[must_use]
pub fn logged_path(target: &PathAndQuery) -> Cow<'_, str> {
    let path = target.path();
    if path.len() <= MAX_PATH {
        return path.into();
    }
    format!("{}…", &path[..path.floor_char_boundary(MAX_PATH)]).into()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;
    use std::time::{Duration, SystemTime};

    use http::{Method, StatusCode};

    use super::super::line::{LineBuffer, Style};
    use super::*;
    use crate::outcome::{Level, Outcome};
    use crate::telemetry::RequestId;

    #[derive(Clone, Default)]
    struct SharedOutput(Arc<Mutex<Vec<u8>>>);

    impl Write for SharedOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no test panics here")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record() -> AccessRecord {
        AccessRecord {
            at: SystemTime::UNIX_EPOCH,
            took: Duration::from_micros(1_500),
            id: RequestId::Made(1),
            method: Method::GET,
            status: Some(StatusCode::OK),
            outcome: Outcome::Hit {
                ttl: 3,
                level: Level::Memory,
            },
            bytes: 42,
            complete: true,
            scope: None,
        }
    }

    const TEXT: Style = Style::Text { coloured: false };

    fn written(style: Style, targets: &[&'static str]) -> String {
        let output = SharedOutput::default();
        let writer = LogWriter::start(output.clone(), style).expect("a thread");
        let log = AccessLog::new(&writer);
        for target in targets {
            log.push(record(), Some(&PathAndQuery::from_static(target)));
        }
        drop(writer);
        let bytes = output.0.lock().expect("no test panics here").clone();
        String::from_utf8(bytes).expect("lines are text")
    }

    #[test]
    fn a_json_line_can_be_parsed_and_has_no_query() {
        let line = written(Style::Json, &["/v1/calls/a%22b?secret=1"]);
        let value: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        assert_eq!(value["path"], "/v1/calls/a%22b");
        assert_eq!(value["outcome"], "hit");
        assert_eq!(value["response_bytes"], 42);
        assert!(!line.contains("secret"));
    }

    #[test]
    fn a_text_line_is_short() {
        let line = written(TEXT, &["/v1/calls/c1"]);
        assert_eq!(line, "00:00:00 GET 200 hit 1.5 ms 42 B /v1/calls/c1\n");
        let coloured = written(Style::Text { coloured: true }, &["/v1/calls/c1"]);
        assert_eq!(
            coloured,
            "\x1b[2m00:00:00\x1b[0m GET \x1b[32m200\x1b[0m hit 1.5 ms 42 B /v1/calls/c1\n"
        );
    }

    #[test]
    fn a_text_line_of_a_failure_has_the_id_of_the_request() {
        let mut lines = LineBuffer::new(TEXT);
        let mut failed = record();
        failed.complete = false;
        lines.push(&LogLine::Request(failed), "/v1/calls/c1");
        assert_eq!(
            String::from_utf8_lossy(&lines.bytes),
            "00:00:00 GET 200 hit 1.5 ms 42 B /v1/calls/c1 incomplete request_id=0000000000000001\n"
        );
    }

    #[test]
    fn a_very_long_path_is_truncated_between_characters() {
        let target = format!("/{}", "é".repeat(5_000)).parse().expect("a target");
        assert_eq!(logged_path(&target).len(), MAX_PATH - 1 + "…".len());
    }

    #[test]
    fn dropping_the_writer_writes_the_queued_lines() {
        let lines = written(TEXT, &["/x", "/yz"].repeat(500));
        assert_eq!(lines.lines().count(), 1_000);
        assert_eq!(lines.matches(" B /x\n").count(), 500);
        assert_eq!(lines.matches(" B /yz\n").count(), 500);
    }
}
