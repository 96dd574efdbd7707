//! The shared level: replicas with the same engine (Redis or Valkey) share stored responses, and none
//! serves what another has invalidated.
//!
//! Each invalidation is an item of a log. A replica trusts its memory for the duration of a lease, which
//! it extends by applying the log to its end. A shared entry contains the position in the log at which
//! its fetch began; it is used only if no later item concerns it.

mod engine;
mod entries;
mod group;
mod item;
mod lease;
mod level;
mod member;
mod names;
mod outbox;
mod pause;
mod record;
#[cfg(feature = "shared")]
pub mod redis;
mod sealed;
mod seen;
#[cfg(test)]
mod tests;

pub use engine::{
    Appended, Beat, BeatReply, Description, Engine, EngineError, Era, Found, LogItem, Member,
    MemberId, Occupied, Position, Salt,
};
pub use entries::{LookedUp, Subject, Ticket};
pub use group::{Confirmation, Counts, Group, State as GroupState};
pub use item::{MAX_ITEM, read_item};
pub use lease::Lease;
pub use level::Shared;
pub use names::Names;
pub use pause::Pause;
pub use record::{Opened, Record, Terms, read_record};
pub use sealed::{Audience, Header, Sealer};
pub use seen::Seen;
