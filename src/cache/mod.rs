//! Stored responses: entries, the store on moka, generations, request coalescing.
//!
//! Knows nothing of the origin: `proxy` fetches, and stores here what may be stored.

mod admission;
mod coalesce;
mod counters;
mod entry;
mod generation;
mod representation;
mod store;

pub use admission::Admission;
pub use coalesce::{InFlight, Leader, Role, Waiter};
pub use entry::{Entry, ViewSlot};
pub use generation::{Fence, Generation, Reach};
pub use representation::{Encodings, Representation};
pub use store::{Ended, Inspection, Store, StoreLookup};
