//! A request head, or the trailer section of a chunked body: each line is checked once, however the
//! bytes are split.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri};

use super::lines::{self, LineScan};
use crate::policy::{TOKEN, ascii_table};
use crate::request::refusal::Refusal;

/// The longest method. The registered ones have at most seventeen letters.
const MAX_METHOD: usize = 32;

/// The longest name of a field.
const MAX_NAME: usize = 256;

/// The bytes of a request line in addition to method and target.
const AROUND_TARGET: usize = "  HTTP/1.1\r\n".len();

/// The limits of a request head: bytes of the target, bytes in total, number of fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) uri: usize,
    pub(super) head: usize,
    pub(super) fields: usize,
}

/// A head that is being checked.
#[derive(Debug)]
pub(super) struct Head {
    /// The start of the first incomplete line.
    checked: usize,
    /// The position up to which that line has neither an end nor a fault.
    scanned: usize,
    line: NextLine,
    fields: usize,
    is_http_10: bool,
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
}

/// The kind of the next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextLine {
    /// A request line, before which one empty line is ignored (RFC 9112 §2.2).
    Request {
        empty_before: bool,
    },
    Field,
    Trailer,
}

impl Head {
    pub(super) fn new() -> Self {
        Self {
            checked: 0,
            scanned: 0,
            line: NextLine::Request {
                empty_before: false,
            },
            fields: 0,
            is_http_10: false,
            length: None,
            is_chunked: false,
        }
    }

    pub(super) fn trailers() -> Self {
        Self {
            line: NextLine::Trailer,
            ..Self::new()
        }
    }

    pub(super) fn is_at_start(&self) -> bool {
        self.checked == 0
    }

    /// Returns the length of the head, its empty line included, or `None` if it is incomplete.
    /// `bytes` begin with the head in each call.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        limits: HeadLimits,
    ) -> Result<Option<usize>, Refusal> {
        loop {
            let start = self.checked;
            // A field name or method contains no line end: search after it.
            let name = lines::span(&bytes[start..], &TOKEN);
            match lines::end(bytes, self.scanned.max(start + name))? {
                LineScan::Nothing(scanned) => {
                    self.scanned = scanned;
                    return self
                        .check_incomplete(bytes.len(), name, limits)
                        .map(|()| None);
                }
                LineScan::End(end) => {
                    self.checked = end + 2;
                    self.scanned = self.checked;
                    if self.checked > limits.head {
                        return Err(self.too_large());
                    }
                    if self.check_line(&bytes[start..end], name, limits)? {
                        return Ok(Some(self.checked));
                    }
                }
            }
        }
    }

    /// Checks the limits of a head of which `length` bytes have arrived.
    #[cold]
    fn check_incomplete(
        &self,
        length: usize,
        name: usize,
        limits: HeadLimits,
    ) -> Result<(), Refusal> {
        let is_request_line = matches!(self.line, NextLine::Request { .. });
        if length >= limits.head
            || is_request_line && length - self.checked > MAX_METHOD + limits.uri + AROUND_TARGET
        {
            return Err(self.too_large());
        }
        // An incomplete line is scanned again on each call, so its name must be short.
        match self.line {
            NextLine::Request { .. } if name > MAX_METHOD => Err(Refusal::RequestLine),
            _ if name > MAX_NAME => Err(Refusal::FieldLine),
            _ => Ok(()),
        }
    }

    #[cold]
    fn too_large(&self) -> Refusal {
        match self.line {
            NextLine::Request { .. } => Refusal::UriTooLong,
            NextLine::Field | NextLine::Trailer => Refusal::HeadTooLarge,
        }
    }

    /// Checks a line; returns whether it is the last one.
    #[inline]
    fn check_line(
        &mut self,
        line: &[u8],
        name: usize,
        limits: HeadLimits,
    ) -> Result<bool, Refusal> {
        match self.line {
            NextLine::Request {
                empty_before: false,
            } if line.is_empty() => {
                self.line = NextLine::Request { empty_before: true };
            }
            NextLine::Request { .. } => {
                self.is_http_10 = request_line(line, name, limits.uri)?;
                self.line = NextLine::Field;
            }
            NextLine::Field | NextLine::Trailer if line.is_empty() => return Ok(true),
            NextLine::Field | NextLine::Trailer => {
                self.fields += 1;
                if self.fields > limits.fields {
                    return Err(Refusal::HeadTooLarge);
                }
                self.field(line, name)?;
            }
        }
        Ok(false)
    }

    #[inline]
    fn field(&mut self, line: &[u8], name: usize) -> Result<(), Refusal> {
        // Whitespace is not allowed before the colon, nor at the start (line folding).
        if !(1..=MAX_NAME).contains(&name) || line.get(name) != Some(&b':') {
            return Err(Refusal::FieldLine);
        }
        match name {
            14 if line[..14].eq_ignore_ascii_case(b"content-length") => {
                self.content_length(&line[15..])
            }
            17 if line[..17].eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer_encoding(&line[18..])
            }
            _ => Ok(()),
        }
    }

    /// Checks `Content-Length`: one line with one number, which must fit a signed integer too.
    #[cold]
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.is_chunked {
            return Err(Refusal::LengthAndCoding);
        }
        let digits = value.trim_ascii();
        let length = std::str::from_utf8(digits)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or(Refusal::ContentLength)?;
        if self.length.is_some() || self.line == NextLine::Trailer {
            return Err(Refusal::ContentLength);
        }
        self.length = Some(length.unsigned_abs());
        Ok(())
    }

    /// Checks `Transfer-Encoding`: one line with `chunked` only; HTTP/1.0 has no transfer codings.
    #[cold]
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::LengthAndCoding);
        }
        let is_plain = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !is_plain || self.is_chunked || self.is_http_10 || self.line == NextLine::Trailer {
            return Err(Refusal::TransferCoding);
        }
        self.is_chunked = true;
        Ok(())
    }
}

