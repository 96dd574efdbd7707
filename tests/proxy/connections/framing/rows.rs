//! The corpus: raw requests and their expected results, one per line.

use super::Expected::{self, BadBody, Reaches, Refused};

pub(super) type Row = (Vec<u8>, Expected);

pub(super) fn all() -> Vec<Row> {
    let lines = REQUEST_LINES
        .into_iter()
        .map(|(line, expected)| (format!("{line}\r\nhost: a\r\n\r\n").into_bytes(), expected));
    let hosts = HOSTS
        .into_iter()
        .map(|(start, expected)| (format!("{start}\r\n\r\n").into_bytes(), expected));
    let fields = FIELDS.into_iter().map(|(fields, expected)| {
        let head = [b"POST /v1/a HTTP/1.1\r\nhost: a\r\n", fields, b"\r\n\r\n"];
        (head.concat(), expected)
    });
    let bodies = FRAMINGS.into_iter().map(|(fields, body, expected)| {
        let head = format!("POST /v1/a HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}");
        (head.into_bytes(), expected)
    });
    let chunks = CHUNKS.into_iter().map(|(chunks, expected)| {
        let head = "POST /v1/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        ([head.as_bytes(), chunks].concat(), expected)
    });
    let odd = ODD
        .into_iter()
        .map(|(bytes, expected)| (bytes.to_vec(), expected));
    lines
        .chain(hosts)
        .chain(fields)
        .chain(bodies)
        .chain(chunks)
        .chain(odd)
        .chain(large())
        .collect()
}

const LINE: Expected = Refused(400, "request-line");
const FIELD: Expected = Refused(400, "field-line");
const END: Expected = Refused(400, "line-end");
const CONTROL: Expected = Refused(400, "control-character");
const LENGTH: Expected = Refused(400, "content-length");
const BOTH: Expected = Refused(400, "length-and-coding");
const CODING: Expected = Refused(400, "transfer-coding");
const VERSION: Expected = Refused(505, "http-version");

