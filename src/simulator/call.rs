//! The call document: all of its members, at one phase of its life.

use jiff::Timestamp;
use serde_json::Value;

use super::call_id::{CallId, Kind};
use super::dice::Dice;
use super::life::{Phase, Status};
use super::object::object;
use super::partner::Detail;
use super::scene::Scene;
use super::{classification, invoice, partner, people, time, transcript};

/// How many invoices a `call_large_…` has, which makes it around 400 KB.
const LARGE: u32 = 16;

/// The whole document of a call.
pub(super) fn document(scene: &Scene, id: &CallId, phase: &Phase) -> Value {
    let mut dice = Dice::of(&["call", &id.to_string()]);
    let owing = owing(id);
    let invoices = invoices(id);
    let detail = if invoices == 0 {
        Detail::Short
    } else {
        Detail::Full
    };
    let partner = partner::partner(scene, owing, detail);
    let invoices: Vec<_> = (0..invoices)
        .map(|which| invoice::invoice(scene, id, owing, which, &partner))
        .collect();
    let turns = transcript::turns(scene, id, owing);
    let heard = phase.has_transcript.then_some(&turns);
    let direction = direction(id);
    let (from, to) = numbers(scene, id);
    let is_automated = direction == "outbound";
    let approver = people::user_id(scene, id.number);
    object! {
        "direction": direction,
        "object": "call",
        "to_number": to,
        "id": id.to_string(),
        "agent_id": dice.id("agent"),
        "approver": people::user(scene, id.number),
        "approver_id": approver,
        "call_agent_id": scene.id("cagent", ""),
        "call_reason": "Past due invoice",
        "classifications": classifications(scene, id, phase),
        "created_at": time::written(phase.created),
        "custom_classifications": vec![dice.pick(&["Warm contact", "Month end"])],
        "disconnection_reason": phase.status.disconnection(),
        "end_time": phase.ended.map(time::written),
        "from_number": from,
        "in_voicemail": phase.status == Status::NoAnswer && dice.one_in(2),
        "invoices": invoices,
        "is_automated": is_automated,
        "modified_at": phase.modified.map(time::written),
        "partner": partner,
        "partner_id": partner::id(scene, owing),
        "recording_url": recording(scene, id, phase),
        "retell_id": phase.began.map(|_| dice.id("retell")),
        "sentiment": phase.has_summary.then(|| dice.pick(&["positive", "neutral", "negative", "unknown"])),
        "start_time": phase.began.map(time::written),
        "status": phase.status.as_str(),
        "summary": phase.has_summary.then(|| transcript::summary(scene, id, owing)),
        "transcript": heard.map(|turns| transcript::data(id, turns)),
        "transcript_str": heard.map(|turns| transcript::text(turns)),
        "transferred_to": (!is_automated && dice.one_in(3)).then(|| people::phone(&mut dice)),
        "workflow": workflow(scene),
    }
}

/// What a list of calls shows of one: the members that need no other record.
pub(super) fn listed(scene: &Scene, id: &CallId, phase: &Phase) -> Value {
    let (from, to) = numbers(scene, id);
    object! {
        "object": "call",
        "id": id.to_string(),
        "direction": direction(id),
        "from_number": from,
        "to_number": to,
        "status": phase.status.as_str(),
        "partner_id": partner::id(scene, owing(id)),
        "created_at": time::written(phase.created),
        "modified_at": phase.modified.map(time::written),
        "start_time": phase.began.map(time::written),
        "end_time": phase.ended.map(time::written),
    }
}

/// Which partner the call is about.
fn owing(id: &CallId) -> u32 {
    id.number % partner::PARTNERS
}

/// How many invoices a call is about. The first call of an organisation always has one, and
/// so has every call whose kind promises a typical size.
fn invoices(id: &CallId) -> u32 {
    match id.kind {
        Kind::Small => 0,
        Kind::Large => LARGE,
        Kind::Plain if id.number > 1 => {
            let mut dice = Dice::of(&["invoices", &id.to_string()]);
            match dice.within(1..=20) {
                1..=3 => 0,
                4..=14 => 1,
                15..=18 => dice.within(2..=4),
                _ => dice.within(5..=LARGE),
            }
        }
        _ => 1,
    }
}

/// Every sixth ordinary call came in.
fn direction(id: &CallId) -> &'static str {
    if id.kind == Kind::Plain && id.number % 6 == 5 {
        "inbound"
    } else {
        "outbound"
    }
}

/// Who called and who was called.
fn numbers(scene: &Scene, id: &CallId) -> (String, String) {
    let ours = people::phone(&mut scene.dice("line", ""));
    let (.., theirs) = partner::who_answers(scene, owing(id));
    if direction(id) == "inbound" {
        (theirs, ours)
    } else {
        (ours, theirs)
    }
}

/// Classifications come with the summary; a small call has none.
fn classifications(scene: &Scene, id: &CallId, phase: &Phase) -> Vec<Value> {
    phase
        .modified
        .filter(|_| phase.has_summary && id.kind != Kind::Small)
        .map(|at: Timestamp| classification::classification(scene, id, at))
        .into_iter()
        .collect()
}

/// The recording: a pre-signed address, an object with one, or a plain address.
fn recording(scene: &Scene, id: &CallId, phase: &Phase) -> Value {
    if phase.began.is_none() || phase.ended.is_none() {
        return Value::Null;
    }
    let object = format!("recordings/{id}.wav");
    match id.number % 4 {
        1 | 2 => scene.signature.sign(&scene.organisation, &object).into(),
        3 => object! {
            "url": scene.signature.sign(&scene.organisation, &object),
            "expires_at": time::written(scene.signature.expires_at()),
        },
        _ => format!("https://media.{}.example/{object}", scene.organisation).into(),
    }
}

fn workflow(scene: &Scene) -> Value {
    let mut dice = scene.dice("workflow's details", "");
    object! {
        "id": scene.id("wflow", ""),
        "active_days": vec![1, 2, 3, 4, 5],
        "created_at": scene.days_ago(&mut dice, 200..=300),
        "email_sender_id": scene.id("sender", "0"),
        "is_active": true,
        "is_call_on_weekend_enabled": false,
        "modified_at": scene.days_ago(&mut dice, 5..=50),
        "name": "Past due, 30 days",
        "object": "workflow",
        "outreach_window_end": "17:00",
        "outreach_window_start": "09:00",
        "pending_run_strategy": dice.pick(&["send_all", "send_latest"]),
        "test_email": Value::Null,
        "test_phone_number": Value::Null,
        "timezone": "America/New_York",
    }
}
