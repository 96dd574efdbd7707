//! Log lines, and their format: JSON objects, or text for a terminal.
//!
//! The access log formats one line per request, so this writes bytes instead of using `std::fmt`,
//! and formats the date once a second.

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use crate::config::LogFormat;
use crate::label::Label as _;
use crate::outcome::Outcome;
use crate::request::ScopeId;
use crate::telemetry::request_id::RequestId;

/// A line of the log, before it is formatted.
#[derive(Debug)]
pub(super) enum LogLine {
    /// An event, already formatted.
    Event(Box<[u8]>),
    /// A request; its path is stored separately.
    Request(LogFormat, AccessRecord),
}

/// A request in the access log, without its path.
#[derive(Debug)]
pub struct AccessRecord {
    /// When the request arrived.
    pub at: SystemTime,
    /// Time from its head to the end of the response body.
    pub took: Duration,
    /// Its id.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// The status of the response; none is logged as 0.
    pub status: Option<StatusCode>,
    /// The source of the response.
    pub outcome: Outcome,
    /// Body bytes sent.
    pub bytes: u64,
    /// Whether the response was sent completely.
    pub complete: bool,
    /// The scope of its stored responses.
    pub scope: Option<ScopeId>,
}

/// The names of the fields after the outcome, the end of a text value and the end of the line.
const JSON_FIELDS: [&str; 8] = [
    ",\"detail\":\"",
    ",\"duration_seconds\":",
    ",\"response_bytes\":",
    ",\"complete\":",
    ",\"scope\":\"",
    ",\"request_id\":\"",
    "\"",
    ",\"target\":\"access\"}\n",
];
const TEXT_FIELDS: [&str; 8] = [
    " detail=",
    " duration_seconds=",
    " response_bytes=",
    " complete=",
    " scope=",
    " request_id=",
    "",
    "\n",
];

/// Formatted lines.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    pub(super) bytes: Vec<u8>,
    /// The second of `date`.
    second: Option<u64>,
    /// That second, as in `2026-01-01T00:00:00`.
    date: String,
}

// === impl LogLine ===

impl LogLine {
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Event(text) => text.len(),
            Self::Request(_, record) => record.id.heap_bytes(),
        }
    }
}

// === impl LineBuffer ===

impl LineBuffer {
    /// Formats a line; `path` is that of a request.
    pub(super) fn push(&mut self, line: &LogLine, path: &str) {
        match line {
            LogLine::Event(text) => self.bytes.extend_from_slice(text),
            LogLine::Request(format, record) => self.request(*format, record, path),
        }
    }

    fn request(&mut self, format: LogFormat, record: &AccessRecord, path: &str) {
        let method = record.method.as_str();
        let status = record.status.as_ref().map_or("0", StatusCode::as_str);
        let outcome = record.outcome.label().as_str();
        let [detail, duration, bytes, complete, scope, id, quote, end] = match format {
            LogFormat::Json => {
                self.add(&["{\"timestamp\":\""]);
                self.timestamp(record.at);
                self.add(&["\",\"level\":\"INFO\",\"message\":\""]);
                self.add(&[method, " ", status, " ", outcome]);
                self.add(&["\",\"method\":\"", method, "\",\"path\":"]);
                serde_json::to_writer(&mut self.bytes, path).expect("writing to a vector succeeds");
                self.add(&[",\"status\":", status, ",\"outcome\":\"", outcome, "\""]);
                JSON_FIELDS
            }
            LogFormat::Text => {
                self.timestamp(record.at);
                self.add(&["  INFO access: ", method, " ", path]);
                self.add(&[" ", status, " ", outcome]);
                TEXT_FIELDS
            }
        };
        if let Some(reason) = record.outcome.detail() {
            self.add(&[detail, reason, quote]);
        }
        self.add(&[duration]);
        self.add(&[itoa::Buffer::new().format(record.took.as_secs())]);
        self.add(&["."]);
        self.digits::<10>(record.took.subsec_micros().into(), 6);
        self.add(&[bytes]);
        self.add(&[itoa::Buffer::new().format(record.bytes)]);
        self.add(&[complete, if record.complete { "true" } else { "false" }]);
        if let Some(of) = record.scope {
            self.add(&[scope]);
            self.digits::<16>(of.number().into(), 8);
            self.add(&[quote]);
        }
        self.add(&[id]);
        match &record.id {
            RequestId::Given(id) => self.add(&[id]),
            RequestId::Made(number) => self.digits::<16>(*number, 16),
        }
        self.add(&[quote, end]);
    }

    fn add(&mut self, texts: &[&str]) {
        for text in texts {
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    /// Writes a time in the format of RFC 3339, with microseconds.
    fn timestamp(&mut self, at: SystemTime) {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let second = Some(since.as_secs());
        if self.second != second {
            self.second = second;
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
            self.date = humantime::format_rfc3339_seconds(whole).to_string();
            self.date.pop();
        }
        self.bytes.extend_from_slice(self.date.as_bytes());
        self.add(&["."]);
        self.digits::<10>(since.subsec_micros().into(), 6);
        self.add(&["Z"]);
    }

    /// Writes a number with `count` digits, leading zeros included.
    fn digits<const BASE: u64>(&mut self, mut number: u64, count: usize) {
        let start = self.bytes.len();
        self.bytes.resize(start + count, b'0');
        for digit in self.bytes[start..].iter_mut().rev() {
            let value = u8::try_from(number % BASE).expect("a digit");
            *digit = b"0123456789abcdef"[usize::from(value)];
            number /= BASE;
        }
    }
}
