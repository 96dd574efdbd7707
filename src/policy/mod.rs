//! What may be stored, for how long, and what it is good for now (RFC 9111).
//!
//! Pure: heads, settings and a [`Moment`] in, answers out. No clock, no lock, no await.

mod age;
mod dates;
mod directive;
mod directives;
mod facts;
mod fields;
mod freshness;
mod invalidate;
mod lifetime;
mod list;
mod range;
mod renewal;
mod storing;
mod targeted;
mod validators;
mod vary;
mod verdict;

use std::time::{Duration, SystemTime};

pub use dates::http_date;
pub use directive::Delta;
pub use directives::{RequestDirectives, ResponseDirectives};
pub use facts::Facts;
pub use fields::storable;
pub use freshness::{Exchange, Freshness, StaleUse, assess};
pub use invalidate::{canonical_path, invalidated, is_unsafe, self_and_above};
pub use lifetime::{Lifetime, Rule};
pub use range::{Ranged, ranged};
pub use renewal::{Renewal, is_failure, make_conditional, remove_conditions, renewal, update};
pub use storing::{NotStored, Sharing, may_store};
pub use validators::{Condition, EntityTag, condition, has_origin_condition, range_applies};
pub use vary::Selecting;
pub use verdict::{Verdict, ViewCap, ttl_seconds, verdict};

/// A point in time on both clocks.
///
/// Ages are measured on `mono`, which never steps; dates the origin wrote are
/// compared with `wall`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since the process began.
    pub mono: Duration,
    /// The date.
    pub wall: SystemTime,
}
