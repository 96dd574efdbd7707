//! The transcript of a collections call, and its summary.

use serde_json::Value;

use crate::call_context::CallContext;
use crate::call_id::{CallId, Kind};
use crate::json_object::json_object;
use crate::{invoice, partner};

/// Exchanges between the opening and the close: the agent's turn and the contact's.
const EXCHANGES: [(&str, &str); 10] = [
    (
        "Our records show it has been open for a little over thirty days. Did it reach you?",
        "Let me look. I have a couple from you here, give me one second.",
    ),
    (
        "Take your time. I can also read you the purchase order number if that helps.",
        "Yes, please, our system sorts by purchase order.",
    ),
    (
        "I have just sent a fresh copy to your accounts payable address.",
        "Okay, got it. That one was sitting with receiving, they had to confirm the quantities.",
    ),
    (
        "Understood. Is there anything on the invoice that does not look right to you?",
        "The freight line looked high, but I see now that it covers two deliveries.",
    ),
    (
        "That is right, both are listed on the second page.",
        "Then it is fine from our side.",
    ),
    (
        "Do you know when it could be part of a payment run?",
        "We run on Thursdays. If it is approved today it makes this week's.",
    ),
    (
        "Would you like to pay all of it, or should I note a partial payment?",
        "All of it. We took the credit from last month already.",
    ),
    (
        "Could you send the remittance advice once the transfer is out?",
        "Sure, to the billing address that is on the invoice?",
    ),
    (
        "Exactly, that address is read every day.",
        "Good. Who do I call if the bank has a question?",
    ),
    (
        "You can answer the e-mail or call this number, either one reaches the team.",
        "Perfect, that is all I need.",
    ),
];

/// The turns of a call in their order, alternating between the agent and the contact.
pub(crate) fn turns(
    context: &CallContext,
    call: &CallId,
    debtor: u32,
) -> Vec<(&'static str, String)> {
    let mut rng = context.rng("transcript", &call.to_string());
    let (given, ..) = partner::call_contact(context, debtor);
    let name = partner::name(context, debtor);
    let number = invoice::number(call, 0);
    let organisation = &context.organisation;
    let mut turns = vec![
        (
            "user",
            format!("{name}, accounts payable, this is {given}."),
        ),
        (
            "agent",
            format!(
                "Hi {given}, this is Robin calling on behalf of {organisation} about invoice {number}."
            ),
        ),
        ("user", "Sure, go ahead.".to_owned()),
    ];
    // A small call is small in every part.
    let exchanges = match call.kind {
        Kind::Small => 1,
        _ => rng.within(6..=10),
    };
    for (agent, contact) in EXCHANGES.iter().take(exchanges as usize) {
        turns.push(("agent", (*agent).to_owned()));
        turns.push(("user", (*contact).to_owned()));
    }
    turns.push((
        "agent",
        format!("Thank you for your help, {given}. Have a good day."),
    ));
    turns.push(("user", "You too, bye.".to_owned()));
    turns
}

/// The transcript as data: a list of turns, or an object around it for every fifth call.
pub(crate) fn data(call: &CallId, turns: &[(&'static str, String)]) -> Value {
    let turns: Vec<_> = turns
        .iter()
        .map(|(role, content)| json_object! { "role": *role, "content": content.as_str() })
        .collect();
    if call.number.is_multiple_of(5) {
        json_object! { "format": "turns", "turns": turns }
    } else {
        Value::from(turns)
    }
}

/// The transcript as text, one line per turn.
pub(crate) fn text(turns: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    for (role, content) in turns {
        text.push_str(if *role == "agent" {
            "Agent: "
        } else {
            "User: "
        });
        text.push_str(content);
        text.push('\n');
    }
    text
}

pub(crate) fn summary(context: &CallContext, call: &CallId, debtor: u32) -> String {
    let (given, family, _) = partner::call_contact(context, debtor);
    format!(
        "Spoke with {given} {family} of {} about {}. The invoice had waited for a confirmation of \
         quantities, which has since arrived. {given} expects it in this week's payment run and \
         will send the remittance advice; a fresh copy of the invoice was sent.",
        partner::name(context, debtor),
        invoice::number(call, 0),
    )
}
