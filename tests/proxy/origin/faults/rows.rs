//! The table: what an origin can do wrong, and what comes of it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{FINE, MAX_ENTRY, Row, Then, send};
use crate::support::Step::{
    self, AdvanceSecond, HalfClose, Hold, Reset, SendForever, SendForeverSlowly,
};
use Then::{Passed, Problem, Stored, Torn};

const BROKEN: Then = Problem(502, "connection_terminated");
const NONSENSE: Then = Problem(502, "http_protocol_error");
const LATE: Then = Problem(504, "http_response_timeout");
const HALF: Then = Problem(502, "http_response_incomplete");
const UNDECODABLE: Then = Problem(502, "http_response_content_coding");

/// The same comes of it either way.
fn row(fault: &'static str, acts: Vec<Step>, then: Then) -> Row {
    Row {
        fault,
        acts,
        fetched: then.clone(),
        forwarded: then,
    }
}

/// A head is known to be good before its body is known to be bad, and a forwarded one has been
/// passed on by then.
fn torn(fault: &'static str, acts: Vec<Step>, fetched: Then) -> Row {
    Row {
        fault,
        acts,
        fetched,
        forwarded: Torn,
    }
}

fn ok(fields_and_body: &str) -> Step {
    send(format!("HTTP/1.1 200 OK\r\n{fields_and_body}"))
}

fn chunked(chunks: &str) -> Step {
    ok(&format!("transfer-encoding: chunked\r\n\r\n{chunks}"))
}

fn by_byte(text: &str) -> Vec<Step> {
    text.bytes()
        .flat_map(|byte| [send([byte]), AdvanceSecond])
        .collect()
}

fn seconds(count: usize) -> impl Iterator<Item = Step> {
    std::iter::repeat_n(AdvanceSecond, count)
}

fn silence(first: Step) -> Vec<Step> {
    let acts = std::iter::once(first).chain(seconds(31));
    acts.chain([Hold]).collect()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut coder = GzEncoder::new(Vec::new(), Compression::default());
    coder.write_all(body).expect("memory takes bytes");
    coder.finish().expect("memory takes bytes")
}

fn coded(body: &[u8]) -> Step {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    send([head.as_bytes(), body].concat())
}

fn undecodable(fault: &'static str, body: &[u8]) -> Row {
    Row {
        fault,
        acts: vec![coded(body), Hold],
        fetched: UNDECODABLE,
        // It is between the origin and its client.
        forwarded: Passed(body.to_vec()),
    }
}

fn json(fault: &'static str, body: &str) -> Row {
    let length = body.len();
    let answer =
        format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    Row {
        fault,
        acts: vec![ok(&answer), Hold],
        fetched: Stored(body.into()),
        forwarded: Passed(body.into()),
    }
}

fn no_answers() -> Vec<Row> {
    vec![
        row("closes", vec![], BROKEN),
        row("resets", vec![Reset], BROKEN),
        row("stops talking and listens on", vec![HalfClose], BROKEN),
        row("says nothing", silence(send("")), LATE),
        row("an empty line, and no more", vec![send("\r\n")], BROKEN),
        row(
            "empty lines without end",
            vec![SendForever(b"\r\n".repeat(9_000))],
            NONSENSE,
        ),
    ]
}

fn torn_heads() -> Vec<Row> {
    vec![
        row("half a status line", vec![send("HTTP/1.1 20")], BROKEN),
        row("half a head", vec![ok("content-le")], BROKEN),
        row(
            "half a head, and a reset",
            vec![ok("content-le"), Reset],
            BROKEN,
        ),
        row("half a head, and silence", silence(ok("content-le")), LATE),
        row(
            "a head without its empty line",
            vec![ok("content-length: 0\r\n")],
            BROKEN,
        ),
        row("a byte of the head a second", by_byte(FINE), LATE),
        row(
            "a field without end",
            vec![ok("x: "), SendForever(vec![b'x'; 9_000])],
            NONSENSE,
        ),
        row(
            "fields without end",
            vec![ok(""), SendForever(b"x: 1\r\n".repeat(900))],
            NONSENSE,
        ),
        row(
            "more fields than are read",
            vec![ok(&("x: 1\r\n".repeat(101) + "\r\n"))],
            NONSENSE,
        ),
    ]
}

