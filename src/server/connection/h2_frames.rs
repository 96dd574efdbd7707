//! Classifies the HTTP/2 frames that are sent (RFC 9113 §4.1).
//!
//! A client can cause any number of PING and SETTINGS acknowledgements; that these are sent does
//! not show that it reads its responses.

/// Length of a frame header.
const HEADER_LEN: usize = 9;

/// `DATA`, `HEADERS`, `CONTINUATION`; and `WINDOW_UPDATE`, which shows that an upload advances.
const PROGRESS_FRAMES: [u8; 4] = [0, 1, 9, 8];

/// The position in the stream of frames.
#[derive(Debug, Default)]
pub(super) struct H2Frames {
    header: [u8; HEADER_LEN],
    /// Bytes of `header` that are known.
    known: usize,
    /// Bytes of the payload still to be sent.
    left: usize,
}

impl H2Frames {
    /// Takes the next bytes sent; returns whether any of them belong to frames that show progress.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut is_progress = false;
        while !bytes.is_empty() {
            if self.known < HEADER_LEN {
                let (header, rest) = bytes.split_at(bytes.len().min(HEADER_LEN - self.known));
                self.header[self.known..][..header.len()].copy_from_slice(header);
                self.known += header.len();
                if self.known < HEADER_LEN {
                    break;
                }
                let [a, b, c, ..] = self.header.map(usize::from);
                self.left = a << 16 | b << 8 | c;
                bytes = rest;
            }
            is_progress |= PROGRESS_FRAMES.contains(&self.header[3]);
            let payload = bytes.len().min(self.left);
            self.left -= payload;
            bytes = &bytes[payload..];
            if self.left == 0 {
                self.known = 0;
            }
        }
        is_progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PONG: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0\0\0\0\0\x01\0\0\0";
    const SETTINGS: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
    const DATA: &[u8] = b"\0\0\x03\x00\0\0\0\0\x01abc";
    const WINDOW: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01";

    #[test]
    fn progress_frames_are_recognised_in_pieces_of_any_size() {
        let all = [PONG, DATA, SETTINGS, PONG, WINDOW, PONG].concat();
        for size in 1..all.len() {
            let mut frames = H2Frames::default();
            let pieces = all.chunks(size).map(|piece| frames.follow(piece));
            let progress = pieces.collect::<Vec<_>>();
            let mut at = 0;
            for (frame, expected) in [
                (PONG, false),
                (DATA, true),
                (SETTINGS, false),
                (PONG, false),
                (WINDOW, true),
                (PONG, false),
            ] {
                // The type of a frame is known once its header is.
                let known = (at + HEADER_LEN - 1) / size;
                assert!(progress[known] || !expected, "pieces of {size}, from {at}");
                at += frame.len();
            }
            if size == 1 {
                assert_eq!(progress.iter().filter(|progress| **progress).count(), 4 + 5);
            }
        }
        let mut frames = H2Frames::default();
        assert!(![PONG, SETTINGS].iter().any(|frame| frames.follow(frame)));
    }
}
