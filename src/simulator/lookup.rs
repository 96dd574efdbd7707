//! Finding a call: whether it exists for who asks, what it is now, its bytes.

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;

use super::answer::Refusal;
use super::call_id::{CallId, Kind};
use super::life::{Life, Phase};
use super::scene::Scene;
use super::state::{Changes, Rendered, Revision};
use super::time::{Signature, whole_second};
use super::{Organisation, Simulator, call};

/// A call that the asking organisation has, as it is now.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: CallId,
    pub(super) phase: Phase,
    changes: Changes,
}

impl Simulator {
    /// The call of this id as it is now; a live one begins by this.
    pub(super) fn find(
        &self,
        organisation: &Organisation,
        id: &str,
        now: Timestamp,
    ) -> Result<Found, Refusal> {
        let id = CallId::parse(id)
            .filter(|id| id.organisation == organisation.name())
            .filter(|id| id.number <= self.0.options.calls)
            .ok_or(Refusal::NotFound)?;
        if id.kind == Kind::Live {
            let mut state = self.state();
            let events = &mut state.change(&id).events;
            events.first_asked.get_or_insert(whole_second(now));
        }
        self.look(id, now).ok_or(Refusal::NotFound)
    }

    /// The call as it is now, if it is born.
    pub(super) fn look(&self, id: CallId, now: Timestamp) -> Option<Found> {
        let changes = self.state().changes(&id);
        let mut phase = Life::of(&id, self.0.started, changes.events)?.at(now)?;
        phase.modified = phase.modified.max(changes.edited);
        Some(Found { id, phase, changes })
    }

    pub(super) fn render(&self, found: &Found, now: Timestamp) -> Rendered {
        let scene = self.scene(&found.id.organisation, now);
        let revision = Revision {
            steps: found.phase.steps,
            events: found.changes.events,
            edited: found.changes.edited,
            signature: scene.signature,
        };
        if let Some(rendered) = self.state().rendered(&found.id, revision) {
            return rendered;
        }
        let mut document = call::document(&scene, &found.id, &found.phase);
        if let Some(members) = document.as_object_mut() {
            members.extend(found.changes.edits.clone());
        }
        let body = Bytes::from(document.to_string());
        let rendered = Rendered {
            revision,
            etag: etag(&body),
            body,
        };
        self.state().keep(found.id.clone(), rendered.clone());
        rendered
    }

    /// The common ground of an organisation's calls at this moment.
    pub(super) fn scene(&self, organisation: &str, now: Timestamp) -> Scene {
        let started = self.0.started;
        Scene {
            organisation: organisation.to_owned(),
            started,
            signature: Signature::at(now, started, self.0.options.signed_for),
        }
    }
}

/// A strong tag of these bytes.
pub(super) fn etag(body: &[u8]) -> HeaderValue {
    let digest = blake3::hash(body).to_hex();
    HeaderValue::try_from(format!("\"{}\"", &digest[..16])).expect("hexadecimal digits are ASCII")
}
