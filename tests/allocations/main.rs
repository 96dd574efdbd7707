//! Counts allocations per thread, with a global allocator that only this binary has.

mod hits;
mod store;
