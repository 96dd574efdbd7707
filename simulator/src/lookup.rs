//! Looks up a call: whether the organisation has it, its current phase, its bytes.

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;

use crate::answer::Refusal;
use crate::call_context::CallContext;
use crate::call_id::{CallId, Kind};
use crate::lifecycle::{Lifecycle, Phase};
use crate::state::{Changes, Rendered, Revision};
use crate::time::{Signature, whole_second};
use crate::{Organisation, Simulator, call};

/// A call of the organisation at the current time.
#[derive(Debug)]
pub(crate) struct CurrentCall {
    pub(crate) id: CallId,
    pub(crate) phase: Phase,
    changes: Changes,
}

impl Simulator {
    /// The call of this id at the current time; a live one starts with its first request.
    pub(crate) fn find(
        &self,
        organisation: &Organisation,
        id: &str,
        now: Timestamp,
    ) -> Result<CurrentCall, Refusal> {
        let id = CallId::parse(id)
            .filter(|id| id.organisation == organisation.name())
            .filter(|id| id.number <= self.0.options.calls)
            .ok_or(Refusal::NotFound)?;
        if id.kind == Kind::Live {
            let mut state = self.state();
            let events = &mut state.change(&id).events;
            events.first_requested.get_or_insert(whole_second(now));
        }
        self.current(id, now).ok_or(Refusal::NotFound)
    }

    /// The call at the current time, if it is created by then.
    pub(crate) fn current(&self, id: CallId, now: Timestamp) -> Option<CurrentCall> {
        let changes = self.state().changes(&id);
        let mut phase = Lifecycle::of(&id, self.0.started, changes.events)?.at(now)?;
        phase.modified = phase.modified.max(changes.edited);
        Some(CurrentCall { id, phase, changes })
    }

    pub(crate) fn render(&self, call: &CurrentCall, now: Timestamp) -> Rendered {
        let context = self.context(&call.id.organisation, now);
        let revision = Revision {
            steps: call.phase.steps,
            events: call.changes.events,
            edited: call.changes.edited,
            signature: context.signature,
        };
        if let Some(rendered) = self.state().rendered(&call.id, revision) {
            return rendered;
        }
        let mut document = call::document(&context, &call.id, &call.phase);
        if let Some(members) = document.as_object_mut() {
            members.extend(call.changes.edits.clone());
        }
        let body = Bytes::from(document.to_string());
        let rendered = Rendered {
            revision,
            etag: etag(&body),
            body,
        };
        self.state().store(call.id.clone(), rendered.clone());
        rendered
    }

    /// The context of an organisation's calls at this time.
    pub(crate) fn context(&self, organisation: &str, now: Timestamp) -> CallContext {
        let started = self.0.started;
        CallContext {
            organisation: organisation.to_owned(),
            started,
            signature: Signature::at(now, started, self.0.options.signed_for),
        }
    }
}

/// The strong entity tag of these bytes.
pub(crate) fn etag(body: &[u8]) -> HeaderValue {
    let digest = blake3::hash(body).to_hex();
    HeaderValue::try_from(format!("\"{}\"", &digest[..16])).expect("hexadecimal digits are ASCII")
}
