//! What a client can be sent: a head that is ready but for what changes with time, and a body; and
//! the same in the codings that clients have asked for.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::coding::Coding;
use crate::label::Label as _;
use crate::policy::ViewCap;

/// What the place of a header field weighs beside its bytes, whether or not it is taken.
const FIELD_OVERHEAD: usize = 104;

/// What an allocation that is shared weighs beside what is in it.
const ARC_OVERHEAD: usize = 32;

/// What a client can be sent: a head that is ready but for what changes with time, and a body.
#[derive(Debug)]
pub struct Representation {
    /// The status.
    pub status: StatusCode,
    /// The end-to-end fields, `Via` and `Date` among them; `Age` and `Cache-Status` are added
    /// when it is sent.
    pub headers: HeaderMap,
    /// The bytes.
    pub body: Bytes,
    /// What bounds its use beside the entry's own freshness.
    pub cap: ViewCap,
    /// The same in the codings that clients have asked for.
    pub coded: Coded,
}

/// The codings of one representation: each is made once, by the one who
/// [claims](Coded::claim) it.
#[derive(Debug, Default)]
pub struct Coded {
    /// A bit for each coding that was asked for, and for each that somebody has claimed.
    asked: AtomicU8,
    claimed: AtomicU8,
    made: [OnceLock<Arc<Representation>>; Coding::ALL.len()],
}

impl Coded {
    /// The representation in this coding, if it is at hand.
    #[must_use]
    pub fn get(&self, coding: Coding) -> Option<&Arc<Representation>> {
        self.made[coding.index()].get()
    }

    /// Whether the caller is the one to make it; nobody else will, unless it gives up the claim.
    /// The first who asks is not: what is asked for once may never be again.
    #[must_use]
    pub fn claim(&self, coding: Coding) -> bool {
        let bit = 1 << coding.index();
        if self.asked.load(Ordering::Relaxed) & bit == 0 {
            self.asked.fetch_or(bit, Ordering::Relaxed);
            return false;
        }
        self.claimed.load(Ordering::Relaxed) & bit == 0
            && self.claimed.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Leaves it to the next who asks.
    pub fn give_up(&self, coding: Coding) {
        self.claimed
            .fetch_and(!(1 << coding.index()), Ordering::Relaxed);
    }

    /// Keeps what was made.
    pub fn keep(&self, coding: Coding, made: Representation) {
        // Whoever made it had the claim, so there is nothing yet.
        let _ = self.made[coding.index()].set(Arc::new(made));
    }

    fn weight(&self) -> usize {
        let made = self.made.iter().filter_map(OnceLock::get);
        made.map(|coded| coded.weight() + ARC_OVERHEAD).sum()
    }
}

impl Representation {
    /// Bytes of memory that go with it.
    pub(super) fn weight(&self) -> usize {
        let fields = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len()
        };
        size_of::<Self>()
            + self.body.len()
            + self.headers.capacity() * FIELD_OVERHEAD
            + self.headers.iter().map(fields).sum::<usize>()
            + self.coded.weight()
    }
}
