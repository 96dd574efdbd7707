//! A representation: a head that is complete except for what changes with time, a body, and the
//! same in the content codings that clients have requested.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::coding::Coding;
use crate::label::Label as _;
use crate::policy::ViewLimits;

/// What a slot for a header field weighs besides its bytes, used or not.
const FIELD_OVERHEAD: usize = 104;

/// What a shared allocation weighs besides its content.
const ARC_OVERHEAD: usize = 32;

/// A response as a client can be sent it: complete except for what changes with time.
#[derive(Debug)]
pub struct Representation {
    /// The status.
    pub status: StatusCode,
    /// The end-to-end fields, `Via` and `Date` among them; `Age` and `Cache-Status` are added
    /// when it is sent.
    pub headers: HeaderMap,
    /// The bytes.
    pub body: Bytes,
    /// What limits its use besides the entry's own freshness.
    pub cap: ViewLimits,
    /// The same in the codings that clients have requested.
    pub encodings: Encodings,
}

/// The codings of one representation: each is made once, by the caller that
/// [claims](Encodings::claim) it.
#[derive(Debug, Default)]
pub struct Encodings {
    /// A bit for each coding that was requested, and for each that is claimed.
    requested: AtomicU8,
    claimed: AtomicU8,
    made: [OnceLock<Arc<Representation>>; Coding::ALL.len()],
}

impl Encodings {
    /// The representation in this coding, if it is at hand.
    #[must_use]
    pub fn get(&self, coding: Coding) -> Option<&Arc<Representation>> {
        self.made[coding.index()].get()
    }

    /// Whether the caller must make it; no other caller will, unless it gives up the claim. The
    /// first request does not claim: a coding that is requested once may never be again.
    #[must_use]
    pub fn claim(&self, coding: Coding) -> bool {
        let bit = 1 << coding.index();
        if self.requested.load(Ordering::Relaxed) & bit == 0 {
            self.requested.fetch_or(bit, Ordering::Relaxed);
            return false;
        }
        self.claimed.load(Ordering::Relaxed) & bit == 0
            && self.claimed.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Leaves it to the next request.
    pub fn give_up(&self, coding: Coding) {
        self.claimed
            .fetch_and(!(1 << coding.index()), Ordering::Relaxed);
    }

    /// Keeps what was made.
    pub fn keep(&self, coding: Coding, made: Representation) {
        // Only the holder of the claim makes one, so the slot is empty.
        let _ = self.made[coding.index()].set(Arc::new(made));
    }

    fn weight(&self) -> usize {
        let made = self.made.iter().filter_map(OnceLock::get);
        made.map(|one| one.weight() + ARC_OVERHEAD).sum()
    }
}

impl Representation {
    /// Bytes of memory that are freed with it.
    pub(super) fn weight(&self) -> usize {
        let fields = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len()
        };
        size_of::<Self>()
            + self.body.len()
            + self.headers.capacity() * FIELD_OVERHEAD
            + self.headers.iter().map(fields).sum::<usize>()
            + self.encodings.weight()
    }
}
