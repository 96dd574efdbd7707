//! A socket that lets hyper read requests only as far as they can be read in one way.
//!
//! What comes is read straight into hyper's buffer and followed there; only what is not yet a
//! whole head is taken back and kept until it is one. In place of a head that is refused hyper is
//! given one that stands in for it; a body that cannot be read ends in an error.
//!
//! When the connection ends while the client is still sending, what comes is read and dropped for
//! a while: closed at once, the socket would be reset, and the answer lost with it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::pulse::Pulse;
use crate::request::{Framing, FramingFault, Stop, stand_in};

/// The room in hyper's buffer that is worth reading into. Before it knows which HTTP it is to
/// speak, it offers no more than a preface takes.
const MIN_ROOM: usize = 64;

/// Bytes that are read at once into our own buffer.
const PIECE: usize = 4 << 10;

/// Bytes of an unfinished request that are read and dropped behind the answer.
const DROPPED_BYTES: usize = 4 << 20;

/// How long they are waited for.
const DROPPED_TIME: Duration = Duration::from_secs(2);

/// A socket whose requests are followed.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    socket: S,
    framing: Framing,
    /// The beginning of a head, or heads that hyper has not yet had room for.
    kept: Vec<u8>,
    /// So much of what is kept has been handed over, and so much may be.
    handed: usize,
    cleared: usize,
    state: State,
    /// Is told what is coming.
    pulse: Arc<Pulse>,
    /// Counts clients that send on and on.
    unread: IntCounter,
}

#[derive(Debug)]
enum State {
    Reading,
    /// A head was refused: what is kept stands in for it, and nothing is read behind it.
    Refused,
    /// A body is broken, and hyper is still to be told.
    Broken(&'static str),
    /// The answer is out; what the client still sends is dropped.
    Dropping {
        left: usize,
        over: Pin<Box<Sleep>>,
    },
    /// Nothing is read any more.
    Over,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, framing: Framing, pulse: Arc<Pulse>, unread: IntCounter) -> Self {
        Self {
            socket,
            framing,
            kept: Vec::new(),
            handed: 0,
            cleared: 0,
            state: State::Reading,
            pulse,
            unread,
        }
    }

    /// The socket, and what hyper was not given yet.
    pub(super) fn into_parts(self) -> (Vec<u8>, S) {
        let mut kept = self.kept;
        kept.drain(..self.handed);
        (kept, self.socket)
    }

    /// Hands over of what is kept; false when there is nothing to hand over.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let ready = &self.kept[self.handed..self.cleared];
        if ready.is_empty() {
            return false;
        }
        let ready = &ready[..ready.len().min(buf.remaining())];
        buf.put_slice(ready);
        self.handed += ready.len();
        if self.handed == self.cleared {
            if self.cleared == self.kept.len() {
                // An idle connection keeps no buffer.
                self.kept = Vec::new();
            } else {
                self.kept.drain(..self.cleared);
            }
            (self.handed, self.cleared) = (0, 0);
        }
        true
    }

    /// Tells where what has come ends.
    fn tell(&self) {
        let is_between = self.framing.is_between_requests();
        let has_begun = self.cleared < self.kept.len();
        self.pulse.follow(!is_between, is_between && has_begun);
    }

    fn stop(&mut self, fault: FramingFault) {
        match fault {
            FramingFault::Head(why) => {
                self.kept.truncate(self.cleared);
                self.kept.extend(stand_in(why));
                self.cleared = self.kept.len();
                self.state = State::Refused;
            }
            FramingFault::Body(sentence) => {
                self.kept.truncate(self.cleared);
                self.state = State::Broken(sentence);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Reads into hyper's buffer; false when nothing of what came may go on yet.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        if came.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let passed = match self.framing.advance(came) {
            Ok(passed) => {
                self.kept.extend_from_slice(&came[passed..]);
                passed
            }
            Err(Stop { passed, fault }) => {
                self.stop(fault);
                passed
            }
        };
        self.tell();
        buf.set_filled(before + passed);
        Poll::Ready(Ok(passed > 0))
    }

    /// Reads into our own buffer, behind what is kept; false at the end.
    fn poll_keep(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut room = [MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut piece))?;
        let came = piece.filled();
        if came.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.kept.extend_from_slice(came);
        match self.framing.advance(&self.kept[self.cleared..]) {
            Ok(passed) => self.cleared += passed,
            Err(Stop { passed, fault }) => {
                self.cleared += passed;
                self.stop(fault);
            }
        }
        self.tell();
        Poll::Ready(Ok(true))
    }

    /// Whether the client is in the middle of something, or has sent what nobody has read.
    fn is_unfinished(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.framing.is_between_requests() || !matches!(self.state, State::Reading) {
            return true;
        }
        let mut room = [MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut room);
        let polled = Pin::new(&mut self.socket).poll_read(cx, &mut piece);
        polled.is_ready() && !piece.filled().is_empty()
    }

    /// Reads and drops what comes until the client has ended too, or enough is enough.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Dropping { left, over } = &mut self.state else {
            return Poll::Ready(());
        };
        let mut room = [MaybeUninit::uninit(); PIECE];
        let enough = loop {
            let mut piece = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.socket).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if piece.filled().is_empty() => break false,
                Poll::Ready(Ok(())) => match left.checked_sub(piece.filled().len()) {
                    Some(less) => *left = less,
                    None => break true,
                },
                Poll::Ready(Err(_)) => break false,
                Poll::Pending => {
                    ready!(over.as_mut().poll(cx));
                    break true;
                }
            }
        };
        if enough {
            self.unread.inc();
        }
        self.state = State::Over;
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.hand_over(buf) {
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Reading => {}
                State::Broken(sentence) => {
                    this.state = State::Over;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, sentence)));
                }
                // An end, to hyper.
                State::Refused | State::Dropping { .. } | State::Over => {
                    return Poll::Ready(Ok(()));
                }
            }
            if this.kept.is_empty() && buf.remaining() >= MIN_ROOM {
                if ready!(this.poll_through(cx, buf))? {
                    return Poll::Ready(Ok(()));
                }
            } else if !ready!(this.poll_keep(cx))? {
                // What is kept is no request, and will never be one.
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !matches!(this.state, State::Dropping { .. }) {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            if this.is_unfinished(cx) {
                this.kept = Vec::new();
                this.state = State::Dropping {
                    left: DROPPED_BYTES,
                    over: Box::pin(tokio::time::sleep(DROPPED_TIME)),
                };
            }
        }
        this.poll_drop(cx).map(Ok)
    }
}
