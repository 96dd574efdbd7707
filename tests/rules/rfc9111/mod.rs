//! RFC 9111, requirement by requirement, with what RFC 9110, 5861 and 9213 add to it.
//!
//! Tables: one row a requirement, named by section. A row in which we depart says why; its
//! `then` is what we do. No time passes here but as a number.
//!
//! Declined as a whole, each of them a MAY:
//!
//! - §3.3, §3.4 storing and combining parts: a request with `Range` is forwarded.
//! - §4.3.1 asking about several stored responses at once: only the selected one is validated.
//! - §4.3.5 freshening by HEAD: a HEAD that misses says nothing about a stored GET.
//! - §5.2.2.4, §5.2.2.7 keeping single fields out: the whole response is treated so.

// A row stays on its line: formatted, a table is a column of brackets.
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
