//! The agent's classification of a call, and the tasks that follow from it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::call_context::CallContext;
use crate::call_id::CallId;
use crate::json_object::json_object;
use crate::{directory, invoice, time};

/// The one classification of a call whose summary was ready at `at`.
pub(crate) fn classification(context: &CallContext, call: &CallId, at: Timestamp) -> Value {
    let key = call.to_string();
    let mut rng = context.rng("classification", &key);
    let written = time::written(at);
    json_object! {
        "agent_reply_reason": "The contact asked for a copy of the invoice by e-mail.",
        "classification": rng.pick(&["payment_inquiry", "promise_to_pay", "dispute"]),
        "is_action_required": true,
        "is_reply_required": rng.one_in(2),
        "object": "classification",
        "reason": "The contact confirmed the amount and named the next payment run.",
        "action_recommendation": "Send the invoice again and check for the payment after the run.",
        "agent_confidence_reason": "Amount and date were both said and confirmed.",
        "agent_confidence_score": f64::from(rng.within(60..=99)) / 100.0,
        "agent_error_code": context.at_times("unsure", &key).then_some("low_confidence"),
        "agent_uncertainties": vec!["Whether the whole balance will be paid at once."],
        "created_at": written.as_str(),
        "language": "en",
        "modified_at": written,
        "tasks": vec![task(context, call, at)],
    }
}

fn task(context: &CallContext, call: &CallId, at: Timestamp) -> Value {
    let key = call.to_string();
    let mut rng = context.rng("task's details", &key);
    let (is_done, has_failed) = (
        context.at_times("done", &key),
        context.at_times("failed", &key),
    );
    let id = context.id("task", &key);
    let event_id = context.id("evt", &key);
    let written = time::written(at + Duration::from_secs(1));
    json_object! {
        "label": "Send a copy of the invoice",
        "object": "task",
        "organization_id": context.organisation_id(),
        "type": "activity_summary_outreach",
        "action_taken": is_done.then_some("email_sent"),
        "assignee": directory::user(context, call.number),
        "assignee_id": directory::user_id(context, call.number),
        "close_reason": is_done.then_some("The copy was sent."),
        "completed_action": json_object! {},
        "created_at": written.as_str(),
        "data": vec![json_object! {
            "object": "task_data",
            "source": "call",
            "task_id": id.as_str(),
            "type": "response",
            "id": rng.id("tdat"),
            "created_at": written.as_str(),
            "data": match rng.within(0..=3) {
                0 => Value::Null,
                1 => Value::from("copy requested"),
                2 => Value::from(vec![invoice::number(call, 0)]),
                _ => json_object! { "requested": "copy", "invoice": invoice::number(call, 0) },
            },
            "modified_at": written.as_str(),
        }],
        "description": "The contact could not find the invoice and asked for another copy.",
        "error_reason": has_failed.then_some("The mailbox is full."),
        "modified_at": written.as_str(),
        "status": rng.pick(&["open", "closed"]),
        "trigger_event": json_object! {
            "name": "call.completed",
            "object": "event",
            "id": event_id.as_str(),
            "actor_id": is_done.then(|| directory::user_id(context, call.number)),
            "created_at": written.as_str(),
            "data": json_object! { "call_id": key.as_str() },
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
