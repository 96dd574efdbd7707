//! The client's socket, as hyper reads and writes it.
//!
//! Rejects ambiguous HTTP/1.1 framing before hyper sees it (request smuggling). Bytes are read
//! into hyper's buffer and checked there; only an incomplete head is taken out again and buffered
//! until it is complete. Instead of a rejected head, hyper gets a request that stands for the
//! rejection; an invalid body ends in an error.
//!
//! HTTP/2 frames are followed in both directions: those sent show whether the client reads its
//! responses; a client that sends too many control frames is disconnected.
//!
//! When the connection is closed while the client is still sending, its bytes are discarded for a
//! while (lingering close): an immediate close would reset the connection and lose the response.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::activity::Activity;
use super::control_frames::ControlFrames;
use super::direct::{Direct, Reply};
use super::h2_frames::H2Frames;
use super::socket::{self, Socket};
use crate::in_transit::Held;
use crate::request::{Framing, FramingFault, Stop, rejection};

/// Bytes read at once into our own buffer.
pub(super) const CHUNK: usize = 4 << 10;

/// Maximum number of bytes that a lingering close discards.
const MAX_DISCARDED: usize = 4 << 20;

/// Maximum time of a lingering close.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// The kind of the error that hyper gets, and returns, after too many control frames; a socket
/// returns no error of this kind. hyper passes on nothing else of an error.
pub(super) const TOO_MANY_CONTROL_FRAMES: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// `DATA`, `HEADERS`, `CONTINUATION`; and `WINDOW_UPDATE`, which shows that an upload advances. A
/// client can cause any number of PING and SETTINGS acknowledgements: that these are sent does not
/// show that it reads its responses.
const PROGRESS_FRAMES: [u8; 4] = [0, 1, 9, 8];

/// GOAWAY with `ENHANCE_YOUR_CALM` (RFC 9113 §6.8). Requests up to the largest stream identifier may
/// have been processed.
const ENHANCE_YOUR_CALM: [u8; 17] = [
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11,
];

/// A client's socket that checks the framing of requests and records activity.
#[derive(Debug)]
pub(super) struct ClientIo {
    socket: Socket,
    framing: Framing,
    /// Bytes not handed to hyper yet: received before it took over, an incomplete head, or heads
    /// larger than its buffer.
    buffer: Vec<u8>,
    /// The bytes of `buffer`, or of an unfinished HTTP/2 header block, in transit.
    held: Held,
    /// Bytes of `buffer` that were handed to hyper, and those that were checked.
    handed: usize,
    checked: usize,
    state: ReadState,
    activity: Arc<Activity>,
    /// HTTP/2: the frames that are sent.
    frames: H2Frames,
    /// HTTP/2: the frames that are received.
    control: ControlFrames,
    /// HTTP/1: answers requests before hyper sees them.
    pub(super) direct: Option<Arc<Direct>>,
    /// A response of it that is being sent.
    pub(super) reply: Option<Box<Reply>>,
    /// Counts lingering closes that reached a limit.
    unread: IntCounter,
}

#[derive(Debug)]
enum ReadState {
    Requests,
    /// A body is invalid: the next read returns this error.
    Broken(&'static str),
    /// Lingering close: received bytes are discarded.
    Discarding {
        left: usize,
        timeout: Pin<Box<Sleep>>,
    },
    /// Nothing more is read; after a rejected head, `buffer` ends with its replacement.
    Over,
}

impl ClientIo {
    /// The socket for hyper, with the bytes received before hyper takes over.
    pub(super) fn new(
        socket: Socket,
        received: Vec<u8>,
        framing: Framing,
        activity: &Arc<Activity>,
        unread: IntCounter,
    ) -> Self {
        let mut io = Self {
            socket,
            framing,
            buffer: received,
            held: Held::new(&activity.account, 0),
            handed: 0,
            checked: 0,
            state: ReadState::Requests,
            activity: Arc::clone(activity),
            frames: H2Frames::default(),
            control: ControlFrames::default(),
            direct: None,
            reply: None,
            unread,
        };
        io.check_buffer();
        io
    }

