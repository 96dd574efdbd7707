//! Allocations, counted on the thread that makes them: a global allocator of this binary's own.

mod hits;
mod store;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: moka frees memory by epochs, which another test in the process delays.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
