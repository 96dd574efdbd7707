//! The bound on the HTTP/2 control frames that a client may send (RFC 9113 §10.5).
//!
//! A control frame costs the client nothing, and the proxy a reply, or a pass over all open streams;
//! while one connection is busy with them, the requests of others wait for the CPU.

use std::time::Duration;

use tokio::time::Instant;

use super::h2_frames::{FramePart, H2Frames};

/// Control frames that a client may send in a second, and at once. Clients send a few for each
/// request at most; a client that sends a hundred times as many has no use for them.
const CONTROL_FRAMES: u32 = 1_000;

/// A SETTINGS frame counts as this many: it changes the window of each open stream. Clients send one
/// or two in the life of a connection.
const SETTINGS_COST: u32 = 50;

/// The response bytes that entitle a client to one more `WINDOW_UPDATE`. Go's client, which sends the
/// most, sends two for each 4 KiB.
const EARNED_BY: usize = 1 << 10;

/// Maximum number of frames that are earned and not yet sent: a client may read 16 MiB before it
/// updates its windows.
const MAX_EARNED: usize = 16 << 10;

/// One more frame is allowed after this time: [`CONTROL_FRAMES`] in a second.
const INTERVAL: Duration = Duration::from_millis(1);

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

/// On HEADERS and CONTINUATION: the header block is complete.
const END_HEADERS: u8 = 4;

/// On SETTINGS: an acknowledgement, which changes nothing.
const ACK: u8 = 1;

/// The control frames that a client may still send: a token bucket.
#[derive(Debug)]
pub(super) struct ControlFrames {
    received: H2Frames,
    allowed: u32,
    /// The time up to which `allowed` was refilled; none before the first control frame, so that
    /// HTTP/1.1 reads no clock.
    refilled: Option<Instant>,
    /// Bytes that earned frames: of responses, or [`EARNED_BY`] for a request, which a client may
    /// cancel.
    earned: usize,
    /// Bytes of an unfinished header block.
    pub(super) unfinished: usize,
}

impl Default for ControlFrames {
    fn default() -> Self {
        Self {
            received: H2Frames::default(),
            allowed: CONTROL_FRAMES,
            refilled: None,
            earned: 0,
            unfinished: 0,
        }
    }
}

impl ControlFrames {
    /// Takes the next bytes received; returns whether the client has kept within the bound. `now` is
    /// called only for bytes with a control frame.
    #[must_use]
    pub(super) fn receive(&mut self, bytes: &[u8], now: impl FnOnce() -> Instant) -> bool {
        let (mut cost, mut earned, mut unfinished) = (0_u32, self.earned, self.unfinished);
        self.received.follow(bytes, |part| match part.kind {
            _ if !part.begins => {}
            kind::HEADERS | kind::CONTINUATION => {
                let is_last = part.flags & END_HEADERS != 0;
                unfinished = if is_last { 0 } else { unfinished + part.length };
                earned += EARNED_BY * usize::from(part.kind == kind::HEADERS);
            }
            kind::RST_STREAM | kind::WINDOW_UPDATE if earned >= EARNED_BY => earned -= EARNED_BY,
            _ => cost = cost.saturating_add(cost_of(part)),
        });
        self.unfinished = unfinished;
        self.earned = earned.min(MAX_EARNED * EARNED_BY);
        cost == 0 || self.spend(cost, now())
    }

    /// Records response bytes that were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.earned = (self.earned + bytes).min(MAX_EARNED * EARNED_BY);
    }

    fn spend(&mut self, cost: u32, now: Instant) -> bool {
        let refilled = self.refilled.unwrap_or(now);
        let since = now.saturating_duration_since(refilled);
        let more = u32::try_from(since.as_nanos() / INTERVAL.as_nanos()).unwrap_or(u32::MAX);
        self.refilled = Some(if more < CONTROL_FRAMES {
            refilled + INTERVAL * more
        } else {
            now
        });
        let allowed = self.allowed.saturating_add(more).min(CONTROL_FRAMES);
        self.allowed = allowed.saturating_sub(cost);
        cost <= allowed
    }
}

/// The number of control frames that a frame counts as. The bodies and heads of requests, which h2
/// and `limits.header_bytes` bound, cost nothing.
fn cost_of(frame: FramePart) -> u32 {
    match frame.kind {
        kind::DATA | kind::HEADERS | kind::CONTINUATION => 0,
        kind::SETTINGS if frame.flags & ACK == 0 => SETTINGS_COST,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frames(kind: u8, flags: u8, count: usize) -> Vec<u8> {
        [0, 0, 0, kind, flags, 0, 0, 0, 0].repeat(count)
    }

    /// Whether a new connection may send these frames at once.
    fn may_send(kind: u8, flags: u8, count: usize) -> bool {
        let now = Instant::now();
        ControlFrames::default().receive(&frames(kind, flags, count), || now)
    }

    #[test]
    fn each_control_frame_has_a_bound() {
        for (kind, flags, most) in [
            (PING, 0, 1_000),
            (PING, ACK, 1_000),
            (kind::SETTINGS, 0, 20),
            (kind::SETTINGS, ACK, 1_000),
            (kind::RST_STREAM, 0, 1_000),
            (kind::WINDOW_UPDATE, 0, 1_000),
            // PRIORITY, GOAWAY, and a type that does not exist.
            (2, 0, 1_000),
            (7, 0, 1_000),
            (200, 0, 1_000),
        ] {
            assert!(may_send(kind, flags, most), "{kind}");
            assert!(!may_send(kind, flags, most + 1), "{kind}");
        }
        for kind in [kind::DATA, kind::HEADERS, kind::CONTINUATION] {
            assert!(may_send(kind, 0, 100_000), "{kind}");
        }
    }

    #[test]
    fn the_bound_is_a_rate() {
        let start = Instant::now();
        let mut control = ControlFrames::default();
        let mut receive = |kind, count, after| {
            control.receive(&frames(kind, 0, count), || {
                start + Duration::from_micros(after)
            })
        };
        assert!(receive(PING, 1_000, 0));
        // Half an interval is not lost.
        assert!(receive(PING, 1, 1_500));
        assert!(receive(PING, 1, 2_000));
        assert!(!receive(PING, 1, 2_500));
        // After an hour no more than at the start.
        assert!(receive(kind::SETTINGS, 20, 3_600_000_000));
        assert!(!receive(PING, 1, 3_600_000_000));
    }

    #[test]
    fn requests_and_response_bytes_earn_resets_and_window_updates_only() {
        let now = Instant::now();
        let mut control = ControlFrames::default();
        assert!(control.receive(&frames(PING, 0, 1_000), || now));
        control.sent(3 * EARNED_BY);
        assert!(control.receive(&frames(kind::WINDOW_UPDATE, 0, 3), || now));
        assert!(control.receive(&frames(kind::HEADERS, 0, 2), || now));
        assert!(control.receive(&frames(kind::RST_STREAM, 0, 2), || now));
        assert!(!control.receive(&frames(kind::WINDOW_UPDATE, 0, 1), || now));
        control.sent(EARNED_BY);
        assert!(!control.receive(&frames(PING, 0, 1), || now));
        control.sent(usize::MAX >> 1);
        assert!(!control.receive(&frames(kind::WINDOW_UPDATE, 0, MAX_EARNED + 1), || now));
    }
}
