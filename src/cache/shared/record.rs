//! Entries for other replicas: an [`Entry`] as sealed bytes, with everything that was derived from the
//! response, so that no replica has to parse its body again.
//!
//! The content is a [`Record`] and the body, compressed together.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{compress_bound, get_frame_content_size};

use super::Position;
use super::sealed::{self, Audience, Header, Sealer, TAG};
use crate::cache::counters::micros;
use crate::cache::{Entry, Fence, Representation};
use crate::config::{self, CookieName};
use crate::in_transit::{Ledger, StoredBody};
use crate::policy::{Freshness, Moment, RouteRule, Selecting, ViewLimits};
use crate::telemetry::{Holder, Unsealed};

/// Room for a record; the head of a response is limited to 64 KiB.
const MAX_RECORD: usize = 256 << 10;

/// Room for all of a record except the fields.
const RECORD: usize = 4 << 10;

/// Fast: compression takes less time than transferring the bytes that it saves.
const ZSTD_LEVEL: i32 = 1;

/// Up to this size, content is decompressed with the thread's own decompressor.
const SMALL: usize = 64 << 10;

thread_local! {
    /// Kept, because creating one takes as long as decompressing a small body.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The circumstances under which an entry is sealed or opened, apart from the keys.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The name of the entry in the engine.
    pub name: &'a str,
    /// The tokens that can open it.
    pub audience: Audience<'a>,
    /// The engine's clock at the lookup of this fetch, in microseconds since 1970.
    pub engine_time: u64,
    /// The clocks of this replica at that lookup: for sealing after its reply, for opening before its
    /// request. So no age is underestimated.
    pub own_time: Moment,
    /// The settings that freshness is assessed by.
    pub rules: &'a Arc<config::Freshness>,
    /// The route's own rules for freshness.
    pub route: RouteRule,
    /// `cache.ignore_set_cookie`
    pub ignored_cookies: &'a [CookieName],
}

/// An opened entry.
#[derive(Debug)]
pub struct Opened {
    /// Its header.
    pub header: Header,
    /// When the origin last accepted its token, on the monotonic clock; `None` in a named scope.
    pub accepted: Option<Duration>,
    /// The entry, without acceptance and admissions.
    pub entry: Entry,
}

/// An entry without its body.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    status: u16,
    #[serde(serialize_with = "write_fields", deserialize_with = "read_fields")]
    headers: HeaderMap,
    limits: ViewLimits,
    freshness: Freshness,
    vary: Selecting,
    came_with_age: bool,
    ignored_cookies: Vec<String>,
    /// The digest of the settings that the freshness was assessed by.
    rules: Option<[u8; 32]>,
    received: Receipt,
    /// The time from the sending of the token's last accepted request to the arrival of the response.
    accepted_before: Option<Duration>,
}

/// When a response arrived, by two clocks, in microseconds since 1970. If one of them is set back, the
/// other one counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Receipt {
    engine: u64,
    wall: u64,
}

impl Sealer {
    /// The most bytes of the content of an entry, and of what is sealed.
    pub(super) fn bounds(&self, entry: &Entry) -> [usize; 2] {
        let content = entry.whole.weight() + RECORD;
        [content, self.max_sealed(content)]
    }

    /// Seals an entry whose fetch began at the lookup of these terms. `None` if the entry is too large to
    /// be shared, or has a date before 1970.
    pub fn seal_entry(
        &self,
        entry: &Entry,
        terms: &Terms<'_>,
        position: Position,
    ) -> Option<Bytes> {
        let body = &entry.whole.body;
        let mut content = postcard::to_extend(&Record::of(entry, terms), Vec::new()).ok()?;
        content.reserve_exact(body.len());
        content.extend_from_slice(body);
        if content.len() > self.max_content() {
            return None;
        }
        let header = Header {
            position,
            began: terms.engine_time,
            salt: sealed::salt(),
        };
        let most = self.max_sealed(content.len());
        let mut sealed = header.bytes();
        sealed.reserve_exact(most - Header::LENGTH);
        sealed.resize(most - TAG, 0);
        let length = Compressor::new(ZSTD_LEVEL)
            .and_then(|mut zstd| zstd.compress_to_buffer(&content, &mut sealed[Header::LENGTH..]))
            .ok()?;
        drop(content);
        sealed.truncate(Header::LENGTH + length);
        sealed::seal(
            &self.key(terms, &header),
            terms.name,
            Header::LENGTH,
            &mut sealed,
        );
        // Without its spare capacity.
        Some(sealed.into_boxed_slice().into())
    }

