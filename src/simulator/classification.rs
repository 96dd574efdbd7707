//! What the agent made of a call: its classification, and the tasks that follow.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::call_id::CallId;
use super::object::object;
use super::scene::Scene;
use super::{invoice, people, time};

/// The one classification of a call whose summary was ready at `at`.
pub(super) fn classification(scene: &Scene, call: &CallId, at: Timestamp) -> Value {
    let mut dice = scene.dice("classification", &call.to_string());
    let written = time::written(at);
    object! {
        "agent_reply_reason": "The contact asked for a copy of the invoice by e-mail.",
        "classification": dice.pick(&["payment_inquiry", "promise_to_pay", "dispute"]),
        "is_action_required": true,
        "is_reply_required": dice.one_in(2),
        "object": "classification",
        "reason": "The contact confirmed the amount and named the next payment run.",
        "action_recommendation": "Send the invoice again and check for the payment after the run.",
        "agent_confidence_reason": "Amount and date were both said and confirmed.",
        "agent_confidence_score": f64::from(dice.within(60..=99)) / 100.0,
        "agent_error_code": Value::Null,
        "agent_uncertainties": vec!["Whether the whole balance will be paid at once."],
        "created_at": written.as_str(),
        "language": "en",
        "modified_at": written,
        "tasks": vec![task(scene, call, at)],
    }
}

fn task(scene: &Scene, call: &CallId, at: Timestamp) -> Value {
    let key = call.to_string();
    let mut dice = scene.dice("task's details", &key);
    let id = scene.id("task", &key);
    let event_id = scene.id("evt", &key);
    let written = time::written(at + Duration::from_secs(1));
    object! {
        "label": "Send a copy of the invoice",
        "object": "task",
        "organization_id": scene.organisation_id(),
        "type": "activity_summary_outreach",
        "action_taken": Value::Null,
        "assignee": people::user(scene, call.number),
        "assignee_id": people::user_id(scene, call.number),
        "close_reason": Value::Null,
        "completed_action": object! {},
        "created_at": written.as_str(),
        "data": vec![object! {
            "object": "task_data",
            "source": "call",
            "task_id": id.as_str(),
            "type": "response",
            "id": dice.id("tdat"),
            "created_at": written.as_str(),
            "data": match dice.within(0..=3) {
                0 => Value::Null,
                1 => Value::from("copy requested"),
                2 => Value::from(vec![invoice::number(call, 0)]),
                _ => object! { "requested": "copy", "invoice": invoice::number(call, 0) },
            },
            "modified_at": written.as_str(),
        }],
        "description": "The contact could not find the invoice and asked for another copy.",
        "error_reason": Value::Null,
        "modified_at": written.as_str(),
        "status": dice.pick(&["open", "closed"]),
        "trigger_event": object! {
            "name": "call.completed",
            "object": "event",
            "id": event_id.as_str(),
            "actor_id": Value::Null,
            "created_at": written.as_str(),
            "data": object! { "call_id": key.as_str() },
            "entity": "call",
            "entity_id": key,
            "message": "Call completed",
            "modified_at": written.as_str(),
            "timestamp": written,
        },
        "trigger_event_id": event_id,
        "id": id,
    }
}
