//! The access log: one line a request, put into words by the thread that writes it.

mod line;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use super::RequestId;
use super::output::{Line, Queue};
use crate::config::LogFormat;
use crate::outcome::Outcome;
use crate::request::ScopeId;

pub(super) use line::Lines;

/// Bytes of a path that are logged.
const MAX_PATH: usize = 1 << 10;

/// What is remembered of one request, beside its path.
#[derive(Debug)]
pub struct Record {
    /// When the request came in.
    pub at: SystemTime,
    /// From its head to the end of the response body.
    pub took: Duration,
    /// Its id.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// The status it was answered with; written as 0 where it was not.
    pub status: Option<StatusCode>,
    /// How it was answered.
    pub outcome: Outcome,
    /// Body bytes sent.
    pub bytes: u64,
    /// Whether the response went out whole.
    pub complete: bool,
    /// Whose stored responses it may see.
    pub scope: Option<ScopeId>,
}

/// Takes records.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Arc<Queue>,
    format: LogFormat,
}

/// The path of a target as it is logged: without the query, which is the client's own business,
/// and cut where it is very long.
fn path(target: Option<&PathAndQuery>) -> Cow<'_, str> {
    let path = target.map_or("", PathAndQuery::path);
    if path.len() <= MAX_PATH {
        return path.into();
    }
    format!("{}…", &path[..path.floor_char_boundary(MAX_PATH)]).into()
}

/// The same, for whoever else writes about a request.
#[must_use]
pub fn logged_path(target: &PathAndQuery) -> String {
    path(Some(target)).into_owned()
}

impl AccessLog {
    pub(super) fn new(queue: Arc<Queue>, format: LogFormat) -> Self {
        Self { queue, format }
    }

    /// Records one request for this target.
    ///
    /// Of the target a copy is kept: it is a slice of the buffer that its connection reads into,
    /// and would hold on to it while the line waits.
    pub fn push(&self, record: Record, target: Option<&PathAndQuery>) {
        let line = Line::Request(self.format, record);
        self.queue.push(line, &path(target));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use super::*;
    use crate::telemetry::Output;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
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

    fn record() -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH,
            took: Duration::from_micros(1_500),
            id: RequestId::Made(1),
            method: Method::GET,
            status: Some(StatusCode::OK),
            outcome: Outcome::Hit { ttl: 3 },
            bytes: 42,
            complete: true,
            scope: None,
        }
    }

    fn written(format: LogFormat, targets: &[&'static str]) -> String {
        let page = Page::default();
        let output = Output::start(page.clone()).expect("a thread");
        let log = output.access(format);
        for target in targets {
            log.push(record(), Some(&PathAndQuery::from_static(target)));
        }
        drop(output);
        let bytes = page.0.lock().expect("no test panics here").clone();
        String::from_utf8(bytes).expect("lines are text")
    }

    #[test]
    fn a_json_line_can_be_parsed_and_leaves_the_query_out() {
        let line = written(LogFormat::Json, &["/v1/calls/a%22b?secret=1"]);
        let value: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        assert_eq!(value["path"], "/v1/calls/a%22b");
        assert_eq!(value["outcome"], "hit");
        assert_eq!(value["response_bytes"], 42);
        assert!(!line.contains("secret"));
    }

    #[test]
    fn a_text_line_reads_on_its_own() {
        let line = written(LogFormat::Text, &["/v1/calls/c1"]);
        assert_eq!(
            line,
            "1970-01-01T00:00:00.000000Z  INFO access: GET /v1/calls/c1 200 hit duration_seconds=0.001500 \
             response_bytes=42 complete=true request_id=0000000000000001\n"
        );
    }

    #[test]
    fn a_very_long_path_is_cut_between_two_letters() {
        let target = format!("/{}", "é".repeat(5_000)).parse().expect("a target");
        assert_eq!(path(Some(&target)).len(), MAX_PATH - 1 + "…".len());
    }

    #[test]
    fn dropping_the_output_writes_what_is_left() {
        let lines = written(LogFormat::Text, &["/x", "/yz"].repeat(500));
        assert_eq!(lines.lines().count(), 1_000);
        assert_eq!(lines.matches(" GET /x 200 ").count(), 500);
        assert_eq!(lines.matches(" GET /yz 200 ").count(), 500);
    }
}
