//! The table of origin faults and their results.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Expected, FINE, MAX_ENTRY, Row, send};
use crate::support::Step::{
    self, AdvanceSecond, HalfClose, Hold, Reset, SendForever, SendForeverSlowly,
};
use Expected::{Forwarded, Problem, Stored, Truncated};

const TERMINATED: Expected = Problem(502, "connection_terminated");
const MALFORMED: Expected = Problem(502, "http_protocol_error");
const TIMEOUT: Expected = Problem(504, "http_response_timeout");
const INCOMPLETE: Expected = Problem(502, "http_response_incomplete");
const UNDECODABLE: Expected = Problem(502, "http_response_content_coding");

/// The same result for a fetch and a forwarded request.
fn row(fault: &'static str, script: Vec<Step>, expected: Expected) -> Row {
    Row {
        fault,
        script,
        fetched: expected.clone(),
        forwarded: expected,
    }
}

/// The body is faulty; when that shows, a forwarded response has its head already.
fn body_fault(fault: &'static str, script: Vec<Step>, fetched: Expected) -> Row {
    Row {
        fault,
        script,
        fetched,
        forwarded: Truncated,
    }
}

fn ok(fields_and_body: &str) -> Step {
    send(format!("HTTP/1.1 200 OK\r\n{fields_and_body}"))
}

fn chunked(chunks: &str) -> Step {
    ok(&format!("transfer-encoding: chunked\r\n\r\n{chunks}"))
}

fn byte_per_second(text: &str) -> Vec<Step> {
    text.bytes()
        .flat_map(|byte| [send([byte]), AdvanceSecond])
        .collect()
}

fn seconds(count: usize) -> impl Iterator<Item = Step> {
    std::iter::repeat_n(AdvanceSecond, count)
}

fn then_silence(first: Step) -> Vec<Step> {
    let script = std::iter::once(first).chain(seconds(61));
    script.chain([Hold]).collect()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("a Vec is writable");
    encoder.finish().expect("a Vec is writable")
}

fn gzip_response(body: &[u8]) -> Step {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    send([head.as_bytes(), body].concat())
}

fn undecodable(fault: &'static str, body: &[u8]) -> Row {
    Row {
        fault,
        script: vec![gzip_response(body), Hold],
        fetched: UNDECODABLE,
        // A forwarded body is not decoded.
        forwarded: Forwarded(body.to_vec()),
    }
}

fn json(fault: &'static str, body: &str) -> Row {
    let length = body.len();
    let answer =
        format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    Row {
        fault,
        script: vec![ok(&answer), Hold],
        fetched: Stored(body.into()),
        forwarded: Forwarded(body.into()),
    }
}

fn missing_responses() -> Vec<Row> {
    vec![
        row("closes", vec![], TERMINATED),
        row("resets", vec![Reset], TERMINATED),
        row(
            "half-closes without a response",
            vec![HalfClose],
            TERMINATED,
        ),
        row("never answers", then_silence(send("")), TIMEOUT),
        row("an empty line, then closes", vec![send("\r\n")], TERMINATED),
        row(
            "endless empty lines",
            vec![SendForever(b"\r\n".repeat(9_000))],
            MALFORMED,
        ),
    ]
}

fn truncated_heads() -> Vec<Row> {
    vec![
        row("half a status line", vec![send("HTTP/1.1 20")], TERMINATED),
        row("half a head", vec![ok("content-le")], TERMINATED),
        row(
            "half a head, and a reset",
            vec![ok("content-le"), Reset],
            TERMINATED,
        ),
        row(
            "half a head, and silence",
            then_silence(ok("content-le")),
            TIMEOUT,
        ),
        row(
            "a head without its empty line",
            vec![ok("content-length: 0\r\n")],
            TERMINATED,
        ),
        row(
            "a byte of the head a second",
            byte_per_second(FINE),
            TIMEOUT,
        ),
        row(
            "an endless field",
            vec![ok("x: "), SendForever(vec![b'x'; 9_000])],
            MALFORMED,
        ),
        row(
            "endless fields",
            vec![ok(""), SendForever(b"x: 1\r\n".repeat(900))],
            MALFORMED,
        ),
        row(
            "too many fields",
            vec![ok(&("x: 1\r\n".repeat(101) + "\r\n"))],
            MALFORMED,
        ),
    ]
}

