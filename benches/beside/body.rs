//! Bodies of the origin's responses: of a given size, and the same in every run.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};

use crate::call;

/// One time for all bodies of a run, so that a call is always the same.
static NOW: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);

/// The shape of a body, by the first letter of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// `r`: an ended call with two members, `text` and `other`, each half of the body, which hardly
    /// compresses. Each id has its own body.
    Random,
    /// `f`: the same, but one prepared body for all ids, so that the origin needs little CPU.
    Fixed,
    /// `c`: a call like those of the API, the same for all ids.
    Call,
}

/// A body, as described by an id: `r40960-17` is random and has 40,960 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BodySpec {
    pub(crate) shape: Shape,
    pub(crate) size: usize,
    seed: u64,
}

impl BodySpec {
    /// The body described by the last segment of a target.
    pub(crate) fn of(target: &str) -> Option<Self> {
        let path = target.split('?').next()?;
        let id = path.rsplit('/').next()?;
        let (kind, rest) = id.split_at_checked(1)?;
        let shape = match kind {
            "r" => Shape::Random,
            "f" => Shape::Fixed,
            "c" => Shape::Call,
            _ => return None,
        };
        let (size, name) = rest.split_once('-')?;
        let seed = match shape {
            Shape::Random => name.bytes().fold(0, |seed: u64, byte| {
                seed.wrapping_mul(257).wrapping_add(byte.into())
            }),
            Shape::Fixed | Shape::Call => 0,
        };
        Some(Self {
            shape,
            size: size.parse().ok()?,
            seed,
        })
    }

    /// The body: exactly `size` bytes, or slightly more if it is a call.
    pub(crate) fn body(self) -> Vec<u8> {
        match self.shape {
            Shape::Random | Shape::Fixed => random(self.size, self.seed),
            Shape::Call => fresh_call(self.size),
        }
    }
}

fn random(size: usize, seed: u64) -> Vec<u8> {
    const OPEN: &[u8] = br#"{"status":"busy","text":""#;
    const BETWEEN: &[u8] = br#"","other":""#;
    const END: &[u8] = br#""}"#;
    let letters = size.saturating_sub(OPEN.len() + BETWEEN.len() + END.len());
    let mut body = Vec::with_capacity(size + 8);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    body.extend_from_slice(OPEN);
    scribble(&mut body, letters / 2, &mut state);
    body.extend_from_slice(BETWEEN);
    scribble(&mut body, letters - letters / 2, &mut state);
    body.extend_from_slice(END);
    body
}

/// Letters from a xorshift generator, eight per step, because the origin shares a CPU with the load.
fn scribble(body: &mut Vec<u8>, letters: usize, state: &mut u64) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let end = body.len() + letters;
    while body.len() < end {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let eight: [u8; 8] = std::array::from_fn(|n| {
            let six = (*state >> (6 * n)) & 63;
            ALPHABET[usize::try_from(six).expect("six bits are an index")]
        });
        body.extend_from_slice(&eight);
    }
    body.truncate(end);
}

/// A call whose pre-signed URLs are valid for a week: with the expired ones of [`call::call`], it
/// would not be served from the cache.
fn fresh_call(size: usize) -> Vec<u8> {
    let text = String::from_utf8(call::call(size)).expect("a call is UTF-8");
    let end = *NOW + SignedDuration::from_hours(24 * 7);
    text.replace(
        "X-Amz-Date=20231107T053156Z&X-Amz-Expires=3600",
        &format!(
            "X-Amz-Date={}&X-Amz-Expires=604800",
            NOW.strftime("%Y%m%dT%H%M%SZ")
        ),
    )
    .replace(
        r#""presigned_url_expires_at":"2023-11-07T06:31:56Z""#,
        &format!(
            r#""presigned_url_expires_at":"{}""#,
            end.strftime("%Y-%m-%dT%H:%M:%SZ")
        ),
    )
    .into_bytes()
}