fn garbage() -> Vec<Row> {
    let head = |fault, bytes: &str| row(fault, vec![send(bytes)], NONSENSE);
    vec![
        head("another language", "220 mail ESMTP\r\n\r\n"),
        head("a page without a head", "<html>sorry</html>\r\n\r\n"),
        head("TLS", "\x15\x03\x01\x00\x02\x02\x46\r\n\r\n"),
        row("noise", vec![send([0xee; 64 << 10])], NONSENSE),
        head(
            "HTTP/2 to HTTP/1",
            "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        head("no status", "HTTP/1.1 OK\r\n\r\n"),
        head("a status of letters", "HTTP/1.1 abc OK\r\n\r\n"),
        head("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
        head(
            "the status 000",
            "HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        head("a negative status", "HTTP/1.1 -20 OK\r\n\r\n"),
        head("a NUL in a value", "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n"),
        head("a CR in a value", "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n"),
        head(
            "a line that is no field",
            "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        ),
        head("a field without a name", "HTTP/1.1 200 OK\r\n: 1\r\n\r\n"),
        head(
            "a blank before the colon",
            "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
        ),
        head("a folded line", "HTTP/1.1 200 OK\r\nx: 1\r\n 2\r\n\r\n"),
    ]
}

fn interims() -> Vec<Row> {
    let fine = || Passed(b"fine".to_vec());
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let good = |fault, bytes: String| Row {
        fault,
        acts: vec![send(bytes), Hold],
        fetched: Stored(b"fine".to_vec()),
        forwarded: fine(),
    };
    vec![
        good("hints before the answer", format!("{hints}{FINE}")),
        good("a hundred hints before it", hints.repeat(100) + FINE),
        good(
            "a go-ahead for no body",
            format!("HTTP/1.1 100 Continue\r\n\r\n{FINE}"),
        ),
        row(
            "hints without end",
            vec![SendForeverSlowly(hints.repeat(100).into())],
            LATE,
        ),
        row("hints, and the end", vec![send(hints)], BROKEN),
        row(
            "an upgrade nobody asked for",
            vec![send(upgrade), Hold],
            NONSENSE,
        ),
        row(
            "a 304 nobody asked for, cached",
            vec![send("HTTP/1.1 304 Not Modified\r\n\r\n"), Hold],
            NONSENSE,
        )
        .forwarding(Passed(vec![])),
    ]
}

fn lengths() -> Vec<Row> {
    let length = |fault, length: &str| {
        row(
            fault,
            vec![ok(&format!("content-length: {length}\r\n\r\nfine"))],
            NONSENSE,
        )
    };
    let nine = || ok("content-length: 9\r\n\r\nsome");
    vec![
        torn("less than its length", vec![nine()], HALF),
        torn(
            "less than its length, and a reset",
            vec![nine(), Reset],
            HALF,
        ),
        torn("less than its length, and silence", silence(nine()), LATE),
        torn(
            "nothing of its length",
            vec![ok("content-length: 9\r\n\r\n")],
            HALF,
        ),
        row(
            "more than its length",
            vec![ok("content-length: 4\r\n\r\nfinest"), Hold],
            Stored(b"fine".to_vec()),
        )
        .forwarding(Passed(b"fine".to_vec())),
        row(
            "a body where there is none",
            vec![ok("content-length: 0\r\n\r\nbody"), Hold],
            Stored(vec![]),
        )
        .forwarding(Passed(vec![])),
        row(
            "a body behind 204",
            vec![
                send("HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nbody"),
                Hold,
            ],
            Stored(vec![]),
        )
        .forwarding(Passed(vec![])),
        length("a negative length", "-4"),
        length("a length with a sign", "+4"),
        length("a length of letters", "0x4"),
        length("a length beyond all numbers", "18446744073709551616"),
        length("two lengths", "4\r\ncontent-length: 5"),
        length("two lengths in a list", "4, 5"),
        torn(
            "a byte of the body a second",
            [
                vec![ok("content-length: 40\r\n\r\n")],
                by_byte(&"x".repeat(40)),
            ]
            .concat(),
            LATE,
        )
        .forwarding(Passed(vec![b'x'; 40])),
        torn("no length, and a reset", vec![ok("\r\nsome"), Reset], Torn),
    ]
}

fn chunks() -> Vec<Row> {
    let nonsense = |fault, chunks: &str| torn(fault, vec![chunked(chunks), Hold], NONSENSE);
    let fine = |fault, act| {
        row(fault, vec![act, Hold], Stored(b"fine".to_vec())).forwarding(Passed(b"fine".to_vec()))
    };
    vec![
        torn("no last chunk", vec![chunked("4\r\nsome\r\n")], HALF),
        torn("half a chunk", vec![chunked("9\r\nsome")], HALF),
        torn(
            "half a chunk, and a reset",
            vec![chunked("9\r\nsome"), Reset],
            HALF,
        ),
        torn(
            "half a chunk, and silence",
            silence(chunked("9\r\nsome")),
            LATE,
        ),
        torn(
            "half a last chunk",
            vec![chunked("4\r\nsome\r\n0\r\n")],
            HALF,
        ),
        nonsense("a chunk without a size", "4\r\nsome\r\n\r\n\r\n"),
        nonsense("a size of letters", "4\r\nsome\r\nzz\r\n"),
        nonsense(
            "a size beyond all numbers",
            "4\r\nsome\r\nfffffffffffffffff\r\n",
        ),
        nonsense("a negative size", "4\r\nsome\r\n-1\r\n"),
        nonsense("a chunk longer than its size", "4\r\nsomewhat\r\n0\r\n\r\n"),
        torn(
            "an extension without end",
            vec![chunked("4;"), SendForever(vec![b'x'; 9_000])],
            NONSENSE,
        ),
        torn(
            "trailers without end",
            vec![
                chunked("4\r\nsome\r\n0\r\n"),
                SendForever(b"x: 1\r\n".repeat(900)),
            ],
            NONSENSE,
        ),
        row(
            "a coding nobody asked for",
            vec![ok("transfer-encoding: gzip\r\n\r\n")],
            NONSENSE,
        ),
        row(
            "that coding in chunks",
            vec![ok("transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")],
            NONSENSE,
        ),
        row(
            "chunks of HTTP/1.0",
            vec![send(
                "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            )],
            NONSENSE,
        ),
        fine(
            "more behind the last chunk",
            chunked("4\r\nfine\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ),
        fine(
            "a length and chunks",
            ok("content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"),
        ),
    ]
}

fn contents() -> Vec<Row> {
    let text = gzip(b"{\"id\":1}");
    let bomb = gzip(&vec![b'x'; 100 * MAX_ENTRY]);
    let mut wrong_sum = text.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let deep = format!(
        "{{\"id\":1,\"a\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    vec![
        Row {
            fault: "a little that unfolds without end",
            acts: vec![coded(&bomb), Hold],
            fetched: Passed(vec![b'x'; 100 * MAX_ENTRY]),
            forwarded: Passed(bomb.clone()),
        },
        undecodable("gzip that is none", b"no such thing as gzip"),
        undecodable("half a gzip", &text[..text.len() / 2]),
        undecodable("gzip without its sum", &text[..text.len() - 8]),
        undecodable("gzip with another sum", &wrong_sum),
        undecodable("gzip, and something else", &[&text[..], b"else"].concat()),
        json("JSON that breaks off", "{\"id\":1,\"a\":[1,"),
        json("JSON that is none", "<html>"),
        json("JSON that is empty", ""),
        json("JSON of ten thousand levels", &deep),
        json("JSON that is not UTF-8 escaped", "{\"id\":\"\\ud800\""),
    ]
}

impl Row {
    fn forwarding(self, forwarded: Then) -> Self {
        Self { forwarded, ..self }
    }
}

/// Every one.
pub(super) fn rows() -> Vec<Row> {
    let groups = [
        no_answers(),
        torn_heads(),
        garbage(),
        interims(),
        lengths(),
        chunks(),
        contents(),
    ];
    groups.into_iter().flatten().collect()
}