    /// Opens an entry that was found at the lookup of these terms. The caller must check, before or after,
    /// whether its position may be used. `fence` was taken before the lookup; `holder` is that of the
    /// requesting client.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or used, with the reason.
    pub fn open_entry(
        &self,
        sealed: Bytes,
        terms: &Terms<'_>,
        fence: &Fence,
        ledger: &Arc<Ledger>,
        holder: Holder,
    ) -> Result<Opened, Unsealed> {
        if sealed.len() as u64 > self.max_entry.0 {
            return Err(Unsealed::Size);
        }
        let header = Header::read(&sealed)?;
        let mut sealed = BytesMut::from(sealed);
        let key = self.key(terms, &header);
        let compressed = sealed::open(&key, terms.name, Header::LENGTH, &mut sealed)?;

        let size = get_frame_content_size(compressed).ok().flatten();
        let size = usize::try_from(size.ok_or(Unsealed::Codec)?).unwrap_or(usize::MAX);
        if size > self.max_content() {
            return Err(Unsealed::Size);
        }
        let share = ledger.reserve(size, holder).ok_or(Unsealed::InTransit)?;
        let mut content = decompress(compressed, size).map_err(|_| Unsealed::Codec)?;
        let (record, body) = read_record(&content)?;
        // Moved to the front: a slice would keep the record alive as well, and a copy needs more memory.
        content.drain(..content.len() - body.len());
        content.shrink_to_fit();
        let body = StoredBody::fetched(content.into(), share);
        let (entry, accepted) = record.into_entry(body, terms, fence)?;
        Ok(Opened {
            header,
            accepted,
            entry,
        })
    }

    /// Maximum size of the content before compression.
    fn max_content(&self) -> usize {
        self.max_body.as_usize().saturating_add(MAX_RECORD)
    }

    /// The bound on what content of this size is sealed to.
    fn max_sealed(&self, content: usize) -> usize {
        let worst = Header::LENGTH + compress_bound(content) + TAG;
        worst.min(self.max_entry.as_usize())
    }

    fn key(&self, terms: &Terms<'_>, header: &Header) -> blake3::Hasher {
        let mut key = self.entries.hasher();
        terms.audience.digest_into(&mut key);
        key.update(&header.salt);
        key
    }
}

fn decompress(compressed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    if size > SMALL {
        // Large bodies are opened on short-lived threads.
        return zstd::bulk::decompress(compressed, size);
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let kept = match kept {
            Some(kept) => kept,
            None => kept.insert(Decompressor::new()?),
        };
        kept.decompress(compressed, size)
    })
}

/// Reads the decompressed content of an entry: the record, and the body after it.
///
/// # Errors
///
/// If it does not begin with a record.
pub fn read_record(content: &[u8]) -> Result<(Record, &[u8]), Unsealed> {
    postcard::take_from_bytes(content).map_err(|_| Unsealed::Codec)
}

// === impl Record ===

impl Record {
    pub(super) fn of(entry: &Entry, terms: &Terms<'_>) -> Self {
        let Entry {
            whole, freshness, ..
        } = entry;
        let cookies = entry.ignored_cookies.iter().flat_map(|names| names.iter());
        let arrived = freshness.received.mono;
        let accepted = |last: Duration| arrived.saturating_sub(last);
        Self {
            status: whole.status.as_u16(),
            headers: whole.headers.clone(),
            limits: whole.limits,
            freshness: *freshness,
            vary: entry.vary.clone(),
            came_with_age: entry.came_with_age,
            ignored_cookies: cookies.map(ToString::to_string).collect(),
            rules: entry.rules.as_ref().map(|rules| digest(rules, terms.route)),
            received: Receipt::at(arrived, terms),
            accepted_before: entry.acceptance().map(|one| accepted(one.last())),
        }
    }

