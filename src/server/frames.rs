//! What goes out in HTTP/2, followed from frame to frame (RFC 9113 §4.1).
//!
//! A client may ask for answers to pings and settings as often as it likes; that these go out says
//! nothing of whether it reads what it has asked for.

const HEAD: usize = 9;

/// `DATA`, `HEADERS`, `CONTINUATION`; and `WINDOW_UPDATE`, which says that an upload has come on.
const LIVELY: [u8; 4] = [0, 1, 9, 8];

/// How far the frames have been followed.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    /// So much of the head is known.
    known: u8,
    /// So much of the payload is to come.
    left: u32,
}

impl Frames {
    /// Whether these bytes, which are the next, belong to requests.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut lively = false;
        while !bytes.is_empty() {
            let known = usize::from(self.known);
            if known < HEAD {
                let (head, behind) = bytes.split_at(bytes.len().min(HEAD - known));
                self.head[known..known + head.len()].copy_from_slice(head);
                self.known += u8::try_from(head.len()).expect("no more than a head");
                if usize::from(self.known) < HEAD {
                    break;
                }
                let [a, b, c, ..] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]);
                bytes = behind;
            }
            lively |= LIVELY.contains(&self.head[3]);
            let there = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let there = there.min(self.left);
            self.left -= there;
            bytes = &bytes[usize::try_from(there).expect("no more than there is")..];
            if self.left == 0 {
                self.known = 0;
            }
        }
        lively
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
    fn what_belongs_to_requests_is_told_from_the_rest_in_any_pieces() {
        let all = [PONG, DATA, SETTINGS, PONG, WINDOW, PONG].concat();
        for size in 1..all.len() {
            let mut frames = Frames::default();
            let pieces = all.chunks(size).map(|piece| frames.follow(piece));
            let lively = pieces.collect::<Vec<_>>();
            let mut at = 0;
            for (frame, expected) in [
                (PONG, false),
                (DATA, true),
                (SETTINGS, false),
                (PONG, false),
                (WINDOW, true),
                (PONG, false),
            ] {
                // Its kind is known once its head is.
                let known = (at + HEAD - 1) / size;
                assert!(lively[known] || !expected, "pieces of {size}, from {at}");
                at += frame.len();
            }
            if size == 1 {
                assert_eq!(lively.iter().filter(|lively| **lively).count(), 4 + 5);
            }
        }
        let mut frames = Frames::default();
        assert!(![PONG, SETTINGS].iter().any(|frame| frames.follow(frame)));
    }
}
