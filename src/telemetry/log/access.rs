//! The access log: one line per request, formatted by the writer's thread.

use std::borrow::Cow;
use std::sync::Arc;

use http::uri::PathAndQuery;

use super::line::{AccessRecord, LogLine};
use super::writer::{LogWriter, Queue};
use crate::config::LogFormat;

/// Maximum bytes of a logged path.
const MAX_PATH: usize = 1 << 10;

/// The access log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Arc<Queue>,
    format: LogFormat,
}

impl AccessLog {
    /// An access log with lines of this format.
    #[must_use]
    pub fn new(writer: &LogWriter, format: LogFormat) -> Self {
        let queue = writer.queue();
        Self { queue, format }
    }

    /// Logs a request for this target.
    ///
    /// The target is copied: it is a slice of its connection's read buffer, which it would keep
    /// alive while the line waits.
    pub fn push(&self, record: AccessRecord, target: Option<&PathAndQuery>) {
        let line = LogLine::Request(self.format, record);
        let path = target.map_or(Cow::default(), logged_path);
        self.queue.push(line, &path);
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

    fn written(format: LogFormat, targets: &[&'static str]) -> String {
        let output = SharedOutput::default();
        let writer = LogWriter::start(output.clone()).expect("a thread");
        let log = AccessLog::new(&writer, format);
        for target in targets {
            log.push(record(), Some(&PathAndQuery::from_static(target)));
        }
        drop(writer);
        let bytes = output.0.lock().expect("no test panics here").clone();
        String::from_utf8(bytes).expect("lines are text")
    }

    #[test]
    fn a_json_line_can_be_parsed_and_has_no_query() {
        let line = written(LogFormat::Json, &["/v1/calls/a%22b?secret=1"]);
        let value: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        assert_eq!(value["path"], "/v1/calls/a%22b");
        assert_eq!(value["outcome"], "hit");
        assert_eq!(value["response_bytes"], 42);
        assert!(!line.contains("secret"));
    }

    #[test]
    fn a_text_line_has_all_fields() {
        let line = written(LogFormat::Text, &["/v1/calls/c1"]);
        assert_eq!(
            line,
            "1970-01-01T00:00:00.000000Z  INFO access: GET /v1/calls/c1 200 hit duration_seconds=0.001500 \
             response_bytes=42 complete=true request_id=0000000000000001\n"
        );
    }

    #[test]
    fn a_very_long_path_is_truncated_between_characters() {
        let target = format!("/{}", "é".repeat(5_000)).parse().expect("a target");
        assert_eq!(logged_path(&target).len(), MAX_PATH - 1 + "…".len());
    }

    #[test]
    fn dropping_the_writer_writes_the_queued_lines() {
        let lines = written(LogFormat::Text, &["/x", "/yz"].repeat(500));
        assert_eq!(lines.lines().count(), 1_000);
        assert_eq!(lines.matches(" GET /x 200 ").count(), 500);
        assert_eq!(lines.matches(" GET /yz 200 ").count(), 500);
    }
}