/// Whether method and target of an HTTP/2 request fit an HTTP/1.1 request line: it may be forwarded
/// as one.
pub(in crate::request) fn fits_a_request_line(head: &Parts) -> bool {
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let plain = lines::span(target.as_bytes(), &IS_TARGET);
    // `*` is a target of OPTIONS only (RFC 9112 §3.2.4).
    let is_form = target != "*" || head.method == Method::OPTIONS;
    head.method.as_str().len() <= MAX_METHOD && plain == target.len() && is_form
}

/// Checks `method SP request-target SP HTTP-version`, with single spaces. Returns whether the version
/// is 1.0.
fn request_line(line: &[u8], method: usize, longest: usize) -> Result<bool, Refusal> {
    let (method, rest) = line.split_at(method);
    let Some(rest) = rest.strip_prefix(b" ") else {
        return Err(Refusal::RequestLine);
    };
    if !(1..=MAX_METHOD).contains(&method.len()) || lines::span(method, &IS_METHOD) < method.len() {
        return Err(Refusal::RequestLine);
    }
    let target = lines::span(rest, &IS_TARGET);
    if target > longest {
        return Err(Refusal::UriTooLong);
    }
    let (target, version) = rest.split_at(target);
    let is_http_10 = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::Version);
        }
        _ => return Err(Refusal::RequestLine),
    };
    match target {
        [b'/', ..] => Ok(is_http_10),
        b"*" if method == b"OPTIONS" => Ok(is_http_10),
        _ if is_other_form(method, target) => Ok(is_http_10),
        _ => Err(Refusal::RequestLine),
    }
}

/// Whether a target has the absolute form, or the authority form of CONNECT, which is refused later.
#[cold]
fn is_other_form(method: &[u8], target: &[u8]) -> bool {
    let Ok(uri) = Uri::try_from(target) else {
        return false;
    };
    match uri.scheme_str() {
        Some("http" | "https") => method != b"CONNECT",
        Some(_) => false,
        None => method == b"CONNECT" && uri.authority().is_some(),
    }
}

/// Letters, digits, `-` and `_`: stricter than a token, enough for all registered methods.
const IS_METHOD: [bool; 256] = ascii_table(b"-_");

/// The bytes of a URI, and others that clients send unescaped. No fragment, which clients never send,
/// and only ASCII.
const IS_TARGET: [bool; 256] = ascii_table(b"-._~:/?[]@!$&'()*+,;=%{}|\\^");
