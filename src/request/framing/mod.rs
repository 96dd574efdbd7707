//! Where one HTTP/1.1 request ends and the next begins, followed byte by byte (RFC 9112).
//!
//! hyper reads framing as the RFC allows a server to, which is more than one way of reading it:
//! a length beside a coding, the same length twice, a bare LF as the end of a line. The origin, or
//! whatever stands before it, may read the same bytes the other way, and then one client's body is
//! another client's request. So what can be read in two ways is refused here, beneath hyper, and
//! what is passed on can be read in one.
//!
//! This is a state machine without input or output of its own: [`Framing::advance`] is fed what
//! came and answers how much of it may go on. A head goes on when all of it has been checked;
//! until then it is kept by the caller. Bodies go on as they come.

mod chunks;
mod head;
mod lines;

use chunks::Chunks;
use head::{Head, HeadLimits};

use super::refusal::Refusal;
use crate::config;

pub(super) use head::has_a_request_line;

/// How a client begins HTTP/2 (RFC 9113 §3.4). What follows is framed by lengths, and has one
/// reading.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How far the requests of one connection have been followed.
#[derive(Debug)]
pub struct Framing {
    limits: HeadLimits,
    position: Position,
    /// Nothing has come yet, so that it may be HTTP/2.
    is_new: bool,
}

#[derive(Debug)]
enum Position {
    Head(Head),
    /// In a body of which n bytes are missing.
    Length(u64),
    Chunks(Chunks),
    Trailers(Head),
    Http2,
}

/// The rest of the connection must not be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Stop {
    /// Bytes before the fault, which may go on.
    pub passed: usize,
    /// The fault of the request behind them.
    pub fault: FramingFault,
}

/// The fault of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingFault {
    /// Its head; nothing of it has gone on.
    Head(Refusal),
    /// Its body, part of which has gone on. The sentence says what.
    Body(&'static str),
}

impl Framing {
    /// The beginning of a connection.
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

    /// The beginning of a request on a connection that is in HTTP/1.
    #[must_use]
    pub fn in_http1(limits: &config::Limits) -> Self {
        Self {
            is_new: false,
            ..Self::new(limits)
        }
    }

    /// How many of these bytes may go on. The rest is the beginning of a head, to be brought again
    /// with what comes behind it.
    ///
    /// # Errors
    ///
    /// When what comes can be read in two ways, or not at all. From then on there is no telling
    /// what the bytes mean: nothing behind the fault may go on, now or later.
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
                        Ok(Some(length)) => (length, Position::behind(head)),
                        Err(refusal) => {
                            let fault = FramingFault::Head(refusal);
                            return Err(Stop { passed, fault });
                        }
                    }
                }
                Position::Length(missing) => {
                    let there = rest.len() as u64;
                    if there < *missing {
                        *missing -= there;
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
                        let fault = FramingFault::Body("trailer fields that cannot be read");
                        return Err(Stop { passed, fault });
                    }
                },
            };
            passed += length;
            self.position = next;
        }
        Ok(passed)
    }

    /// Whether all that went on were whole requests, or HTTP/2.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.position, Position::Head(_) | Position::Http2)
    }
}

impl Position {
    /// Behind a head.
    fn behind(head: &Head) -> Self {
        match head.length {
            _ if head.is_chunked => Self::Chunks(Chunks::new()),
            Some(length @ 1..) => Self::Length(length),
            Some(0) | None => Self::Head(Head::new()),
        }
    }
}

#[cfg(test)]
mod tests;
