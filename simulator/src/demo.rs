//! Tokens and calls of [`Options::default`](crate::Options), for a demonstration.

/// A token of the organisation *acme*.
pub const TOKEN: &str = "demo-acme-1";

/// Another token of *acme*: it sees the same calls.
pub const SECOND_TOKEN: &str = "demo-acme-2";

/// A token of *globex*, which gets 404 for the calls of *acme*.
pub const FOREIGN_TOKEN: &str = "demo-globex-1";

/// A call of *acme* that was completed long ago; around 40 KB.
pub const CALL: &str = "call_acme_0001";

/// A call of *acme* that was completed long ago; around 5 KB.
pub const SMALL_CALL: &str = "call_small_acme_0001";

/// A call of *acme* that was completed long ago; around 400 KB.
pub const LARGE_CALL: &str = "call_large_acme_0001";

/// A call of *acme* that starts with the first request for it, is completed after 30 s, and has a
/// transcript after 40 s and a summary after 50 s.
pub const LIVE_CALL: &str = "call_live_acme_0001";

/// A call of *acme* that has just ended when the simulator starts.
pub const ENDED_CALL: &str = "call_acme_0007";

/// A call of *acme* that is pending approval (`POST /v1/calls/{id}/approve`).
pub const PENDING_CALL: &str = "call_pending_acme_0001";

/// A call of *acme* whose response is delayed by [`Options::slow`](crate::Options::slow).
pub const SLOW_CALL: &str = "call_slow_acme_0001";