    /// The bytes not handed to hyper, and the socket.
    pub(super) fn into_parts(mut self) -> (Vec<u8>, Socket) {
        (self.buffer.split_off(self.handed), self.socket)
    }

    /// Hands checked bytes of the buffer to hyper. Returns whether there were any.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let ready = &self.buffer[self.handed..self.checked];
        if ready.is_empty() {
            return false;
        }
        let ready = &ready[..ready.len().min(buf.remaining())];
        buf.put_slice(ready);
        self.handed += ready.len();
        if self.handed == self.checked {
            if self.checked == self.buffer.len() {
                // An idle connection keeps no buffer.
                self.buffer = Vec::new();
            } else {
                self.buffer.drain(..self.checked);
            }
            (self.handed, self.checked) = (0, 0);
            self.held.set(self.buffer.capacity());
        }
        true
    }

    /// Checks the rest of the buffer.
    fn check_buffer(&mut self) {
        match self.framing.advance(&self.buffer[self.checked..]) {
            Ok(passed) => self.checked += passed,
            Err(Stop { passed, fault }) => {
                self.checked += passed;
                self.stop(fault);
            }
        }
        self.record_position();
    }

    /// Records where the received bytes end, and what is held of them.
    fn record_position(&mut self) {
        self.held
            .set(self.buffer.capacity() + self.control.unfinished);
        let is_between = self.framing.is_between_requests();
        let has_begun = self.checked < self.buffer.len();
        let in_head = is_between && has_begun;
        self.activity.set_position(!is_between, in_head);
    }

    /// Stops reading requests after this fault.
    fn stop(&mut self, fault: FramingFault) {
        self.buffer.truncate(self.checked);
        match fault {
            FramingFault::Head(why) => {
                self.buffer.extend(rejection(why));
                self.checked = self.buffer.len();
                self.state = ReadState::Over;
            }
            FramingFault::Body(sentence) => self.state = ReadState::Broken(sentence),
        }
    }

    /// Reads into hyper's buffer; false if none of the bytes can be handed over yet.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(poll_socket(&mut self.socket, &self.activity, cx, buf))?;
        let received = &buf.filled()[before..];
        if received.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if let Some(direct) = &self.direct
            && self.framing.is_between_requests()
            && self.activity.has_responded()
            && let Some(sent) = direct.serve(received, &mut self.socket, &self.activity, cx)
        {
            buf.set_filled(before);
            self.reply = sent?;
            return Poll::Ready(Ok(false));
        }
        if self.activity.http2.get() && !self.control.receive(received, Instant::now) {
            self.go_away(cx);
            return Poll::Ready(Err(TOO_MANY_CONTROL_FRAMES.into()));
        }
        let passed = match self.framing.advance(received) {
            Ok(passed) => {
                self.buffer.extend_from_slice(&received[passed..]);
                passed
            }
            Err(Stop { passed, fault }) => {
                self.stop(fault);
                passed
            }
        };
        self.record_position();
        buf.set_filled(before + passed);
        Poll::Ready(Ok(passed > 0))
    }

    /// Reads into the buffer; false at the end of the stream.
    fn poll_buffer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [MaybeUninit::uninit(); CHUNK];
        let mut piece = ReadBuf::uninit(&mut space);
        ready!(poll_socket(
            &mut self.socket,
            &self.activity,
            cx,
            &mut piece
        ))?;
        let received = piece.filled();
        if received.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.buffer.extend_from_slice(received);
        self.check_buffer();
        Poll::Ready(Ok(true))
    }

    /// Whether the client is in the middle of a request, or has sent bytes that were not read.
    fn is_unfinished(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.framing.is_between_requests() || !matches!(self.state, ReadState::Requests) {
            return true;
        }
        let mut space = [MaybeUninit::uninit(); CHUNK];
        let mut piece = ReadBuf::uninit(&mut space);
        let polled = poll_socket(&mut self.socket, &self.activity, cx, &mut piece);
        polled.is_ready() && !piece.filled().is_empty()
    }

    /// Discards received bytes until the client closes too, or a limit is reached.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ReadState::Discarding { left, timeout } = &mut self.state else {
            return Poll::Ready(());
        };
        let mut space = [MaybeUninit::uninit(); CHUNK];
        let is_limited = loop {
            let mut piece = ReadBuf::uninit(&mut space);
            match poll_socket(&mut self.socket, &self.activity, cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    match left.checked_sub(piece.filled().len()) {
                        Some(less) => *left = less,
                        None => break true,
                    }
                }
                Poll::Ready(_) => break false,
                Poll::Pending => {
                    ready!(timeout.as_mut().poll(cx));
                    break true;
                }
            }
        };
        if is_limited {
            self.unread.inc();
        }
        self.state = ReadState::Over;
        Poll::Ready(())
    }

    /// Checks whether the client has left: fails if the connection is reset, and records the end of
    /// its input.
    fn probe(&self) -> io::Result<()> {
        if socket::is_input_closed(&self.socket) {
            if let Some(error) = socket::tcp(&self.socket).take_error()? {
                return Err(error);
            }
            self.activity.input_ended();
        }
        Ok(())
    }

    /// Sends the reason for closing the connection, if the socket takes it at once and hyper has not
    /// left a frame incomplete.
    fn go_away(&mut self, cx: &mut Context<'_>) {
        if self.frames.is_between() {
            let socket = &mut self.socket;
            let _ = Pin::new(&mut *socket).poll_write(cx, &ENHANCE_YOUR_CALM);
            let _ = Pin::new(socket).poll_flush(cx);
        }
    }

    /// Records sent bytes; in HTTP/2, only those of frames that show progress.
    fn record_sent(&mut self, parts: &[IoSlice<'_>], mut count: usize) {
        let Self {
            activity,
            frames,
            control,
            ..
        } = self;
        if !activity.http2.get() {
            return activity.moved.set(true);
        }
        for bytes in parts {
            let bytes = &bytes[..bytes.len().min(count)];
            count -= bytes.len();
            frames.follow(bytes, |part| {
                if PROGRESS_FRAMES.contains(&part.kind) {
                    activity.moved.set(true);
                    control.sent(part.payload);
                }
            });
        }
    }
}

