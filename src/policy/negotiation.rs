//! Content negotiation without `Vary`: whether a stored response is one that a request prefers
//! (RFC 9110 §12.4.2, §12.5).
//!
//! An origin may choose the media type or the language by `Accept` and `Accept-Language` without
//! saying so. To select by the spelling of these fields would divide the store by client library.

use http::{HeaderMap, HeaderName, header};

use super::list::{self, Quotes};
use crate::coding::weight;

/// The fields by which an origin negotiates, besides `Accept-Encoding`, which is ours to choose.
pub(super) const NEGOTIATED: [HeaderName; 2] = [header::ACCEPT, header::ACCEPT_LANGUAGE];

/// Whether a field of a request gives the media type or language of a response its highest weight,
/// as an absent field does. Of the ranges with that weight, a narrower one must not be for another
/// response: with `application/json;version=2, */*`, the origin may have that version.
pub(super) fn is_preferred(response: &HeaderMap, request: &HeaderMap, field: &HeaderName) -> bool {
    let is_media = *field == header::ACCEPT;
    let of_response = if is_media {
        header::CONTENT_TYPE
    } else {
        header::CONTENT_LANGUAGE
    };
    let mut lines = response.get_all(of_response).iter();
    let chosen = match (lines.next(), lines.next()) {
        (Some(line), None) => line.as_bytes().trim_ascii(),
        _ => b"",
    };
    if !is_media && chosen.is_empty() {
        // Content without a language is for every audience (RFC 9110 §8.5).
        return true;
    }
    let (mut first, mut best) = (None, None);
    for element in list::elements(request, field, Quotes::Escaped) {
        let (range, weight) = weighed(element);
        let (is_match, narrowness) = if is_media {
            media_range(range, chosen)
        } else {
            language_range(range, chosen)
        };
        first = first.max(Some((weight, narrowness)));
        best = best.max(is_match.then_some((narrowness, weight)));
    }
    match best {
        Some((narrowness, weight)) => weight > 0 && first == Some((weight, narrowness)),
        None => first.is_none(),
    }
}

/// The range of an element, its parameters included, and the weight after it.
fn weighed(element: &[u8]) -> (&[u8], u16) {
    let is_weight = |part: &[u8]| matches!(part.trim_ascii(), [b'q' | b'Q', b'=', ..]);
    let next = |from: usize| {
        let at = from + list::unquoted(&element[from..], b';', Quotes::Escaped);
        (at < element.len()).then_some(at)
    };
    let last = std::iter::successors(next(0), |at| next(at + 1)).last();
    match last.map(|at| (&element[..at], &element[at + 1..])) {
        Some((range, part)) if is_weight(part) => (range.trim_ascii(), weight(part.trim_ascii())),
        _ => (element, 1_000),
    }
}

/// Whether a range includes a media type, and how narrow the range is.
fn media_range(range: &[u8], media: &[u8]) -> (bool, usize) {
    let before = |text: &[u8], byte| text.iter().position(|&b| b == byte);
    let essence = media[..before(media, b';').unwrap_or(media.len())].trim_ascii();
    let kind = &essence[..before(essence, b'/').unwrap_or(essence.len())];
    match range {
        b"*/*" => (true, 0),
        [prefix @ .., b'/', b'*'] => (prefix.eq_ignore_ascii_case(kind), 1),
        _ if range.contains(&b';') => (range.eq_ignore_ascii_case(media), 3),
        _ => (range.eq_ignore_ascii_case(essence), 2),
    }
}

/// Basic filtering (RFC 4647 §3.3.1): `en` includes `en-GB`.
fn language_range(range: &[u8], language: &[u8]) -> (bool, usize) {
    if range == b"*" {
        return (true, 0);
    }
    let is_match = language
        .split_at_checked(range.len())
        .is_some_and(|(prefix, rest)| {
            prefix.eq_ignore_ascii_case(range) && matches!(rest, [] | [b'-', ..])
        });
    (is_match, range.len())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn preferred(chosen: (HeaderName, &str), field: &HeaderName, lines: &[&str]) -> bool {
        let value = |text: &str| HeaderValue::try_from(text).expect("a value");
        let (name, text) = chosen;
        let response = (!text.is_empty()).then(|| (name, value(text)));
        let request = lines.iter().map(|line| (field.clone(), value(line)));
        is_preferred(&response.into_iter().collect(), &request.collect(), field)
    }

    #[test]
    fn the_media_type_needs_the_highest_weight() {
        let json = "Application/JSON; charset=utf-8";
        for (lines, media, expected) in [
            (&[][..], json, true),
            (&[""], json, true),
            (&["*/*"], json, true),
            (&["application/json"], json, true),
            (&["application/json, text/plain, */*"], json, true),
            (&["application/*;q=0.5"], json, true),
            (&["text/plain", "APPLICATION/json"], json, true),
            (&["application/json; charset=utf-8"], json, true),
            (&["application/json;charset=latin1"], json, false),
            (&["application/json;version=2, */*"], json, false),
            (
                &["application/json;version=2, application/json"],
                json,
                false,
            ),
            (&["application/json;version=2;q=0.5, */*"], json, true),
            (&[r#"application/json;a="b;q=0", */*"#], json, false),
            (&[r#"application/json;a="b;q=0";q=0.5, */*"#], json, true),
            (&[r#"application/json;a="\";q=0", */*"#], json, false),
            (&[r#"a/b;a="c,d;q=0.1", */*;q=0.5"#], json, false),
            (
                &["application/vnd.stuut.v2+json, application/*"],
                json,
                false,
            ),
            (&["application/xml, */*"], json, false),
            (&["application/xml"], json, false),
            (
                &["text/html, application/json;q=0.9, */*;q=0.8"],
                json,
                false,
            ),
            (&["application/json;q=0, */*"], json, false),
            (&["application/json;q=0"], json, false),
            (&["*/*;q=0.1, text/html;q=0.1"], json, false),
            (&["*/*;q=0.1, application/json;q=0.1"], json, true),
            (&["json"], json, false),
            (&["*/*"], "", true),
            (&["application/json"], "", false),
            (&["text/html, */*;q=0.8"], "", false),
        ] {
            let chosen = (header::CONTENT_TYPE, media);
            assert_eq!(
                preferred(chosen, &header::ACCEPT, lines),
                expected,
                "{lines:?} {media}"
            );
        }
    }

    #[test]
    fn the_language_needs_the_highest_weight() {
        for (lines, language, expected) in [
            (&[][..], "", true),
            (&["*"], "", true),
            (&["en"], "", true),
            (&["*"], "en", true),
            (&["en-GB, en;q=0.9"], "en-gb", true),
            (&["en-GB, en;q=0.9"], "en-US", false),
            (&["pl, *"], "en", false),
            (&["en"], "en-US", true),
            (&["e"], "en", false),
            (&["pl, en;q=0.5"], "en", false),
        ] {
            let chosen = (header::CONTENT_LANGUAGE, language);
            let field = header::ACCEPT_LANGUAGE;
            assert_eq!(
                preferred(chosen, &field, lines),
                expected,
                "{lines:?} {language}"
            );
        }
    }
}