    /// The entry, and when its token was last accepted, by the clock of this replica.
    fn into_entry(
        mut self,
        body: StoredBody,
        terms: &Terms<'_>,
        fence: &Fence,
    ) -> Result<(Entry, Option<Duration>), Unsealed> {
        let now = terms.own_time;
        let arrived = now.mono.checked_sub(self.received.elapsed(terms));
        let arrived = arrived.ok_or(Unsealed::Expired)?;
        self.freshness.received.mono = arrived;
        if self.freshness.age(now) >= self.freshness.hard_limit {
            return Err(Unsealed::Expired);
        }
        let accepted = self.accepted_before;
        let accepted = accepted.map(|before| arrived.saturating_sub(before));

        let status = StatusCode::from_u16(self.status).map_err(|_| Unsealed::Codec)?;
        let names = self.ignored_cookies.into_iter();
        let names = names.map(|name| CookieName::parse(&name));
        let cookies: Vec<_> = names
            .collect::<Result<_, _>>()
            .map_err(|_| Unsealed::Codec)?;
        let are_ignored = cookies
            .iter()
            .all(|name| terms.ignored_cookies.contains(name));
        let is_current = are_ignored && self.rules == Some(digest(terms.rules, terms.route));

        let whole = Representation::new(status, self.headers, body, self.limits);
        let (scope, came_with_age) = (terms.audience.scope(), self.came_with_age);
        let mut entry = Entry::new(
            whole,
            self.freshness,
            self.vary,
            scope,
            fence,
            came_with_age,
        );
        entry.rules = is_current.then(|| Arc::clone(terms.rules));
        entry.ignored_cookies = (!cookies.is_empty()).then(|| Arc::new(cookies));
        Ok((entry, accepted))
    }
}

/// The digest of all settings that freshness is assessed by.
fn digest(rules: &config::Freshness, route: RouteRule) -> [u8; 32] {
    let mut digest = blake3::Hasher::new();
    write!(digest, "{rules:?} {route:?}").expect("a hasher takes all bytes");
    *digest.finalize().as_bytes()
}

// === impl Receipt ===

impl Receipt {
    /// The receipt of a response that arrived at this monotonic time.
    fn at(arrived: Duration, terms: &Terms<'_>) -> Self {
        let lookup = terms.own_time;
        let after = |clock: u64| {
            let later = arrived.saturating_sub(lookup.mono);
            let earlier = lookup.mono.saturating_sub(arrived);
            clock
                .saturating_add(micros(later))
                .saturating_sub(micros(earlier))
        };
        Self {
            engine: after(terms.engine_time),
            wall: after(since_1970(lookup.wall)),
        }
    }

    /// The time from the receipt to the lookup of these terms.
    fn elapsed(self, terms: &Terms<'_>) -> Duration {
        let by_engine = terms.engine_time.saturating_sub(self.engine);
        let by_wall = since_1970(terms.own_time.wall).saturating_sub(self.wall);
        Duration::from_micros(by_engine.max(by_wall))
    }
}

fn since_1970(wall: SystemTime) -> u64 {
    micros(
        wall.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// Writes fields as a list of name, value, and whether the value is sensitive.
fn write_fields<S: Serializer>(fields: &HeaderMap, to: S) -> Result<S::Ok, S::Error> {
    let list = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes(), value.is_sensitive()));
    list.collect::<Vec<_>>().serialize(to)
}

fn read_fields<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderMap, D::Error> {
    let mut fields = HeaderMap::new();
    for (name, value, is_sensitive) in Vec::<(&str, &[u8], bool)>::deserialize(from)? {
        let name = HeaderName::try_from(name).map_err(D::Error::custom)?;
        let mut value = HeaderValue::from_bytes(value).map_err(D::Error::custom)?;
        value.set_sensitive(is_sensitive);
        fields.try_append(name, value).map_err(D::Error::custom)?;
    }
    Ok(fields)
}
