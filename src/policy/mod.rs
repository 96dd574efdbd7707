//! What may be stored, for how long, and what it is good for now (RFC 9111).
//!
//! Pure: heads, settings and a [`Moment`] in, answers out. No clock, no lock, no await.
//! What it answers, in the life of a request:
//!
//! 1. The request asks for something: [`RequestDirectives::read`].
//! 2. Of the responses stored under its key, one was [selected](Selecting::matches) by the
//!    fields that `Vary` nominates.
//! 3. [`verdict()`] says what that one is good for, in a view with its [`ViewLimits`]: `Fresh` and
//!    `Usable` are served, with a [`condition`] of the client turning a 200 into a 304;
//!    `Stale` is validated; `Unusable` and a miss are fetched.
//! 4. A request that validates is [made conditional](make_conditional), and [`renewal()`] reads
//!    the answer: a 304 [updates](update) the stored fields, another answer replaces them.
//! 5. What arrived, or was renewed, is [assessed](assess): its age, its lifetime and the
//!    [`Rule`] that set it, its stale use. That [`Freshness`] is kept with the response.
//! 6. [`may_store`] says whether it is stored, [`storable`] which of its fields, and
//!    [`Selecting::capture`] for which requests.
//! 7. A write names the paths it has [invalidated].
//!
//! Where this departs from an RFC, the place says so with the section and the reason; the
//! tables in `tests/rules/rfc9111` list what is required, what is done, and what is declined.

mod dates;
mod directive;
mod directives;
mod exchange;
pub mod facts;
mod fields;
mod freshness;
mod invalidate;
mod lifetime;
mod list;
mod renewal;
mod retry_after;
mod storing;
mod validators;
mod vary;
mod verdict;
mod view_limits;

pub use dates::http_date;
pub use directive::DeltaSeconds;
pub use directives::{RequestDirectives, ResponseDirectives};
pub use exchange::{Exchange, Moment};
pub use facts::Facts;
pub use fields::{storable, strip_digests};
pub use freshness::{Freshness, StaleUse, assess};
pub use invalidate::{adds_below, canonical_path, invalidated, is_unsafe, self_and_above};
pub use lifetime::{Lifetime, Rule};
pub(crate) use list::{TOKEN, ascii_table};
pub use renewal::{
    Renewal, is_failure, is_gone, make_conditional, make_conditional_on_bytes, refuses_token,
    renewal, update,
};
pub use retry_after::retry_after;
pub use storing::{NotStored, Sharing, is_error, is_unshareable, may_store};
pub use validators::{
    Condition, EntityTag, coded_tag, condition, mark_decoded, origin_tags, rename_tag,
};
pub use vary::Selecting;
pub use verdict::{Verdict, is_fresh, ttl_seconds, verdict, view_max_age};
pub use view_limits::{ViewLimits, lower_lifetime};
