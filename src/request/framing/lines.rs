//! Line scanning: finds line ends and control characters in one pass, several bytes at a time.

use crate::request::refusal::Refusal;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineScan {
    /// The position of the CR of a CR LF.
    End(usize),
    /// Neither an end nor a fault before this position, where the next scan continues.
    Nothing(usize),
}

/// Finds the next line end, from `at` on.
///
/// # Errors
///
/// On a bare CR or LF, or a control character other than tab.
#[inline]
pub(super) fn end(bytes: &[u8], mut at: usize) -> Result<LineScan, Refusal> {
    loop {
        let Some(position) = control(bytes, at) else {
            return Ok(LineScan::Nothing(bytes.len()));
        };
        if bytes[position..].starts_with(b"\r\n") {
            return Ok(LineScan::End(position));
        }
        if let Some(nothing) = check_control(bytes, position)? {
            return Ok(nothing);
        }
        at = position + 1;
    }
}

/// Checks a control character that does not begin a CR LF; a tab is allowed, as whitespace.
#[cold]
fn check_control(bytes: &[u8], at: usize) -> Result<Option<LineScan>, Refusal> {
    match bytes[at] {
        b'\t' => Ok(None),
        b'\r' if at + 1 == bytes.len() => Ok(Some(LineScan::Nothing(at))),
        b'\r' | b'\n' => Err(Refusal::LineEnd),
        _ => Err(Refusal::ControlCharacter),
    }
}

/// The number of leading bytes of this kind.
#[inline]
pub(super) fn span(bytes: &[u8], kind: &[bool; 256]) -> usize {
    let mut at = 0;
    let mut rest = bytes;
    // The compiler unrolls a loop of a fixed length.
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        for (n, byte) in eight.iter().enumerate() {
            if !kind[usize::from(*byte)] {
                return at + n;
            }
        }
        (at, rest) = (at + 8, after);
    }
    let end = rest.iter().position(|byte| !kind[usize::from(*byte)]);
    at + end.unwrap_or(rest.len())
}

/// The position of the first control character from `at` on.
#[inline]
fn control(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut rest = bytes.get(at..)?;
    // Sixteen bytes at a time while all are printable: the compiler vectorises a loop of a fixed
    // length without an exit.
    while let Some((sixteen, after)) = rest.split_first_chunk::<16>() {
        if !sixteen.iter().fold(true, |all, b| all & is_plain(*b)) {
            break;
        }
        (at, rest) = (at + 16, after);
    }
    while let Some((word, after)) = rest.split_first_chunk() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            return Some(at + controls.trailing_zeros() as usize / 8);
        }
        (at, rest) = (at + 8, after);
    }
    Some(at + rest.iter().position(u8::is_ascii_control)?)
}

/// Whether a byte is printable ASCII.
#[inline]
fn is_plain(byte: u8) -> bool {
    byte.wrapping_sub(b' ') < 0x7f - b' '
}

/// Marks the control characters of a word: the high bit of the lowest one is set, and none below it.
/// Bytes above it may be marked wrongly, by a borrow.
#[inline]
fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let below_blank = word.wrapping_sub(ONES * 0x20) & !word;
    let from_del = word ^ (ONES * 0x7f);
    let del = from_del.wrapping_sub(ONES) & !from_del;
    (below_blank | del) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_found_at_every_position() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut line = vec![b'a'; 20];
                line[place] = byte;
                let expected = byte.is_ascii_control().then_some(place);
                assert_eq!(control(&line, 0), expected, "{byte:#04x} at {place}");
                // A borrow from a later byte neither hides nor adds a match before it.
                line[19] = 0;
                let expected = expected.or(Some(19));
                assert_eq!(control(&line, 0), expected, "{byte:#04x} at {place}");
            }
        }
    }

    #[test]
    fn a_line_must_end_with_cr_lf() {
        for (bytes, expected) in [
            (&b""[..], Ok(LineScan::Nothing(0))),
            (b"abc", Ok(LineScan::Nothing(3))),
            (b"abc\r", Ok(LineScan::Nothing(3))),
            (b"abc\r\n", Ok(LineScan::End(3))),
            (b"\r\n", Ok(LineScan::End(0))),
            (b"a\tb\xff\x80\r\n", Ok(LineScan::End(5))),
            (b"a tab at the\tend\t\r\n", Ok(LineScan::End(17))),
            (b"abc\n", Err(Refusal::LineEnd)),
            (b"abc\rd", Err(Refusal::LineEnd)),
            (b"abc\r\r\n", Err(Refusal::LineEnd)),
            (b"a\0\r\n", Err(Refusal::ControlCharacter)),
            (b"a\x7f\r\n", Err(Refusal::ControlCharacter)),
            (
                b"longer than a word\x0b\r\n",
                Err(Refusal::ControlCharacter),
            ),
        ] {
            assert_eq!(end(bytes, 0), expected, "{bytes:?}");
        }
    }
}
