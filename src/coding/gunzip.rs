//! A streaming gzip decoder (RFC 1952) with bounded output per step: a small body can expand to a very
//! large one, and the caller decides after each step whether to continue.

use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

/// Maximum bytes that one step returns.
const PIECE: usize = 32 << 10;

/// The window of DEFLATE, as a power of two.
const WINDOW: u8 = 15;

/// A gzip stream that is being decoded.
#[derive(Debug)]
pub struct Gunzip {
    decoder: Decompress,
    /// Received bytes that are not decoded yet.
    input: Bytes,
    state: GzipState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GzipState {
    /// Nothing has been received.
    Start,
    /// Inside a member.
    Inside,
    /// After a complete member: at the end, or before the next member (RFC 1952 §2.2).
    Between,
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Decoded bytes; empty at the end of a member without any.
    Data(Bytes),
    /// More input is needed.
    NeedsInput,
}

/// The stream is not gzip, is truncated, or has a wrong checksum.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the body is not valid gzip")]
pub struct InvalidGzip;

impl Default for Gunzip {
    fn default() -> Self {
        Self {
            decoder: Decompress::new_gzip(WINDOW),
            input: Bytes::new(),
            state: GzipState::Start,
        }
    }
}

impl Gunzip {
    /// Adds input. All earlier input must have been decoded: see [`Step::NeedsInput`].
    pub fn feed(&mut self, more: Bytes) {
        debug_assert!(self.input.is_empty(), "earlier input must be decoded first");
        self.input = more;
    }

    /// Decodes the next piece.
    ///
    /// # Errors
    ///
    /// If the stream is invalid.
    pub fn step(&mut self) -> Result<Step, InvalidGzip> {
        if self.input.is_empty() && self.state != GzipState::Inside {
            return Ok(Step::NeedsInput);
        }
        let mut piece = BytesMut::zeroed(PIECE);
        loop {
            if self.state == GzipState::Between {
                self.decoder = Decompress::new_gzip(WINDOW);
            }
            self.state = GzipState::Inside;
            let (read, written) = (self.decoder.total_in(), self.decoder.total_out());
            let status = self
                .decoder
                .decompress(&self.input, &mut piece, FlushDecompress::None)
                .map_err(|_| InvalidGzip)?;
            let bytes = |count: u64| usize::try_from(count).expect("at most the buffer sizes");
            let read = bytes(self.decoder.total_in() - read);
            let written = bytes(self.decoder.total_out() - written);
            self.input = self.input.slice(read..);
            if status == Status::StreamEnd {
                self.state = GzipState::Between;
            }
            if written > 0 || status == Status::StreamEnd {
                // A small piece must not keep the allocation of a large one alive.
                return Ok(Step::Data(if written < PIECE / 2 {
                    Bytes::copy_from_slice(&piece[..written])
                } else {
                    piece.truncate(written);
                    piece.freeze()
                }));
            }
            if read == 0 && self.state == GzipState::Inside {
                return if self.input.is_empty() {
                    Ok(Step::NeedsInput)
                } else {
                    Err(InvalidGzip)
                };
            }
        }
    }

    /// Checks that the stream may end here. An empty one may: an empty body has no coding.
    ///
    /// # Errors
    ///
    /// If it ends inside a member.
    pub fn end(&self) -> Result<(), InvalidGzip> {
        if self.state == GzipState::Inside {
            Err(InvalidGzip)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn compressed(body: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(body).expect("a vector");
        writer.finish().expect("a vector")
    }

    /// Decodes a stream in pieces of this size.
    fn read(stream: &[u8], size: usize) -> Result<Vec<u8>, InvalidGzip> {
        let mut gunzip = Gunzip::default();
        let mut body = Vec::new();
        for piece in stream.chunks(size) {
            gunzip.feed(Bytes::copy_from_slice(piece));
            while let Step::Data(data) = gunzip.step()? {
                assert!(data.len() <= PIECE);
                body.extend_from_slice(&data);
            }
        }
        gunzip.end().map(|()| body)
    }

    proptest! {
        #[test]
        fn the_split_of_a_stream_does_not_matter(
            seed in "[a-z]{1,30}", times in 0..20_000_usize, size in 1..5_000_usize,
        ) {
            let body = seed.repeat(times).into_bytes();
            prop_assert_eq!(read(&compressed(&body), size), Ok(body));
        }

        #[test]
        fn a_truncated_or_changed_stream_is_invalid(cut in 1..40_usize, at in 12..40_usize) {
            let stream = compressed(b"a call, its invoices and its transcript, said once");
            prop_assert_eq!(read(&stream[..stream.len() - cut], 7), Err(InvalidGzip));
            let mut changed = stream.clone();
            changed[at] ^= 0x10;
            prop_assert_eq!(read(&changed, 7), Err(InvalidGzip));
        }
    }

    #[test]
    fn several_members_are_decoded_and_trailing_garbage_is_invalid() {
        let two = [compressed(b"one "), compressed(b"two")].concat();
        for size in [1, 3, two.len()] {
            assert_eq!(read(&two, size), Ok(b"one two".to_vec()));
            assert_eq!(
                read(&[&two[..], b"garbage"].concat(), size),
                Err(InvalidGzip)
            );
        }
        assert_eq!(read(b"", 1), Ok(Vec::new()));
        assert_eq!(read(b"{\"id\":1}", 3), Err(InvalidGzip));
    }

    #[test]
    fn a_decompression_bomb_is_decoded_in_bounded_steps() {
        let bomb = compressed(&vec![0; 64 << 20]);
        assert!(bomb.len() < 1 << 20);
        let mut gunzip = Gunzip::default();
        gunzip.feed(bomb.into());
        for _ in 0..10 {
            let step = gunzip.step().expect("it is valid");
            assert!(matches!(step, Step::Data(data) if data.len() <= PIECE));
        }
    }
}
