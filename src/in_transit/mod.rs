//! Bytes in transit: memory that is held on behalf of clients and not owned by the store.
//!
//! One [`Ledger`] counts all of it, within `limits.in_transit`. An [`Account`] is what one client
//! connection holds; a [`Share`] belongs to an exchange with the origin; a [`StoredBody`] is lent while
//! clients still need it and the store does not have it. What the bytes are for is left to the users:
//! `cache`, `upstream`, `proxy` and `server`.

mod backlog;
mod body;
mod held;
mod ledger;
#[cfg(test)]
mod tests;

pub use body::StoredBody;
pub use held::{Held, Unsent};
pub use ledger::{Account, Ledger, Share};
