//! Lines: found by their end and cleared of control characters in one pass, eight bytes at a time.

use super::Refusal;

/// What stands where a search began.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The CR of a CR LF.
    End(usize),
    /// Neither an end nor a fault before this place, where to go on when more has come.
    Nothing(usize),
}

/// The next end of a line, from `at` on.
///
/// # Errors
///
/// On a CR or LF that stands alone, or another control character than the tab.
pub(super) fn end(bytes: &[u8], mut at: usize) -> Result<Found, Refusal> {
    loop {
        at = match control(bytes, at) {
            Some(at) => at,
            None => return Ok(Found::Nothing(bytes.len())),
        };
        match bytes[at] {
            b'\r' => {
                return match bytes.get(at + 1) {
                    Some(b'\n') => Ok(Found::End(at)),
                    Some(_) => Err(Refusal::LineEnd),
                    None => Ok(Found::Nothing(at)),
                };
            }
            b'\t' => at += 1,
            b'\n' => return Err(Refusal::LineEnd),
            _ => return Err(Refusal::ControlCharacter),
        }
    }
}

/// The first control character from `at` on.
fn control(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some((word, _)) = bytes.get(at..)?.split_first_chunk() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            return Some(at + controls.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(u8::is_ascii_control)?;
    Some(at + rest)
}

/// Marks the control characters of a word: the high bit of the lowest such byte is set, and none
/// below it. Above it a borrow may set some that are none.
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
    fn every_byte_is_told_from_the_controls_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut line = vec![b'a'; 20];
                line[place] = byte;
                let expected = byte.is_ascii_control().then_some(place);
                assert_eq!(control(&line, 0), expected, "{byte:#04x} at {place}");
                // A neighbour that borrows hides nothing and invents nothing before it.
                line[19] = 0;
                let expected = expected.or(Some(19));
                assert_eq!(control(&line, 0), expected, "{byte:#04x} at {place}");
            }
        }
    }

    #[test]
    fn a_line_ends_with_both_cr_and_lf() {
        for (bytes, expected) in [
            (&b""[..], Ok(Found::Nothing(0))),
            (b"abc", Ok(Found::Nothing(3))),
            (b"abc\r", Ok(Found::Nothing(3))),
            (b"abc\r\n", Ok(Found::End(3))),
            (b"\r\n", Ok(Found::End(0))),
            (b"a\tb\xff\x80\r\n", Ok(Found::End(5))),
            (b"a tab at the\tend\t\r\n", Ok(Found::End(17))),
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
