//! Stored responses without hyper: a plain GET whose whole head has arrived is answered from the store, and
//! with one write.
//!
//! Nothing is decided here that hyper's way does not decide: the head is parsed to the same type, and answered
//! and counted by the same functions. Whatever is not plain is left to hyper, byte for byte: a head that is
//! incomplete or has bytes behind it, another method or version, a response that is not in the store.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Uri};
use httparse::Status;
use tokio::io::AsyncWrite as _;

use super::super::end::CountedBody;
use super::super::request::Requests;
use super::activity::Activity;
use super::socket::Socket;
use crate::config;
use crate::in_transit::Unsent;
use crate::request::Framing;

/// Maximum fields of a head that is answered here.
const MAX_FIELDS: usize = 32;

/// The longest head whose copy takes one allocation; a longer one takes two.
const SHORT: usize = 512;

/// Answers requests from the store, without hyper.
#[derive(Debug)]
pub(super) struct Direct {
    pub(super) requests: Requests,
    pub(super) limits: config::Limits,
}

/// A response that is being sent. Its request ends when it is dropped.
#[derive(Debug)]
pub(super) struct Reply {
    head: Vec<u8>,
    /// Bytes of the head that are sent.
    sent: usize,
    body: Unsent,
    _end: CountedBody,
}

thread_local! {
    /// The buffer of a head that was sent: the next one needs no allocation.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Direct {
    /// Answers a request, if these are all its bytes, it is plain, and the store suffices. Returns the rest of
    /// the reply, if the client does not take all of it at once: boxed, as few replies are kept.
    pub(super) fn serve(
        &self,
        received: &[u8],
        socket: &mut Socket,
        activity: &Arc<Activity>,
        cx: &mut Context<'_>,
    ) -> Option<io::Result<Option<Box<Reply>>>> {
        let mut reply = self.answer(received, activity)?;
        let sent = match reply.poll_send(socket, activity, cx) {
            Poll::Ready(sent) => sent.map(|()| None),
            Poll::Pending => Ok(Some(Box::new(reply))),
        };
        Some(sent)
    }

    fn answer(&self, received: &[u8], activity: &Arc<Activity>) -> Option<Reply> {
        // The last response of a connection says so.
        if !received.starts_with(b"GET /") || activity.is_draining() {
            return None;
        }
        let mut framing = Framing::in_http1(&self.limits);
        if framing.advance(received) != Ok(received.len()) || !framing.is_between_requests() {
            return None;
        }
        let request = parse(received)?;
        let mut head = BUFFER.take();
        head.clear();
        let Some(response) = self.requests.answer_stored(activity, request, &mut head) else {
            BUFFER.set(head);
            return None;
        };
        let mut end = response.into_body();
        Some(Reply {
            head,
            sent: 0,
            body: end.take_whole(),
            _end: end,
        })
    }
}

/// A copy of a short head.
struct Copied {
    text: [u8; SHORT],
    length: usize,
}

impl Copied {
    fn of(received: &[u8]) -> Option<Self> {
        let mut text = [0; SHORT];
        let length = received.len();
        text.get_mut(..length)?.copy_from_slice(received);
        Some(Self { text, length })
    }
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// Parses a head as hyper does; `None` if it is not plain.
fn parse(received: &[u8]) -> Option<Parts> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(received, &mut fields);
    if parsed != Ok(Status::Complete(received.len())) || request.version != Some(1) {
        return None;
    }
    let copy =
        Copied::of(received).map_or_else(|| Bytes::copy_from_slice(received), Bytes::from_owner);
    let copied = |part: &[u8]| {
        let start = part.as_ptr().addr() - received.as_ptr().addr();
        copy.slice(start..start + part.len())
    };
    let (mut head, ()) = Request::new(()).into_parts();
    head.uri = Uri::from_maybe_shared(copied(request.path?.as_bytes())).ok()?;
    head.headers.reserve(request.headers.len());
    for field in &*request.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        match name.as_str() {
            "connection" if !field.value.eq_ignore_ascii_case(b"keep-alive") => return None,
            // hyper acts on these.
            "content-length" | "expect" | "transfer-encoding" | "upgrade" => return None,
            _ => {}
        }
        let value = HeaderValue::from_maybe_shared(copied(field.value)).ok()?;
        head.headers.append(name, value);
    }
    Some(head)
}

impl Reply {
    /// Sends the rest, and flushes it.
    pub(super) fn poll_send(
        &mut self,
        socket: &mut Socket,
        activity: &Activity,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        activity.unflushed.set(true);
        while self.sent < self.head.len() || self.body.has_remaining() {
            let head = &self.head[self.sent..];
            let parts = [IoSlice::new(head), IoSlice::new(self.body.chunk())];
            let sent = ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &parts))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            activity.moved.set(true);
            let of_head = sent.min(head.len());
            self.sent += of_head;
            self.body.advance(sent - of_head);
        }
        ready!(Pin::new(socket).poll_flush(cx))?;
        activity.unflushed.set(false);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        BUFFER.set(std::mem::take(&mut self.head));
    }
}
