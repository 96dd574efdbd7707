//! Facts of a body that limit its use: read once, when a body is stored or a view is built.
//!
//! Facts belong to the bytes they were read from: a view has fewer live parts and fewer pre-signed
//! URLs than the whole body, and may lack its status. So the lifetime comes from the whole body's
//! facts ([`Facts::status`], [`Facts::unfinished`]), and only the limits ([`Facts::live`],
//! [`Facts::signed_until`]) from the view's.

mod signed;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::CallStatus;
use crate::json::{self, RawString};
use crate::label::Label as _;

use signed::{Signed, time};

/// The facts of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The call's status; `None` if the body is not an object or has no documented `status`.
    pub status: Option<CallStatus>,
    /// When the call ended.
    pub end_time: Option<SystemTime>,
    /// When the call was last modified.
    pub modified_at: Option<SystemTime>,
    /// The call is completed, but `transcript`, `summary` or `sentiment` is still null or absent.
    pub unfinished: bool,
    /// The live parts in the body.
    pub live: LiveParts,
    /// When the first pre-signed URL in the body expires; `None` without one. The epoch if the
    /// expiry of one is unreadable.
    pub signed_until: Option<SystemTime>,
    /// An object has a `presigned_url` without the API's `presigned_url_expires_at`.
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
    /// Whether `transcript`, `summary` and `sentiment` are present and not null.
    finished: [bool; 3],
    /// The links of the open objects that have one, with their depth, innermost last.
    links: Vec<(usize, Link)>,
}

/// `presigned_url` and `presigned_url_expires_at` of one object.
#[derive(Default)]
struct Link {
    /// The expiry in the URL itself; `None` without a URL.
    url: Option<Signed>,
    expires_at: Option<SystemTime>,
}

/// Reads the facts of a body in one pass; `live` is `freshness.live`.
///
/// `None` if the body is not JSON, or nested too deeply. A body that is not an object has only
/// the facts of its pre-signed URLs.
///
/// A string is examined if all of it is an `http` or `https` URL with a query; a URL within other
/// text is not found. Of two members with the same name the last counts, except that a live part
/// counts if any of them is not null.
#[must_use]
pub fn read(body: &[u8], live: &[(String, Duration)]) -> Option<Facts> {
    let mut reader = FactsReader {
        facts: Facts::default(),
        live,
        finished: [false; 3],
        links: Vec::new(),
    };
    json::visit(body, &mut reader).ok()?;
    Some(reader.finish())
}

// === impl FactsReader ===

impl json::Visit for FactsReader<'_> {
    #[inline]
    fn value(&mut self, name: Option<RawString<'_>>, value: &[u8], depth: usize) {
        // Nearly all members and elements need no more than this test.
        let of_link = name.is_some_and(|name| name.escaped || Link::has_member_as_long(name.bytes));
        if depth == 1 || of_link || signed::may_be_url(value) {
            self.read(name, value, depth);
        }
    }

    #[inline]
    fn end(&mut self, depth: usize) {
        if let Some(&(of, ref link)) = self.links.last()
            && of == depth
        {
            let expiry = link.expiry();
            self.facts.url_without_expiry |= link.url.is_some() && link.expires_at.is_none();
            self.links.pop();
            self.record(expiry);
        }
    }
}

impl FactsReader<'_> {
    #[inline(never)]
    fn read(&mut self, name: Option<RawString<'_>>, value: &[u8], depth: usize) {
        let mut signed = signed::read(value);
        if let Some(name) = name {
            let name = name.unescaped();
            if depth == 1 {
                self.top_level(&name, value);
            }
            signed = self.link(&name, value, signed, depth);
        }
        self.record(signed);
    }

    /// Records a member if it belongs to a link. Returns the expiry in its value, unless that is
    /// reported with the link.
    fn link(&mut self, name: &[u8], value: &[u8], signed: Signed, depth: usize) -> Signed {
        if !Link::MEMBERS.contains(&name) {
            return signed;
        }
        if self.links.last().is_none_or(|(of, _)| *of != depth) {
            self.links.push((depth, Link::default()));
        }
        match self.links.last_mut() {
            Some((_, link)) => link.member(name, value, signed),
            None => signed,
        }
    }

    /// Reads a member of the outermost object; `value` is empty for a container.
    fn top_level(&mut self, name: &[u8], value: &[u8]) {
        let present = value != b"null";
        let time = || json::text(value).as_deref().and_then(time);
        match name {
            b"status" => {
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
        if present {
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

    fn record(&mut self, signed: Signed) {
        let until = match signed {
            Signed::No => return,
            Signed::Until(until) => until,
            // With an unknown expiry, the URL may have expired already.
            Signed::Unreadable => UNIX_EPOCH,
        };
        let earlier = self
            .facts
            .signed_until
            .map_or(until, |other| other.min(until));
        self.facts.signed_until = Some(earlier);
    }

    fn finish(mut self) -> Facts {
        let completed = self.facts.status == Some(CallStatus::Completed);
        self.facts.unfinished = completed && self.finished.contains(&false);
        self.facts
    }
}

// === impl Link ===

impl Link {
    const MEMBERS: [&[u8]; 2] = [b"presigned_url", b"presigned_url_expires_at"];

    #[inline]
    fn has_member_as_long(name: &[u8]) -> bool {
        Self::MEMBERS.iter().any(|known| known.len() == name.len())
    }

    /// Records a member. Returns the expiry in its value, unless [`Link::expiry`] covers it.
    #[inline]
    fn member(&mut self, name: &[u8], value: &[u8], signed: Signed) -> Signed {
        match name {
            b"presigned_url" if value.len() > 2 && value[0] == b'"' => {
                self.url = Some(signed);
                Signed::No
            }
            b"presigned_url_expires_at" => {
                self.expires_at = json::text(value).as_deref().and_then(time);
                signed
            }
            _ => signed,
        }
    }

    /// The earlier of the expiry in the URL and `presigned_url_expires_at`.
    fn expiry(&self) -> Signed {
        match (self.url, self.expires_at) {
            (None, _) => Signed::No,
            (Some(Signed::Until(in_url)), Some(member)) => Signed::Until(in_url.min(member)),
            (Some(Signed::Until(only)), None) | (Some(_), Some(only)) => Signed::Until(only),
            (Some(_), None) => Signed::Unreadable,
        }
    }
}

// === impl LiveParts ===

impl LiveParts {
    /// Whether the part at this index of `freshness.live` is in the body.
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    /// The shortest lifetime of the parts in the body; `live` is the list the facts were read with.
    #[must_use]
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
