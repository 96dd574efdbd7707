//! The access log: one line per request, formatted by the writer's thread.

use std::borrow::Cow;
use std::sync::Arc;

use http::uri::PathAndQuery;

use super::line::{AccessRecord, AccessTexts, LogLine};
use super::writer::Queue;

/// Maximum bytes of a logged text.
const MAX_TEXT: usize = 1 << 10;

/// The access log, and what is derived from it. Cheap to clone.
pub type AccessLog = Arc<Queue>;

impl Queue {
    /// Logs a request. Its texts are copied, truncated: some are slices of its connection's read buffer,
    /// which they would keep alive while the line waits.
    pub fn push(&self, record: AccessRecord, texts: AccessTexts<'_>) {
        let texts = texts.map(|text| &text[..text.len().min(MAX_TEXT)]);
        self.push_line(LogLine::Request(record), texts);
    }
}

/// The path of a target as logged: without the query, which may contain secrets, and truncated if
/// very long.
pub fn logged_path(target: &PathAndQuery) -> Cow<'_, str> {
    let path = target.path();
    if path.len() <= MAX_TEXT {
        return path.into();
    }
    format!("{}…", &path[..path.floor_char_boundary(MAX_TEXT)]).into()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;
    use std::time::{Duration, SystemTime};

    use http::{Method, StatusCode, Version};

    use super::super::line::{LineBuffer, Style};
    use super::super::writer::LogWriter;
    use super::*;
    use crate::outcome::{Level, Outcome};
    use crate::request::Refusal;
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
            client: [192, 0, 2, 1].into(),
            method: Method::GET,
            version: Version::HTTP_11,
            status: Some(StatusCode::OK),
            outcome: Outcome::Hit {
                ttl: 3,
                level: Level::Memory,
            },
            upstream: None,
            bytes: 42,
            complete: true,
            scope: None,
        }
    }

    const TEXT: Style = Style::Text { coloured: false };

    fn written(style: Style, targets: &[&'static str]) -> String {
        let output = SharedOutput::default();
        let writer = LogWriter::start(output.clone(), style).expect("a thread");
        let log = writer.queue();
        for target in targets {
            let path = logged_path(&PathAndQuery::from_static(target)).into_owned();
            log.push(record(), [path.as_bytes(), b"", b"", b"", b""]);
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
    fn a_json_line_has_what_is_known_of_the_client_and_the_request() {
        let mut lines = LineBuffer::new(Style::Json);
        let mut view = record();
        view.upstream = Some(Duration::from_millis(83));
        let long = "v".repeat(2 * MAX_TEXT);
        let texts: AccessTexts<'_> = [
            b"/v1/calls/c1",
            b"/v1/calls/{call_id}",
            b"curl\t\"8\" \xff \xc2\x9b31m",
            long.as_bytes(),
            b"",
        ];
        lines.push(&LogLine::Request(view), texts, None);
        let line: serde_json::Value = serde_json::from_slice(&lines.bytes).expect("an object");
        assert_eq!(line["client"], "192.0.2.1");
        assert_eq!(line["http_version"], "HTTP/1.1");
        assert_eq!(line["route"], "/v1/calls/{call_id}");
        assert_eq!(line["user_agent"], "curl\t\"8\" \u{fffd} \u{9b}31m");
        let written = String::from_utf8_lossy(&lines.bytes);
        assert!(!written.trim_end().contains(char::is_control), "{written}");
        assert_eq!(line["view"], long);
        assert_eq!(line["upstream_seconds"], 0.083);
        assert_eq!(line.get("error"), None);
    }

    #[test]
    fn the_error_of_a_refused_request_controls_no_terminal() {
        let mut lines = LineBuffer::new(TEXT);
        let mut refused = record();
        refused.status = Some(StatusCode::BAD_REQUEST);
        refused.outcome = Outcome::Refused(Refusal::View);
        lines.push(
            &LogLine::Request(refused),
            [b"/x", b"", b"curl", b"", b"\x1b[2Jstrip: no"],
            None,
        );
        assert_eq!(
            String::from_utf8_lossy(&lines.bytes),
            "00:00:00 GET 400 refused (view) 1.5 ms 42 B /x [2Jstrip: no\n"
        );
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
        lines.push(
            &LogLine::Request(failed),
            [b"/v1/calls/c1", b"", b"", b"", b""],
            None,
        );
        assert_eq!(
            String::from_utf8_lossy(&lines.bytes),
            "00:00:00 GET 200 hit 1.5 ms 42 B /v1/calls/c1 incomplete request_id=0000000000000001\n"
        );
    }

    #[test]
    fn a_very_long_path_is_truncated_between_characters() {
        let target = format!("/{}", "é".repeat(5_000)).parse().expect("a target");
        assert_eq!(logged_path(&target).len(), MAX_TEXT - 1 + "…".len());
    }

    #[test]
    fn dropping_the_writer_writes_the_queued_lines() {
        let lines = written(TEXT, &["/x", "/yz"].repeat(500));
        assert_eq!(lines.lines().count(), 1_000);
        assert_eq!(lines.matches(" B /x\n").count(), 500);
        assert_eq!(lines.matches(" B /yz\n").count(), 500);
    }
}
