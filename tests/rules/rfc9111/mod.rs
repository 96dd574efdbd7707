//! RFC 9111, requirement by requirement, with the additions of RFC 9110, 5861 and 9213.
//!
//! Tables: one row per requirement, named by section. `then` is our behaviour; a row in which we
//! depart from the requirement gives the reason. Time is only a number.
//!
//! Optional features (MAY) that we do not implement:
//!
//! - §3.3, §3.4 storing and combining partial responses: a request with `Range` is forwarded.
//! - §4.3.1 validating several stored responses at once: only the selected one is validated.
//! - §4.3.5 freshening by HEAD: a HEAD that misses does not update a stored GET.
//! - §5.2.2.4, §5.2.2.7 field names: `no-cache` and `private` apply to the whole response.

// One row per line: rustfmt would split each row into many.
#[rustfmt::skip]
mod aging;
#[rustfmt::skip]
mod invalidation;
#[rustfmt::skip]
mod lifetimes;
mod properties;
#[rustfmt::skip]
mod serving;
#[rustfmt::skip]
mod storing;
mod support;
#[rustfmt::skip]
mod validation;
#[rustfmt::skip]
mod varying;