/// Reads from the socket and records the activity.
pub(super) fn poll_socket(
    socket: &mut Socket,
    activity: &Activity,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let before = buf.filled().len();
    let polled = Pin::new(socket).poll_read(cx, buf);
    if buf.filled().len() > before {
        activity.received();
    }
    polled
}

impl AsyncRead for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.account.must_close(None) {
            // More bytes would be held as well.
            return Poll::Pending;
        }
        loop {
            if let Some(reply) = &mut this.reply {
                ready!(reply.poll_send(&mut this.socket, &this.activity, cx))?;
                this.reply = None;
            }
            if this.hand_over(buf) {
                return Poll::Ready(Ok(()));
            }
            match this.state {
                ReadState::Requests => {}
                ReadState::Broken(sentence) => {
                    this.state = ReadState::Over;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, sentence)));
                }
                // hyper sees the end of the stream.
                ReadState::Discarding { .. } | ReadState::Over => return Poll::Ready(Ok(())),
            }
            if this.buffer.is_empty() {
                if ready!(this.poll_through(cx, buf))? {
                    return Poll::Ready(Ok(()));
                }
            } else if !ready!(this.poll_buffer(cx))? {
                // The head in the buffer stays incomplete.
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.activity.unflushed.set(true);
        let polled = Pin::new(&mut this.socket).poll_write_vectored(cx, parts);
        if let Poll::Ready(Ok(count)) = polled {
            this.record_sent(parts, count);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes when it has nothing left to write, and each time it is polled.
        if this.activity.probe_due.take() {
            this.probe()?;
        }
        let polled = Pin::new(&mut this.socket).poll_flush(cx);
        if polled.is_ready() {
            this.activity.unflushed.set(false);
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !matches!(this.state, ReadState::Discarding { .. }) {
            this.activity.shut_down.set(true);
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            if this.is_unfinished(cx) {
                this.buffer = Vec::new();
                (this.handed, this.checked) = (0, 0);
                this.state = ReadState::Discarding {
                    left: MAX_DISCARDED,
                    timeout: Box::pin(tokio::time::sleep(DISCARD_TIME)),
                };
            }
        }
        this.poll_discard(cx).map(Ok)
    }
}
