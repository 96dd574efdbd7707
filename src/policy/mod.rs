//! Which responses may be stored, for how long, and how they may be used (RFC 9111).
//!
//! Pure functions of heads, settings and a [`Moment`]: no clock, no lock, no await.
//! In the life of a request:
//!
//! 1. The cache directives of the request are read: [`RequestDirectives::read`].
//! 2. One of the responses stored under its key is [selected](Selecting::matches) by the
//!    fields that `Vary` nominates.
//! 3. [`verdict()`] decides how that response may be used, in a view with its [`ViewLimits`]:
//!    `Fresh` and `Usable` are served, where a [`condition`] of the client may turn a 200 into a
//!    304; `Stale` is validated; `Unusable` and a miss are fetched.
//! 4. A validating request is [made conditional](make_conditional). A 304 that
//!    [validates](is_validated) the stored response [updates](update) its fields; a full response
//!    replaces it, unless it [is a failure](is_failure).
//! 5. A new or renewed response is [assessed](assess): its age, its lifetime and the [`Rule`]
//!    that set it, its stale use. That [`Freshness`] is stored with it.
//! 6. [`may_store`] decides whether it is stored, [`storable`] with which fields, and
//!    [`Selecting::capture`] for which requests.
//! 7. After a write, [`written_paths`] returns the paths whose stored responses are invalid.
//!
//! A departure from an RFC is documented where it happens, with the section and the reason; the
//! tables in `tests/rules/rfc9111` list each requirement and how we meet or decline it.

mod budget;
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
mod negotiation;
mod percent;
mod prefer;
mod recheck;
mod renewal;
mod retry_after;
mod slots;
mod storing;
mod validators;
mod vary;
mod verdict;
mod view_limits;

pub use budget::Budget;
pub use dates::http_date;
pub use directive::DeltaSeconds;
pub use directives::{RequestDirectives, ResponseDirectives};
pub use exchange::{Exchange, Moment};
pub use facts::Facts;
pub use fields::{
    nominated, storable, strip_digests, strip_digests_of_whole, strip_for_304, take_ignored_cookies,
};
pub use freshness::{Freshness, StaleUse, assess, reassess};
pub use invalidate::{
    adds_below, canonical_path, is_unsafe, self_and_ancestors, settling, written_paths,
};
pub use lifetime::{Lifetime, RouteRule, Rule};
pub(crate) use list::{TOKEN, ascii_table};
pub use percent::percent_decoded;
pub use prefer::{PREFER, preferred_wait};
pub use recheck::{Recheck, recheck};
pub use renewal::{
    TokenStatus, is_failure, is_gone, is_validated, make_conditional, make_conditional_on_bytes,
    token_status, update,
};
pub use retry_after::retry_after;
pub use slots::{FairSlots, Full};
pub use storing::{NotStored, Sharing, forbidden_by_head, is_error, may_store};
pub use validators::{
    Condition, EntityTag, VIEW_HASH, coded_tag, condition, mark_decoded, origin_tags, rename_tag,
    view_tag,
};
pub use vary::{Selecting, VERSIONS};
pub use verdict::{
    Verdict, is_fresh, next_poll, remaining_life, ttl_seconds, verdict, view_max_age,
};
pub use view_limits::{ViewLimits, is_lifetime, lower_lifetime, lowered_lifetime};
