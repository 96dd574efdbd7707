//! A request head, or the trailer section behind a chunked body: checked line by line, once each,
//! in however many pieces it comes.

use http::Uri;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::lines::{self, LineScan};
use crate::policy::{TOKEN, ascii_table};
use crate::request::refusal::Refusal;

/// The longest method. Those that are registered have at most seventeen letters.
const MAX_METHOD: usize = 32;

/// The longest name of a field.
const MAX_NAME: usize = 256;

/// The bytes of a request line beside method and target.
const AROUND_TARGET: usize = "  HTTP/1.1\r\n".len();

/// The limits of a head that are kept before it is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) uri: usize,
    pub(super) head: usize,
    pub(super) fields: usize,
}

/// A head, as far as it has been checked.
#[derive(Debug)]
pub(super) struct Head {
    /// Where the line begins that has no end yet.
    checked: usize,
    /// Up to where there is neither an end nor a fault in that line.
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
    /// A request line, before which one empty line is passed over (RFC 9112 §2.2).
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

    /// The length of the head, its empty line included, or `None` while that has not come.
    /// The bytes begin where the head does, each time.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        limits: HeadLimits,
    ) -> Result<Option<usize>, Refusal> {
        loop {
            let start = self.checked;
            // The name of a field, or a method, has no end of a line in it: that is looked for
            // behind it.
            let name = lines::span(&bytes[start..], &TOKEN);
            match lines::end(bytes, self.scanned.max(start + name))? {
                LineScan::Nothing(scanned) => {
                    self.scanned = scanned;
                    return self.may_go_on(bytes.len(), name, limits).map(|()| None);
                }
                LineScan::End(end) => {
                    self.checked = end + 2;
                    self.scanned = self.checked;
                    if self.checked > limits.head {
                        return Err(self.too_large());
                    }
                    if self.take(&bytes[start..end], name, limits)? {
                        return Ok(Some(self.checked));
                    }
                }
            }
        }
    }

    /// Whether a head of which `length` bytes have arrived may have more.
    #[cold]
    fn may_go_on(&self, length: usize, name: usize, limits: HeadLimits) -> Result<(), Refusal> {
        let is_request_line = matches!(self.line, NextLine::Request { .. });
        if length >= limits.head
            || is_request_line && length - self.checked > MAX_METHOD + limits.uri + AROUND_TARGET
        {
            return Err(self.too_large());
        }
        // It is read again with every piece that comes.
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

    /// Checks a line; true when it is the last one.
    #[inline]
    fn take(&mut self, line: &[u8], name: usize, limits: HeadLimits) -> Result<bool, Refusal> {
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
        // A blank before the colon is no token, nor is one that folds the line before.
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

    /// One line with one number, which no reader takes for a negative one.
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

    /// One line with one coding, which HTTP/1.0 does not have.
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

/// Whether a request of HTTP/2 could be one of HTTP/1.1, which nearly all origins read it as: its
/// method is no longer, and in its target is nothing else.
pub(in crate::request) fn has_a_request_line(head: &Parts) -> bool {
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let plain = lines::span(target.as_bytes(), &IS_TARGET);
    head.method.as_str().len() <= MAX_METHOD && plain == target.len()
}

/// `method SP request-target SP HTTP-version`, with one blank at each place; whether the version
/// is 1.0.
fn request_line(line: &[u8], method: usize, longest: usize) -> Result<bool, Refusal> {
    let (method, behind) = line.split_at(method);
    let Some(rest) = behind.strip_prefix(b" ") else {
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

/// Absolute form, or the authority form of CONNECT, which is refused for what it is.
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

/// Letters, digits and what joins them. Fewer than a token may have; all that is registered.
const IS_METHOD: [bool; 256] = ascii_table(b"-_");

/// The bytes of a URI, and those that clients send unescaped; no fragment, which is never sent, and
/// nothing beyond ASCII.
const IS_TARGET: [bool; 256] = ascii_table(b"-._~:/?[]@!$&'()*+,;=%{}|\\^");
