//! How a record is written: as a JSON object or as text for a terminal.
//!
//! This runs once a request, so it writes bytes rather than going through the formatting
//! machinery, and makes the date once a second.

use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::Record;
use crate::config::LogFormat;
use crate::label::Label as _;
use crate::telemetry::RequestId;
use crate::telemetry::output::Line;

/// A batch of lines.
#[derive(Debug)]
pub(in crate::telemetry) struct Lines {
    bytes: Vec<u8>,
    /// The second that `date` says.
    second: u64,
    /// `2026-01-01T00:00:00`
    date: String,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            second: u64::MAX,
            date: String::new(),
        }
    }
}

impl Lines {
    pub(in crate::telemetry) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(in crate::telemetry) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Puts a line into words; a request is one for this path.
    pub(in crate::telemetry) fn push(&mut self, line: &Line, path: &str) {
        match line {
            Line::Event(text) => self.bytes.extend_from_slice(text),
            Line::Request(LogFormat::Json, record) => self.json(record, path),
            Line::Request(LogFormat::Text, record) => self.text(record, path),
        }
    }

    fn json(&mut self, record: &Record, path: &str) {
        let (status, label) = (status(record), record.outcome.label().as_str());
        self.add("{\"timestamp\":\"");
        self.timestamp(record.at);
        self.add("\",\"level\":\"INFO\",\"message\":\"");
        for word in [record.method.as_str(), " ", status, " ", label] {
            self.add(word);
        }
        self.add("\",\"method\":\"");
        self.add(record.method.as_str());
        self.add("\",\"path\":");
        serde_json::to_writer(&mut self.bytes, path).expect("a vector takes what is written to it");
        self.add(",\"status\":");
        self.add(status);
        self.add(",\"outcome\":\"");
        self.add(label);
        if let Some(detail) = record.outcome.detail() {
            self.add("\",\"detail\":\"");
            self.add(detail);
        }
        self.add("\",\"duration_seconds\":");
        self.seconds(record.took);
        self.add(",\"response_bytes\":");
        self.number(record.bytes);
        self.add(if record.complete {
            ",\"complete\":true"
        } else {
            ",\"complete\":false"
        });
        if let Some(scope) = record.scope {
            self.add(",\"scope\":\"");
            self.hex(scope.number().into(), 8);
            self.add("\"");
        }
        self.add(",\"request_id\":\"");
        self.request_id(record);
        self.add("\",\"target\":\"access\"}\n");
    }

    fn text(&mut self, record: &Record, path: &str) {
        self.timestamp(record.at);
        self.add("  INFO access: ");
        let (status, label) = (status(record), record.outcome.label().as_str());
        for word in [record.method.as_str(), " ", path, " ", status, " ", label] {
            self.add(word);
        }
        if let Some(detail) = record.outcome.detail() {
            self.add(" detail=");
            self.add(detail);
        }
        self.add(" duration_seconds=");
        self.seconds(record.took);
        self.add(" response_bytes=");
        self.number(record.bytes);
        self.add(if record.complete {
            " complete=true"
        } else {
            " complete=false"
        });
        if let Some(scope) = record.scope {
            self.add(" scope=");
            self.hex(scope.number().into(), 8);
        }
        self.add(" request_id=");
        self.request_id(record);
        self.add("\n");
    }

    fn add(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// RFC 3339 with microseconds.
    fn timestamp(&mut self, at: SystemTime) {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if self.second != since.as_secs() {
            self.second = since.as_secs();
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(self.second);
            self.date = humantime::format_rfc3339_seconds(whole).to_string();
            self.date.pop();
        }
        self.bytes.extend_from_slice(self.date.as_bytes());
        self.add(".");
        self.digits(since.subsec_micros().into(), 6);
        self.add("Z");
    }

    fn seconds(&mut self, took: Duration) {
        self.number(took.as_secs());
        self.add(".");
        self.digits(took.subsec_micros().into(), 6);
    }

    fn request_id(&mut self, record: &Record) {
        match &record.id {
            RequestId::Given(id) => self.add(id),
            RequestId::Made(number) => self.hex(*number, 16),
        }
    }

    fn number(&mut self, number: u64) {
        self.add(itoa::Buffer::new().format(number));
    }

    /// So many decimal digits, with zeros before them.
    fn digits(&mut self, mut number: u64, count: usize) {
        let start = self.bytes.len();
        self.bytes.resize(start + count, b'0');
        for digit in self.bytes[start..].iter_mut().rev() {
            *digit += u8::try_from(number % 10).expect("a digit");
            number /= 10;
        }
    }

    /// So many hex digits, with zeros before them.
    fn hex(&mut self, mut number: u64, count: usize) {
        let start = self.bytes.len();
        self.bytes.resize(start + count, b'0');
        for digit in self.bytes[start..].iter_mut().rev() {
            *digit = b"0123456789abcdef"[(number & 0xf) as usize];
            number >>= 4;
        }
    }
}

fn status(record: &Record) -> &str {
    record.status.as_ref().map_or("0", StatusCode::as_str)
}
