//! Facts of a body that bound its use: read once, when it is stored or derived.
//!
//! Facts are of the bytes they were read from. A view's bytes have facts of their own: fewer
//! live parts, fewer pre-signed URLs. What a view does not show is missing from its facts as
//! well, so the lifetime by [`Facts::status`] and [`Facts::unfinished`] is that of the whole
//! body's facts, and only the caps ([`Facts::live`], [`Facts::signed_until`]) are the view's.

mod signed;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::CallStatus;
use crate::json::{self, Raw};
use crate::label::Label as _;

use signed::{Signed, time};

/// The facts of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The call's status; `None` where the body is no object, has no `status` or one the API
    /// does not document.
    pub status: Option<CallStatus>,
    /// When the call ended.
    pub end_time: Option<SystemTime>,
    /// When the call was last changed.
    pub modified_at: Option<SystemTime>,
    /// The call is completed and its `transcript`, `summary` or `sentiment` is still missing:
    /// null, or not there at all.
    pub unfinished: bool,
    /// The live parts that the body shows.
    pub live: LiveParts,
    /// The earliest moment at which a pre-signed URL somewhere in the body stops working; `None`
    /// without one. The epoch where one has no readable expiry.
    pub signed_until: Option<SystemTime>,
    /// A link shows a pre-signed URL without the time that the API writes beside it.
    pub alone: bool,
}

/// Which of the configured live parts a body shows, by their place in `freshness.live`.
///
/// From the 64th part on, to show one is to show all: too many rather than too few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveParts(u64);

/// The facts read so far.
struct FactsReader<'l> {
    facts: Facts,
    live: &'l [(String, Duration)],
    /// `transcript`, `summary` and `sentiment`, where they are there and not null.
    finished: [bool; 3],
    /// The links of the open objects that have one, by their depth, innermost last. Few have.
    links: Vec<(usize, Link)>,
}

/// `presigned_url` and `presigned_url_expires_at` of one object.
#[derive(Default)]
struct Link {
    /// The expiry in the URL itself, if there is one.
    url: Option<Signed>,
    expires_at: Option<SystemTime>,
}

/// Reads the facts of a body in one pass; `live` is `freshness.live`.
///
/// `None` where the body is not JSON, or too deep to read. A body that is no object has no
/// facts but the pre-signed URLs in it.
///
/// A string is looked into where it is, as a whole, a URL of `http` or `https` with a query; a
/// URL inside of other text is not found. Of two members with one name, the last counts, except
/// that a live part is shown where any of them shows it.
#[must_use]
pub fn read(body: &[u8], live: &[(String, Duration)]) -> Option<Facts> {
    let mut reading = FactsReader {
        facts: Facts::default(),
        live,
        finished: [false; 3],
        links: Vec::new(),
    };
    json::visit(body, &mut reading).ok()?;
    Some(reading.finish())
}

// === impl FactsReader ===

impl json::Visit for FactsReader<'_> {
    #[inline]
    fn value(&mut self, name: Option<Raw<'_>>, value: &[u8], depth: usize) {
        // Of nearly all members and elements, this is all that is asked.
        let of_link = name.is_some_and(|name| name.escaped || Link::has_one_as_long(name.bytes));
        if depth == 1 || of_link || signed::may_be(value) {
            self.read(name, value, depth);
        }
    }

    #[inline]
    fn end(&mut self, depth: usize) {
        if let Some(&(of, ref link)) = self.links.last()
            && of == depth
        {
            let signed = link.signed();
            self.facts.alone |= link.url.is_some() && link.expires_at.is_none();
            self.links.pop();
            self.signed(signed);
        }
    }
}

impl FactsReader<'_> {
    #[inline(never)]
    fn read(&mut self, name: Option<Raw<'_>>, value: &[u8], depth: usize) {
        let mut signed = signed::read(value);
        if let Some(name) = name {
            let name = name.unescaped();
            if depth == 1 {
                self.part(&name, value);
            }
            signed = self.link(&name, value, signed, depth);
        }
        self.signed(signed);
    }

    /// A member that may be one of a link; answers what its value says that is not for the link
    /// to say.
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

    /// A member of the outermost object; the value is empty where it is a container.
    fn part(&mut self, name: &[u8], value: &[u8]) {
        let there = value != b"null";
        let time = || json::text(value).as_deref().and_then(time);
        match name {
            b"status" => {
                let status = json::text(value);
                let of = |known: &&CallStatus| Some(known.as_str()) == status.as_deref();
                self.facts.status = CallStatus::ALL.iter().find(of).copied();
            }
            b"end_time" => self.facts.end_time = time(),
            b"modified_at" => self.facts.modified_at = time(),
            b"transcript" => self.finished[0] = there,
            b"summary" => self.finished[1] = there,
            b"sentiment" => self.finished[2] = there,
            _ => {}
        }
        // Apart from the names above: any of them may be configured as a live part.
        if there {
            for (place, _) in self
                .live
                .iter()
                .enumerate()
                .filter(|(_, (live, _))| live.as_bytes() == name)
            {
                self.facts.live.insert(place);
            }
        }
    }

    fn signed(&mut self, signed: Signed) {
        let until = match signed {
            Signed::No => return,
            Signed::Until(until) => until,
            // A URL that will expire at an unknown time may have expired already.
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
    fn has_one_as_long(name: &[u8]) -> bool {
        Self::MEMBERS.iter().any(|known| known.len() == name.len())
    }

    /// Takes note of a member; answers what its value says that is not for the link to say.
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

    /// The earlier of what the URL says and what stands beside it.
    fn signed(&self) -> Signed {
        match (self.url, self.expires_at) {
            (None, _) => Signed::No,
            (Some(Signed::Until(own)), Some(beside)) => Signed::Until(own.min(beside)),
            (Some(Signed::Until(only)), None) | (Some(_), Some(only)) => Signed::Until(only),
            (Some(_), None) => Signed::Unreadable,
        }
    }
}

// === impl LiveParts ===

impl LiveParts {
    /// Whether the part at this place of `freshness.live` is shown.
    #[must_use]
    pub fn contains(self, place: usize) -> bool {
        self.0 & Self::bit(place) != 0
    }

    /// The shortest lifetime among the parts that are shown; `live` is what the facts were
    /// read with.
    #[must_use]
    pub fn shortest(self, live: &[(String, Duration)]) -> Option<Duration> {
        let shown = live
            .iter()
            .enumerate()
            .filter(|(place, _)| self.contains(*place));
        shown.map(|(_, (_, lifetime))| *lifetime).min()
    }

    fn insert(&mut self, place: usize) {
        self.0 |= Self::bit(place);
    }

    fn bit(place: usize) -> u64 {
        1 << place.min(63)
    }
}

#[cfg(test)]
mod tests;
