//! Stored responses: entries, the store (on moka), generations, and request coalescing.
//!
//! It does not fetch, nor decide what may be stored: that is left to `proxy` and `policy`.

use std::sync::Arc;

mod acceptance;
mod admission;
mod coalesce;
mod counters;
mod entry;
mod generation;
mod inspection;
mod invalidation;
mod journal;
mod representation;
pub mod shared;
mod store;
mod sweep;
mod unshareable;

pub use acceptance::{Acceptance, Recheck};
pub use admission::Admission;
pub use coalesce::{InFlight, Leader, Role, Waiter};
pub use entry::{Entry, ViewSlot};
pub use generation::{Fence, Generation, Purged};
pub use inspection::Inspection;
pub use invalidation::{Invalidation, Reach};
pub use representation::Representation;
pub use store::{Store, StoreLookup, Superseded};

/// The levels of the cache.
#[derive(Clone, Debug)]
pub struct Levels {
    /// The memory of this process.
    pub store: Arc<Store>,
    /// The level that the replicas share.
    pub shared: Arc<shared::Shared>,
}
