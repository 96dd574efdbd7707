//! A chunked body (RFC 9112 §7.1), followed as its bytes go by.
//!
//! Stricter than the RFC where readers are known to differ: no blanks around a size, at most
//! sixteen digits, no bare CR or LF, and an end to what extensions may add.

/// Bytes of chunk extensions in one body. They are never read, and only cost.
pub(super) const MAX_EXTENSIONS: usize = 4 << 10;

/// Digits of a size: leading zeros may fill it up, but not go on for ever.
const MAX_DIGITS: u8 = 16;

/// How far a chunked body has come.
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

    /// The bytes up to the trailer section, or `None` when all of these are of the body.
    ///
    /// # Errors
    ///
    /// The bytes before the fault, and what it is.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, (usize, &'static str)> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let ChunkState::Data { missing } = &mut self.state {
                let there = (bytes.len() - at) as u64;
                if there < *missing {
                    *missing -= there;
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

    /// Where this byte, which is not data, leads.
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
                // A reader with signed numbers may take a larger one for negative.
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
            (ChunkState::Data { .. }, _) => unreachable!("data is counted, not looked at"),
        }
    }
}
