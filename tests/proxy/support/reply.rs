//! A scripted reply: whole, torn, in chunks or without a length.

use std::fmt::Write as _;

use super::OriginRequest;

/// An answer, in the order its parts go out.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    raw: Option<Raw>,
    /// The body is made when it is asked for, of the request and its number.
    made: Option<fn(&OriginRequest, usize) -> String>,
    /// The connection is reset in place of an answer.
    reset: bool,
    /// Who has the entity tag already is answered 304.
    validating: bool,
}

#[derive(Clone, Debug)]
struct Raw {
    bytes: Vec<u8>,
    kept_open: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    #[default]
    Length,
    /// The same, and the connection closes behind it.
    Closing,
    /// In chunks of this size.
    Chunked(usize),
    /// No length: the body ends with the connection.
    Close,
    /// The length is declared, but only so many bytes are sent before the connection closes.
    TruncatedAfter(usize),
    /// The same with chunks.
    TruncatedChunksAfter(usize),
}

fn echo(seen: &OriginRequest, number: usize) -> String {
    let body = serde_json::json!({
        "target": seen.target(),
        "authorization": seen.header("authorization"),
        "number": number,
    });
    body.to_string()
}

/// All that an origin can make its answer of: the fields in order of their names.
fn mirror(seen: &OriginRequest, _number: usize) -> String {
    let mut fields: Vec<_> = seen
        .head
        .lines()
        .skip(1)
        .filter(|l| !l.is_empty())
        .collect();
    fields.sort_unstable();
    let body = serde_json::json!({
        "method": seen.method(),
        "target": seen.target(),
        "fields": fields,
        "body": String::from_utf8_lossy(&seen.body),
    });
    body.to_string()
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// 200 with a JSON body.
    pub fn json(body: &str) -> Self {
        Self::new(200)
            .header("content-type", "application/json")
            .body(body)
    }

    /// 200 with what was asked, by whom, and a number that grows with every request.
    pub fn echo() -> Self {
        Self {
            made: Some(echo),
            ..Self::json("")
        }
    }

    /// 200 with the whole request.
    pub fn mirror() -> Self {
        Self {
            made: Some(mirror),
            ..Self::json("")
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn chunked(mut self, size: usize) -> Self {
        self.framing = Framing::Chunked(size);
        self
    }

    /// No length; the connection closes behind the body.
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// The declared length is a promise that is broken after so many bytes.
    pub fn truncated_after(mut self, bytes: usize) -> Self {
        self.framing = Framing::TruncatedAfter(bytes);
        self
    }

    /// The last chunk never comes.
    pub fn truncated_chunks_after(mut self, bytes: usize) -> Self {
        self.framing = Framing::TruncatedChunksAfter(bytes);
        self
    }

    /// The connection closes behind the answer, so that the next request needs a new one.
    pub fn closing(mut self) -> Self {
        self.framing = Framing::Closing;
        self.header("connection", "close")
    }

    /// With this entity tag; who has it already is answered 304.
    pub fn validating(mut self, tag: &str) -> Self {
        self.validating = true;
        self.header("etag", tag)
    }

    /// Makes the body of the request, and validates.
    pub(super) fn complete(&mut self, seen: &OriginRequest, number: usize) {
        if let Some(made) = self.made {
            self.body = made(seen, number).into_bytes();
        }
        if self.validating && seen.header("if-none-match").as_deref() == self.tag() {
            self.status = 304;
        }
    }

    fn tag(&self) -> Option<&str> {
        let (_, tag) = self.headers.iter().find(|(name, _)| name == "etag")?;
        Some(tag)
    }

    pub(super) fn is_reset(&self) -> bool {
        self.reset
    }

    /// The connection is reset in place of an answer.
    pub fn reset() -> Self {
        Self {
            reset: true,
            ..Self::default()
        }
    }

    /// These bytes and nothing else, then the connection closes.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            raw: Some(Raw {
                bytes: bytes.as_ref().to_vec(),
                kept_open: false,
            }),
            ..Self::default()
        }
    }

    /// These bytes and nothing else, and the connection stays open.
    pub fn raw_kept_open(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            raw: Some(Raw {
                bytes: bytes.as_ref().to_vec(),
                kept_open: true,
            }),
            ..Self::default()
        }
    }

    /// The bytes, and whether the connection stays open behind them.
    pub(super) fn render(&self, method: &str) -> (Vec<u8>, bool) {
        if let Some(raw) = &self.raw {
            return (raw.bytes.clone(), raw.kept_open);
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("a string takes what is written to it");
        }
        let bodiless = method == "HEAD" || matches!(self.status, 204 | 304);
        match self.framing {
            _ if self.status == 304 || self.status == 204 => {}
            Framing::Length | Framing::Closing | Framing::TruncatedAfter(_) => {
                write!(head, "content-length: {}\r\n", self.body.len()).expect("as above");
            }
            Framing::Chunked(_) | Framing::TruncatedChunksAfter(_) => {
                head.push_str("transfer-encoding: chunked\r\n");
            }
            Framing::Close => head.push_str("connection: close\r\n"),
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if bodiless {
            return (bytes, self.framing != Framing::Closing);
        }
        match self.framing {
            Framing::Length | Framing::Closing | Framing::Close => bytes.extend(&self.body),
            Framing::TruncatedAfter(sent) => bytes.extend(&self.body[..sent]),
            Framing::Chunked(size) => {
                chunks(&mut bytes, &self.body, size);
                bytes.extend(b"0\r\n\r\n");
            }
            Framing::TruncatedChunksAfter(sent) => chunks(&mut bytes, &self.body[..sent], 16),
        }
        let whole = matches!(self.framing, Framing::Length | Framing::Chunked(_));
        (bytes, whole)
    }
}

fn chunks(out: &mut Vec<u8>, body: &[u8], size: usize) {
    for chunk in body.chunks(size) {
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
}
