//! The call document: all of its members, in a given phase of the lifecycle.

use jiff::Timestamp;
use serde_json::Value;

use crate::call_context::CallContext;
use crate::call_id::{CallId, Kind};
use crate::json_object::json_object;
use crate::lifecycle::{Phase, Status};
use crate::partner::Detail;
use crate::seeded_rng::SeededRng;
use crate::{classification, directory, invoice, partner, time, transcript};

/// Number of invoices of a `call_large_…`, which makes it around 400 KB.
const LARGE_INVOICES: u32 = 16;

/// The whole document of a call.
pub(crate) fn document(context: &CallContext, id: &CallId, phase: &Phase) -> Value {
    let mut rng = SeededRng::of(&["call", &id.to_string()]);
    let debtor = debtor(id);
    let invoices = invoices(id);
    let detail = if invoices == 0 {
        Detail::Short
    } else {
        Detail::Full
    };
    let partner = partner::partner(context, debtor, detail);
    let invoices: Vec<_> = (0..invoices)
        .map(|which| invoice::invoice(context, id, debtor, which, &partner))
        .collect();
    let turns = transcript::turns(context, id, debtor);
    let transcript = phase.has_transcript.then_some(&turns);
    let direction = direction(id);
    let (from, to) = numbers(context, id);
    let is_automated = direction == "outbound";
    let approver = directory::user_id(context, id.number);
    json_object! {
        "direction": direction,
        "object": "call",
        "to_number": to,
        "id": id.to_string(),
        "agent_id": rng.id("agent"),
        "approver": directory::user(context, id.number),
        "approver_id": approver,
        "call_agent_id": context.id("cagent", ""),
        "call_reason": "Past due invoice",
        "classifications": classifications(context, id, phase),
        "created_at": time::written(phase.created),
        "custom_classifications": vec![rng.pick(&["Warm contact", "Month end"])],
        "disconnection_reason": phase.status.disconnection(),
        "end_time": phase.ended.map(time::written),
        "from_number": from,
        "in_voicemail": phase.status == Status::NoAnswer && rng.one_in(2),
        "invoices": invoices,
        "is_automated": is_automated,
        "modified_at": phase.modified.map(time::written),
        "partner": partner,
        "partner_id": partner::id(context, debtor),
        "recording_url": recording(context, id, phase),
        "retell_id": phase.began.map(|_| rng.id("retell")),
        "sentiment": phase.has_summary.then(|| rng.pick(&["positive", "neutral", "negative", "unknown"])),
        "start_time": phase.began.map(time::written),
        "status": phase.status.as_str(),
        "summary": phase.has_summary.then(|| transcript::summary(context, id, debtor)),
        "transcript": transcript.map(|turns| transcript::data(id, turns)),
        "transcript_str": transcript.map(|turns| transcript::text(turns)),
        "transferred_to": (!is_automated && rng.one_in(3)).then(|| directory::phone(&mut rng)),
        "workflow": workflow(context),
    }
}

/// A call in a list, abridged: the members that need no other record.
pub(crate) fn listed(context: &CallContext, id: &CallId, phase: &Phase) -> Value {
    let (from, to) = numbers(context, id);
    json_object! {
        "object": "call",
        "id": id.to_string(),
        "direction": direction(id),
        "from_number": from,
        "to_number": to,
        "status": phase.status.as_str(),
        "partner_id": partner::id(context, debtor(id)),
        "created_at": time::written(phase.created),
        "modified_at": phase.modified.map(time::written),
        "start_time": phase.began.map(time::written),
        "end_time": phase.ended.map(time::written),
    }
}

/// Number of the partner that the call is about: the debtor.
fn debtor(id: &CallId) -> u32 {
    id.number % partner::PARTNERS
}

/// Number of invoices that the call is about. The first call of an organisation always has one, and
/// so do the kinds of call with a typical size.
fn invoices(id: &CallId) -> u32 {
    match id.kind {
        Kind::Small => 0,
        Kind::Large => LARGE_INVOICES,
        Kind::Plain if id.number > 1 => {
            let mut rng = SeededRng::of(&["invoices", &id.to_string()]);
            match rng.within(1..=20) {
                1..=3 => 0,
                4..=14 => 1,
                15..=18 => rng.within(2..=4),
                _ => rng.within(5..=LARGE_INVOICES),
            }
        }
        _ => 1,
    }
}

/// Every sixth ordinary call is inbound.
fn direction(id: &CallId) -> &'static str {
    if id.kind == Kind::Plain && id.number % 6 == 5 {
        "inbound"
    } else {
        "outbound"
    }
}

/// The numbers of the caller and of the callee.
fn numbers(context: &CallContext, id: &CallId) -> (String, String) {
    let ours = directory::phone(&mut context.rng("line", ""));
    let (.., theirs) = partner::call_contact(context, debtor(id));
    if direction(id) == "inbound" {
        (theirs, ours)
    } else {
        (ours, theirs)
    }
}

/// The classifications: present once there is a summary; a small call has none.
fn classifications(context: &CallContext, id: &CallId, phase: &Phase) -> Vec<Value> {
    phase
        .modified
        .filter(|_| phase.has_summary && id.kind != Kind::Small)
        .map(|at: Timestamp| classification::classification(context, id, at))
        .into_iter()
        .collect()
}

/// The recording: a pre-signed URL, an object with one, or a plain URL.
fn recording(context: &CallContext, id: &CallId, phase: &Phase) -> Value {
    if phase.began.is_none() || phase.ended.is_none() {
        return Value::Null;
    }
    let object = format!("recordings/{id}.wav");
    match id.number % 4 {
        1 | 2 => context
            .signature
            .sign(&context.organisation, &object)
            .into(),
        3 => json_object! {
            "url": context.signature.sign(&context.organisation, &object),
            "expires_at": time::written(context.signature.expires_at()),
        },
        _ => format!("https://media.{}.example/{object}", context.organisation).into(),
    }
}

fn workflow(context: &CallContext) -> Value {
    let mut rng = context.rng("workflow's details", "");
    json_object! {
        "id": context.id("wflow", ""),
        "active_days": vec![1, 2, 3, 4, 5],
        "created_at": context.days_ago(&mut rng, 200..=300),
        "email_sender_id": context.id("sender", "0"),
        "is_active": true,
        "is_call_on_weekend_enabled": false,
        "modified_at": context.days_ago(&mut rng, 5..=50),
        "name": "Past due, 30 days",
        "object": "workflow",
        "outreach_window_end": "17:00",
        "outreach_window_start": "09:00",
        "pending_run_strategy": rng.pick(&["send_all", "send_latest"]),
        "test_email": context.is_out_of_sync().then(|| format!("calls@{}.example", context.organisation)),
        "test_phone_number": context.is_out_of_sync().then_some("+14155550100"),
        "timezone": "America/New_York",
    }
}