fn malformed_heads() -> Vec<Row> {
    let head = |fault, bytes: &str| row(fault, vec![send(bytes)], MALFORMED);
    vec![
        head("another protocol", "220 mail ESMTP\r\n\r\n"),
        head("a body without a head", "<html>sorry</html>\r\n\r\n"),
        head("TLS", "\x15\x03\x01\x00\x02\x02\x46\r\n\r\n"),
        row("noise", vec![send([0xee; 64 << 10])], MALFORMED),
        head(
            "HTTP/2 to HTTP/1",
            "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        head("no status", "HTTP/1.1 OK\r\n\r\n"),
        head("a status with letters", "HTTP/1.1 abc OK\r\n\r\n"),
        head("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
        head(
            "the status 000",
            "HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        head("a negative status", "HTTP/1.1 -20 OK\r\n\r\n"),
        head("a NUL in a value", "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n"),
        head("a CR in a value", "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n"),
        head(
            "a line without a colon",
            "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        ),
        head("a field without a name", "HTTP/1.1 200 OK\r\n: 1\r\n\r\n"),
        head(
            "a space before the colon",
            "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
        ),
        head("a folded line", "HTTP/1.1 200 OK\r\nx: 1\r\n 2\r\n\r\n"),
    ]
}

fn interim_responses() -> Vec<Row> {
    let fine = || Forwarded(b"fine".to_vec());
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let good = |fault, bytes: String| Row {
        fault,
        script: vec![send(bytes), Hold],
        fetched: Stored(b"fine".to_vec()),
        forwarded: fine(),
    };
    vec![
        good("103 before the response", format!("{hints}{FINE}")),
        good(
            "a hundred 103s before the response",
            hints.repeat(100) + FINE,
        ),
        good(
            "100 without an upload",
            format!("HTTP/1.1 100 Continue\r\n\r\n{FINE}"),
        ),
        row(
            "endless 103s",
            vec![SendForeverSlowly(hints.repeat(100).into())],
            TIMEOUT,
        ),
        row("103, then closes", vec![send(hints)], TERMINATED),
        row("an unsolicited 101", vec![send(upgrade), Hold], MALFORMED),
        row(
            "an unsolicited 304",
            vec![send("HTTP/1.1 304 Not Modified\r\n\r\n"), Hold],
            MALFORMED,
        )
        .forwarding(Forwarded(vec![])),
    ]
}

fn lengths() -> Vec<Row> {
    let length = |fault, length: &str| {
        row(
            fault,
            vec![ok(&format!("content-length: {length}\r\n\r\nfine"))],
            MALFORMED,
        )
    };
    let nine = || ok("content-length: 9\r\n\r\nsome");
    vec![
        body_fault("a body shorter than its length", vec![nine()], INCOMPLETE),
        body_fault(
            "a body shorter than its length, and a reset",
            vec![nine(), Reset],
            INCOMPLETE,
        ),
        body_fault(
            "a body shorter than its length, and silence",
            then_silence(nine()),
            TIMEOUT,
        ),
        body_fault(
            "no body for its length",
            vec![ok("content-length: 9\r\n\r\n")],
            INCOMPLETE,
        ),
        row(
            "a body longer than its length",
            vec![ok("content-length: 4\r\n\r\nfinest"), Hold],
            Stored(b"fine".to_vec()),
        )
        .forwarding(Forwarded(b"fine".to_vec())),
        row(
            "a body after length 0",
            vec![ok("content-length: 0\r\n\r\nbody"), Hold],
            Stored(vec![]),
        )
        .forwarding(Forwarded(vec![])),
        row(
            "a body after 204",
            vec![
                send("HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nbody"),
                Hold,
            ],
            Forwarded(vec![]),
        ),
        length("a negative length", "-4"),
        length("a length with a sign", "+4"),
        length("a length in hexadecimal", "0x4"),
        length("a length over 64 bits", "18446744073709551616"),
        length("two lengths", "4\r\ncontent-length: 5"),
        length("two lengths in a list", "4, 5"),
        body_fault(
            "a byte of the body a second",
            [
                vec![ok("content-length: 40\r\n\r\n")],
                byte_per_second(&"x".repeat(40)),
            ]
            .concat(),
            TIMEOUT,
        )
        .forwarding(Forwarded(vec![b'x'; 40])),
        body_fault(
            "no length, and a reset",
            vec![ok("\r\nsome"), Reset],
            Truncated,
        ),
    ]
}

fn chunks() -> Vec<Row> {
    let malformed = |fault, chunks: &str| body_fault(fault, vec![chunked(chunks), Hold], MALFORMED);
    let fine = |fault, act| {
        row(fault, vec![act, Hold], Stored(b"fine".to_vec()))
            .forwarding(Forwarded(b"fine".to_vec()))
    };
    vec![
        body_fault("no last chunk", vec![chunked("4\r\nsome\r\n")], INCOMPLETE),
        body_fault("half a chunk", vec![chunked("9\r\nsome")], INCOMPLETE),
        body_fault(
            "half a chunk, and a reset",
            vec![chunked("9\r\nsome"), Reset],
            INCOMPLETE,
        ),
        body_fault(
            "half a chunk, and silence",
            then_silence(chunked("9\r\nsome")),
            TIMEOUT,
        ),
        body_fault(
            "half a last chunk",
            vec![chunked("4\r\nsome\r\n0\r\n")],
            INCOMPLETE,
        ),
        malformed("a chunk without a size", "4\r\nsome\r\n\r\n\r\n"),
        malformed("a size that is not hexadecimal", "4\r\nsome\r\nzz\r\n"),
        malformed("a size over 64 bits", "4\r\nsome\r\nfffffffffffffffff\r\n"),
        malformed("a negative size", "4\r\nsome\r\n-1\r\n"),
        malformed("a chunk longer than its size", "4\r\nsomewhat\r\n0\r\n\r\n"),
        body_fault(
            "an endless extension",
            vec![chunked("4;"), SendForever(vec![b'x'; 9_000])],
            MALFORMED,
        ),
        body_fault(
            "endless trailers",
            vec![
                chunked("4\r\nsome\r\n0\r\n"),
                SendForever(b"x: 1\r\n".repeat(900)),
            ],
            MALFORMED,
        ),
        row(
            "an unsupported transfer coding",
            vec![ok("transfer-encoding: gzip\r\n\r\n")],
            MALFORMED,
        ),
        row(
            "an unsupported transfer coding in chunks",
            vec![ok("transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")],
            MALFORMED,
        ),
        row(
            "chunks of HTTP/1.0",
            vec![send(
                "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            )],
            MALFORMED,
        ),
        fine(
            "bytes after the last chunk",
            chunked("4\r\nfine\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ),
        fine(
            "both a length and chunks",
            ok("content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"),
        ),
    ]
}

fn contents() -> Vec<Row> {
    let text = gzip(b"{\"id\":1}");
    let bomb = gzip(&vec![b'x'; 100 * MAX_ENTRY]);
    let mut wrong_checksum = text.clone();
    let at = wrong_checksum.len() - 8;
    wrong_checksum[at] ^= 1;
    let deep = format!(
        "{{\"id\":1,\"a\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    vec![
        Row {
            fault: "a decompression bomb",
            script: vec![gzip_response(&bomb), Hold],
            fetched: Forwarded(vec![b'x'; 100 * MAX_ENTRY]),
            forwarded: Forwarded(bomb.clone()),
        },
        undecodable("not gzip", b"no such thing as gzip"),
        undecodable("truncated gzip", &text[..text.len() / 2]),
        undecodable("gzip without its checksum", &text[..text.len() - 8]),
        undecodable("gzip with a wrong checksum", &wrong_checksum),
        undecodable("bytes after gzip", &[&text[..], b"else"].concat()),
        json("truncated JSON", "{\"id\":1,\"a\":[1,"),
        json("not JSON", "<html>"),
        json("empty JSON", ""),
        json("JSON nested 10,000 deep", &deep),
        json("JSON with a lone surrogate", "{\"id\":\"\\ud800\""),
    ]
}

impl Row {
    fn forwarding(self, forwarded: Expected) -> Self {
        Self { forwarded, ..self }
    }
}

pub(super) fn rows() -> Vec<Row> {
    let groups = [
        missing_responses(),
        truncated_heads(),
        malformed_heads(),
        interim_responses(),
        lengths(),
        chunks(),
        contents(),
    ];
    groups.into_iter().flatten().collect()
}
