//! Follows a stream of HTTP/2 frames, in either direction (RFC 9113 §4.1).

/// Length of a frame header.
const HEADER_LEN: usize = 9;

/// The position in the stream of frames.
#[derive(Debug, Default)]
pub(super) struct H2Frames {
    header: [u8; HEADER_LEN],
    /// Bytes of `header` that are known.
    known: usize,
    /// Bytes of the payload that are missing.
    left: usize,
}

/// A frame, as far as one piece of the stream shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FramePart {
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Length of the whole payload.
    pub(super) length: usize,
    /// Whether the header ends in this piece: true once for each frame.
    pub(super) begins: bool,
    /// Bytes of the payload in this piece.
    pub(super) payload: usize,
}

impl H2Frames {
    /// Takes the next bytes of the stream, and passes the frames in it to `each`.
    pub(super) fn follow(&mut self, mut bytes: &[u8], mut each: impl FnMut(FramePart)) {
        while !bytes.is_empty() {
            let begins = self.known < HEADER_LEN;
            if begins {
                let (header, rest) = bytes.split_at(bytes.len().min(HEADER_LEN - self.known));
                self.header[self.known..][..header.len()].copy_from_slice(header);
                self.known += header.len();
                if self.known < HEADER_LEN {
                    break;
                }
                self.left = self.length();
                bytes = rest;
            }
            let payload = bytes.len().min(self.left);
            each(FramePart {
                kind: self.header[3],
                flags: self.header[4],
                length: self.length(),
                begins,
                payload,
            });
            self.left -= payload;
            bytes = &bytes[payload..];
            if self.left == 0 {
                self.known = 0;
            }
        }
    }

    /// Whether no frame is incomplete.
    pub(super) fn is_between(&self) -> bool {
        self.known == 0
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.header.map(usize::from);
        a << 16 | b << 8 | c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_begins_once_and_has_its_payload_in_pieces_of_any_size() {
        let frames: [(u8, &[u8]); 5] = [
            (6, b"12345678"),
            (0, b"abc"),
            (4, b""),
            (8, b"1234"),
            (0, b""),
        ];
        let bytes = frames.iter().flat_map(|(kind, payload)| {
            let length = u8::try_from(payload.len()).expect("a short payload");
            [&[0, 0, length, *kind, 1, 0, 0, 0, 1], *payload].concat()
        });
        let bytes = bytes.collect::<Vec<_>>();
        for size in 1..=bytes.len() {
            let mut position = H2Frames::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                position.follow(piece, |part| {
                    if part.begins {
                        assert_eq!(part.flags, 1);
                        found.push((part.kind, part.length, 0));
                    }
                    found.last_mut().expect("it has begun").2 += part.payload;
                });
            }
            assert!(position.is_between());
            let expected = frames.map(|(kind, payload)| (kind, payload.len(), payload.len()));
            assert_eq!(found, expected, "pieces of {size}");
        }
        let mut position = H2Frames::default();
        position.follow(&bytes[..3], |part| panic!("{part:?}: its type is unknown"));
        assert!(!position.is_between());
    }
}
