//! A chunked body (RFC 9112 §7.1), followed as its bytes go by.
//!
//! Stricter than the RFC where readers are known to differ: no blanks around a size, at most
//! sixteen digits, no bare CR or LF, and an end to what extensions may add.

/// Bytes of chunk extensions in one body. Nobody reads them; they only cost.
pub(super) const MAX_EXTENSIONS: usize = 4 << 10;

/// Digits of a size: leading zeros may fill it up, but not go on for ever.
const MAX_DIGITS: u8 = 16;

/// How far a chunked body has come.
#[derive(Debug)]
pub(super) struct Chunks {
    place: Place,
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { missing: u64 },
    DataCr,
    DataLf,
}

impl Place {
    const START: Self = Self::Size { digits: 0, size: 0 };
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            place: Place::START,
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
            if let Place::Data { missing } = &mut self.place {
                let there = (bytes.len() - at) as u64;
                if there < *missing {
                    *missing -= there;
                    return Ok(None);
                }
                at += usize::try_from(*missing).unwrap_or(bytes.len());
                self.place = Place::DataCr;
                continue;
            }
            self.place = self.step(byte).map_err(|fault| (at, fault))?;
            at += 1;
            if self.place == (Place::Data { missing: 0 }) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Where this byte, which is not data, leads.
    fn step(&mut self, byte: u8) -> Result<Place, &'static str> {
        match (self.place, byte) {
            (Place::Size { digits: 1.., size } | Place::Extension { size }, b'\r') => {
                Ok(Place::SizeLf { size })
            }
            (Place::Size { digits: 1.., size }, b';') => Ok(Place::Extension { size }),
            (Place::Size { digits, size }, _) => {
                let digit = char::from(byte).to_digit(16);
                let digit = digit.ok_or("a chunk size that is not a hexadecimal number")?;
                let size = size << 4 | u64::from(digit);
                // What is no signed number either may be a negative one to somebody.
                if digits == MAX_DIGITS || i64::try_from(size).is_err() {
                    return Err("a chunk size that is too large");
                }
                Ok(Place::Size {
                    digits: digits + 1,
                    size,
                })
            }
            (Place::Extension { size }, _) => {
                self.extensions += 1;
                if byte.is_ascii_control() && byte != b'\t' {
                    return Err("a control character in a chunk extension");
                }
                if self.extensions > MAX_EXTENSIONS {
                    return Err("chunk extensions that are too long");
                }
                Ok(Place::Extension { size })
            }
            (Place::SizeLf { size }, b'\n') => Ok(Place::Data { missing: size }),
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => Ok(Place::START),
            (Place::SizeLf { .. }, _) => Err("a chunk size line that does not end with CR LF"),
            (Place::DataCr | Place::DataLf, _) => Err("a chunk that does not end with CR LF"),
            (Place::Data { .. }, _) => unreachable!("data is counted, not looked at"),
        }
    }
}
