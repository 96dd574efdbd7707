//! Facts of a body that limit its use: read once, when a body is stored or a view is built.
//!
//! Facts belong to the bytes they were read from: a view has fewer live parts and fewer pre-signed
//! URLs than the whole body, and may lack its status. So the lifetime comes from the whole body's
//! facts ([`Facts::status`], [`Facts::unfinished`]), and only the limits ([`Facts::live`],
//! [`Facts::signed_until`], [`Facts::unreadable_expiry`]) from the view's.

mod signed;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

use crate::config::CallStatus;
use crate::json::{self, RawString};
use crate::label::Label as _;

use signed::{Expiries, time};

/// The facts of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The call's status; `None` if the body cannot be read, or has not exactly one documented
    /// `status`.
    pub status: Option<CallStatus>,
    /// When the call ended.
    pub end_time: Option<SystemTime>,
    /// When the call was last modified.
    pub modified_at: Option<SystemTime>,
    /// The call is completed, but `transcript`, `summary` or `sentiment` is still null or absent.
    pub unfinished: bool,
    /// The live parts in the body.
    pub live: LiveParts,
    /// When the first pre-signed URL in the body or in a field expires, except those that had
    /// expired when the origin sent them.
    pub signed_until: Option<SystemTime>,
    /// A URL is signed, but its expiry cannot be read.
    pub unreadable_expiry: bool,
    /// An object has a URL without a member for its expiry.
    pub url_without_expiry: bool,
}

/// The live parts in a body, by their index in `freshness.live`.
///
/// Parts from the 64th on share a bit: one of them counts as all, which only shortens a lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveParts(u64);

/// The facts read so far.
struct FactsReader<'l> {
    facts: Facts,
    live: &'l [(String, Duration)],
    /// The lengths of their names, in one bit each: few other members have the same.
    live_lengths: u64,
    statuses: usize,
    /// Whether `transcript`, `summary` and `sentiment` are present and not null.
    finished: [bool; 3],
    expiries: Expiries,
    /// The open objects with a URL or the expiry of one, with their depth, innermost last.
    links: Vec<(usize, Link)>,
}

/// The URLs of one object, and their expiry in a member beside them.
#[derive(Default)]
struct Link {
    has_url: bool,
    /// The number of those that are counted as unreadable.
    unreadable: usize,
    /// The value of `presigned_url`, which is signed whatever it looks like.
    presigned: Vec<u8>,
    expires_at: Option<SystemTime>,
}

/// Response fields that may have a pre-signed URL.
const URL_FIELDS: [header::HeaderName; 3] =
    [header::LOCATION, header::CONTENT_LOCATION, header::LINK];

/// Reads the facts of a body in one pass. `live` is `freshness.live`; `sent` is when the origin sent
/// the body.
///
/// A body that is not JSON, or nested too deeply, has only the facts of its pre-signed URLs. Of two
/// members with the same name the last counts, except that a live part counts if any of them is not
/// null, and that two statuses count as a missing one.
pub fn read(body: &[u8], live: &[(String, Duration)], sent: SystemTime) -> Facts {
    let mut reader = FactsReader {
        facts: Facts::default(),
        live,
        live_lengths: live
            .iter()
            .fold(0, |lengths, (name, _)| lengths | LiveParts::bit(name.len())),
        statuses: 0,
        finished: [false; 3],
        expiries: Expiries::after(sent),
        links: Vec::new(),
    };
    reader.expiries.scan(body);
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let is_json = json::visit(text, &mut reader).is_ok();
    reader.finish(is_json)
}

// === impl Facts ===

impl Facts {
    /// These facts and those of the pre-signed URLs in the response fields, which the origin `sent`
    /// then.
    #[must_use]
    pub fn with_fields(mut self, fields: &HeaderMap, sent: SystemTime) -> Self {
        let mut expiries = Expiries::after(sent);
        for value in URL_FIELDS.iter().flat_map(|name| fields.get_all(name)) {
            expiries.scan(value.as_bytes());
            expiries.scan_path(value.as_bytes());
        }
        self.signed_until = [self.signed_until, expiries.first]
            .into_iter()
            .flatten()
            .min();
        self.unreadable_expiry |= expiries.unreadable > 0;
        self
    }
}

// === impl FactsReader ===

impl json::Visit for FactsReader<'_> {
    #[expect(
        clippy::inline_always,
        reason = "without inlining, each value of a body is a call"
    )]
    #[inline(always)]
    fn value(&mut self, name: Option<RawString<'_>>, value: &[u8], depth: usize) {
        // Nearly all members and elements need no more than these tests.
        match name {
            Some(name) if name.escaped => self.read_escaped(name.bytes, value, depth),
            Some(RawString { bytes: name, .. }) => {
                if depth == 1 {
                    self.read_top_level(name, value);
                }
                if Link::is_member(name) || may_be_url(value) {
                    self.read_link(name, value, depth);
                }
            }
            None if depth == 1 || may_be_url(value) => self.expiries.scan_path(value),
            None => {}
        }
    }

    #[inline]
    fn end(&mut self, depth: usize) {
        if !self.links.is_empty() {
            self.close(depth);
        }
    }
}

