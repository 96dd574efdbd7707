//! Changes by clients: edits, approvals, first requests for live calls.

use std::collections::HashMap;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::call_id::CallId;
use crate::lifecycle::Events;
use crate::time::Signature;

/// Limit of all rendered bodies, in bytes; beyond it they are dropped, and rendered again.
const MAX_RENDERED: usize = 64 << 20;

/// The simulator's state. All else is derived from the id of a call and the time.
#[derive(Debug, Default)]
pub(crate) struct State {
    changed: HashMap<CallId, Changes>,
    rendered: HashMap<CallId, Rendered>,
    rendered_bytes: usize,
}

/// Changes of one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) events: Events,
    pub(crate) edits: Map<String, Value>,
    pub(crate) edited: Option<Timestamp>,
}

/// All that the bytes of a call depend on, except its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) steps: usize,
    pub(crate) events: Events,
    pub(crate) edited: Option<Timestamp>,
    pub(crate) signature: Signature,
}

/// A call as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub(crate) revision: Revision,
    pub(crate) body: Bytes,
    pub(crate) etag: HeaderValue,
}

// === impl State ===

impl State {
    /// The changes of this call so far.
    pub(crate) fn changes(&self, id: &CallId) -> Changes {
        self.changed.get(id).cloned().unwrap_or_default()
    }

    /// The changes of this call, mutable.
    pub(crate) fn change(&mut self, id: &CallId) -> &mut Changes {
        self.changed.entry(id.clone()).or_default()
    }

    /// The bytes of this call, if they were rendered at this revision.
    pub(crate) fn rendered(&self, id: &CallId, revision: Revision) -> Option<Rendered> {
        let rendered = self.rendered.get(id)?;
        (rendered.revision == revision).then(|| rendered.clone())
    }

    /// Stores the bytes of this call for the next request.
    pub(crate) fn store(&mut self, id: CallId, rendered: Rendered) {
        if self.rendered_bytes + rendered.body.len() > MAX_RENDERED {
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
    /// Merges edited members, and dates the edit after all changes before it.
    pub(crate) fn edit(&mut self, edits: Map<String, Value>, last: Timestamp, now: Timestamp) {
        self.edits.extend(edits);
        // Two edits at the same time still have different dates.
        let tick = std::time::Duration::from_millis(1);
        self.edited = Some(now.max(last + tick));
    }
}
