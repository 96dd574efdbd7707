//! A scripted reply: complete, truncated, chunked or without a length.

use std::fmt::Write as _;

use super::OriginRequest;

/// A reply of the scripted origin.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    raw: Option<Raw>,
    /// Makes the body from the request and its number.
    make_body: Option<fn(&OriginRequest, usize) -> String>,
    /// Resets the connection instead of responding.
    reset: bool,
    /// Replies 304 to a request with the same entity tag.
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
    /// With a length; the connection closes afterwards.
    Closing,
    /// Chunks of this size.
    Chunked(usize),
    /// No length; the body ends with the connection.
    Close,
    /// Declares the whole length, but sends only n bytes before the connection closes.
    TruncatedAfter(usize),
    /// The same, chunked.
    TruncatedChunksAfter(usize),
}

fn echo(request: &OriginRequest, number: usize) -> String {
    let body = serde_json::json!({
        "target": request.target(),
        "authorization": request.header("authorization"),
        "number": number,
    });
    body.to_string()
}

/// Everything that an origin can base its response on; the fields are sorted by name.
fn mirror(request: &OriginRequest, _number: usize) -> String {
    let mut fields: Vec<_> = request
        .head
        .lines()
        .skip(1)
        .filter(|l| !l.is_empty())
        .collect();
    fields.sort_unstable();
    let body = serde_json::json!({
        "method": request.method(),
        "target": request.target(),
        "fields": fields,
        "body": String::from_utf8_lossy(&request.body),
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

    /// 200 with the request's target, its credential and a number that grows with every request.
    pub fn echo() -> Self {
        Self {
            make_body: Some(echo),
            ..Self::json("")
        }
    }

    /// 200 with the whole request.
    pub fn mirror() -> Self {
        Self {
            make_body: Some(mirror),
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

    /// No length; the body ends with the connection.
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// Declares the whole length, but closes the connection after `bytes` bytes.
    pub fn truncated_after(mut self, bytes: usize) -> Self {
        self.framing = Framing::TruncatedAfter(bytes);
        self
    }

    /// Closes the connection after the chunks of `bytes` bytes, without a last chunk.
    pub fn truncated_chunks_after(mut self, bytes: usize) -> Self {
        self.framing = Framing::TruncatedChunksAfter(bytes);
        self
    }

    /// Closes the connection afterwards, so that the next request needs a new one.
    pub fn closing(mut self) -> Self {
        self.framing = Framing::Closing;
        self.header("connection", "close")
    }

    /// With this entity tag; a request that has it already gets a 304.
    pub fn validating(mut self, tag: &str) -> Self {
        self.validating = true;
        self.header("etag", tag)
    }

    /// Makes the body from the request and evaluates its condition.
    pub(super) fn complete(&mut self, request: &OriginRequest, number: usize) {
        if let Some(make_body) = self.make_body {
            self.body = make_body(request, number).into_bytes();
        }
        if self.validating && request.header("if-none-match").as_deref() == self.tag() {
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

    /// Resets the connection instead of responding.
    pub fn reset() -> Self {
        Self {
            reset: true,
            ..Self::default()
        }
    }

    /// Sends only these bytes, then closes the connection.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            raw: Some(Raw {
                bytes: bytes.as_ref().to_vec(),
                kept_open: false,
            }),
            ..Self::default()
        }
    }

    /// Sends only these bytes and keeps the connection open.
    pub fn raw_kept_open(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            raw: Some(Raw {
                bytes: bytes.as_ref().to_vec(),
                kept_open: true,
            }),
            ..Self::default()
        }
    }

    /// The bytes to send, and whether the connection stays open afterwards.
    pub(super) fn render(&self, method: &str) -> (Vec<u8>, bool) {
        if let Some(raw) = &self.raw {
            return (raw.bytes.clone(), raw.kept_open);
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("writing to a string cannot fail");
        }
        let bodiless = method == "HEAD" || matches!(self.status, 204 | 304);
        match self.framing {
            _ if self.status == 304 || self.status == 204 => {}
            Framing::Length | Framing::Closing | Framing::TruncatedAfter(_) => {
                write!(head, "content-length: {}\r\n", self.body.len())
                    .expect("writing to a string cannot fail");
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
        let stays_open = matches!(self.framing, Framing::Length | Framing::Chunked(_));
        (bytes, stays_open)
    }
}

fn chunks(out: &mut Vec<u8>, body: &[u8], size: usize) {
    for chunk in body.chunks(size) {
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
}
