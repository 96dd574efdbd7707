//! What clients have changed in a simulator: edits, approvals, first looks at live calls.

use std::collections::HashMap;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::call_id::CallId;
use super::life::Events;
use super::time::Signature;

/// Rendered bodies above this many bytes together are dropped and rendered again.
const RENDERED: usize = 64 << 20;

/// The simulator's memory. Everything that is not in here follows from an id and the time.
#[derive(Debug, Default)]
pub(super) struct State {
    changed: HashMap<CallId, Changes>,
    rendered: HashMap<CallId, Rendered>,
    rendered_bytes: usize,
}

/// What was done to one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) events: Events,
    pub(super) edits: Map<String, Value>,
    pub(super) edited: Option<Timestamp>,
}

/// What the bytes of a call depend on, apart from its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) steps: usize,
    pub(super) events: Events,
    pub(super) edited: Option<Timestamp>,
    pub(super) signature: Signature,
}

/// A call as it goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) revision: Revision,
    pub(super) body: Bytes,
    pub(super) etag: HeaderValue,
}

// === impl State ===

impl State {
    /// What was done to this call so far.
    pub(super) fn changes(&self, id: &CallId) -> Changes {
        self.changed.get(id).cloned().unwrap_or_default()
    }

    /// Where to note what is done to this call.
    pub(super) fn change(&mut self, id: &CallId) -> &mut Changes {
        self.changed.entry(id.clone()).or_default()
    }

    /// The bytes of this call, if they were rendered at this revision.
    pub(super) fn rendered(&self, id: &CallId, revision: Revision) -> Option<Rendered> {
        let rendered = self.rendered.get(id)?;
        (rendered.revision == revision).then(|| rendered.clone())
    }

    /// Keeps the bytes of this call for the next request.
    pub(super) fn keep(&mut self, id: CallId, rendered: Rendered) {
        if self.rendered_bytes + rendered.body.len() > RENDERED {
            self.rendered.clear();
            self.rendered_bytes = 0;
        }
        self.rendered_bytes += rendered.body.len();
        if let Some(before) = self.rendered.insert(id, rendered) {
            self.rendered_bytes -= before.body.len();
        }
    }
}

// === impl Changes ===

impl Changes {
    /// Merges edited members, and dates the edit after everything before it.
    pub(super) fn edit(&mut self, edits: Map<String, Value>, last: Timestamp, now: Timestamp) {
        self.edits.extend(edits);
        // Two edits within one tick of the clock still have two dates.
        let tick = std::time::Duration::from_millis(1);
        self.edited = Some(now.max(last + tick));
    }
}
