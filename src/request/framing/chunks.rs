//! A chunked body (RFC 9112 §7.1), checked as it streams.
//!
//! Stricter than the RFC where parsers are known to differ: no whitespace around a size, at most
//! sixteen digits, no bare CR or LF, and a limit on extensions.

/// Maximum bytes of chunk extensions in one body. They are ignored, and only cost time.
pub(super) const MAX_EXTENSIONS: usize = 4 << 10;

/// Maximum digits of a size, leading zeros included.
const MAX_DIGITS: u8 = 16;

#[derive(Debug)]
pub(super) struct Chunks {
    state: ChunkState,
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { missing: u64 },
    DataCr,
    DataLf,
}

impl ChunkState {
    const START: Self = Self::Size { digits: 0, size: 0 };
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            state: ChunkState::START,
            extensions: 0,
        }
    }

    /// Returns the number of bytes before the trailer section, or `None` if all belong to the body.
    ///
    /// # Errors
    ///
    /// The number of bytes before the fault, and its description.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, (usize, &'static str)> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let ChunkState::Data { missing } = &mut self.state {
                let received = (bytes.len() - at) as u64;
                if received < *missing {
                    *missing -= received;
                    return Ok(None);
                }
                at += usize::try_from(*missing).unwrap_or(bytes.len());
                self.state = ChunkState::DataCr;
                continue;
            }
            self.state = self.step(byte).map_err(|fault| (at, fault))?;
            at += 1;
            if self.state == (ChunkState::Data { missing: 0 }) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// The state after this byte, which is not data.
    fn step(&mut self, byte: u8) -> Result<ChunkState, &'static str> {
        match (self.state, byte) {
            (ChunkState::Size { digits: 1.., size } | ChunkState::Extension { size }, b'\r') => {
                Ok(ChunkState::SizeLf { size })
            }
            (ChunkState::Size { digits: 1.., size }, b';') => Ok(ChunkState::Extension { size }),
            (ChunkState::Size { digits, size }, _) => {
                let digit = char::from(byte).to_digit(16);
                let digit = digit.ok_or("a chunk size that is not a hexadecimal number")?;
                let size = size << 4 | u64::from(digit);
                // A parser with signed numbers may take a larger one for negative.
                if digits == MAX_DIGITS || i64::try_from(size).is_err() {
                    return Err("a chunk size that is too large");
                }
                Ok(ChunkState::Size {
                    digits: digits + 1,
                    size,
                })
            }
            (ChunkState::Extension { size }, _) => {
                self.extensions += 1;
                if byte.is_ascii_control() && byte != b'\t' {
                    return Err("a control character in a chunk extension");
                }
                if self.extensions > MAX_EXTENSIONS {
                    return Err("chunk extensions that are too long");
                }
                Ok(ChunkState::Extension { size })
            }
            (ChunkState::SizeLf { size }, b'\n') => Ok(ChunkState::Data { missing: size }),
            (ChunkState::DataCr, b'\r') => Ok(ChunkState::DataLf),
            (ChunkState::DataLf, b'\n') => Ok(ChunkState::START),
            (ChunkState::SizeLf { .. }, _) => Err("a chunk size line that does not end with CR LF"),
            (ChunkState::DataCr | ChunkState::DataLf, _) => {
                Err("a chunk that does not end with CR LF")
            }
            (ChunkState::Data { .. }, _) => unreachable!("data is skipped by its length"),
        }
    }
}
