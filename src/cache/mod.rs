//! Stored responses: entries, the store on moka, the fence, the flights.
//!
//! Knows nothing of the origin: the hallway fetches, and brings here what may be kept.

mod admission;
mod cells;
mod entry;
mod fence;
mod flight;
mod representation;
mod store;
mod unsettled;

pub use admission::{Admission, Candidate};
pub use entry::{Entry, Place};
pub use fence::{Fence, Reach};
pub use flight::{Boarding, Flights, Lead, Waiting};
pub use representation::{Coded, Representation};
pub use store::{Found, Store, Stored};
