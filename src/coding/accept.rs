//! `Accept-Encoding` (RFC 9110 §12.5.3): the coding that a client prefers.

use super::Coding;
use crate::label::Label as _;

/// The weight of a coding that is not listed, or listed with an invalid weight.
const UNLISTED: u16 = 0;

/// The coding that a client prefers, of those that these field lines list; `None` for identity.
///
/// `*` is ignored, since identity satisfies it, unless the client excludes identity. One that then
/// accepts none of our codings gets identity nevertheless, as §12.5.3 permits.
pub fn preferred<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Coding> {
    let mut weights = [None; Coding::ALL.len()];
    let (mut identity, mut any) = (None, None);
    for member in lines
        .into_iter()
        .flat_map(|line| line.split(|&b| b == b','))
    {
        let (name, parameters) = match member.iter().position(|&b| b == b';') {
            Some(at) => (&member[..at], &member[at + 1..]),
            None => (member, &b"q=1"[..]),
        };
        let weight = weight(parameters.trim_ascii());
        let name = name.trim_ascii();
        if let Some(coding) = Coding::named(name) {
            weights[coding as usize] = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            identity = Some(weight);
        } else if name == b"*" {
            any = Some(weight);
        }
    }
    let unlisted = any.filter(|_| identity == Some(0)).unwrap_or(UNLISTED);
    let weights = weights.map(|weight| weight.unwrap_or(unlisted));
    // Of codings with equal weight the first is preferred: it is the fastest to decode.
    let best = *Coding::ALL
        .iter()
        .rev()
        .max_by_key(|coding| weights[**coding as usize])?;
    let weight = weights[best as usize];
    (weight > 0 && weight >= identity.unwrap_or(0)).then_some(best)
}

/// Parses a weight such as `q=0.85`, in thousandths (§12.4.2); an invalid one counts as 0.
pub fn weight(parameter: &[u8]) -> u16 {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else {
        return UNLISTED;
    };
    match value {
        [b'1'] | [b'1', b'.', ..]
            if value.iter().skip(2).all(|&b| b == b'0') && value.len() < 6 =>
        {
            1_000
        }
        [b'0'] => 0,
        [b'0', b'.', digits @ ..] if digits.len() < 4 && digits.iter().all(u8::is_ascii_digit) => {
            let number = digits
                .iter()
                .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
            number * [1_000, 100, 10, 1][digits.len()]
        }
        _ => UNLISTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_with_the_highest_weight_wins_and_ties_go_to_the_fastest() {
        let table = [
            ("", None),
            ("gzip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br", Some(Coding::Brotli)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("GZIP;q=1.000, br;q=0.9", Some(Coding::Gzip)),
            ("gzip;q=0.001", Some(Coding::Gzip)),
            ("gzip ; q=0.5 , zstd;Q=0.25", Some(Coding::Gzip)),
            ("gzip;q=0", None),
            ("gzip;q=0.000, br;q=0.", None),
            ("gzip;q=2, br;q=0.1234, zstd;q=1.001", None),
            ("gzip;level=9", None),
            ("identity", None),
            ("identity;q=0", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip", Some(Coding::Gzip)),
            ("identity, gzip", Some(Coding::Gzip)),
            ("*", None),
            ("*, gzip;q=0", None),
            ("*;q=1, identity;q=0", Some(Coding::Zstd)),
            ("identity;q=0, *, zstd;q=0", Some(Coding::Brotli)),
            ("identity;q=0, *;q=0.5, gzip;q=0.6", Some(Coding::Gzip)),
            ("identity;q=0, *;q=0", None),
            ("deflate, compress", None),
            (",, gzip ,", Some(Coding::Gzip)),
        ];
        for (line, then) in table {
            assert_eq!(preferred([line.as_bytes()]), then, "{line}");
        }
        assert_eq!(preferred([&b"gzip"[..], b"br"]), Some(Coding::Brotli));
        assert_eq!(preferred([]), None);
    }
}
