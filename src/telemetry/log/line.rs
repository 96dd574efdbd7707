//! Log lines, and their format: JSON objects, or text for a terminal.
//!
//! The access log formats one line per request, so this writes bytes instead of using `std::fmt`,
//! and formats the date once a second.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};

use crate::label::Label as _;
use crate::outcome::Outcome;
use crate::request::ScopeId;
use crate::telemetry::request_id::RequestId;
use crate::units;

const INFALLIBLE: &str = "writing to a vector succeeds";

/// A line of the log, before it is formatted.
#[derive(Debug)]
pub(super) enum LogLine {
    /// An event, already formatted.
    Event(Box<[u8]>),
    /// A request; its texts are stored separately.
    Request(AccessRecord),
}

/// The texts of a request: its path, route, user agent and canonical view, and the error of a refused one.
/// Empty: it has none.
pub type AccessTexts<'a> = [&'a [u8]; 5];

/// A request in the access log, without its texts.
#[derive(Debug)]
pub struct AccessRecord {
    /// When the request arrived.
    pub at: SystemTime,
    /// Time from its head to the end of the response body.
    pub took: Duration,
    /// Its id.
    pub id: RequestId,
    /// The address of its client.
    pub client: IpAddr,
    /// Its method.
    pub method: Method,
    /// Its version of HTTP.
    pub version: Version,
    /// The status of the response; none is logged as 0.
    pub status: Option<StatusCode>,
    /// The source of the response.
    pub outcome: Outcome,
    /// Time from the request to the origin to the head of its response, if there was one.
    pub upstream: Option<Duration>,
    /// Body bytes sent.
    pub bytes: u64,
    /// Whether the response was sent completely.
    pub complete: bool,
    /// The scope of its stored responses.
    pub scope: Option<ScopeId>,
}

/// The format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One JSON object a line.
    Json,
    /// Short lines for people.
    Text {
        /// By the colours of a terminal.
        coloured: bool,
    },
}

/// Formatted lines.
#[derive(Debug)]
pub(super) struct LineBuffer {
    style: Style,
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
            Self::Request(record) => record.id.heap_bytes(),
        }
    }
}

// === impl LineBuffer ===

