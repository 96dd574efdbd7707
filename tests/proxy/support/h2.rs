//! HTTP/2 frames written by hand (RFC 9113), also such as no library would send.

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

/// On DATA and HEADERS: the last frame of the stream.
pub const END_STREAM: u8 = 1;
/// On HEADERS and CONTINUATION: the field block is complete.
pub const END_HEADERS: u8 = 4;

/// The client preface with empty settings.
pub fn preface() -> Vec<u8> {
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(SETTINGS, 0, 0, b"")[..],
    ]
    .concat()
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field block of literals, neither indexed nor Huffman-coded (RFC 7541 §6.2.2).
pub fn field_block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            integer(text.len(), &mut block);
            block.extend(text);
        }
    }
    block
}

/// A complete GET on stream 1 with `more` fields.
pub fn get(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ];
    let fields = field_block(&[&pseudo, more].concat());
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)
}

/// Appends an integer with a 7-bit prefix (RFC 7541 §5.1).
fn integer(mut value: usize, out: &mut Vec<u8>) {
    if value < 127 {
        out.push(u8::try_from(value).expect("seven bits"));
        return;
    }
    out.push(127);
    value -= 127;
    while value >= 128 {
        out.push(u8::try_from(value % 128 + 128).expect("eight bits"));
        value /= 128;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}
