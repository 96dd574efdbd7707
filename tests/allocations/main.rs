//! Counts allocations per thread, with a global allocator that only this binary has.

#![expect(clippy::disallowed_methods, reason = "any time will do")]

mod fill;
mod hits;
mod store;