/// Request lines, sent with a valid Host.
#[rustfmt::skip]
const REQUEST_LINES: [(&str, Expected); 49] = [
    ("GET /v1/a HTTP/1.1", Reaches("GET /v1/a HTTP/1.1\n\n")),
    ("\r\nGET /v1/a HTTP/1.1", Reaches("GET /v1/a HTTP/1.1\n\n")),
    ("get /v1/a HTTP/1.1", Reaches("get /v1/a HTTP/1.1\n\n")),
    ("PROPFIND /v1/a HTTP/1.1", Reaches("PROPFIND /v1/a HTTP/1.1\n\n")),
    ("M-SEARCH /v1/a HTTP/1.1", Reaches("M-SEARCH /v1/a HTTP/1.1\n\n")),
    ("GET //v1//a/../b/./%2e%2E/c HTTP/1.1", Reaches("GET //v1//a/../b/./%2e%2E/c HTTP/1.1\n\n")),
    ("GET /v1/a%00%0d%0a HTTP/1.1", Reaches("GET /v1/a%00%0d%0a HTTP/1.1\n\n")),
    ("GET /v1/a%zz?%&&=?? HTTP/1.1", Reaches("GET /v1/a%zz?%&&=?? HTTP/1.1\n\n")),
    ("GET /v1/a;b={|}\\^[] HTTP/1.1", Reaches("GET /v1/a;b={|}\\^[] HTTP/1.1\n\n")),
    ("GET //evil.example/v1/a HTTP/1.1", Reaches("GET //evil.example/v1/a HTTP/1.1\n\n")),
    ("GET /http://evil.example/ HTTP/1.1", Reaches("GET /http://evil.example/ HTTP/1.1\n\n")),
    ("OPTIONS * HTTP/1.1", Reaches("OPTIONS * HTTP/1.1\n\n")),
    ("GET http://a/v1/a?b HTTP/1.1", Reaches("GET /v1/a?b HTTP/1.1\n\n")),
    ("GET HTTP://A/v1/a HTTP/1.1", Reaches("GET /v1/a HTTP/1.1\n\n")),
    ("GET http://a HTTP/1.1", Reaches("GET / HTTP/1.1\n\n")),
    ("\r\n\r\nGET /v1/a HTTP/1.1", LINE),
    ("\nGET /v1/a HTTP/1.1", END),
    ("\rGET /v1/a HTTP/1.1", END),
    (" GET /v1/a HTTP/1.1", LINE),
    ("GET  /v1/a HTTP/1.1", LINE),
    ("GET /v1/a  HTTP/1.1", LINE),
    ("GET /v1/a HTTP/1.1 ", LINE),
    ("GET\t/v1/a\tHTTP/1.1", LINE),
    ("GET /v1/a b HTTP/1.1", LINE),
    ("GET /v1/a", LINE),
    ("GET", LINE),
    ("GET /v1/a HTTP/1.1 HTTP/1.1", LINE),
    ("GET /v1/a http/1.1", LINE),
    ("GET /v1/a HTTP/1", LINE),
    ("GET /v1/a HTTP/1.10", LINE),
    ("GET /v1/a HTTP/01.1", LINE),
    ("GET /v1/a ICY/1.1", LINE),
    ("GET /v1/a HTTP/1.2", VERSION),
    ("GET /v1/a HTTP/0.9", VERSION),
    ("GET /v1/a HTTP/2.0", VERSION),
    ("PRI * HTTP/2.0", VERSION),
    ("GET * HTTP/1.1", LINE),
    ("GET v1/a HTTP/1.1", LINE),
    ("GET ?a HTTP/1.1", LINE),
    ("GET a:80 HTTP/1.1", LINE),
    ("GET ftp://a/v1/a HTTP/1.1", LINE),
    ("GET http:///v1/a HTTP/1.1", LINE),
    ("GET /v1/a#b HTTP/1.1", LINE),
    ("GET /v1/<a> HTTP/1.1", LINE),
    ("GET /v1/\"a\" HTTP/1.1", LINE),
    ("GET /v1/é HTTP/1.1", LINE),
    ("G@T /v1/a HTTP/1.1", LINE),
    ("! /host-missing HTTP/1.1", LINE),
    ("GETGETGETGETGETGETGETGETGETGETGETGET /v1/a HTTP/1.1", LINE),
];

