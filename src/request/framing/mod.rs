//! HTTP/1.1 framing, checked strictly before hyper sees it: defence against request smuggling
//! (RFC 9112 §11.2).
//!
//! hyper accepts all that the RFC permits a server to accept: both Content-Length and
//! Transfer-Encoding, the same length twice, a bare LF as a line end. The origin, or a proxy in
//! front of it, may interpret the same bytes differently, and one client's body becomes another
//! client's request. So ambiguous framing is refused here.
//!
//! This is a state machine without I/O: [`Framing::advance`] takes the received bytes and returns
//! how many may be passed to hyper. A head is passed once it is complete and checked; until then
//! the caller keeps it. Bodies are passed as they arrive.

mod chunks;
mod head;
mod lines;

use chunks::Chunks;
use head::{Head, HeadLimits};

use super::refusal::Refusal;
use crate::config;

pub(super) use head::fits_a_request_line;

/// The HTTP/2 connection preface (RFC 9113 §3.4). HTTP/2 framing is unambiguous, and is passed
/// unchecked.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The state of the requests on one connection.
#[derive(Debug)]
pub struct Framing {
    limits: HeadLimits,
    position: Position,
    /// Nothing has been received yet: the connection may be HTTP/2.
    is_new: bool,
}

#[derive(Debug)]
enum Position {
    Head(Head),
    /// In a body with this many bytes left.
    Length(u64),
    Chunks(Chunks),
    Trailers(Head),
    Http2,
}

/// A fault: nothing more of the connection may be passed.
#[derive(Debug, PartialEq, Eq)]
pub struct Stop {
    /// Bytes before the fault, which may be passed.
    pub passed: usize,
    /// The fault in the request after them.
    pub fault: FramingFault,
}

/// The fault in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingFault {
    /// In the head, of which nothing was passed.
    Head(Refusal),
    /// In the body, part of which was passed; described in words.
    Body(&'static str),
}

impl Framing {
    /// Starts at the beginning of a connection.
    #[must_use]
    pub fn new(limits: &config::Limits) -> Self {
        let limits = HeadLimits {
            uri: limits.uri.as_usize(),
            head: limits.header_bytes.as_usize(),
            fields: limits.headers,
        };
        Self {
            limits,
            position: Position::Head(Head::new()),
            is_new: true,
        }
    }

    /// Starts at the beginning of a request on an HTTP/1 connection.
    #[must_use]
    pub fn in_http1(limits: &config::Limits) -> Self {
        Self {
            is_new: false,
            ..Self::new(limits)
        }
    }

    /// Returns how many of these bytes may be passed. The rest is the beginning of a head, which must
    /// be repeated in the next call, with the bytes after it.
    ///
    /// # Errors
    ///
    /// If the framing is ambiguous or invalid. The bytes after the fault have no defined meaning:
    /// none of them may be passed, now or later.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut passed = 0;
        while let rest @ [_, ..] = &bytes[passed..] {
            let (length, next) = match &mut self.position {
                Position::Http2 => return Ok(bytes.len()),
                Position::Head(head) => {
                    if self.is_new && head.is_at_start() {
                        if rest.starts_with(HTTP2_PREFACE) {
                            self.position = Position::Http2;
                            continue;
                        }
                        if HTTP2_PREFACE.starts_with(rest) {
                            return Ok(passed);
                        }
                        self.is_new = false;
                    }
                    match head.read(rest, self.limits) {
                        Ok(None) => return Ok(passed),
                        Ok(Some(length)) => (length, Position::after(head)),
                        Err(refusal) => {
                            let fault = FramingFault::Head(refusal);
                            return Err(Stop { passed, fault });
                        }
                    }
                }
                Position::Length(missing) => {
                    let received = rest.len() as u64;
                    if received < *missing {
                        *missing -= received;
                        return Ok(bytes.len());
                    }
                    let length = usize::try_from(*missing).unwrap_or(rest.len());
                    (length, Position::Head(Head::new()))
                }
                Position::Chunks(chunks) => match chunks.read(rest) {
                    Ok(None) => return Ok(bytes.len()),
                    Ok(Some(length)) => (length, Position::Trailers(Head::trailers())),
                    Err((before, sentence)) => {
                        let fault = FramingFault::Body(sentence);
                        let passed = passed + before;
                        return Err(Stop { passed, fault });
                    }
                },
                Position::Trailers(trailers) => match trailers.read(rest, self.limits) {
                    Ok(None) => return Ok(passed),
                    Ok(Some(length)) => (length, Position::Head(Head::new())),
                    Err(_) => {
                        let fault = FramingFault::Body("invalid trailer fields");
                        return Err(Stop { passed, fault });
                    }
                },
            };
            passed += length;
            self.position = next;
        }
        Ok(passed)
    }

    /// Whether the bytes passed so far are complete requests; always true in HTTP/2.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.position, Position::Head(_) | Position::Http2)
    }
}

impl Position {
    fn after(head: &Head) -> Self {
        match head.length {
            _ if head.is_chunked => Self::Chunks(Chunks::new()),
            Some(length @ 1..) => Self::Length(length),
            Some(0) | None => Self::Head(Head::new()),
        }
    }
}

#[cfg(test)]
mod tests;