impl LineBuffer {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            bytes: Vec::new(),
            second: None,
            date: String::new(),
        }
    }

    /// Formats a line; the texts and the name of the caller are those of a request.
    pub(super) fn push(&mut self, line: &LogLine, texts: AccessTexts<'_>, caller: Option<&str>) {
        match line {
            LogLine::Event(text) => self.bytes.extend_from_slice(text),
            LogLine::Request(record) => match self.style {
                Style::Json => self.json(record, texts, caller),
                Style::Text { coloured } => self.text(record, texts, coloured),
            },
        }
    }

    /// Reports lines that a reader was too slow for.
    pub(super) fn dropped(&mut self, count: u64) {
        let [before, after] = match self.style {
            Style::Json => ["{\"dropped\":", ",\"target\":\"tail\"}\n"],
            Style::Text { .. } => ["… ", " lines dropped: they were read too slowly\n"],
        };
        self.add(&[before, itoa::Buffer::new().format(count), after]);
    }

    fn json(&mut self, record: &AccessRecord, texts: AccessTexts<'_>, caller: Option<&str>) {
        let [path, route, agent, view, error] = texts;
        let method = record.method.as_str();
        let status = record.status.as_ref().map_or("0", StatusCode::as_str);
        let outcome = record.outcome.label().as_str();
        self.add(&["{\"timestamp\":\""]);
        self.timestamp(record.at);
        self.add(&["\",\"level\":\"INFO\",\"message\":\""]);
        self.add(&[method, " ", status, " ", outcome]);
        self.add(&["\",\"method\":\"", method, "\",\"path\":"]);
        self.string(path);
        self.add(&[",\"status\":", status, ",\"outcome\":\"", outcome, "\""]);
        if let Some(reason) = record.outcome.detail() {
            self.add(&[",\"detail\":\"", reason, "\""]);
        }
        self.optional(",\"error\":", error);
        self.add(&[",\"duration_seconds\":"]);
        self.seconds(record.took);
        if let Some(took) = record.upstream {
            self.add(&[",\"upstream_seconds\":"]);
            self.seconds(took);
        }
        self.add(&[",\"response_bytes\":"]);
        self.add(&[itoa::Buffer::new().format(record.bytes)]);
        let complete = if record.complete { "true" } else { "false" };
        self.add(&[",\"complete\":", complete]);
        self.add(&[",\"client\":\""]);
        self.address(record.client);
        self.add(&[match record.version {
            Version::HTTP_2 => "\",\"http_version\":\"HTTP/2\"",
            Version::HTTP_10 => "\",\"http_version\":\"HTTP/1.0\"",
            _ => "\",\"http_version\":\"HTTP/1.1\"",
        }]);
        self.optional(",\"user_agent\":", agent);
        self.optional(",\"route\":", route);
        self.optional(",\"view\":", view);
        if let Some(of) = record.scope {
            self.add(&[",\"scope\":\""]);
            self.digits::<16>(of.number().into(), 8);
            self.add(&["\""]);
        }
        if let Some(caller) = caller {
            self.add(&[",\"caller\":\"", caller, "\""]);
        }
        self.add(&[",\"request_id\":\""]);
        self.id(&record.id);
        self.add(&["\",\"target\":\"access\"}\n"]);
    }

    /// The id of the request is only on lines that one may want to look into.
    fn text(&mut self, record: &AccessRecord, texts: AccessTexts<'_>, coloured: bool) {
        let [path, _, _, _, error] = texts.map(String::from_utf8_lossy);
        let [dim, colour, end] = match record.status.map(|status| status.as_u16()) {
            _ if !coloured => ["", "", ""],
            Some(..300) => ["\x1b[2m", "\x1b[32m", "\x1b[0m"],
            Some(..400) => ["\x1b[2m", "\x1b[36m", "\x1b[0m"],
            Some(..500) => ["\x1b[2m", "\x1b[33m", "\x1b[0m"],
            _ => ["\x1b[2m", "\x1b[31m", "\x1b[0m"],
        };
        self.add(&[dim]);
        self.time(record.at);
        let status = record.status.as_ref().map_or("–", StatusCode::as_str);
        self.add(&[
            end,
            " ",
            record.method.as_str(),
            " ",
            colour,
            status,
            end,
            " ",
        ]);
        self.add(&[record.outcome.label().as_str()]);
        if let Some(reason) = record.outcome.detail() {
            self.add(&[" (", reason, ")"]);
        }
        let took = units::seconds(Some(record.took.as_secs_f64()));
        self.add(&[" ", &took, " ", &units::bytes(record.bytes), " ", &path]);
        if !error.is_empty() {
            let error: String = error.chars().filter(|c| !c.is_control()).collect();
            self.add(&[" ", colour, &error, end]);
        }
        if !record.complete {
            self.add(&[" ", colour, "incomplete", end]);
        }
        if !record.complete || record.status.is_none_or(|status| status.is_server_error()) {
            self.add(&[dim, " request_id="]);
            self.id(&record.id);
            self.add(&[end]);
        }
        self.add(&["\n"]);
    }

    /// Writes a member of an object, unless its value is empty.
    fn optional(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.add(&[name]);
            self.string(value);
        }
    }

    fn string(&mut self, text: &[u8]) {
        let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        // Without an early return, the loop checks many bytes at once (SIMD).
        if text.iter().fold(true, |all, &byte| all & is_plain(byte)) {
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(text);
            self.bytes.push(b'"');
            return;
        }
        let written = serde_json::to_string(&String::from_utf8_lossy(text)).expect(INFALLIBLE);
        self.add(&[&units::printable(written)]);
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                for (place, number) in address.octets().into_iter().enumerate() {
                    let dot = if place > 0 { "." } else { "" };
                    self.add(&[dot, itoa::Buffer::new().format(number)]);
                }
            }
            IpAddr::V6(address) => write!(self.bytes, "{address}").expect(INFALLIBLE),
        }
    }

    fn seconds(&mut self, time: Duration) {
        self.add(&[itoa::Buffer::new().format(time.as_secs()), "."]);
        self.digits::<10>(time.subsec_micros().into(), 6);
    }

    fn id(&mut self, id: &RequestId) {
        match id {
            RequestId::Given(id) => self.add(&[id]),
            RequestId::Made(number) => self.digits::<16>(*number, 16),
        }
    }

    fn add(&mut self, texts: &[&str]) {
        for text in texts {
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    /// Writes a time in the format of RFC 3339, with microseconds.
    fn timestamp(&mut self, at: SystemTime) {
        let since = self.note(at);
        self.bytes.extend_from_slice(self.date.as_bytes());
        self.add(&["."]);
        self.digits::<10>(since.subsec_micros().into(), 6);
        self.add(&["Z"]);
    }

    /// Writes the time of day (UTC).
    fn time(&mut self, at: SystemTime) {
        self.note(at);
        let time = self.date.split_once('T').map_or("", |(_, time)| time);
        self.bytes.extend_from_slice(time.as_bytes());
    }

    /// Formats the second of this time; returns the time since 1970.
    fn note(&mut self, at: SystemTime) -> Duration {
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
        since
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