/// Request lines and Host fields.
#[rustfmt::skip]
const HOSTS: [(&str, Expected); 26] = [
    ("GET /v1/a HTTP/1.1", Refused(400, "host-missing")),
    ("GET http://a/v1/a HTTP/1.1", Refused(400, "host-missing")),
    ("GET /v1/a HTTP/1.0\r\nconnection: keep-alive", Reaches("GET /v1/a HTTP/1.1\n\n")),
    ("GET /v1/a HTTP/1.1\r\nhost: a\r\nhost: a", Refused(400, "host-repeated")),
    ("GET /v1/a HTTP/1.1\r\nhost: a\r\nHOST: b", Refused(400, "host-repeated")),
    ("GET /v1/a HTTP/1.0\r\nhost: a\r\nhost: b", Refused(400, "host-repeated")),
    ("GET /v1/a HTTP/1.1\r\nhost: a, b", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost:", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a b", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a/b", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a@b", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a\\b", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a?b", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a#b", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a:b", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a:65536", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: a:80:80", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: [::1", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: [::1]x", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: http://a", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: é", Refused(400, "host-invalid")),
    ("GET /v1/a HTTP/1.1\r\nhost: [::1]:80", Reaches("GET /v1/a HTTP/1.1\n\n")),
    ("GET http://a/v1/a HTTP/1.1\r\nhost: b", Refused(400, "host-contradicts")),
    ("GET http://a:80/v1/a HTTP/1.1\r\nhost: a", Refused(400, "host-contradicts")),
    ("GET http://b@a/v1/a HTTP/1.1\r\nhost: a", Refused(400, "host-contradicts")),
    ("CONNECT a:443 HTTP/1.1\r\nhost: a:443", Refused(405, "connect")),
];

/// Field lines of a POST without a body.
#[rustfmt::skip]
const FIELDS: [(&[u8], Expected); 29] = [
    (b"x: a", Reaches("POST /v1/a HTTP/1.1\nx: a\n\n")),
    (b"x:a\r\ny:\t b \t", Reaches("POST /v1/a HTTP/1.1\nx: a\ny: b\n\n")),
    (b"x: a\tb", Reaches("POST /v1/a HTTP/1.1\nx: a\tb\n\n")),
    (b"x:", Reaches("POST /v1/a HTTP/1.1\nx: \n\n")),
    (b"x: a:b: c", Reaches("POST /v1/a HTTP/1.1\nx: a:b: c\n\n")),
    (b"x: GET / HTTP/1.1", Reaches("POST /v1/a HTTP/1.1\nx: GET / HTTP/1.1\n\n")),
    (b"x: %0d%0a", Reaches("POST /v1/a HTTP/1.1\nx: %0d%0a\n\n")),
    // Hop-by-hop fields.
    (b"connection: x\r\nx: a\r\nkeep-alive: 5\r\nupgrade: h2c\r\nte: trailers", Reaches("POST /v1/a HTTP/1.1\n\n")),
    (b"connection: host", Reaches("POST /v1/a HTTP/1.1\n\n")),
    (b" x: a", FIELD),
    (b"x: a\r\n b", FIELD),
    (b"x: a\r\n\tb", FIELD),
    (b"x: a\r\n \r\ny: b", FIELD),
    (b"x : a", FIELD),
    (b"x\t: a", FIELD),
    (b"x y: a", FIELD),
    (b": a", FIELD),
    (b"x", FIELD),
    (b"x\r\n: a", FIELD),
    (b"(x): a", FIELD),
    (b"x\xe9: a", FIELD),
    (b"x\0: a", CONTROL),
    (b"x: a\0", CONTROL),
    (b"x: a\x7f", CONTROL),
    (b"x: a\x1b[2J", CONTROL),
    (b"x: a\x0bb", CONTROL),
    (b"x: a\ny: b", END),
    (b"x: a\rb", END),
    (b"x: a\r\r\ny: b", END),
];

/// Fields of a POST, and the bytes after its head.
#[rustfmt::skip]
const FRAMINGS: [(&str, &str, Expected); 55] = [
    ("content-length: 2", "{}", Reaches("POST /v1/a HTTP/1.1\ncontent-length: 2\n\n{}")),
    ("Content-Length:\t02 ", "{}", Reaches("POST /v1/a HTTP/1.1\ncontent-length: 02\n\n{}")),
    ("content-length: 0", "", Reaches("POST /v1/a HTTP/1.1\ncontent-length: 0\n\n")),
    ("content-length: 0\r\nexpect: 100-continue", "", Reaches("POST /v1/a HTTP/1.1\ncontent-length: 0\nexpect: 100-continue\n\n")),
    ("connection: content-length\r\ncontent-length: 2", "{}", Reaches("POST /v1/a HTTP/1.1\ncontent-length: 2\n\n{}")),
    ("connection: transfer-encoding\r\ntransfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n", Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\n{}")),
    ("transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n", Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\n{}")),
    ("Transfer-Encoding:CHUNKED\t", "2\r\n{}\r\n0\r\n\r\n", Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\n{}")),
    ("content-length: 2\r\ncontent-length: 2", "{}", LENGTH),
    ("content-length: 2\r\ncontent-length: 3", "{}", LENGTH),
    ("content-length: 0\r\ncontent-length: 2", "{}", LENGTH),
    ("content-length: 2\r\ncontent-length: 0", "{}", LENGTH),
    ("content-length: 2\r\ncontent-length:", "{}", LENGTH),
    ("content-length: 2, 2", "{}", LENGTH),
    ("content-length: 2,3", "{}", LENGTH),
    ("content-length: ,2", "{}", LENGTH),
    ("content-length: 2;", "{}", LENGTH),
    ("content-length: 2 2", "{}", LENGTH),
    ("content-length: 2\t2", "{}", LENGTH),
    ("content-length: +2", "{}", LENGTH),
    ("content-length: -2", "{}", LENGTH),
    ("content-length: -0", "", LENGTH),
    ("content-length: 0x2", "{}", LENGTH),
    ("content-length: 2h", "{}", LENGTH),
    ("content-length: 2.0", "{}", LENGTH),
    ("content-length: 2e0", "{}", LENGTH),
    ("content-length: \"2\"", "{}", LENGTH),
    ("content-length: ２", "{}", LENGTH),
    ("content-length:", "{}", LENGTH),
    ("content-length: 9223372036854775808", "{}", LENGTH),
    ("content-length: 18446744073709551615", "{}", LENGTH),
    ("content-length: 18446744073709551618", "{}", LENGTH),
    ("content-length: 9223372036854775807", "{}", Refused(413, "body-too-large")),
    ("content-length : 2", "{}", FIELD),
    ("content-length: 2\r\ntransfer-encoding: chunked", "0\r\n\r\n", BOTH),
    ("transfer-encoding: chunked\r\ncontent-length: 2", "0\r\n\r\n", BOTH),
    ("content-length: 0\r\ntransfer-encoding: chunked", "0\r\n\r\n", BOTH),
    ("content-length: 5\r\ntransfer-encoding: identity", "0\r\n\r\n", BOTH),
    ("transfer-encoding: gzip", "0\r\n\r\n", CODING),
    ("transfer-encoding: gzip, chunked", "0\r\n\r\n", CODING),
    ("transfer-encoding: chunked, gzip", "0\r\n\r\n", CODING),
    ("transfer-encoding: chunked, chunked", "0\r\n\r\n", CODING),
    ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", "0\r\n\r\n", CODING),
    ("transfer-encoding: chunked\r\ntransfer-encoding: identity", "0\r\n\r\n", CODING),
    ("transfer-encoding: identity\r\ntransfer-encoding: chunked", "0\r\n\r\n", CODING),
    ("transfer-encoding: chunked, identity", "0\r\n\r\n", CODING),
    ("transfer-encoding: identity", "", CODING),
    ("transfer-encoding: chunked;q=1", "0\r\n\r\n", CODING),
    ("transfer-encoding: \"chunked\"", "0\r\n\r\n", CODING),
    ("transfer-encoding: xchunked", "0\r\n\r\n", CODING),
    ("transfer-encoding: ,chunked", "0\r\n\r\n", CODING),
    ("transfer-encoding: chunked,", "0\r\n\r\n", CODING),
    ("transfer-encoding:", "0\r\n\r\n", CODING),
    ("transfer-encoding: \x0bchunked", "0\r\n\r\n", CONTROL),
    ("transfer-encoding\t: chunked", "0\r\n\r\n", FIELD),
];

/// Chunked bodies of a POST.
#[rustfmt::skip]
const CHUNKS: [(&[u8], Expected); 33] = [
    (b"0\r\n\r\n", Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\n")),
    (b"1\r\na\r\n0A\r\n0123456789\r\n000\r\n\r\n", Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\na0123456789")),
    // Chunk extensions are hop-by-hop.
    (b"1;x;y=\"z\"\r\na\r\n0;x\r\n\r\n", Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\na")),
    // Trailers are dropped: the client has not sent `te: trailers`.
    (b"1\r\na\r\n0\r\nx: y\r\n\r\n", Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\na")),
    (b"1\r\na\r\n0\r\nauthorization: Bearer b\r\nhost: b\r\n\r\n", Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\na")),
    (b"\r\n", BadBody),
    (b";x\r\na", BadBody),
    (b"x\r\na", BadBody),
    (b"0x1\r\na\r\n0\r\n\r\n", BadBody),
    (b"+1\r\na\r\n0\r\n\r\n", BadBody),
    (b"-1\r\na\r\n0\r\n\r\n", BadBody),
    (b"1_0\r\na\r\n0\r\n\r\n", BadBody),
    (b" 1\r\na\r\n0\r\n\r\n", BadBody),
    (b"1 \r\na\r\n0\r\n\r\n", BadBody),
    (b"1\t;x\r\na\r\n0\r\n\r\n", BadBody),
    (b"1, 1\r\na\r\n0\r\n\r\n", BadBody),
    (b"10000000000000001\r\na\r\n0\r\n\r\n", BadBody),
    (b"00000000000000001\r\na\r\n0\r\n\r\n", BadBody),
    (b"ffffffffffffffff\r\na\r\n0\r\n\r\n", BadBody),
    (b"8000000000000000\r\na\r\n0\r\n\r\n", BadBody),
    (b"1\na\r\n0\r\n\r\n", BadBody),
    (b"1\ra\r\n0\r\n\r\n", BadBody),
    (b"1;x\na\r\n0\r\n\r\n", BadBody),
    (b"1;x=\"\n\"\r\na\r\n0\r\n\r\n", BadBody),
    (b"1;\0\r\na\r\n0\r\n\r\n", BadBody),
    (b"1\r\nab\r\n0\r\n\r\n", BadBody),
    (b"2\r\na\r\n0\r\n\r\n", BadBody),
    (b"1\r\na\n0\r\n\r\n", BadBody),
    (b"1\r\na0\r\n\r\n", BadBody),
    (b"1\r\na\r\n0\n\n", BadBody),
    (b"1\r\na\r\n0\r\n\n", BadBody),
    (b"1\r\na\r\n0\r\nx : y\r\n\r\n", BadBody),
    (b"1\r\na\r\n0\r\ncontent-length: 9\r\n\r\n", BadBody),
];

/// Requests of other kinds.
#[rustfmt::skip]
const ODD: [(&[u8], Expected); 12] = [
    (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", CONTROL),
    (b"SSH-2.0-OpenSSH_9.9\r\n", LINE),
    (b"*1\r\n$4\r\nPING\r\n", LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", LINE),
    (b"\0", CONTROL),
    (b"GET /v1/a HTTP/1.1\nhost: a\n\n", END),
    (b"GET /v1/a HTTP/1.1\r\nhost: a\n\r\n", END),
    (b"GET /v1/a HTTP/1.1\r\nhost: a\r\n\n", END),
    (b"POST /v1/a HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", CODING),
    (b"POST /v1/a HTTP/1.0\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n", CODING),
    // Content-Length frames a body with every method.
    (b"GET /v1/a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}", Reaches("GET /v1/a HTTP/1.1\ncontent-length: 2\n\n{}")),
    (b"TRACE /v1/a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}", Refused(405, "trace")),
];

/// Requests over the limits, by little and by much.
#[rustfmt::skip]
fn large() -> Vec<Row> {
    let long = "a".repeat(8 << 10);
    let field = "x".repeat(64 << 10);
    [
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), Refused(414, "uri-too-long")),
        (format!("GET /?{} HTTP/1.1\r\nhost: a\r\n\r\n", long.repeat(8)), Refused(414, "uri-too-long")),
        (format!("{long} / HTTP/1.1\r\nhost: a\r\n\r\n"), LINE),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {field}\r\n\r\n"), Refused(431, "head-too-large")),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{field}: x\r\n\r\n"), FIELD),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100)), Refused(431, "head-too-large")),
        (format!("POST /v1/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;{long}\r\na\r\n0\r\n\r\n"), BadBody),
        (format!("POST /v1/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: {field}\r\n\r\n"), BadBody),
    ]
    .map(|(request, expected)| (request.into_bytes(), expected))
    .into()
}
