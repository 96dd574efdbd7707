//! Allocations, counted on the thread that makes them: a global allocator of this binary's own.

mod hits;
mod store;
