//! What a body says about itself: facts that lifetimes and caps are taken from.

use std::time::SystemTime;

use crate::config::CallStatus;

/// What is known of a body, or of the part of it that a view shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The status of the call, where the body is one.
    pub status: Option<CallStatus>,
    /// When the call ended.
    pub end_time: Option<SystemTime>,
    /// When the call was last changed.
    pub modified_at: Option<SystemTime>,
    /// Whether parts that follow the end of a call are still missing.
    pub unfinished: bool,
    /// Which live parts are shown: bit `n` is item `n` of `freshness.live`.
    pub live: u64,
    /// The earliest expiry of a pre-signed URL that is shown.
    pub signed_until: Option<SystemTime>,
}

impl Facts {
    /// placeholder
    #[must_use]
    pub fn read(_body: &[u8], _live: &[(String, std::time::Duration)]) -> Self {
        Self::default()
    }
}
