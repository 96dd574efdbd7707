//! A representation: a head that is complete except for time-dependent fields, a body, and the same
//! body compressed. Compression itself is in `proxy` and `coding`.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, StatusCode};

use crate::coding::Coding;
use crate::in_transit::StoredBody;
use crate::label::Label as _;
use crate::policy::ViewLimits;

/// Bytes of a slot of a header map, used or not, in addition to name and value.
const FIELD_OVERHEAD: usize = 104;

/// Bytes of a shared allocation in addition to its content.
const ARC_OVERHEAD: usize = 32;

/// Bytes of a body in addition to its content: its owner, and its loan.
const BODY_OVERHEAD: usize = 160;

/// Bytes of a ready head in addition to its fields: the status line, `Content-Length`, and the allocation's.
const READY_OVERHEAD: usize = 80;

/// A response that can be sent to clients, complete except for time-dependent fields.
#[derive(Debug)]
pub struct Representation {
    /// The status.
    pub status: StatusCode,
    /// The end-to-end fields, `Via` and `Date` among them; `Age` and `Cache-Status` are added
    /// when it is sent.
    pub headers: HeaderMap,
    /// The body.
    pub body: StoredBody,
    /// Limits on its use in addition to the entry's freshness.
    pub limits: ViewLimits,
    /// The same representation in other content codings.
    pub encodings: Encodings,
    /// The head in HTTP/1.1, except for time-dependent fields and the empty line.
    ready: OnceLock<Box<[u8]>>,
}

/// The content codings of one representation. Each is encoded once, by the caller that
/// [claims](Encodings::claim) it.
#[derive(Debug, Default)]
pub struct Encodings {
    /// A bit per coding that was requested, and per coding that is claimed.
    requested: AtomicU8,
    claimed: AtomicU8,
    encoded: [OnceLock<Arc<Representation>>; Coding::ALL.len()],
}

impl Encodings {
    /// The representation in this coding, if it is memoised.
    pub fn get(&self, coding: Coding) -> Option<&Arc<Representation>> {
        self.encoded[coding.index()].get()
    }

    /// Claims a coding; if true, the caller must encode it, or [release](Self::release) it. The first
    /// request does not get the claim: a coding that is requested once may never be requested again.
    pub fn claim(&self, coding: Coding) -> bool {
        let bit = 1 << coding.index();
        if self.requested.load(Ordering::Relaxed) & bit == 0 {
            self.requested.fetch_or(bit, Ordering::Relaxed);
            return false;
        }
        self.claimed.load(Ordering::Relaxed) & bit == 0
            && self.claimed.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Releases a claim, so that a later request gets it.
    pub fn release(&self, coding: Coding) {
        self.claimed
            .fetch_and(!(1 << coding.index()), Ordering::Relaxed);
    }

    /// Memoises the representation in this coding.
    pub fn set(&self, coding: Coding, encoded: Representation) {
        // Only the holder of the claim encodes, so the slot is empty.
        let _ = self.encoded[coding.index()].set(Arc::new(encoded));
    }

    fn weight(&self) -> usize {
        let encoded = self.encoded.iter().filter_map(OnceLock::get);
        encoded.map(|one| one.weight() + ARC_OVERHEAD).sum()
    }
}

impl Representation {
    /// A representation that is in no other content coding yet.
    pub fn new(
        status: StatusCode,
        headers: HeaderMap,
        body: StoredBody,
        limits: ViewLimits,
    ) -> Self {
        Self {
            status,
            headers,
            body,
            limits,
            encodings: Encodings::default(),
            ready: OnceLock::new(),
        }
    }

    /// Its head, made at the first hit.
    pub fn ready(&self, make: impl FnOnce(&Self) -> Box<[u8]>) -> &[u8] {
        self.ready.get_or_init(|| make(self))
    }

    /// Bytes of memory that it uses.
    pub(super) fn weight(&self) -> usize {
        // Twice: in the map and, from the first hit on, in the ready head.
        let fields = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            2 * (name.as_str().len() + value.len()) + ": \r\n".len()
        };
        size_of::<Self>()
            + self.body.len()
            + BODY_OVERHEAD
            + READY_OVERHEAD
            + self.headers.capacity() * FIELD_OVERHEAD
            + self.headers.iter().map(fields).sum::<usize>()
            + self.encodings.weight()
    }
}
