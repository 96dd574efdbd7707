//! Tables of what is passed and what is refused, and two properties: the split into pieces does not
//! matter, and hyper's parser understands a passed head the same way.

use proptest::prelude::*;

use super::*;
use crate::config::Config;

fn framing() -> Framing {
    Framing::new(&Config::default().limits)
}

/// Feeds pieces, as a socket would; bytes that were not passed are repeated.
fn follow(framing: &mut Framing, bytes: &[u8], mut piece: impl FnMut() -> usize) -> Followed {
    let (mut passed, mut received) = (0, 0);
    while received < bytes.len() {
        received = bytes.len().min(received + piece().max(1));
        match framing.advance(&bytes[passed..received]) {
            Ok(more) => passed += more,
            Err(stop) => return (passed + stop.passed, Some(stop.fault)),
        }
    }
    (passed, None)
}

/// How many bytes were passed, and the fault after them.
type Followed = (usize, Option<FramingFault>);

fn whole(bytes: &[u8]) -> Followed {
    follow(&mut framing(), bytes, || bytes.len())
}

#[test]
fn ambiguous_or_invalid_heads_are_refused() {
    use Refusal::*;
    let with = |fields: &str| format!("POST /a HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n");
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), None),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), None),
        ("\r\nGET / HTTP/1.1\r\n\r\n".to_owned(), None),
        ("M-SEARCH /a HTTP/1.1\r\n\r\n".to_owned(), None),
        ("OPTIONS * HTTP/1.1\r\n\r\n".to_owned(), None),
        ("GET http://a/b HTTP/1.1\r\n\r\n".to_owned(), None),
        ("GET HTTPS://a HTTP/1.1\r\n\r\n".to_owned(), None),
        ("CONNECT a:443 HTTP/1.1\r\n\r\n".to_owned(), None),
        (with("x:"), None),
        (with("x: \ta\t\u{e9} "), None),
        (with("content-length: 0"), None),
        (with("transfer-encoding:CHUNKED \t"), None),
        (
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned(),
            Some(RequestLine),
        ),
        ("GET * HTTP/1.1\r\n\r\n".to_owned(), Some(RequestLine)),
        ("GET a HTTP/1.1\r\n\r\n".to_owned(), Some(RequestLine)),
        (
            "GET ftp://a/ HTTP/1.1\r\n\r\n".to_owned(),
            Some(RequestLine),
        ),
        (
            "GET http:/// HTTP/1.1\r\n\r\n".to_owned(),
            Some(RequestLine),
        ),
        ("GET  / HTTP/1.1\r\n\r\n".to_owned(), Some(RequestLine)),
        ("GET /  HTTP/1.1\r\n\r\n".to_owned(), Some(RequestLine)),
        ("GET /\r\n\r\n".to_owned(), Some(RequestLine)),
        ("GET /#a HTTP/1.1\r\n\r\n".to_owned(), Some(RequestLine)),
        ("! / HTTP/1.1\r\n\r\n".to_owned(), Some(RequestLine)),
        (" GET / HTTP/1.1\r\n\r\n".to_owned(), Some(RequestLine)),
        ("GET / HTTP/1.1 \r\n\r\n".to_owned(), Some(RequestLine)),
        ("GET / http/1.1\r\n\r\n".to_owned(), Some(RequestLine)),
        ("GET / HTTP/1.2\r\n\r\n".to_owned(), Some(Version)),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r!".to_owned(), Some(Version)),
        (with(" x: 1"), Some(FieldLine)),
        (with("x: 1\r\n folded"), Some(FieldLine)),
        (with("x : 1"), Some(FieldLine)),
        (with(": 1"), Some(FieldLine)),
        (with("x"), Some(FieldLine)),
        (with("x\u{e9}: 1"), Some(FieldLine)),
        (with("x: 1\ny: 2"), Some(LineEnd)),
        (with("x: 1\r\r"), Some(LineEnd)),
        (with("x: \0"), Some(ControlCharacter)),
        (with("content-length:"), Some(ContentLength)),
        (with("content-length: +1"), Some(ContentLength)),
        (with("content-length: 1 1"), Some(ContentLength)),
        (
            with("content-length: 9223372036854775808"),
            Some(ContentLength),
        ),
        (
            with("content-length: 0\r\nContent-Length: 0"),
            Some(ContentLength),
        ),
        (
            with("content-length: 0\r\ntransfer-encoding: chunked"),
            Some(LengthAndCoding),
        ),
        (
            with("transfer-encoding: chunked\r\ncontent-length: 0"),
            Some(LengthAndCoding),
        ),
        (with("transfer-encoding:"), Some(TransferCoding)),
        (with("transfer-encoding: x"), Some(TransferCoding)),
    ];
    for (bytes, expected) in cases {
        let passed = if expected.is_none() { bytes.len() } else { 0 };
        let expected = (passed, expected.map(FramingFault::Head));
        assert_eq!(whole(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

#[test]
fn ambiguous_or_invalid_chunks_are_refused() {
    const HEAD: &str = "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = "a".repeat(chunks::MAX_EXTENSIONS);
    let cases = [
        ("0\r\n\r\n".to_owned(), true),
        (
            "2\r\nab\r\n00A;x=\"y\";z\r\n0123456789\r\n000\r\n\r\n".to_owned(),
            true,
        ),
        ("0\r\nx: 1\r\ny:\r\n\r\n".to_owned(), true),
        (format!("1;{long}\r\na\r\n0\r\n\r\n"), true),
        (format!("1;a{long}\r\na\r\n0\r\n\r\n"), false),
        ("\r\n".to_owned(), false),
        ("g\r\n".to_owned(), false),
        ("0x1\r\n".to_owned(), false),
        ("+1\r\n".to_owned(), false),
        ("-1\r\n".to_owned(), false),
        (" 1\r\n".to_owned(), false),
        ("1 \r\n".to_owned(), false),
        ("1\na\n".to_owned(), false),
        ("1\ra".to_owned(), false),
        ("1;\na".to_owned(), false),
        ("1;a\0\r\n".to_owned(), false),
        ("8000000000000000\r\n".to_owned(), false),
        ("00000000000000001\r\n".to_owned(), false),
        ("1\r\nab\r\n".to_owned(), false),
        ("1\r\na\n".to_owned(), false),
        ("1\r\na\r\r".to_owned(), false),
        ("0\r\n\n".to_owned(), false),
        ("0\r\nx\r\n\r\n".to_owned(), false),
        ("0\r\ncontent-length: 1\r\n\r\n".to_owned(), false),
        ("0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), false),
    ];
    for (body, is_valid) in cases {
        let bytes = format!("{HEAD}{body}");
        let (passed, fault) = whole(bytes.as_bytes());
        if is_valid {
            assert_eq!((passed, fault), (bytes.len(), None), "{body:?}");
        } else {
            assert!(
                matches!(fault, Some(FramingFault::Body(_))),
                "{body:?}: {fault:?}"
            );
            assert!(passed < bytes.len(), "{body:?}");
        }
    }
}

#[test]
fn hyper_accepts_every_byte_of_a_target_that_is_passed() {
    for byte in 0..=u8::MAX {
        for before in ["/a", "/a?b", "http://a/b", "http://a/b?c"] {
            let target = [before.as_bytes(), &[byte], b"c"].concat();
            let bytes = [b"GET ", &target[..], b" HTTP/1.1\r\n\r\n"].concat();
            let (_, fault) = whole(&bytes);
            if fault.is_none() {
                let uri = http::Uri::try_from(&target[..]);
                let uri = uri.unwrap_or_else(|error| panic!("{byte:#04x} after {before}: {error}"));
                assert_eq!(
                    uri.to_string().as_bytes(),
                    target,
                    "the target is unchanged"
                );
            }
        }
    }
}

#[test]
fn heads_are_passed_once_complete_and_bodies_as_they_arrive() {
    let head = "POST /a HTTP/1.1\r\ncontent-length: 4\r\n\r\n";
    let mut framing = framing();
    assert_eq!(framing.advance(&head.as_bytes()[..30]), Ok(0));
    assert_eq!(framing.advance(head.as_bytes()), Ok(head.len()));
    assert!(!framing.is_between_requests());
    assert_eq!(framing.advance(b"ab"), Ok(2));
    // The end of the body, a request without one, and the beginning of a third.
    assert_eq!(framing.advance(b"cdGET / HTTP/1.1\r\n\r\nGE"), Ok(20));
    assert!(framing.is_between_requests());
}

#[test]
fn http2_is_passed_after_its_preface() {
    let mut framing = framing();
    for length in 1..HTTP2_PREFACE.len() {
        assert_eq!(framing.advance(&HTTP2_PREFACE[..length]), Ok(0));
    }
    let frames = [HTTP2_PREFACE, b"\0\n\r"].concat();
    assert_eq!(framing.advance(&frames), Ok(frames.len()));
    assert_eq!(framing.advance(b"\0\n\r"), Ok(3));

    // Only at the beginning.
    let too_late = [b"GET / HTTP/1.1\r\n\r\n", HTTP2_PREFACE].concat();
    let fault = FramingFault::Head(Refusal::Version);
    assert_eq!(whole(&too_late), (18, Some(fault)));
}

#[test]
fn an_incomplete_head_over_the_limits_is_refused() {
    let limits = Config::default().limits;
    let target = "a".repeat(limits.uri.as_usize());
    let long = format!("GET /{target}");
    let field = "x".repeat(limits.header_bytes.as_usize());
    let many = "x: 1\r\n".repeat(limits.headers + 1);
    for (bytes, expected) in [
        (format!("{long} HTTP/1.1\r\n\r\n"), Refusal::UriTooLong),
        (format!("{long}{target}"), Refusal::UriTooLong),
        (
            format!("GET / HTTP/1.1\r\nx: {field}"),
            Refusal::HeadTooLarge,
        ),
        (format!("GET / HTTP/1.1\r\n{many}"), Refusal::HeadTooLarge),
    ] {
        let fault = FramingFault::Head(expected);
        assert_eq!(whole(bytes.as_bytes()), (0, Some(fault)), "{bytes:.40}");
    }
}

/// Nearly valid requests: at most two bytes are wrong.
fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("GET /a?b=c HTTP/1.1\r\n"),
        Just("POST /a HTTP/1.1\r\n"),
        Just("GET http://a/b HTTP/1.0\r\n"),
        Just("host: a\r\n"),
        Just("content-length: 5\r\n"),
        Just("transfer-encoding: chunked\r\n"),
        Just("x-long-enough-for-words: some value\r\n"),
        Just("\r\n"),
        Just("5\r\nabcde\r\n"),
        Just("5;ext=1\r\nabcde\r\n"),
        Just("0\r\n\r\n"),
        Just("abcde"),
    ];
    let parts = proptest::collection::vec(part, 1..12);
    let faults = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let start = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("POST /a HTTP/1.1\r\n"),
        Just("")
    ];
    (start, parts, faults).prop_map(|(start, parts, faults)| {
        let mut bytes = format!("{start}{}", parts.concat()).into_bytes();
        for (at, byte) in faults {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn the_split_into_pieces_does_not_matter(
        bytes in nearly_requests(),
        sizes in proptest::collection::vec(1_usize..40, 1..8),
    ) {
        let at_once = whole(&bytes);
        for mut sizes in [vec![1], sizes].map(|sizes| sizes.into_iter().cycle()) {
            let in_pieces = follow(&mut framing(), &bytes, || sizes.next().expect("a cycle"));
            prop_assert_eq!(at_once, in_pieces);
        }
    }

    #[test]
    fn hyper_parses_a_passed_head_in_the_same_way(bytes in nearly_requests()) {
        let mut head = Head::new();
        let Ok(Some(length)) = head.read(&bytes, framing().limits) else {
            return Ok(());
        };
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut read = httparse::Request::new(&mut fields);
        let parsed = read.parse(&bytes);
        prop_assert_eq!(parsed, Ok(httparse::Status::Complete(length)));
        prop_assert!(http::Uri::try_from(read.path.unwrap_or_default()).is_ok());
        let values = |name| {
            let named = read.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
            named.map(|field| String::from_utf8_lossy(field.value).into_owned()).collect::<Vec<_>>()
        };
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        let expected = match (&lengths[..], &codings[..]) {
            ([], []) => (None, false),
            ([length], []) => (Some(length.parse().expect("a number")), false),
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => (None, true),
            both => panic!("it was passed with {both:?}"),
        };
        prop_assert_eq!((head.length, head.is_chunked), expected);
    }
}