impl FactsReader<'_> {
    /// Reads the expiry of the URLs in the object that ends at this depth.
    #[inline(never)]
    fn close(&mut self, depth: usize) {
        if let Some((_, link)) = self.links.pop_if(|(of, _)| *of == depth) {
            let Some(expiry) = link.expires_at else {
                self.facts.url_without_expiry |= link.has_url;
                let own = Expiries::of(&link.presigned);
                let is_read =
                    link.presigned.is_empty() || own.first.is_some() || own.unreadable > 0;
                self.expiries.unreadable += usize::from(!is_read);
                return;
            };
            if link.has_url {
                self.expiries.record(expiry);
                let unreadable = &mut self.expiries.unreadable;
                *unreadable = unreadable.saturating_sub(link.unreadable);
            }
        }
    }

    #[inline(never)]
    fn read_escaped(&mut self, name: &[u8], value: &[u8], depth: usize) {
        let name = json::unescape(name);
        if depth == 1 {
            self.read_top_level(&name, value);
        }
        self.read_link(&name, value, depth);
    }

    #[inline(never)]
    fn read_link(&mut self, name: &[u8], value: &[u8], depth: usize) {
        let (is_expiry, is_presigned) = (Link::is_expiry(name), *name == *PRESIGNED);
        if !(is_expiry || is_presigned || may_be_url(value)) {
            return;
        }
        let text = json::text(value).unwrap_or_default();
        let has_url = is_url(&text) || is_presigned && !text.is_empty();
        if has_url {
            self.expiries.scan_path(value);
        } else if !is_expiry {
            return;
        }
        if self.links.last().is_none_or(|(of, _)| *of != depth) {
            self.links.push((depth, Link::default()));
        }
        let Some((_, link)) = self.links.last_mut() else {
            return;
        };
        link.has_url |= has_url;
        if is_expiry {
            let number = std::str::from_utf8(value).unwrap_or_default();
            let written = if text.is_empty() { number } else { &text };
            let since = name.ends_with(b"n").then_some(self.expiries.sent);
            let expiry = signed::expiry_beside(written, since);
            link.expires_at = [link.expires_at, expiry].into_iter().flatten().min();
            return;
        }
        if is_presigned {
            link.presigned = value.to_vec();
        }
        if self.expiries.unreadable > 0 {
            link.unreadable += Expiries::of(value).unreadable;
        }
    }

    /// Reads a member of the outermost object; `value` is empty for a container.
    #[inline(never)]
    fn read_top_level(&mut self, name: &[u8], value: &[u8]) {
        let present = value != b"null";
        let time = || json::text(value).as_deref().and_then(time);
        match name {
            b"status" => {
                self.statuses += 1;
                let status = json::text(value);
                let is = |known: &&CallStatus| Some(known.as_str()) == status.as_deref();
                self.facts.status = CallStatus::ALL.iter().find(is).copied();
            }
            b"end_time" => self.facts.end_time = time(),
            b"modified_at" => self.facts.modified_at = time(),
            b"transcript" => self.finished[0] = present,
            b"summary" => self.finished[1] = present,
            b"sentiment" => self.finished[2] = present,
            _ => {}
        }
        // Not part of the match: any of the names above may be configured as a live part.
        if present && self.live_lengths & LiveParts::bit(name.len()) != 0 {
            for (index, _) in self
                .live
                .iter()
                .enumerate()
                .filter(|(_, (live, _))| live.as_bytes() == name)
            {
                self.facts.live.insert(index);
            }
        }
    }

    fn finish(mut self, is_json: bool) -> Facts {
        if !is_json || self.statuses != 1 {
            self.facts.status = None;
        }
        let completed = self.facts.status == Some(CallStatus::Completed);
        Facts {
            unfinished: completed && self.finished.contains(&false),
            signed_until: self.expiries.first,
            unreadable_expiry: self.expiries.unreadable > 0,
            ..self.facts
        }
    }
}

// === impl Link ===

/// The API's member for a pre-signed URL.
const PRESIGNED: &[u8] = b"presigned_url";

/// The ends of the names of members for the expiry of a URL; those in `n` have seconds.
const EXPIRIES: [&[u8]; 6] = [
    b"xpires_at",
    b"xpiresAt",
    b"alid_until",
    b"alidUntil",
    b"xpires_in",
    b"xpiresIn",
];

impl Link {
    /// Whether a member belongs to a link by its name; `false` for most names of URLs.
    #[inline]
    fn is_member(name: &[u8]) -> bool {
        // None is shorter.
        name.len() >= EXPIRIES[1].len()
            && matches!(name, [.., b't' | b'n' | b'l'])
            && (name.len() == PRESIGNED.len() || Self::is_expiry(name))
    }

    #[inline]
    fn is_expiry(name: &[u8]) -> bool {
        // Most names that end in `_at` do not end in `s_at`.
        let may_be = matches!(name, [.., b't' | b'n' | b'l'])
            && matches!(
                name,
                [.., b's', b'_', _, _] | [.., b's', _, _] | [.., b'n', b't', _, _]
            );
        may_be && Self::ends_as_expiry(name)
    }

    #[inline(never)]
    fn ends_as_expiry(name: &[u8]) -> bool {
        EXPIRIES.iter().any(|end| name.ends_with(end))
    }
}

/// Whether a JSON value may be a string with a URL, which may begin with an escape. A quick test:
/// nearly no value is one.
#[inline]
fn may_be_url(value: &[u8]) -> bool {
    value.len() >= 8 && matches!(value[1], b'h' | b'H' | b'\\') && value[0] == b'"'
}

fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        let begin = text.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    })
}

// === impl LiveParts ===

impl LiveParts {
    /// Whether the part at this index of `freshness.live` is in the body.
    pub fn contains(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    /// The shortest lifetime of the parts in the body; `live` is the list the facts were read with.
    pub fn shortest(self, live: &[(String, Duration)]) -> Option<Duration> {
        let present = live
            .iter()
            .enumerate()
            .filter(|(index, _)| self.contains(*index));
        present.map(|(_, (_, lifetime))| *lifetime).min()
    }

    fn insert(&mut self, index: usize) {
        self.0 |= Self::bit(index);
    }

    fn bit(index: usize) -> u64 {
        1 << index.min(63)
    }
}

#[cfg(test)]
mod tests;
